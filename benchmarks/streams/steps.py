"""What every peer computes, and how: counts and the latency histogram per minute, customer and service.

`rows_of` and `partials_of` make the same kind of value of a message: one per slice, in plain Python, as an engine's
documentation teaches; or one per group, by our decoder and kernel. `empty` and `fold` are the state of a window. So a
peer's two runs differ in the function that expands a message and in nothing else.

A value: (key, time in ms, requests, failures, bytes, cells, counts); key: customer and service, joined by a bar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from contracts.arrow import from_bytes
from contracts.columns import COUNT_NAMES, FAILURE_NAMES, SLICES
from contracts.histogram import CELLS
from contracts.times import MINUTE_MS
from streams.kernel import Groups, Ints, aggregate
from streams.rows import SliceRows, check_slices, slice_rows

END_KEY = "end"  # of the heartbeat: closes windows, counts nowhere
END_MS = 4_000_000_000_000

Value = tuple[str, int, int, int, int, list[int], list[int]]
State = list[Any]  # requests, failures, bytes, CELLS counts

_END: Value = (END_KEY, END_MS, 0, 0, 0, [], [])
_USED = ("customer", "service", "start", "requests", *FAILURE_NAMES, "bytes", "latency_cell", "latency_count")
_SUMS = tuple(COUNT_NAMES.index(name) for name in ("requests", "bytes"))
_FAILURES = tuple(COUNT_NAMES.index(name) for name in FAILURE_NAMES)


def rows_of(message: bytes) -> Iterator[Value]:
    """One value per slice."""
    if not message:
        yield _END
        return
    with pa.ipc.open_stream(message) as reader:
        rows = reader.read_next_batch().select(_USED).to_pylist()
    for row in rows:
        failures = sum(row[name] for name in FAILURE_NAMES)
        yield (
            f"{row['customer']}|{row['service']}",
            row["start"],
            row["requests"],
            failures,
            row["bytes"],
            row["latency_cell"],
            row["latency_count"],
        )


def partials_of(message: bytes) -> list[Value]:
    """One value per minute, customer and service of the message."""
    if not message:
        return [_END]
    rows, groups = grouped(message)
    customers, services = rows.text["customer"].values, rows.text["service"].values
    histogram = groups.histograms[0]
    bounds = histogram.offsets.tolist()
    cells, counts = histogram.cells.tolist(), histogram.counts.tolist()
    return [
        (f"{customers[c]}|{services[s]}", minute * MINUTE_MS, n, f, b, cells[first:last], counts[first:last])
        for minute, c, s, n, b, f, first, last in zip(
            *groups.keys.tolist(), *groups.counts.tolist(), bounds, bounds[1:], strict=False
        )
    ]


def grouped(message: bytes) -> tuple[SliceRows, Groups]:
    """Our decoder and kernel on a message: groups by minute number, customer and service with requests, bytes, failures
    and latency."""
    batch = from_bytes(SLICES, message, pa)
    check_slices(batch)
    rows = slice_rows(batch)
    keys = [rows.start // MINUTE_MS, rows.text["customer"].codes, rows.text["service"].codes]
    failures: Ints = np.sum([rows.counts[i] for i in _FAILURES], axis=0)
    return rows, aggregate(keys, [*(rows.counts[i] for i in _SUMS), failures], rows.histograms[:1])


def empty() -> State:
    """State of a window without values."""
    return [0, 0, 0, [0] * CELLS]


def fold(state: State, value: Value) -> State:
    """A window's state with one more value, in place."""
    _, _, requests, failures, size, cells, counts = value
    state[0] += requests
    state[1] += failures
    state[2] += size
    histogram = state[3]
    for cell, count in zip(cells, counts, strict=True):
        histogram[cell] += count
    return state


def add(first: State, second: State) -> State:
    """Two windows' states as one."""
    histogram = [a + b for a, b in zip(first[3], second[3], strict=True)]
    return [*(a + b for a, b in zip(first[:3], second[:3], strict=True)), histogram]


def outcome(windows: Iterable[tuple[str, int, State]]) -> dict[str, State]:
    """(key, start of the minute in ms, state) as the comparison wants them; the heartbeat's window left out."""
    return {f"{minute}|{key}": state for key, minute, state in windows if key != END_KEY}
