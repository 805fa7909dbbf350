"""Numbers and sums that grow in place, against plain dictionaries."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.histogram import CELLS
from streams import kernel
from streams.kernel import MAX_SUM, Sparse, offsets_of, sum_histograms
from streams.keytable import KeyTable
from streams.totals import Histograms, Totals

CODES = st.one_of(st.integers(0, 2), st.integers(0, 2**40))
KEYS = st.lists(st.lists(st.tuples(CODES, CODES, CODES), min_size=1, max_size=8), min_size=1, max_size=5)
VALUES = st.one_of(st.integers(0, 3), st.integers(0, MAX_SUM))
HISTOGRAM = st.dictionaries(st.integers(0, CELLS - 1), st.integers(1, 2**32 - 1), max_size=4)


def sparse(histograms: list[dict[int, int]]) -> Sparse:
    ordered = [sorted(h.items()) for h in histograms]
    return Sparse(
        offsets_of(np.array([len(h) for h in ordered], np.int64)),
        np.array([cell for h in ordered for cell, _ in h], np.uint8),
        np.array([count for h in ordered for _, count in h], np.uint32),
    )


def plain(histograms: Sparse) -> list[dict[int, int]]:
    bounds = zip(histograms.offsets.tolist(), histograms.offsets[1:].tolist(), strict=False)
    return [dict(zip(histograms.cells[a:b].tolist(), histograms.counts[a:b].tolist(), strict=True)) for a, b in bounds]


@settings(deadline=None, max_examples=300)
@given(KEYS)
def test_numbers_stay_as_combinations_are_added(calls: list[list[tuple[int, int, int]]]) -> None:
    table, numbers = KeyTable(3), dict[tuple[int, int, int], int]()
    for rows in calls:
        known = len(numbers)
        expected = [numbers.setdefault(row, len(numbers)) for row in rows]
        ids, new = table.number([np.array(column, np.int64) for column in zip(*rows, strict=True)])
        assert ids.tolist() == expected
        assert [rows[i] for i in new.tolist()] == list(numbers)[known:]
        assert list(zip(*table.keys.tolist(), strict=True)) == list(numbers)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(st.tuples(st.integers(0, 9), VALUES), max_size=6), max_size=6))
def test_sums_are_exact_and_saturate(calls: list[list[tuple[int, int]]]) -> None:
    totals, expected, groups = Totals(2), dict[int, int](), 0
    for rows in calls:
        ids, values = (np.array([row[i] for row in rows], np.int64) for i in (0, 1))
        groups = max([groups, *(i + 1 for i, _ in rows)])
        totals.grow(groups)
        totals.add(ids, [values, np.ones(len(rows), np.int64)])
        for i, value in rows:
            expected[i] = min(expected.get(i, 0) + value, MAX_SUM)
    assert totals.sums[0].tolist() == [expected.get(i, 0) for i in range(groups)]
    assert totals.sums[1].sum() == sum(len(rows) for rows in calls)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.lists(st.tuples(st.integers(0, 5), HISTOGRAM), max_size=5), st.booleans()), max_size=8),
    st.integers(1, 9),
)
def test_histograms_do_not_depend_on_when_they_are_summed(
    calls: list[tuple[list[tuple[int, dict[int, int]]], bool]], most_rows: int
) -> None:
    held, expected, groups = Histograms(most_rows), list[dict[int, int]](), 0
    for rows, asked in calls:
        groups = max([groups, *(i + 1 for i, _ in rows)])
        expected += [{} for _ in range(groups - len(expected))]
        held.add(np.array([i for i, _ in rows], np.int64), sparse([h for _, h in rows]))
        for i, histogram in rows:
            for cell, count in histogram.items():
                expected[i][cell] = expected[i].get(cell, 0) + count
        if asked:
            assert plain(held.summed(groups)) == expected
    assert plain(held.summed(groups)) == expected


def test_more_groups_than_one_dense_table_holds_are_summed_in_ranges() -> None:
    groups = kernel._MAX_DENSE_SLOTS // CELLS + 10
    ids = np.concatenate([np.arange(groups), [0, groups - 1]])
    rows = [{int(i) % CELLS: 1, int(i) % 7 + 100: 2} if i % CELLS < 100 else {3: 1} for i in ids]
    summed = plain(sum_histograms(ids, sparse(rows), groups))
    assert len(summed) == groups
    assert summed[1:-1] == rows[1 : groups - 1]
    assert summed[0] == {cell: 2 * count for cell, count in rows[0].items()}
    assert summed[-1] == {cell: 2 * count for cell, count in rows[groups - 1].items()}
