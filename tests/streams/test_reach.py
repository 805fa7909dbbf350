"""From where an input must be read to see all rows of open minutes, held against a search through all records."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.reach import Reach, Start
from tests.streams.builders import MINUTE, T0

# A record: how much time passed before it, and its rows' starts before (or, negative, after) it, in seconds.
RECORDS = st.lists(st.tuples(st.integers(-20, 90), st.lists(st.integers(-400, 400), max_size=4)), max_size=12)


@given(records=RECORDS, blocks=st.lists(st.integers(0, 3), max_size=12), open_after=st.integers(-3, 12))
def test_all_rows_of_open_minutes_are_in_what_is_read_again_and_it_begins_with_one(
    records: list[tuple[int, list[int]]], blocks: list[int], open_after: int
) -> None:
    before = Start(100, T0)
    told: list[tuple[int, list[int]]] = []
    at = T0
    for passed, ages in records:
        at += passed * 1_000
        told.append((at, [at - age * 1_000 for age in ages]))
    first_open = T0 + open_after * MINUTE

    newest = [before.newest]
    for stamp, _ in told:
        newest.append(max(newest[-1], stamp))
    wanted = [
        100 + i
        for i, (_, starts) in enumerate(told)
        if any(first_open <= start <= newest[i + 1] + 5 * MINUTE for start in starts)
    ]
    offset = min(wanted, default=100 + len(told))

    reach = Reach(before)
    give(reach, told, blocks)
    assert reach.since(first_open) == Start(offset, newest[offset - 100])
    assert reach.since(first_open) == Start(offset, newest[offset - 100])  # asking changes nothing


def give(reach: Reach, told: list[tuple[int, list[int]]], blocks: list[int]) -> None:
    """Records one by one (0) or in blocks of the given sizes."""
    sizes = [*blocks, *([0] * len(told))]
    i = 0
    while i < len(told):
        size = sizes.pop(0)
        some = told[i : i + max(1, size)]
        if size:
            stamps, ends = numbers([s for s, _ in some]), np.cumsum([len(starts) for _, starts in some])
            reach.note_block(numbers(range(100 + i, 100 + i + len(some))), stamps, ends, numbers(sum_of(some)))
        else:
            stamp, starts = some[0]
            reach.note(100 + i, stamp, numbers(starts) if starts else None)
        i += len(some)


def numbers(values: Any) -> Any:
    return np.array(list(values), np.int64)


def sum_of(records: list[tuple[int, list[int]]]) -> list[int]:
    return [start for _, starts in records for start in starts]
