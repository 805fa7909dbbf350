"""What the ledger reads: one pass per group of boxes, so that memory stays bounded however long the history is.

History is written to meanwhile, and the statements run one after another, so they are bound to one cut: `BOOTS` says
which headers count, as ranges of report numbers, and every later statement gets those (`cut`). A header is stored after
its slices, so what the cut's headers promise is stored. Which minutes are dirty is read after the headers: any other
minute had been recomputed by then from all that they promise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from contracts.protocols import Store

_GROUP_ROWS = 1_000_000
_GROUP_BOXES = 20_000  # their names travel as parameters
_MINE = "cityHash64(device) % {groups:UInt64} = {group:UInt64}"

# ruff: noqa: S608 - fragments are constants of this module; values are parameters.
_REPORTS = f"""(SELECT r.* FROM reports AS r FINAL
LEFT JOIN (SELECT device, boot, seq AS horizon FROM ledger_horizon FINAL) AS h USING (device, boot)
WHERE {_MINE} AND r.seq > h.horizon)"""

_SIZE = f"""SELECT max(n) AS n FROM (SELECT count() AS n FROM reports UNION ALL SELECT count() FROM stored_reports
UNION ALL SELECT {_GROUP_ROWS // _GROUP_BOXES} * count() FROM devices)"""

BOOTS = f"""SELECT device, boot, count() AS reports, max(seq) AS last_seq, max(`end`) AS last_seen,
    argMax((total_requests, total_slices, dropped_requests, dropped_slices, dropped_reports, spool_dropped_requests,
        spool_dropped_slices, oldest_spooled_seq), seq) AS newest,
    argMax(earlier_boots, seq) AS listed_now, argMaxIf(earlier_boots, seq, earlier_boots != '[]') AS listed_last,
    arraySort(groupArray(seq)) AS seqs,
    arrayFilter((s, before) -> s != before + 1, seqs, arrayPushFront(arrayPopBack(seqs), -1)) AS firsts,
    arrayFilter((s, after) -> after != s + 1, seqs, arrayPushBack(arrayPopFront(seqs), -1)) AS lasts
FROM {_REPORTS} GROUP BY device, boot"""
# Of the cut: one row per boot with the ranges of its reports that count.
_CUT = """(SELECT device, boot, groupArray(first) AS firsts, groupArray(last) AS lasts FROM (
    SELECT t.1 AS device, t.2 AS boot, t.3 AS first, t.4 AS last FROM (SELECT arrayJoin(arrayZip(
        {devices:Array(String)}, {boots:Array(String)}, {firsts:Array(Int64)}, {lasts:Array(Int64)})) AS t))
GROUP BY device, boot)"""
_KNOWN = "arrayExists((a, b) -> seq >= a AND seq <= b, firsts, lasts)"

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
        FROM reports AS r FINAL INNER JOIN {_CUT} AS k USING (device, boot) WHERE {_MINE} AND {_KNOWN}
        UNION ALL
        SELECT device, boot, seq, 0, 0, total_requests, total_slices, dropped_requests, dropped_slices,
            spool_dropped_requests, spool_dropped_slices, toInt64(1)
        FROM ledger_horizon FINAL WHERE {_MINE}
    )
    WINDOW w AS (PARTITION BY device, boot ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
) WHERE NOT is_horizon AND seq > before + 1 ORDER BY device, boot, seq"""

# Clean minutes from their rollup, dirty ones from the slices themselves.
_STORED = f"""(SELECT minute, device, boot, seq, requests, slices FROM stored_reports FINAL
    WHERE {_MINE} AND minute NOT IN {{dirty:Array(Int64)}}
UNION ALL
SELECT minute, device, boot, seq, sum(requests) AS requests, toInt64(count()) AS slices FROM slices FINAL
    WHERE {_MINE} AND minute IN {{dirty:Array(Int64)}} GROUP BY minute, device, boot, seq)"""

STORED = f"""SELECT device, boot, sum(requests) AS requests, sum(slices) AS slices
FROM {_STORED} AS s INNER JOIN {_CUT} AS k USING (device, boot) WHERE {_KNOWN} GROUP BY device, boot"""

UNKNOWN = f"""SELECT sum(s.requests) AS requests, sum(s.slices) AS slices FROM {_STORED} AS s
LEFT JOIN (SELECT device, boot, seq AS horizon FROM ledger_horizon FINAL) AS h USING (device, boot)
LEFT JOIN {_CUT} AS k USING (device, boot) WHERE s.seq > h.horizon AND NOT {_KNOWN}"""

TWICE = f"""SELECT device, boot, sum(n - 1) AS slices, sum(total - one) AS requests FROM (
    SELECT device, boot, seq, `row`, toInt64(count()) AS n, sum(requests) AS total, max(requests) AS one
    FROM slices FINAL WHERE (device, boot, seq) IN (
        SELECT device, boot, seq FROM {_STORED} AS s INNER JOIN {_CUT} AS k USING (device, boot) WHERE {_KNOWN}
        GROUP BY device, boot, seq HAVING uniqExact(minute) > 1)
    GROUP BY device, boot, seq, `row` HAVING n > 1
) GROUP BY device, boot"""

REJECTED_REPORTS = f"""SELECT DISTINCT device, boot, seq FROM rejected FINAL
WHERE {_MINE} AND state = 'kept' AND rows = '[]' AND boot != '' AND seq > 0 ORDER BY device, boot, seq"""

# The same rows refused at two gateways count once; rows that were stored in the end are not refused.
REJECTED_ROWS = f"""SELECT device, boot, seq, rows, any(requests) AS requests, any(slices) AS slices
FROM rejected AS r FINAL INNER JOIN {_CUT} AS k USING (device, boot)
WHERE {_MINE} AND state = 'kept' AND rows != '[]' AND {_KNOWN} GROUP BY device, boot, seq, rows"""
STORED_ROWS = """SELECT `row` AS n, any(requests) AS requests FROM slices FINAL
WHERE device = {device:String} AND boot = {boot:String} AND seq = {seq:Int64} AND `row` IN {rows:Array(Int64)}
GROUP BY n"""

MARKED = "SELECT groupArrayIf(minute, dirty = 1) AS dirty, max(stamp) AS stamp FROM dirty_minutes FINAL"
_DISAGREEING = """SELECT greatest(m.minute, s.minute) AS minute FROM (
    SELECT minute, sum(requests) AS total FROM minutes FINAL
    WHERE minute >= (SELECT min(minute) FROM stored_reports) AND minute NOT IN {dirty:Array(Int64)} GROUP BY minute
) AS m FULL JOIN (
    SELECT minute, sum(requests) AS total FROM stored_reports FINAL
    WHERE minute NOT IN {dirty:Array(Int64)} GROUP BY minute
) AS s ON m.minute = s.minute WHERE m.total != s.total"""
_TOUCHED = """SELECT minute FROM dirty_minutes FINAL
WHERE minute IN {minutes:Array(Int64)} AND (dirty = 1 OR stamp > {stamp:UInt64})"""
NO_MINUTE = -1  # an empty list is no set


def dirty(store: Store) -> list[int]:
    """The minutes that are dirty now."""
    minutes: list[int] = store.query(MARKED)["dirty"][0]
    return minutes


def disagreeing(store: Store) -> int:
    """How many clean minutes have a rollup that differs from the stored rows. One that became dirty meanwhile, and may
    have been recomputed between the reading of two tables, is not judged."""
    marked = {name: values[0] for name, values in store.query(MARKED).items()}
    found = store.query(_DISAGREEING, {"dirty": [NO_MINUTE, *marked["dirty"]]})["minute"]
    if not found:
        return 0
    touched = store.query(_TOUCHED, {"minutes": found, "stamp": marked["stamp"]})["minute"]
    return len(set(found) - set(touched))


def groups(store: Store) -> Iterator[dict[str, int]]:
    """Parameters that select one group of boxes after the other."""
    n = 1 + int(store.query(_SIZE)["n"][0]) // _GROUP_ROWS
    for group in range(n):
        yield {"groups": n, "group": group}


def rejected_rows(store: Store, cut: Mapping[str, Any]) -> dict[tuple[str, str], tuple[int, int]]:
    """(requests, slices) in refused rows that are still refused, per (device, boot)."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    rows = store.query(REJECTED_ROWS, cut)
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
