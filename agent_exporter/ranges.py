"""Runs of sequence numbers, as the spool writes down which reports are still to be sent."""

from __future__ import annotations

from collections.abc import Iterable


def to_ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Ascending numbers as inclusive runs: 1 2 3 7 -> [[1, 3], [7, 7]]."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return runs


def from_ranges(runs: Iterable[Iterable[int]]) -> Iterable[int]:
    """The numbers of inclusive runs, ascending."""
    for first, last in runs:
        yield from range(first, last + 1)
