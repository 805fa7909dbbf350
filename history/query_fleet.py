"""Queries about boxes, places, freshness, refusals, exemplars, changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from contracts.columns import CELL_DIMENSIONS
from contracts.entities import Change
from contracts.errors import ContractError
from contracts.protocols import Store
from contracts.times import HOUR_MS, MINUTE_MS, PLACEMENT_TTL_MINUTES
from history.coverage_table import CLOSED
from history.query_model import (
    BoxCounts,
    Device,
    Exemplar,
    Freshness,
    GroupBoxes,
    GroupTraffic,
    Rejected,
    RejectedReason,
    Restatement,
)
from history.rollups import BOX_DIMENSIONS, FAILURES

SILENT_AFTER_MS = 3 * MINUTE_MS

# ruff: noqa: S608 - names are checked against declared columns; values are parameters.
_TRAFFIC = """SELECT {dimension} AS value, sum(requests) AS requests, sum({failures}) AS failures, sum(bytes) AS size
FROM cell_minutes FINAL WHERE minute >= {{start:Int64}} AND minute < {{end:Int64}}
    AND ({{customer:String}} = '' OR customer = {{customer:String}})
GROUP BY value ORDER BY requests DESC, value"""
_SERVED_BY = """SELECT customer, sum(requests) AS n FROM device_minutes FINAL
WHERE minute >= {start:Int64} AND minute < {end:Int64} AND device IN {devices:Array(String)}
GROUP BY customer HAVING n > 0 ORDER BY n DESC, customer"""
_BOXES = """SELECT value, countIf(heard) AS seen, count() - seen AS silent, sum(served) AS requests,
    sum(failed) AS failures, sum(size) AS size
FROM (
    SELECT argMax({dimension}, minute) AS value, device, max(minute >= {{start:Int64}}) AS heard,
        sumIf(requests, minute >= {{start:Int64}}) AS served, sumIf(failures, minute >= {{start:Int64}}) AS failed,
        sumIf(bytes, minute >= {{start:Int64}}) AS size
    FROM box_minutes FINAL
    WHERE minute >= {{before:Int64}} AND minute < {{end:Int64}} AND (covered_ms > 0 OR requests > 0)
    GROUP BY device
) GROUP BY value ORDER BY requests DESC, value"""
_BOX_COUNTS = """SELECT count() AS total, countIf(last_seen >= {since:Int64}) AS seen FROM devices FINAL"""
_DEVICES = f"""SELECT device, boot, seq, last_seen, received_at, clock_offset_ms, agent, {", ".join(BOX_DIMENSIONS)}
FROM devices FINAL WHERE {{device:String}} = '' OR device = {{device:String}}
ORDER BY device LIMIT {{limit:Int64}} OFFSET {{offset:Int64}}"""
_FRESHNESS = f"""SELECT (SELECT max(last_seen) FROM devices) AS newest_end,
    (SELECT max(minute) FROM minutes) AS newest_minute, {CLOSED} AS closed_through,
    (SELECT count() FROM dirty_minutes FINAL WHERE dirty = 1) AS dirty_minutes"""
_REASONS = """SELECT reason, count() AS refusals, sum(requests) AS requests, sum(slices) AS slices,
    max(received_at) AS newest
FROM rejected FINAL WHERE received_at >= {start:Int64} AND received_at < {end:Int64} AND state = 'kept'
GROUP BY reason ORDER BY refusals DESC, reason"""
_REJECTED_COLUMNS = "id, device, boot, seq, sent_at, received_at, reason, detail, rows, requests, slices, source, state"
_REJECTED = f"""SELECT {_REJECTED_COLUMNS} FROM rejected FINAL
WHERE received_at >= {{start:Int64}} AND received_at < {{end:Int64}}
ORDER BY received_at DESC, id LIMIT {{limit:Int64}}"""
_REJECTED_ONE = f"SELECT {_REJECTED_COLUMNS}, hex(body) AS body FROM rejected FINAL WHERE id = {{id:String}}"
_EXEMPLARS = """SELECT `at`, device, customer, service, client_isp, client_region, sched_rule, path_hash, status,
    latency_ms, failure
FROM exemplars FINAL WHERE minute >= {first:Int64} AND `at` >= {start:Int64} AND `at` < {end:Int64}
    AND ({customer:String} = '' OR customer = {customer:String})
ORDER BY failure = '', latency_ms DESC, `at` LIMIT {limit:Int64}"""
_CHANGES = """SELECT id, kind, scope, `start`, `end`, author, reference, note, extra FROM changes FINAL
WHERE `start` < {end:Int64} AND (`end` IS NULL AND `start` >= {start:Int64} OR `end` >= {start:Int64})
ORDER BY `start`, id"""
_RESTATEMENTS = """SELECT minute, customer, service, restated_at, requests_before, requests_after, failures_before,
    failures_after, coverage_before, coverage_after
FROM restatements WHERE minute >= {start:Int64} AND minute < {end:Int64}
    AND ({customer:String} = '' OR customer = {customer:String})
ORDER BY restated_at DESC, minute, customer, service LIMIT {limit:Int64}"""


def traffic_by(store: Store, dimension: str, start: int, end: int, customer: str | None = None) -> list[GroupTraffic]:
    """Traffic in [start, end) per value of one of CELL_DIMENSIONS, most first; of minutes that have ended. Raises
    ContractError for another dimension."""
    _check("dimension", dimension, CELL_DIMENSIONS)
    sql = _TRAFFIC.format(dimension=dimension, failures=FAILURES)
    rows = store.query(sql, {"start": start, "end": end, "customer": customer or ""})
    return [GroupTraffic(*row) for row in zip(*rows.values(), strict=True)]


def boxes_by(store: Store, dimension: str, start: int, end: int) -> list[GroupBoxes]:
    """Boxes and their traffic in [start, end) per value of a dimension of the box, most traffic first."""
    _check("dimension", dimension, BOX_DIMENSIONS)
    before = start - PLACEMENT_TTL_MINUTES * MINUTE_MS
    rows = store.query(_BOXES.format(dimension=dimension), {"start": start, "end": end, "before": before})
    return [GroupBoxes(*row) for row in zip(*rows.values(), strict=True)]


def box_counts(store: Store, now: int, silent_after_ms: int = SILENT_AFTER_MS) -> BoxCounts:
    """How many boxes are heard and how many went silent."""
    rows = store.query(_BOX_COUNTS, {"since": now - silent_after_ms})
    total, seen = rows["total"][0], rows["seen"][0]
    return BoxCounts(total, seen, total - seen)


def served_by(store: Store, boxes: Sequence[str], start: int, end: int) -> tuple[str, ...]:
    """Customers that these boxes served in [start, end), most requests first."""
    found = store.query(_SERVED_BY, {"devices": list(boxes), "start": start, "end": end})
    return tuple(found["customer"])


def devices(store: Store, limit: int = 1_000, offset: int = 0) -> list[Device]:
    """Boxes by id."""
    return _devices(store, "", limit, offset)


def device(store: Store, device_id: str) -> Device | None:
    """One box, None when it never reported."""
    found = _devices(store, device_id, 1, 0)
    return found[0] if found else None


def freshness(store: Store) -> Freshness:
    """How far history reaches."""
    row = {name: values[0] for name, values in store.query(_FRESHNESS).items()}
    return Freshness(
        row["newest_end"] or None, row["newest_minute"] or None, row["closed_through"] or None, row["dirty_minutes"]
    )


def rejected_by_reason(store: Store, start: int, end: int) -> list[RejectedReason]:
    """Refusals received in [start, end) and not replayed, most frequent reason first."""
    rows = store.query(_REASONS, {"start": start, "end": end})
    return [RejectedReason(*row) for row in zip(*rows.values(), strict=True)]


def rejected(store: Store, start: int, end: int, limit: int = 200) -> list[Rejected]:
    """Refusals received in [start, end), newest first, without bodies."""
    rows = store.query(_REJECTED, {"start": start, "end": end, "limit": limit})
    return [Rejected(*row) for row in zip(*rows.values(), strict=True)]


def rejected_one(store: Store, rejected_id: str) -> Rejected | None:
    """One refusal with its body."""
    rows = store.query(_REJECTED_ONE, {"id": rejected_id})
    if not rows["id"]:
        return None
    row: dict[str, Any] = {name: values[0] for name, values in rows.items()}
    return Rejected(**{**row, "body": bytes.fromhex(row["body"])})


def exemplars(store: Store, start: int, end: int, customer: str | None = None, limit: int = 100) -> list[Exemplar]:
    """Requests that ended in [start, end): failed ones first, then the slowest."""
    window = {"start": start, "end": end, "first": start - HOUR_MS, "customer": customer or "", "limit": limit}
    return [Exemplar(*row) for row in zip(*store.query(_EXEMPLARS, window).values(), strict=True)]


def changes(store: Store, start: int, end: int) -> list[Change]:
    """Changes that touch [start, end), by start. A change without end counts where it started."""
    rows = store.query(_CHANGES, {"start": start, "end": end})
    found = []
    for row in zip(*rows.values(), strict=True):
        change_id, kind, scope, begin, until, author, reference, note, extra = row
        found.append(
            Change(change_id, kind, json.loads(scope), begin, until, author, reference, note, json.loads(extra))
        )
    return found


def restatements(
    store: Store, start: int, end: int, customer: str | None = None, limit: int = 1_000
) -> list[Restatement]:
    """What late data changed in ended minutes of [start, end), newest first."""
    window = {"start": start, "end": end, "customer": customer or "", "limit": limit}
    return [Restatement(*row) for row in zip(*store.query(_RESTATEMENTS, window).values(), strict=True)]


def _devices(store: Store, device_id: str, limit: int, offset: int) -> list[Device]:
    rows = store.query(_DEVICES, {"device": device_id, "limit": limit, "offset": offset})
    found = []
    for i in range(len(rows["device"])):
        row: dict[str, Any] = {name: values[i] for name, values in rows.items()}
        attributes = {name: row.pop(name) for name in BOX_DIMENSIONS}
        found.append(Device(**row, attributes=attributes))
    return found


def _check(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ContractError("bad_query", name, f"one of {allowed}", value)
