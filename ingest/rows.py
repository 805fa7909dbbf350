"""Rows of many reports as numpy columns, and the rules inside rows, applied to all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa

from contracts.columns import COUNT_NAMES, HISTOGRAM_NAMES, SLICE_DIMENSIONS
from contracts.decode import ROW_RULES
from ingest.wire import WireReport

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Sparse:
    """Histograms of all rows: int64 `lengths` per row, `cells` and `counts` per entry."""

    lengths: Ints
    cells: Ints
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
        {n: _ints(map(attrgetter(n), slices)) for n in COUNT_NAMES},
        {n: _sparse([getattr(s, n) for s in slices]) for n in HISTOGRAM_NAMES},
    )


def _sparse(histograms: Sequence[Any]) -> Sparse:
    return Sparse(
        _ints(h.lengths for h in histograms), _ints(h.cells for h in histograms), _ints(h.counts for h in histograms)
    )


def _ints(columns: Any) -> Ints:
    values = list(chain.from_iterable(columns))
    return pa.array(values, pa.int64()).to_numpy() if values else np.zeros(0, np.int64)


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
        falls = (np.diff(sparse.cells) <= 0) & (row_of[1:] == row_of[:-1])
        bad[row_of[1:][falls]] = True
    return bad
