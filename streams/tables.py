"""The quality job's outputs as record batches, and quality.minutes read back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.arrow import batch
from contracts.columns import (
    CELL_DIMENSIONS,
    COUNT_NAMES,
    DEVICE_EVIDENCE,
    HISTOGRAM_NAMES,
    QUALITY_CUBE,
    QUALITY_MINUTES,
)
from streams.kernel import Groups, Ints, Sparse
from streams.window import BOX_ATTRIBUTES, Window

_MAX_CELL = 2**32 - 1

Service = tuple[str, str]  # customer, service
Histogram = tuple[bytes, bytes]  # cells as uint8, counts as little-endian uint32


@dataclass(frozen=True, slots=True)
class MinuteRow:
    """A customer minute's content, without its revision. `coverage` None: NaN on the wire."""

    counts: tuple[int, ...]
    histograms: tuple[Histogram, ...]
    boxes: int = 0
    coverage: float | None = None
    late_requests: int = 0


NO_TRAFFIC = MinuteRow((0,) * len(COUNT_NAMES), ((b"", b""),) * len(HISTOGRAM_NAMES))


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """A box's minute, without its revision. `expected_failures` None: NaN on the wire."""

    attributes: tuple[str, ...]
    requests: int
    failures: int
    expected_failures: float | None


@dataclass(frozen=True, slots=True)
class MinuteRecord:
    """A row of quality.minutes."""

    minute: int
    service: Service
    revision: int
    row: MinuteRow


def minute_rows(window: Window) -> dict[Service, MinuteRow]:
    """Content per (customer, service) with slices in the window; coverage and late requests are not filled in."""
    services = window.by_service()
    customers, names = window.names("customer"), window.names("service")
    boxes = window.boxes_by_service()
    rows: dict[Service, MinuteRow] = {}
    for i in range(len(services)):
        customer, service = int(services.keys[0, i]), int(services.keys[1, i])
        histograms = tuple(_histogram(h, i) for h in services.histograms)
        counts = tuple(services.counts[:, i].tolist())
        rows[customers[customer], names[service]] = MinuteRow(counts, histograms, boxes[customer, service])
    return rows


def evidence_rows(window: Window, prior_requests: float) -> dict[str, EvidenceRow]:
    """Content per box with slices in the window."""
    if not len(window.cells):
        return {}
    names, found = window.evidence(prior_requests)
    codes = window.codes["device"]
    columns = (found.device.tolist(), found.requests.tolist(), found.failures.tolist(), found.expected.tolist())
    return {
        names[device]: EvidenceRow(window.attributes[codes[names[device]]][1], n, f, None if e != e else e)
        for device, n, f, e in zip(*columns, strict=True)
    }


def minutes_batch(records: Sequence[MinuteRecord], emitted_at: int) -> Any:
    """A record batch of QUALITY_MINUTES."""
    values: dict[str, Any] = {
        "minute": [r.minute for r in records],
        "customer": [r.service[0] for r in records],
        "service": [r.service[1] for r in records],
        "revision": [r.revision for r in records],
        "late_requests": [r.row.late_requests for r in records],
        "boxes": [r.row.boxes for r in records],
        "coverage": _floats([r.row.coverage for r in records]),
        "emitted_at": [emitted_at] * len(records),
    }
    for i, name in enumerate(COUNT_NAMES):
        values[name] = [r.row.counts[i] for r in records]
    for i, name in enumerate(HISTOGRAM_NAMES):
        cells = [np.frombuffer(r.row.histograms[i][0], np.uint8) for r in records]
        counts = [np.frombuffer(r.row.histograms[i][1], "<u4") for r in records]
        offsets = np.cumsum([0, *(len(c) for c in cells)])
        values.update(_list_columns(name, offsets, np.concatenate(cells), np.concatenate(counts)))
    return batch(QUALITY_MINUTES, values, pa)


def read_minutes(record_batch: Any) -> Iterator[tuple[MinuteRecord, int]]:
    """Rows of a record batch of QUALITY_MINUTES with their emitted_at."""
    for row in record_batch.to_pylist():
        histograms = tuple(
            (bytes(row[f"{name}_cell"]), np.array(row[f"{name}_count"], "<u4").tobytes()) for name in HISTOGRAM_NAMES
        )
        coverage = row["coverage"]
        content = MinuteRow(
            tuple(row[name] for name in COUNT_NAMES),
            histograms,
            row["boxes"],
            None if coverage is None or coverage != coverage else coverage,
            row["late_requests"],
        )
        service = (row["customer"], row["service"])
        yield MinuteRecord(row["minute"], service, row["revision"], content), row["emitted_at"]


def cube_batch(minute: int, window: Window, cells: Ints, revisions: Ints) -> Any:
    """A record batch of QUALITY_CUBE of the given cells; `revisions` (n,) int64, one per given cell."""
    taken: Groups = window.cells.take(cells)
    values: dict[str, Any] = {"minute": np.full(len(cells), minute), "revision": revisions}
    for i, name in enumerate(CELL_DIMENSIONS):
        codes = pa.array(taken.keys[i].astype(np.int32))
        values[name] = pa.DictionaryArray.from_arrays(codes, pa.array(window.names(name), pa.utf8()))
    values.update(zip(COUNT_NAMES, taken.counts, strict=True))
    for name, h in zip(HISTOGRAM_NAMES, taken.histograms, strict=True):
        values.update(_list_columns(name, h.offsets, h.cells, np.minimum(h.counts, _MAX_CELL)))
    return batch(QUALITY_CUBE, values, pa)


def evidence_batch(minute: int, part: int, rows: Sequence[tuple[str, int, EvidenceRow]]) -> Any:
    """A record batch of DEVICE_EVIDENCE from (device, revision, content)."""
    values: dict[str, Any] = {
        "minute": [minute] * len(rows),
        "device": [device for device, _, _ in rows],
        "part": [part] * len(rows),
        "revision": [revision for _, revision, _ in rows],
        "requests": [row.requests for _, _, row in rows],
        "failures": [row.failures for _, _, row in rows],
        "expected_failures": _floats([row.expected_failures for _, _, row in rows]),
    }
    for i, name in enumerate(BOX_ATTRIBUTES):
        values[name] = [row.attributes[i] for _, _, row in rows]
    return batch(DEVICE_EVIDENCE, values, pa)


def read_evidence(record_batch: Any, part: int) -> Iterator[tuple[int, str, int, EvidenceRow]]:
    """(minute, device, revision, content) of the rows of one part in a record batch of DEVICE_EVIDENCE."""
    for row in record_batch.filter(pc.equal(record_batch.column("part"), part)).to_pylist():
        expected = row["expected_failures"]
        content = EvidenceRow(
            tuple(row[name] for name in BOX_ATTRIBUTES),
            row["requests"],
            row["failures"],
            None if expected is None or expected != expected else expected,
        )
        yield row["minute"], row["device"], row["revision"], content


def with_context(row: MinuteRow, coverage: float | None, late_requests: int) -> MinuteRow:
    """A row with its coverage (NaN becomes None) and late requests."""
    known = None if coverage is None or coverage != coverage else coverage
    return replace(row, coverage=known, late_requests=late_requests)


def _histogram(histograms: Sparse, row: int) -> Histogram:
    owned = slice(int(histograms.offsets[row]), int(histograms.offsets[row + 1]))
    counts = np.minimum(histograms.counts[owned], _MAX_CELL).astype("<u4")
    return histograms.cells[owned].tobytes(), counts.tobytes()


def _list_columns(name: str, offsets: Any, cells: Any, counts: Any) -> dict[str, Any]:
    wire = pa.array(offsets.astype(np.int32))
    return {
        f"{name}_cell": pa.ListArray.from_arrays(wire, pa.array(cells, pa.uint8())),
        f"{name}_count": pa.ListArray.from_arrays(wire, pa.array(counts.astype(np.uint32), pa.uint32())),
    }


def _floats(values: Iterable[float | None]) -> Any:
    # A NaN, not a null: "no data" is a value of these columns.
    return np.array([np.nan if value is None else value for value in values], np.float64)
