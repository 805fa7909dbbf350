"""What the ledger reads: one pass per group of boxes, so that memory stays bounded however long the history is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from contracts.protocols import Store

_GROUP_ROWS = 1_000_000
_MINE = "cityHash64(device) % {groups:UInt64} = {group:UInt64}"

# ruff: noqa: S608 - fragments are constants of this module; values are parameters.
_REPORTS = f"""(SELECT r.* FROM reports AS r FINAL
LEFT JOIN (SELECT device, boot, seq AS horizon FROM ledger_horizon FINAL) AS h USING (device, boot)
WHERE {_MINE} AND r.seq > h.horizon)"""

_SIZE = "SELECT max(n) AS n FROM (SELECT count() AS n FROM reports UNION ALL SELECT count() FROM stored_reports)"

BOOTS = f"""SELECT device, boot, count() AS reports, max(seq) AS last_seq, max(`end`) AS last_seen,
    argMax((total_requests, total_slices, dropped_requests, dropped_slices, dropped_reports, spool_dropped_requests,
        spool_dropped_slices, oldest_spooled_seq), seq) AS newest,
    argMax(earlier_boots, seq) AS listed_now, argMaxIf(earlier_boots, seq, earlier_boots != '[]') AS listed_last
FROM {_REPORTS} GROUP BY device, boot"""

HORIZONS = f"SELECT * FROM ledger_horizon FINAL WHERE {_MINE}"

# Reports whose predecessor is missing; the horizon, or nothing, precedes the first.
GAPS = f"""SELECT device, boot, before + 1 AS first, seq - 1 AS last,
    total_requests - requests - (dropped_requests - spool_dropped_requests)
        - (was_requests - was_dropped_requests) AS gap_requests,
    total_slices - slices - (dropped_slices - spool_dropped_slices) - (was_slices - was_dropped_slices) AS gap_slices
FROM (
    SELECT *, lagInFrame(seq) OVER w AS before, lagInFrame(total_requests) OVER w AS was_requests,
        lagInFrame(dropped_requests - spool_dropped_requests) OVER w AS was_dropped_requests,
        lagInFrame(total_slices) OVER w AS was_slices,
        lagInFrame(dropped_slices - spool_dropped_slices) OVER w AS was_dropped_slices
    FROM (
        SELECT device, boot, seq, requests, slices, total_requests, total_slices, dropped_requests, dropped_slices,
            spool_dropped_requests, spool_dropped_slices, toInt64(0) AS is_horizon
        FROM {_REPORTS} WHERE (device, boot) IN (
            SELECT t.1, t.2 FROM (SELECT arrayJoin(arrayZip({{devices:Array(String)}}, {{boots:Array(String)}})) AS t))
        UNION ALL
        SELECT device, boot, seq, 0, 0, total_requests, total_slices, dropped_requests, dropped_slices,
            spool_dropped_requests, spool_dropped_slices, toInt64(1)
        FROM ledger_horizon FINAL WHERE {_MINE}
    )
    WINDOW w AS (PARTITION BY device, boot ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
) WHERE NOT is_horizon AND seq > before + 1 ORDER BY device, boot, seq"""

# Clean minutes from their rollup, dirty ones from the slices themselves.
_STORED = f"""(SELECT minute, device, boot, seq, requests, slices FROM stored_reports FINAL
    WHERE {_MINE} AND minute NOT IN (SELECT minute FROM dirty_minutes FINAL WHERE dirty = 1)
UNION ALL
SELECT minute, device, boot, seq, sum(requests) AS requests, toInt64(count()) AS slices FROM slices FINAL
    WHERE {_MINE} AND minute IN (SELECT minute FROM dirty_minutes FINAL WHERE dirty = 1)
    GROUP BY minute, device, boot, seq)"""
_KNOWN = f"(SELECT device, boot, seq FROM {_REPORTS})"

STORED = f"""SELECT device, boot, sum(requests) AS requests, sum(slices) AS slices FROM {_STORED}
WHERE (device, boot, seq) IN {_KNOWN} GROUP BY device, boot"""

UNKNOWN = f"""SELECT sum(s.requests) AS requests, sum(s.slices) AS slices FROM {_STORED} AS s
LEFT JOIN (SELECT device, boot, seq AS horizon FROM ledger_horizon FINAL) AS h USING (device, boot)
WHERE s.seq > h.horizon AND (device, boot, seq) NOT IN {_KNOWN}"""

TWICE = f"""SELECT device, boot, sum(n - 1) AS slices, sum(total - one) AS requests FROM (
    SELECT device, boot, seq, `row`, toInt64(count()) AS n, sum(requests) AS total, max(requests) AS one
    FROM slices FINAL WHERE (device, boot, seq) IN (
        SELECT device, boot, seq FROM {_STORED} GROUP BY device, boot, seq HAVING uniqExact(minute) > 1)
        AND (device, boot, seq) IN {_KNOWN}
    GROUP BY device, boot, seq, `row` HAVING n > 1
) GROUP BY device, boot"""

REJECTED_REPORTS = f"""SELECT DISTINCT device, boot, seq FROM rejected FINAL
WHERE {_MINE} AND state = 'kept' AND rows = '[]' AND boot != '' AND seq > 0 ORDER BY device, boot, seq"""

# The same rows refused at two gateways count once; rows that were stored in the end are not refused.
REJECTED_ROWS = f"""SELECT device, boot, seq, rows, any(requests) AS requests, any(slices) AS slices
FROM rejected FINAL WHERE {_MINE} AND state = 'kept' AND rows != '[]'
    AND (device, boot, seq) IN {_KNOWN} GROUP BY device, boot, seq, rows"""
STORED_ROWS = """SELECT `row` AS n, any(requests) AS requests FROM slices FINAL
WHERE device = {device:String} AND boot = {boot:String} AND seq = {seq:Int64} AND `row` IN {rows:Array(Int64)}
GROUP BY n"""

DISAGREEING = """SELECT count() AS n FROM (
    SELECT minute, sum(requests) AS total FROM minutes FINAL
    WHERE minute >= (SELECT min(minute) FROM stored_reports)
        AND minute NOT IN (SELECT minute FROM dirty_minutes FINAL WHERE dirty = 1) GROUP BY minute
) AS m FULL JOIN (
    SELECT minute, sum(requests) AS total FROM stored_reports FINAL
    WHERE minute NOT IN (SELECT minute FROM dirty_minutes FINAL WHERE dirty = 1) GROUP BY minute
) AS s USING (minute) WHERE m.total != s.total"""


def groups(store: Store) -> Iterator[dict[str, int]]:
    """Parameters that select one group of boxes after the other."""
    n = 1 + int(store.query(_SIZE)["n"][0]) // _GROUP_ROWS
    for group in range(n):
        yield {"groups": n, "group": group}


def rejected_rows(store: Store, group: dict[str, int]) -> dict[tuple[str, str], tuple[int, int]]:
    """(requests, slices) in refused rows that are still refused, per (device, boot)."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    rows = store.query(REJECTED_ROWS, group)
    for device, boot, seq, text, requests, slices in zip(*rows.values(), strict=True):
        numbers = _numbers(text)
        where = {"device": device, "boot": boot, "seq": seq, "rows": numbers}
        stored = store.query(STORED_ROWS, where) if numbers else {"n": [], "requests": []}
        had = found.get((device, boot), (0, 0))
        found[device, boot] = (had[0] + requests - sum(stored["requests"]), had[1] + slices - len(stored["n"]))
    return found


def _numbers(text: str) -> list[int]:
    """Row numbers of a refusal: a JSON list of numbers, or of objects with `row`."""
    try:
        items: Any = json.loads(text)
    except ValueError:
        return []
    values = [item.get("row") if isinstance(item, dict) else item for item in items] if isinstance(items, list) else []
    return [v for v in values if type(v) is int]
