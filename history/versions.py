"""Stamps that only grow: which of two rows with one key counts."""

from __future__ import annotations

from contracts.protocols import Store

_NEWEST = """SELECT max(stamp) AS stamp FROM (
SELECT max(stamp) AS stamp FROM dirty_minutes UNION ALL SELECT max(stamp) FROM positions
UNION ALL SELECT max(version) FROM minutes UNION ALL SELECT max(version) FROM coverage_minutes
UNION ALL SELECT max(version) FROM hours UNION ALL SELECT max(version) FROM cell_hours
UNION ALL SELECT max(version) FROM cell_days UNION ALL SELECT max(version) FROM heard_minutes)"""


class Versions:
    """Goes on above everything that is stored."""

    def __init__(self, store: Store) -> None:
        self._last = int(store.query(_NEWEST)["stamp"][0])

    def next(self) -> int:
        """A stamp above all before it."""
        self._last += 1
        return self._last
