"""How far back a partition of an input must be read to see all rows of minutes that are open.

A row of a minute comes when its interval has ended, but a box whose clock is ahead may send it up to five minutes
before the minute. To read those five minutes again at each start costs more than everything else of it, so a task notes
where the first row of each minute came.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from contracts.times import FUTURE_LIMIT_MS, MINUTE_MS, minute_of
from streams.kernel import Ints


class Start(NamedTuple):
    """An offset of a partition and the largest timestamp of its records before it; 0: none is known. That timestamp
    decides which of the rows that follow are late."""

    offset: int
    newest: int


class Reach:
    """Of one partition, from a start on. Records in the order of their offsets; rows further in the future than a
    gateway lets pass belong to no minute."""

    def __init__(self, start: Start) -> None:
        self._next = start
        self._first: dict[int, Start] = {}  # minute -> first record with a row of it

    def note(self, offset: int, timestamp_ms: int, start: Ints | None) -> None:
        """A record with the `start` of its rows (n,), None: no rows."""
        newest = max(self._next.newest, timestamp_ms)
        if start is not None and len(start):
            first, last = int(start.min()), int(start.max())
            minute = minute_of(first)
            if minute_of(last) != minute or last > newest + FUTURE_LIMIT_MS:
                one = np.ones(1, np.int64)
                self.note_block(one * offset, one * timestamp_ms, one * len(start), start)
                return
            self._first.setdefault(minute, Start(offset, self._next.newest))
        self._next = Start(offset + 1, newest)

    def note_block(self, offsets: Ints, timestamps: Ints, ends: Ints, start: Ints) -> None:
        """Consecutive records (n,), `ends`: rows up to and with each one; `start` of all their rows."""
        newest = np.maximum.accumulate(np.concatenate([[self._next.newest], timestamps]))  # before each record
        record = np.repeat(np.arange(len(offsets)), np.diff(ends, prepend=0))
        dated = np.flatnonzero(start <= newest[record + 1] + FUTURE_LIMIT_MS)
        minutes, index = np.unique(start[dated] // MINUTE_MS * MINUTE_MS, return_index=True)
        for minute, at in zip(minutes.tolist(), record[dated[index]].tolist(), strict=True):
            self._first.setdefault(minute, Start(int(offsets[at]), int(newest[at])))
        self._next = Start(int(offsets[-1]) + 1, int(newest[-1]))

    def since(self, first_open: int) -> Start:
        """Where the first row of this or a later minute came; where the next record will be if none came. Earlier
        minutes are forgotten."""
        self._first = {minute: start for minute, start in self._first.items() if minute >= first_open}
        return min(self._first.values(), default=self._next)
