"""Which rows were seen before, against a plain set of identities."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.identity import STRETCH_BITS, SeenRows
from streams.kernel import starts_of_runs

Identity = tuple[int, int, int, int]  # device, boot, seq, row

NUMBERS = st.one_of(st.integers(0, 2), st.integers(0, 2**40))
ROWS = st.one_of(st.integers(0, 3), st.integers(60, 68), st.integers(0, 2**40))
REPORT = st.builds(
    lambda device, boot, seq, rows: [(device, boot, seq, row) for row in rows],
    st.integers(0, 2),
    st.integers(0, 1),
    NUMBERS,
    st.lists(ROWS, min_size=1, max_size=5),
)
CALL = st.lists(REPORT, min_size=1, max_size=8).map(lambda reports: [row for report in reports for row in report])


def ask(target: SeenRows, rows: list[Identity]) -> list[bool]:
    device, boot, seq, row = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    starts = starts_of_runs([device, boot, seq, row >> STRETCH_BITS])
    return target.first_seen([device[starts], boot[starts], seq[starts]], starts, row).tolist()


def reference(seen: set[Identity], rows: list[Identity]) -> list[bool]:
    fresh = []
    for row in rows:
        fresh.append(row not in seen)
        seen.add(row)
    return fresh


@settings(deadline=None, max_examples=300)
@given(st.lists(CALL, min_size=1, max_size=5))
def test_first_occurrences_equal_those_of_a_set(calls: list[list[Identity]]) -> None:
    target, seen = SeenRows(), set[Identity]()
    for rows in calls:
        assert ask(target, rows) == reference(seen, rows)


def test_all_rows_of_a_report_that_comes_again_are_known() -> None:
    report = [(1, 0, 7, row) for row in range(2_000)]
    target = SeenRows()
    assert all(ask(target, report))
    assert not any(ask(target, report))


def test_a_report_cut_in_two_hides_no_row_that_comes_twice() -> None:
    target = SeenRows()
    assert ask(target, [(1, 0, 7, 0), (1, 0, 7, 1), (2, 0, 7, 0), (1, 0, 7, 1), (1, 0, 7, 2)]) == [
        True,
        True,
        True,
        False,
        True,
    ]
