"""The kernel against a plain Python reference."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.histogram import CELLS
from streams.kernel import MAX_SUM, Groups, Sparse, aggregate, concatenate, factorise, merge, offsets_of, sums

Row = tuple[tuple[int, ...], tuple[int, ...], tuple[dict[int, int], ...]]

CODES = st.one_of(st.integers(0, 3), st.integers(0, 2**40))
COUNTS = st.one_of(st.integers(0, 5), st.integers(2**53 - 2, 2**53 + 2), st.integers(0, 2**62))
HISTOGRAM = st.dictionaries(st.integers(0, CELLS - 1), st.integers(0, 2**32 - 1), max_size=4)


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    n_keys, n_counts, n_histograms = draw(st.integers(1, 4)), draw(st.integers(0, 3)), draw(st.integers(0, 2))
    row = st.tuples(
        st.tuples(*[CODES] * n_keys), st.tuples(*[COUNTS] * n_counts), st.tuples(*[HISTOGRAM] * n_histograms)
    )
    pool = draw(st.lists(row, min_size=1, max_size=8))
    return draw(st.lists(st.sampled_from(pool), min_size=1, max_size=30))


def sparse(histograms: list[dict[int, int]]) -> Sparse:
    ordered = [sorted(h.items()) for h in histograms]
    return Sparse(
        offsets_of(np.array([len(h) for h in ordered], np.int64)),
        np.array([cell for h in ordered for cell, _ in h], np.uint8),
        np.array([count for h in ordered for _, count in h], np.uint32),
    )


def run(rows: list[Row]) -> Groups:
    keys = [np.array(column, np.int64) for column in zip(*(r[0] for r in rows), strict=True)]
    counts = [np.array(column, np.int64) for column in zip(*(r[1] for r in rows), strict=True)]
    histograms = [sparse(list(column)) for column in zip(*(r[2] for r in rows), strict=True)]
    return aggregate(keys, counts, histograms)


def as_dict(groups: Groups) -> dict[tuple[int, ...], tuple[list[int], list[dict[int, int]]]]:
    result = {}
    for i in range(len(groups)):
        histograms = []
        for h in groups.histograms:
            owned = slice(int(h.offsets[i]), int(h.offsets[i + 1]))
            cells = h.cells[owned].tolist()
            assert cells == sorted(set(cells))
            histograms.append(dict(zip(cells, h.counts[owned].tolist(), strict=True)))
        result[tuple(groups.keys[:, i].tolist())] = (groups.counts[:, i].tolist(), histograms)
    assert len(result) == len(groups)
    return result


def reference(rows: list[Row]) -> dict[tuple[int, ...], tuple[list[int], list[dict[int, int]]]]:
    result: dict[tuple[int, ...], tuple[list[int], list[dict[int, int]]]] = {}
    for key, counts, histograms in rows:
        summed, merged = result.setdefault(key, ([0] * len(counts), [{} for _ in histograms]))
        for i, count in enumerate(counts):
            summed[i] = min(summed[i] + count, MAX_SUM)
        for i, histogram in enumerate(histograms):
            for cell, count in histogram.items():
                if count:
                    merged[i][cell] = merged[i].get(cell, 0) + count
    return result


@settings(deadline=None, max_examples=300)
@given(tables())
def test_groups_equal_the_plain_reference(rows: list[Row]) -> None:
    assert as_dict(run(rows)) == reference(rows)


@settings(deadline=None, max_examples=150)
@given(tables(), st.integers(0, 30))
def test_merging_parts_equals_aggregating_the_whole(rows: list[Row], cut: int) -> None:
    parts = [run(part) for part in (rows[:cut], rows[cut:]) if part]
    assert as_dict(merge(parts)) == reference(rows)


def test_dense_and_sorted_histograms_agree() -> None:
    rng = np.random.default_rng(5)
    rows = [
        ((int(rng.integers(0, 7)),), (1,), ({int(c): int(rng.integers(0, 9)) for c in rng.integers(0, CELLS, 40)},))
        for _ in range(400)
    ]
    lone = [((k,), (0,), ({},)) for k in range(100, 9_000)]  # many groups beside few entries: entries are sorted
    crowded, spread = as_dict(run(rows)), as_dict(run(rows + lone))
    assert crowded == reference(rows)
    assert {k: v for k, v in spread.items() if k[0] < 100} == crowded


def test_sums_beyond_the_exact_range_of_floats_are_exact() -> None:
    values = np.array([2**53, 1, 2**53, 1], np.int64)
    assert sums(np.array([0, 0, 1, 1]), values, 2).tolist() == [2**53 + 1, 2**53 + 1]


def test_sums_that_would_overflow_saturate() -> None:
    values = np.array([MAX_SUM, 1, MAX_SUM - 1, 1, 5], np.int64)
    assert sums(np.array([0, 0, 1, 1, 2]), values, 3).tolist() == [MAX_SUM, MAX_SUM, 5]


def test_keys_too_wide_for_one_integer_are_grouped_exactly() -> None:
    wide = [np.array([2**61, 2**61, 0, 2**61], np.int64)] * 3 + [np.array([1, 1, 1, 2], np.int64)]
    ids, keys = factorise(wide)
    assert ids.tolist() == [0, 0, 1, 2]
    assert keys.tolist() == [[2**61, 0, 2**61]] * 3 + [[1, 1, 2]]


def test_taking_rows_and_densifying_keep_histograms() -> None:
    rows = concatenate([sparse([{0: 1, 129: 2}, {}]), sparse([{5: 7}])])
    taken = rows.take(np.array([2, 0]))
    assert taken.offsets.tolist() == [0, 1, 3]
    dense = taken.dense()
    assert dense.shape == (2, CELLS)
    assert dense[0].nonzero()[0].tolist() == [5]
    assert dense[1, [0, 129]].tolist() == [1, 2]
    assert dense.sum() == 10


def test_no_rows_give_no_groups() -> None:
    groups = aggregate([np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [sparse([])])
    assert len(groups) == 0
    assert groups.counts.shape == (1, 0)
