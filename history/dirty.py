"""Dirty minutes: minutes whose rollups do not show all that is stored. Persisted before the rows that dirty them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from contracts.protocols import Store
from history.versions import Versions

_LOAD = "SELECT minute FROM dirty_minutes FINAL WHERE dirty = 1 ORDER BY minute"


@dataclass(slots=True)
class Dirty:
    """`since`: when it was first marked. `fresh`: rows came after its last recomputation. `refreshed_at`: when that
    was, None before the first. All in ms UTC."""

    since: int
    fresh: bool = True
    refreshed_at: int | None = None


class DirtyMinutes:
    """The set, in memory and in table `dirty_minutes`. One writer per table."""

    def __init__(self, store: Store, versions: Versions) -> None:
        self._store = store
        self._versions = versions
        self.minutes: dict[int, Dirty] = {m: Dirty(since=0) for m in store.query(_LOAD)["minute"]}

    def __len__(self) -> int:
        return len(self.minutes)

    def mark(self, minutes: Iterable[int], now: int) -> None:
        """Remember minutes as dirty; durable when this returns."""
        new = []
        for minute in sorted(set(minutes)):
            entry = self.minutes.get(minute)
            if entry is None:
                new.append(minute)
                self.minutes[minute] = Dirty(since=now)
            else:
                entry.fresh = True
        self._write(new, 1)

    def refreshed(self, minutes: Iterable[int], now: int) -> None:
        """Minutes that are shown as stored now but are not final yet; they stay dirty."""
        for minute in minutes:
            entry = self.minutes[minute]
            entry.fresh = False
            entry.refreshed_at = now

    def clear(self, minutes: list[int]) -> None:
        """Minutes whose rollups show everything stored."""
        for minute in minutes:
            self.minutes.pop(minute, None)
        self._write(minutes, 0)

    def _write(self, minutes: list[int], dirty: int) -> None:
        if minutes:
            size = len(minutes)
            stamps = pa.array([self._versions.next()] * size, pa.uint64())
            flags = pa.array([dirty] * size, pa.uint8())
            self._store.insert("dirty_minutes", pa.table({"minute": minutes, "dirty": flags, "stamp": stamps}))
