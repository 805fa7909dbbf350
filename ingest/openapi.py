from typing import Any

DOCUMENT: dict[str, Any] = {}
