"""The statements that recompute rollups of given minutes from deduplicated slices and reports.

A recomputed minute is written whole under a higher version in one block per table, so a reader (FINAL) sees the old
minute or the new one. Rows are only ever added to a minute (each identity once), so no cell of an older version can
be missing from a newer one.
"""

from __future__ import annotations

from contracts.columns import (
    CELL_DIMENSIONS,
    COUNT_NAMES,
    FAILURE_NAMES,
    HISTOGRAM_NAMES,
    REGISTRY_DIMENSIONS,
    REPORT_DIMENSIONS,
)
from contracts.times import DAY_MS, HOUR_MS

FAILURES = " + ".join(FAILURE_NAMES)
BOX_DIMENSIONS = REGISTRY_DIMENSIONS + REPORT_DIMENSIONS
HISTOGRAM_PARTS = tuple(f"{h}_{part}" for h in HISTOGRAM_NAMES for part in ("cell", "count"))

_SUMS = ", ".join(f"sum({name})" for name in COUNT_NAMES)
_MEASURES = ", ".join((*COUNT_NAMES, *HISTOGRAM_PARTS))
_CELLS = ", ".join(CELL_DIMENSIONS)
_BOX = ", ".join(BOX_DIMENSIONS)
# Few groups of many rows: sumMap. Many groups of few rows: concatenate, then add up each group once; twice as fast.
_MERGED = ", ".join(f"tupleElement(sumMap({h}_cell, {h}_count), {i})" for h in HISTOGRAM_NAMES for i in (1, 2))
_MERGED_SMALL = ", ".join(
    f"tupleElement(arrayReduce('sumMap', [groupArrayArray({h}_cell)], [groupArrayArray({h}_count)]), {i})"
    for h in HISTOGRAM_NAMES
    for i in (1, 2)
)

# ruff: noqa: S608 - every name in these statements is a column declared in contracts; values are parameters.
_OF_SLICES = "FROM slices FINAL WHERE minute IN {minutes:Array(Int64)}"

MINUTES = f"""INSERT INTO minutes (minute, customer, service, {_MEASURES}, version)
SELECT minute, customer, service, {_SUMS}, {_MERGED}, {{version:UInt64}}
{_OF_SLICES} GROUP BY minute, customer, service"""

CELL_MINUTES = f"""INSERT INTO cell_minutes (minute, {_CELLS}, {_MEASURES}, version)
SELECT minute, {_CELLS}, {_SUMS}, {_MERGED_SMALL}, {{version:UInt64}}
{_OF_SLICES} GROUP BY minute, {_CELLS}"""

DEVICE_MINUTES = f"""INSERT INTO device_minutes (minute, device, customer, requests, failures, bytes, version)
SELECT minute, device, customer, sum(requests), sum({FAILURES}), sum(bytes), {{version:UInt64}}
{_OF_SLICES} GROUP BY minute, device, customer"""

STORED_REPORTS = f"""INSERT INTO stored_reports (minute, device, boot, seq, requests, slices, version)
SELECT minute, device, boot, seq, sum(requests), count(), {{version:UInt64}}
{_OF_SLICES} GROUP BY minute, device, boot, seq"""

_UNION_MS = """arrayFold((acc, x) -> (acc.1 + greatest(0, x.2 - greatest(x.1, acc.2)), greatest(acc.2, x.2)),
    arraySort(groupArray((start, `end`))), (toInt64(0), toInt64(0))).1"""
_NAMED = ", ".join(f"max({d}) AS x_{d}" for d in BOX_DIMENSIONS)

# A box with slices but without a report yet has covered 0.
BOX_MINUTES = f"""INSERT INTO box_minutes
(minute, device, {_BOX}, covered_ms, reports, requests, failures, bytes, version)
SELECT minute, device, {", ".join(f"max(x_{d})" for d in BOX_DIMENSIONS)},
    sum(covered), sum(n), sum(q), sum(bad), sum(size), {{version:UInt64}}
FROM (
    SELECT minute, device, {_NAMED}, {_UNION_MS} AS covered, toInt64(count()) AS n,
        toInt64(0) AS q, toInt64(0) AS bad, toInt64(0) AS size
    FROM reports FINAL WHERE minute IN {{minutes:Array(Int64)}} GROUP BY minute, device
    UNION ALL
    SELECT minute, device, {_NAMED}, toInt64(0), toInt64(0), sum(requests), sum({FAILURES}), sum(bytes)
    {_OF_SLICES} GROUP BY minute, device
) GROUP BY minute, device"""

PER_MINUTE = (MINUTES, CELL_MINUTES, DEVICE_MINUTES, STORED_REPORTS, BOX_MINUTES)


def _coarser(table: str, source: str, column: str, fine: str, width_ms: int) -> str:
    return f"""INSERT INTO {table} ({column}, customer, service, {_MEASURES}, version)
SELECT intDiv({fine}, {width_ms}) * {width_ms} AS at, customer, service, {_SUMS}, {_MERGED}, {{version:UInt64}}
FROM {source} FINAL
WHERE {fine} >= arrayMin({{starts:Array(Int64)}}) AND {fine} < arrayMax({{starts:Array(Int64)}}) + {width_ms}
    AND at IN {{starts:Array(Int64)}}
GROUP BY at, customer, service"""


HOURS = _coarser("hours", "minutes", "hour", "minute", HOUR_MS)
DAYS = _coarser("days", "hours", "day", "hour", DAY_MS)


def _coarser_cells(table: str, source: str, column: str, fine: str, width_ms: int) -> str:
    return f"""INSERT INTO {table} ({column}, {_CELLS}, {_MEASURES}, version)
SELECT {{start:Int64}} AS at, {_CELLS}, {_SUMS}, {_MERGED_SMALL}, {{version:UInt64}}
FROM {source} FINAL WHERE {fine} >= {{start:Int64}} AND {fine} < {{start:Int64}} + {width_ms}
GROUP BY at, {_CELLS}"""


CELL_HOURS = _coarser_cells("cell_hours", "cell_minutes", "hour", "minute", HOUR_MS)
CELL_DAYS = _coarser_cells("cell_days", "cell_hours", "day", "hour", DAY_MS)

SLICES_PER_MINUTE = """SELECT minute, count() AS slices FROM slices
WHERE minute IN {minutes:Array(Int64)} GROUP BY minute"""
