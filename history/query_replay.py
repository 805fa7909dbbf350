"""What detection and incidents worked on, read back: minutes as they were judged, cells as they were known at a time,
what was heard of boxes. Reads only.

The stream's own minutes and cells are provisional and not kept for long. What it judged is kept in `signals`; what a
cell held at a moment follows from `slices`, which know when each row came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from contracts.columns import CELL_DIMENSIONS, COUNT_NAMES, HISTOGRAM_NAMES
from contracts.protocols import Store
from contracts.times import ALLOWED_LATENESS_MS, DAY_MS, MINUTE_MS, WATERMARK_DELAY_MS

CLOSES_AFTER_MS = MINUTE_MS + ALLOWED_LATENESS_MS + WATERMARK_DELAY_MS
"""Rows that came later than this after the start of their minute never reached the stream."""
MAX_READ_MS = DAY_MS
"""Longest span of one read."""
_SENT_LATE_MS = 2 * DAY_MS  # a box may send what it held within the seal

# ruff: noqa: S608 - column names are declared ones; values are parameters.
_LISTS = ", ".join(f"{h}_{part}" for h in HISTOGRAM_NAMES for part in ("cell", "count"))
_CELLS = ", ".join(CELL_DIMENSIONS)
_SUMS = ", ".join(f"sum({name}) AS s_{name}" for name in COUNT_NAMES)
_NAMED = ", ".join(f"s_{name} AS {name}" for name in COUNT_NAMES)
_MERGED = ", ".join(
    f"arrayReduce('sumMap', [groupArrayArray({h}_cell)], [groupArrayArray({h}_count)]) AS m_{h}"
    for h in HISTOGRAM_NAMES
)
_PARTS = ", ".join(
    f"tupleElement(m_{h}, {i}) AS {h}_{part}" for h in HISTOGRAM_NAMES for i, part in ((1, "cell"), (2, "count"))
)

JUDGED = """SELECT minute, customer, service, measure, verdict, bad, total, coverage, allowed FROM signals FINAL
WHERE minute >= {start:Int64} AND minute < {end:Int64} ORDER BY minute, customer, service, measure"""
SETTLED = f"""SELECT minute, customer, service, {", ".join(COUNT_NAMES)}, {_LISTS}, coverage FROM (
    SELECT minute, customer, service, {", ".join(COUNT_NAMES)}, {_LISTS} FROM minutes FINAL
    WHERE minute >= {{start:Int64}} AND minute < {{end:Int64}}
) AS m LEFT JOIN (
    SELECT minute, customer, coverage FROM coverage_minutes FINAL
    WHERE minute >= {{start:Int64}} AND minute < {{end:Int64}}
) AS c USING (minute, customer) ORDER BY minute, customer, service"""
PROMISED = """SELECT DISTINCT customer, service, measure, allowed FROM signals
WHERE minute >= {start:Int64} AND minute < {end:Int64} ORDER BY customer, service, measure, allowed"""
CELLS_THEN = f"""SELECT minute, {_CELLS}, {_NAMED}, {_PARTS} FROM (
    SELECT minute, {_CELLS}, {_SUMS}, {_MERGED} FROM slices FINAL
    WHERE minute IN {{minutes:Array(Int64)}} AND received_at <= {{known_at:Int64}}
        AND received_at < minute + {CLOSES_AFTER_MS}
    GROUP BY minute, {_CELLS}
) ORDER BY minute, {_CELLS}"""
CELLS_SETTLED = f"""SELECT minute, {_CELLS}, {", ".join(COUNT_NAMES)}, {_LISTS} FROM cell_minutes FINAL
WHERE minute IN {{minutes:Array(Int64)}} ORDER BY minute, {_CELLS}"""
HEADERS = f"""SELECT device, boot, received_at, device_isp, device_region, requests, `start` FROM reports
WHERE minute >= {{start:Int64}} - {_SENT_LATE_MS} AND minute < {{end:Int64}} + {MINUTE_MS}
    AND received_at >= {{start:Int64}} AND received_at < {{end:Int64}} ORDER BY received_at"""
VITALS = f"""SELECT device, boot, received_at, `start`, uptime_s FROM vitals
WHERE minute >= {{start:Int64}} - {_SENT_LATE_MS} AND minute < {{end:Int64}} + {MINUTE_MS}
    AND received_at >= {{start:Int64}} AND received_at < {{end:Int64}} ORDER BY received_at"""
SERVED = """SELECT customer, sum(requests) AS n FROM device_minutes FINAL
WHERE minute >= {start:Int64} AND minute < {end:Int64} AND device IN {devices:Array(String)}
GROUP BY customer HAVING n > 0 ORDER BY n DESC, customer"""
_SPAN = ("start", "end")
READS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "judged": (JUDGED, _SPAN),
    "settled": (SETTLED, _SPAN),
    "promised": (PROMISED, _SPAN),
    "cells_then": (CELLS_THEN, ("minutes", "known_at")),
    "cells_settled": (CELLS_SETTLED, ("minutes",)),
    "headers": (HEADERS, _SPAN),
    "vitals": (VITALS, _SPAN),
    "served": (SERVED, (*_SPAN, "devices")),
}
"""What can be read: statement and the names of its parameters."""

_OLDEST = "SELECT min(minute) AS oldest, max(minute) AS newest, count() AS n FROM {table}"
_TABLES = ("signals", "minutes", "slices", "cell_minutes", "reports", "vitals")

Read = Callable[[str, Mapping[str, Any]], pa.Table]
"""Name of a read and its parameters -> its rows."""


def read(store: Store, what: str, parameters: Mapping[str, Any]) -> pa.Table:
    """Rows of one of READS. Raises StoreError, KeyError for what is no read or lacks a parameter."""
    statement, names = READS[what]
    return pa.table(store.query_arrow(statement, {name: parameters[name] for name in names}))


def stored(store: Store) -> dict[str, tuple[int, int] | None]:
    """Oldest and newest minute of each table a replay reads, ms UTC; None: it is empty."""
    found: dict[str, tuple[int, int] | None] = {}
    for table in _TABLES:
        row = store.query(_OLDEST.format(table=table))
        found[table] = (int(row["oldest"][0]), int(row["newest"][0])) if row["n"][0] else None
    return found
