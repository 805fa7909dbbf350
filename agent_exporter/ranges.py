"""Runs of sequence numbers: which reports of a boot still wait, in little memory and time however many they are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class Runs:
    """A set of integers as inclusive runs: 1 2 3 7 is [[1, 3], [7, 7]]. Made for ascending additions."""

    __slots__ = ("_runs",)

    def __init__(self, runs: Iterable[Iterable[int]] = ()) -> None:
        self._runs = [[first, last] for first, last in runs]

    def add(self, number: int) -> None:
        """Add a number above all others."""
        if self._runs and self._runs[-1][1] == number - 1:
            self._runs[-1][1] = number
        else:
            self._runs.append([number, number])

    def remove(self, number: int) -> bool:
        """Take a number out; returns whether it was in."""
        at = bisect_right(self._runs, number, key=lambda run: run[0]) - 1
        if at < 0 or number > self._runs[at][1]:
            return False
        first, last = self._runs[at]
        self._runs[at : at + 1] = [run for run in ([first, number - 1], [number + 1, last]) if run[0] <= run[1]]
        return True

    @property
    def first(self) -> int | None:
        """The smallest number; None when there is none."""
        return self._runs[0][0] if self._runs else None

    def to_list(self) -> list[list[int]]:
        """The runs, ascending; a copy."""
        return [run.copy() for run in self._runs]

    def __iter__(self) -> Iterator[int]:
        for first, last in self._runs:
            yield from range(first, last + 1)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self._runs)
