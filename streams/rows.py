"""Rows of the log as numpy columns: text columns as codes, histograms as flat entries. Checked on the way in.

An operator must not be poisoned by one message: whatever would break the arithmetic later (negative counts, cells off
the scale, lists that do not match) is refused by `check_slices` and `check_reports`, before any state changes.
`contracts.arrow.from_bytes` has refused nulls and other schemas already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.columns import CELL_DIMENSIONS, COUNT_NAMES, HISTOGRAM_NAMES
from contracts.errors import ContractError
from contracts.histogram import CELLS
from streams.kernel import Ints, Sparse, offsets_of

IDENTITY_TEXT = ("device", "boot")
_SLICE_INTS = ("seq", "row", "start")
_REPORT_INTS = ("seq", "start", "end", "dropped_requests", "spool_dropped_requests")


@dataclass(frozen=True, slots=True)
class Coded:
    """A text column: `codes` (n,) int32 into `values`. Values may repeat and may be unused."""

    codes: npt.NDArray[np.int32]
    values: list[str]

    def take(self, rows: Ints) -> Coded:
        """The given rows, in that order."""
        return Coded(self.codes[rows], self.values)


@dataclass(frozen=True, slots=True)
class SliceRows:
    """Columns of telemetry.slices that operators use, n rows. `text` by name, `counts` in the order of COUNT_NAMES,
    `histograms` in the order of HISTOGRAM_NAMES."""

    text: dict[str, Coded]
    seq: Ints
    row: Ints
    start: Ints
    counts: list[Ints]
    histograms: list[Sparse]

    def __len__(self) -> int:
        return len(self.start)

    def take(self, rows: Ints) -> SliceRows:
        """The given rows, in that order."""
        return SliceRows(
            {name: column.take(rows) for name, column in self.text.items()},
            self.seq[rows],
            self.row[rows],
            self.start[rows],
            [column[rows] for column in self.counts],
            [h.take(rows) for h in self.histograms],
        )


@dataclass(frozen=True, slots=True)
class ReportRows:
    """Columns of telemetry.reports that coverage uses, n rows. `dropped`: cumulative dropped_requests less those
    that were lost with whole reports."""

    device: Coded
    boot: Coded
    seq: Ints
    start: Ints
    end: Ints
    dropped: Ints

    def __len__(self) -> int:
        return len(self.seq)

    def take(self, rows: Ints) -> ReportRows:
        """The given rows, in that order."""
        return ReportRows(
            self.device.take(rows),
            self.boot.take(rows),
            self.seq[rows],
            self.start[rows],
            self.end[rows],
            self.dropped[rows],
        )


def check_slices(record_batch: Any) -> None:
    """Raises ContractError `malformed_batch` if values of a batch of SLICES break the meaning of their columns."""
    _check_integers(record_batch, (*_SLICE_INTS, *COUNT_NAMES))
    for name in HISTOGRAM_NAMES:
        cell_offsets, cells = _lists(record_batch, f"{name}_cell")
        count_offsets, _ = _lists(record_batch, f"{name}_count")
        if not np.array_equal(cell_offsets, count_offsets):
            expected = f"as many values as {name}_cell in each row"
            raise ContractError("malformed_batch", f"{name}_count", expected, "other lengths")
        if len(cells) and int(cells.max()) >= CELLS:
            raise ContractError("malformed_batch", f"{name}_cell", f"cells 0..{CELLS - 1}", int(cells.max()))


def check_reports(record_batch: Any) -> None:
    """Raises ContractError `malformed_batch` if values of a batch of REPORTS break the meaning of their columns."""
    _check_integers(record_batch, _REPORT_INTS)


def slice_rows(record_batch: Any) -> SliceRows:
    """Numpy columns of a checked record batch of SLICES, which may be a slice of a larger one. Views, not copies."""
    seq, row, start = (record_batch.column(name).to_numpy() for name in _SLICE_INTS)
    return SliceRows(
        {name: _coded(record_batch, name) for name in IDENTITY_TEXT + CELL_DIMENSIONS},
        seq,
        row,
        start,
        [record_batch.column(name).to_numpy() for name in COUNT_NAMES],
        [_histogram(record_batch, name) for name in HISTOGRAM_NAMES],
    )


def join_reports(parts: Sequence[ReportRows]) -> ReportRows:
    """Rows of all parts, at least one, in turn."""
    if len(parts) == 1:
        return parts[0]
    numbers = ("seq", "start", "end", "dropped")
    seq, start, end, dropped = (np.concatenate([getattr(part, name) for part in parts]) for name in numbers)
    device, boot = (_joined_texts([getattr(part, name) for part in parts]) for name in IDENTITY_TEXT)
    return ReportRows(device, boot, seq, start, end, dropped)


def _joined_texts(columns: Sequence[Coded]) -> Coded:
    base = offsets_of(np.array([len(column.values) for column in columns]))
    codes = np.concatenate([column.codes + at for column, at in zip(columns, base.tolist(), strict=False)])
    return Coded(codes.astype(np.int32), [text for column in columns for text in column.values])


def report_rows_of(batches: Sequence[Any]) -> ReportRows:
    """Numpy columns of checked record batches of REPORTS, none or more."""
    if not batches:
        nothing, text = np.zeros(0, np.int64), Coded(np.zeros(0, np.int32), [])
        return ReportRows(text, text, nothing, nothing, nothing, nothing)
    return report_rows(join([batch.select([*IDENTITY_TEXT, *_REPORT_INTS]) for batch in batches]))


def report_rows(record_batch: Any) -> ReportRows:
    """Numpy columns of a checked record batch of REPORTS."""
    seq, start, end, dropped, spooled = (record_batch.column(name).to_numpy() for name in _REPORT_INTS)
    return ReportRows(_coded(record_batch, "device"), _coded(record_batch, "boot"), seq, start, end, dropped - spooled)


def join(batches: Sequence[Any]) -> Any:
    """One record batch of several with the same schema; text columns share one dictionary of distinct values."""
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    return table.to_batches()[0] if table.num_rows else batches[0]


def recode(column: Coded, codes: dict[str, int]) -> Ints:
    """A column's codes in a shared dictionary of text -> code, which grows by the values the rows use."""
    occurs = np.zeros(len(column.values), np.bool_)
    occurs[column.codes] = True
    values = column.values
    used = np.flatnonzero(occurs)
    if len(used) < len(values):
        values = [values[old] for old in used.tolist()]
    mapped = np.empty(len(occurs), np.int64)
    mapped[used] = [codes.setdefault(value, len(codes)) for value in values]
    result: Ints = mapped[column.codes]
    return result


def _check_integers(record_batch: Any, names: Sequence[str]) -> None:
    signs = np.zeros(record_batch.num_rows, np.int64)
    columns = [record_batch.column(name).to_numpy() for name in names]
    for values in columns:
        signs |= values  # a set sign bit stays set: one comparison for all columns
    if (signs < 0).any():
        name, values = next((n, v) for n, v in zip(names, columns, strict=True) if (v < 0).any())
        raise ContractError("malformed_batch", name, "integers of at least 0", int(values.min()))


def _coded(record_batch: Any, name: str) -> Coded:
    column = record_batch.column(name)
    return Coded(column.indices.to_numpy(), column.dictionary.to_pylist())


def _histogram(record_batch: Any, name: str) -> Sparse:
    offsets, cells = _lists(record_batch, f"{name}_cell")
    return Sparse(offsets, cells, _lists(record_batch, f"{name}_count")[1])


def _lists(record_batch: Any, name: str) -> tuple[Ints, npt.NDArray[Any]]:
    column = record_batch.column(name)
    if column.values.null_count:
        raise ContractError("malformed_batch", name, "no nulls within lists", f"{column.values.null_count} nulls")
    if len(column) == 0:
        return offsets_of(np.zeros(0, np.int64)), column.values.to_numpy()[:0]
    offsets = column.offsets.to_numpy().astype(np.int64)
    return offsets - offsets[0], column.values.to_numpy()[offsets[0] : offsets[-1]]
