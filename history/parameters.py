"""Parameters of a query as the engine's HTTP and embedded interfaces take them: text, one value each.

A scalar is read as one tab-separated field, an array as a ClickHouse literal; both are escaped here, so that a value
can never end its own field. The type stands in the query: `{customer:String}`, `{minutes:Array(Int64)}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
_QUOTED = str.maketrans({"\\": "\\\\", "'": "\\'", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


def bind(parameters: Mapping[str, Any] | None) -> dict[str, str]:
    """Values as text, by name. Raises TypeError for a value that is no bool, int, float, str, None, or a list of
    int, float or str."""
    return {name: encode(value) for name, value in (parameters or {}).items()}


def encode(value: Any) -> str:
    """One value as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_literal(item) for item in value) + "]"
    return _number(value)


def _literal(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    return "'" + value.translate(_QUOTED) + "'" if isinstance(value, str) else _number(value)


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return ("inf" if value > 0 else "-inf") if math.isinf(value) else repr(value)
    raise TypeError(f"query parameter: expected bool, int, float, str, None or a list of them, got {type(value)}")
