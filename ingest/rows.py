"""Rows of many reports as numpy columns, and the rules inside rows, applied to all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from contracts.columns import COUNT_NAMES, HISTOGRAM_NAMES, SLICE_DIMENSIONS
from contracts.decode import ROW_RULES
from ingest.wire import WireReport

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Sparse:
    """Histograms of all rows: int64 `lengths` per row, uint8 `cells` and int64 `counts` per entry."""

    lengths: Ints
    cells: np.ndarray[Any, np.dtype[np.uint8]]
    counts: Ints


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of `reports` in order. `report_of`: index of a row's report; `row`: its row there; int64, one per row.
    `texts`: name -> list of str; `counts`: name -> int64."""

    reports: Sequence[WireReport]
    report_of: Ints
    row: Ints
    texts: dict[str, list[str]]
    counts: dict[str, Ints]
    histograms: dict[str, Sparse]


def gather(reports: Sequence[WireReport]) -> Rows:
    """Concatenate the slices of reports."""
    slices = [r.slices for r in reports]
    sizes = np.fromiter((len(s.customer) for s in slices), np.int64, len(slices))  # type: ignore[attr-defined]
    first = np.cumsum(sizes) - sizes
    report_of = np.repeat(np.arange(len(slices)), sizes)
    return Rows(
        reports,
        report_of,
        np.arange(len(report_of)) - first[report_of],
        {n: list(chain.from_iterable(map(attrgetter(n), slices))) for n in SLICE_DIMENSIONS},
        {n: _ints(list(map(attrgetter(n), slices))) for n in COUNT_NAMES},
        {n: _sparse([getattr(s, n) for s in slices]) for n in HISTOGRAM_NAMES},
    )


def _sparse(histograms: Sequence[Any]) -> Sparse:
    lengths = _ints([h.lengths for h in histograms])
    cells = np.frombuffer(b"".join([bytes(h.cells) for h in histograms]), np.uint8)
    return Sparse(lengths, cells, _ints([h.counts for h in histograms]))


def _ints(columns: Sequence[Sequence[int]]) -> Ints:
    return np.fromiter(chain.from_iterable(columns), np.int64, sum(map(len, columns)))


def doubtful(rows: Rows) -> Bools:
    """Per report, whether a rule inside its rows is broken: the same rules as contracts.decode.check_rows, and cells
    that ascend. Values are within the ranges the decoder enforces, so no sum here overflows int64."""
    counts = rows.counts
    bad = (counts["requests"] == 0) & (counts["sessions"] == 0)
    for smaller, larger in ROW_RULES:
        total = counts[smaller[0]].copy()
        for name in smaller[1:]:
            total += counts[name]
        bad |= total > counts[larger]
    bad |= row_sums(rows.histograms["latency"]) != counts["requests"]
    bad |= row_sums(rows.histograms["throughput"]) > counts["requests"]
    for sparse in rows.histograms.values():
        bad |= _not_ascending(sparse)
    result = np.zeros(len(rows.reports), np.bool_)
    result[rows.report_of[bad]] = True
    return result


def row_sums(sparse: Sparse) -> Ints:
    """Sum of the counts of each row, int64."""
    running = np.concatenate(([0], np.cumsum(sparse.counts)))
    ends = np.cumsum(sparse.lengths)
    sums: Ints = running[ends] - running[ends - sparse.lengths]
    return sums


def _not_ascending(sparse: Sparse) -> Bools:
    """Per row, whether its cells fail to ascend."""
    bad = np.zeros(len(sparse.lengths), np.bool_)
    if len(sparse.cells) > 1:
        row_of = np.repeat(np.arange(len(sparse.lengths)), sparse.lengths)
        falls = (sparse.cells[1:] <= sparse.cells[:-1]) & (row_of[1:] == row_of[:-1])
        bad[row_of[1:][falls]] = True
    return bad
