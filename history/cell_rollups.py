"""Cells by the hour and by the day, for questions over long spans: each is rolled up once it is over.

Cells are many, so an hour is not rolled up with every minute that ends, as customers' hours are, but once when its
last minute has ended, and again when late rows have changed it and none of its minutes waits any more. What is owed is
found again after a crash: versions only grow, so a minute whose version is above its hour's has not reached it yet. An
hour that is not rolled up yet is read from its minutes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from contracts.protocols import Store
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from history import rollups
from history.versions import Versions

_OWED = """SELECT fine.at AS at FROM (
    SELECT intDiv({fine}, {width}) * {width} AS at, max(version) AS newest FROM {source} GROUP BY at) AS fine
LEFT JOIN (SELECT {coarse} AS at, max(version) AS newest FROM {table} GROUP BY at) AS coarse USING (at)
WHERE fine.newest > coarse.newest ORDER BY at"""
_OWED_HOURS = _OWED.format(fine="minute", width=HOUR_MS, source="cell_minutes", coarse="hour", table="cell_hours")
_OWED_DAYS = _OWED.format(fine="hour", width=DAY_MS, source="cell_hours", coarse="day", table="cell_days")


class CellRollups:
    """Keeps cell_hours and cell_days in step with cell_minutes. Not shared between threads."""

    def __init__(self, store: Store, versions: Versions) -> None:
        self._store = store
        self._versions = versions
        self._hours = set(store.query(_OWED_HOURS)["at"])
        self._days = set(store.query(_OWED_DAYS)["at"])

    def owe(self, minutes: Iterable[int]) -> None:
        """Tell which minutes were recomputed."""
        self._hours |= {minute - minute % HOUR_MS for minute in minutes}

    def step(self, closed_through: int | None, waiting: Collection[int], *, most: int | None = 1) -> int:
        """Roll up hours and days that are over, oldest first, at most `most` of each (None: all); returns how many.
        `closed_through`: newest minute that has ended; `waiting`: minutes that are to be recomputed."""
        if closed_through is None or not (self._hours or self._days):
            return 0
        end = closed_through + MINUTE_MS
        busy = {minute - minute % HOUR_MS for minute in waiting}
        hours = sorted(h for h in self._hours if h + HOUR_MS <= end and h not in busy)[:most]
        for hour in hours:
            self._roll(rollups.CELL_HOURS, hour)
            self._hours.discard(hour)
            self._days.add(hour - hour % DAY_MS)
        still = {h - h % DAY_MS for h in self._hours}
        days = sorted(d for d in self._days if d + DAY_MS <= end and d not in still)[:most]
        for day in days:
            self._roll(rollups.CELL_DAYS, day)
            self._days.discard(day)
        return len(hours) + len(days)

    def _roll(self, statement: str, start: int) -> None:
        self._store.execute(statement, {"start": start, "version": self._versions.next()})
