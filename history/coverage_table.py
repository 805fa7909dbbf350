"""Coverage of ended minutes from the tables, into `coverage_minutes`, and how many boxes were heard at all, into
`heard_minutes`: a customer without weight has no coverage, so in a lull only the second tells that boxes report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.protocols import Store
from contracts.times import MINUTE_MS, PLACEMENT_TTL_MINUTES
from history.coverage import Coverage, Ints, Measured, coverage

_BOXES = """SELECT minute, device, covered_ms FROM box_minutes FINAL
WHERE minute >= {first:Int64} AND minute <= {last:Int64}"""
_TRAFFIC = """SELECT minute, device, customer, requests FROM device_minutes FINAL
WHERE minute >= {first:Int64} AND minute <= {last:Int64} ORDER BY minute"""
# Drops inside reports are rare: only boxes that declared some are looked at, with the hour before.
_TOPS = """SELECT minute, device, boot, max(dropped_requests - spool_dropped_requests) AS top,
    min(seq) AS first_seq, argMin(dropped_requests - spool_dropped_requests, seq) AS first_dropped
FROM reports FINAL
WHERE minute >= {first:Int64} AND minute <= {last:Int64} AND device IN (
    SELECT device FROM reports
    WHERE minute >= {target:Int64} AND minute <= {last:Int64} AND dropped_requests > spool_dropped_requests)
GROUP BY minute, device, boot ORDER BY device, boot, minute"""
_PRESENT = "SELECT minute, customer FROM coverage_minutes FINAL WHERE minute IN {minutes:Array(Int64)}"
CLOSED = "greatest((SELECT max(minute) FROM coverage_minutes), (SELECT max(minute) FROM heard_minutes))"
CLOSED_THROUGH = f"SELECT {CLOSED} AS minute"
"""The newest minute that has ended for history; 0 before the first. Old histories have coverage only."""
# Targets are computed in runs, so that one catch-up does not pull a day of traffic at once.
RUN_MINUTES = 120


def write_coverage(store: Store, minutes: Sequence[int], version: int) -> int:
    """Compute and store coverage of ended minutes; returns how many rows of customers. A customer that a minute had
    before and has no longer gets a row that says so (no weight, coverage NULL). Each minute gets its boxes heard."""
    rows = 0
    ordered = sorted(set(minutes))
    while ordered:
        run = [m for m in ordered if m < ordered[0] + RUN_MINUTES * MINUTE_MS]
        ordered = ordered[len(run) :]
        rows += _write_run(store, run, version)
    return rows


def _write_run(store: Store, minutes: list[int], version: int) -> int:
    data, customers = _pull(store, minutes[0], minutes[-1])
    columns: dict[str, list[Any]] = {name: [] for name in ("minute", "customer", "requests", "dropped_requests")}
    columns |= {name: [] for name in ("coverage", "weight_placed", "weight_measured", "boxes_placed", "boxes_measured")}
    had = store.query(_PRESENT, {"minutes": minutes})
    before = set(zip(had["minute"], had["customer"], strict=True))
    for result in coverage(data, minutes):
        before -= {(result.minute, customers[i]) for i in np.flatnonzero(result.present)}
        _append(columns, result, customers)
    for minute, customer in sorted(before):
        zero = dict.fromkeys(columns, 0) | {"minute": minute, "customer": customer, "coverage": None}
        for name, values in columns.items():
            values.append(zero[name])
    rows = _insert(store, columns, version)
    # Last: the newest row here says that the minute has ended, coverage and all.
    stamps = pa.array([version] * len(minutes), pa.uint64())
    store.insert("heard_minutes", pa.table({"minute": minutes, "boxes": _heard(data, minutes), "version": stamps}))
    return rows


def _insert(store: Store, columns: dict[str, list[Any]], version: int) -> int:
    size = len(columns["minute"])
    if size == 0:
        return 0
    for name in ("dropped_requests", "weight_placed", "weight_measured"):
        columns[name] = pa.array(columns[name], pa.float64())
    columns["coverage"] = pa.array(columns["coverage"], pa.float64(), from_pandas=True)
    return store.insert("coverage_minutes", pa.table({**columns, "version": pa.array([version] * size, pa.uint64())}))


def _heard(data: Measured, minutes: list[int]) -> list[int]:
    found, boxes = np.unique(data.box_minute[data.share > 0], return_counts=True)
    counted = dict(zip(found.tolist(), boxes.tolist(), strict=True))
    return [counted.get(minute, 0) for minute in minutes]


def _append(columns: dict[str, list[Any]], result: Coverage, customers: list[str]) -> None:
    present = np.flatnonzero(result.present)
    columns["minute"].extend([result.minute] * len(present))
    columns["customer"].extend(customers[i] for i in present)
    columns["coverage"].extend(result.coverage[present].tolist())
    columns["weight_placed"].extend(result.placed[present].tolist())
    columns["weight_measured"].extend(result.measured[present].tolist())
    columns["requests"].extend(result.requests[present].tolist())
    columns["dropped_requests"].extend(result.dropped[present].tolist())
    columns["boxes_placed"].extend(result.boxes_placed[present].tolist())
    columns["boxes_measured"].extend(result.boxes_measured[present].tolist())


def _pull(store: Store, target: int, last: int) -> tuple[Measured, list[str]]:
    window = {"first": target - (PLACEMENT_TTL_MINUTES - 1) * MINUTE_MS, "last": last}
    boxes = pa.table(store.query_arrow(_BOXES, window))
    traffic = pa.table(store.query_arrow(_TRAFFIC, window))
    drops = _drops(store.query(_TOPS, {**window, "target": target}), target)
    names = pa.chunked_array([pc.unique(_text(boxes["device"])), pc.unique(_text(traffic["device"]))], pa.utf8())
    devices = pc.unique(names)
    customers = pc.unique(_text(traffic["customer"]))
    known = {name: i for i, name in enumerate(devices.to_pylist())}
    drops = [d for d in drops if d[1] in known]
    data = Measured(
        devices=len(devices),
        customers=len(customers),
        box_minute=_ints(boxes["minute"]),
        box_device=_codes(boxes["device"], devices),
        share=_ints(boxes["covered_ms"]) / MINUTE_MS,
        minute=_ints(traffic["minute"]),
        device=_codes(traffic["device"], devices),
        customer=_codes(traffic["customer"], customers),
        requests=_ints(traffic["requests"]),
        drop_minute=np.array([d[0] for d in drops], np.int64),
        drop_device=np.array([known[d[1]] for d in drops], np.int64),
        dropped=np.array([d[2] for d in drops], np.int64),
    )
    return data, customers.to_pylist()


def _drops(tops: dict[str, list[Any]], target: int) -> list[tuple[int, str, int]]:
    """(minute, device, requests) of minutes at or after `target`, from each boot's largest cumulative value per
    minute: the growth since the boot's last minute with a report within the hour."""
    result: list[tuple[int, str, int]] = []
    last: dict[tuple[str, str], tuple[int, int]] = {}
    rows = zip(*(tops[n] for n in ("minute", "device", "boot", "top", "first_seq", "first_dropped")), strict=True)
    for minute, device, boot, top, first_seq, first_dropped in rows:
        at, base = last.get((device, boot), (None, 0))
        if at is None or at < minute - (PLACEMENT_TTL_MINUTES - 1) * MINUTE_MS:
            base = 0 if first_seq == 1 else first_dropped
        last[device, boot] = (minute, top)
        if minute >= target and top > base:
            result.append((minute, device, top - base))
    return result


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.utf8()) if pa.types.is_dictionary(column.type) else column


def _ints(column: pa.ChunkedArray) -> Ints:
    values: Ints = column.to_numpy().astype(np.int64, copy=False)
    return values


def _codes(column: pa.ChunkedArray, names: pa.Array) -> Ints:
    """Positions of a column's values in `names`; by dictionary where there is one, so texts are compared once."""
    if not pa.types.is_dictionary(column.type):
        return _ints(pc.index_in(column, value_set=names))
    parts = []
    for chunk in column.chunks:
        place = pc.index_in(chunk.dictionary, value_set=names).fill_null(-1).to_numpy(zero_copy_only=False)
        parts.append(place.astype(np.int64)[chunk.indices.to_numpy()])
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
