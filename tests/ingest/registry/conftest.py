from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.registry import SqliteRegistry
from tests.ingest.registry.builders import NOW


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[SqliteRegistry]:
    """A fresh registry whose look-ups check the file every time and whose clock stands at NOW."""
    with SqliteRegistry(tmp_path / "registry.sqlite", clock=lambda: NOW, check_every_s=0.0) as fresh:
        yield fresh
