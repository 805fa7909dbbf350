"""Sums over sliding windows, exact, without adding everything up anew each minute."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.detect.memory import Arrays, Field, Memory
from anomaly.detect.model import Counts, IntArray

FINE_MINUTES = 360
"""Windows up to six hours move every minute."""
COARSE_STEP = 30
"""Longer ones move every half hour: three days of minutes of every series would be most of all memory."""
BAD, TOTAL, MEASURED = range(3)


class Windows:
    """Bad, total and measured minutes of every series over several windows that end with the minute.

    A window longer than `FINE_MINUTES` holds whole half hours and the one under way: the sums are those of the minutes
    it holds, of which it may be up to 29 short.
    """

    def __init__(self, lengths: tuple[int, ...], n_series: int) -> None:
        self._fine = _Ring(tuple(m for m in lengths if m <= FINE_MINUTES), 1, n_series)
        self._coarse = _Ring(tuple(m for m in lengths if m > FINE_MINUTES), COARSE_STEP, n_series)

    def sums(self, minute: int, counts: Counts) -> dict[int, IntArray]:
        """Per window length (3, n): bad, total and measured minutes, with this minute (since the epoch) included."""
        new = _trusted(counts)
        return {
            length: row + new
            for ring in (self._fine, self._coarse)
            for length, row in zip(ring.lengths, ring.aged(minute), strict=True)
        }

    def learn(self, minute: int, counts: Counts) -> None:
        new = _trusted(counts)
        self._fine.add(minute, new)
        self._coarse.add(minute, new)

    def arrays(self) -> Arrays:
        return self._fine.memory.arrays("fine") | self._coarse.memory.arrays("coarse")

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self._fine.memory.load("fine", arrays)
        self._coarse.memory.load("coarse", arrays)

    def select(self, rows: npt.NDArray[np.integer]) -> None:
        self._fine.memory.select(rows)
        self._coarse.memory.select(rows)

    def extend(self, n_new: int) -> None:
        self._fine.memory.extend(n_new)
        self._coarse.memory.extend(n_new)


class _Ring:
    """The newest steps and the running sums over the newest `length` minutes of them."""

    def __init__(self, lengths: tuple[int, ...], step: int, n_series: int) -> None:
        self.lengths = lengths
        self._steps = tuple(length // step for length in lengths)
        self._step = step
        self._size = max(self._steps, default=1)
        fields = {
            "steps": Field((self._size, 3), 0, np.int64),
            "sums": Field((len(lengths), 3), 0, np.int64),
        }
        self.memory = Memory(fields, n_series)

    def aged(self, minute: int) -> IntArray:
        """(n_lengths, 3, n): sums over the windows that end with `minute`, without what it brings."""
        sums: IntArray = self.memory["sums"].copy()
        if self.memory.minute < 0:
            return sums
        before, now = self.memory.minute // self._step, minute // self._step
        for k, steps in enumerate(self._steps):
            if now - before >= steps:
                sums[k] = 0
                continue
            for left in range(before - steps + 1, now - steps + 1):
                sums[k] -= self.memory["steps"][left % self._size]
        return sums

    def add(self, minute: int, new: IntArray) -> None:
        if not self.lengths:
            return
        aged = self.aged(minute)
        now = minute // self._step
        if self.memory.minute >= 0:
            before = self.memory.minute // self._step
            for fresh in range(max(before, now - self._size) + 1, now + 1):
                self.memory["steps"][fresh % self._size] = 0
        self.memory["steps"][now % self._size] += new
        self.memory["sums"] = aged + new
        self.memory.minute = minute


def _trusted(counts: Counts) -> IntArray:
    measured = counts.measured
    new: IntArray = np.stack([counts.bad, counts.total, np.ones_like(counts.bad)]) * measured
    return new
