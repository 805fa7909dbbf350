"""What a release is judged by: its change, the boxes it reached, and failures by strata on both sides.

Sums are made in the store; how strata are made up stands in contracts.releases.MATCHED_ON. A box is reached from its
first minute with what is new: a firmware it runs, an application it serves with, a rule that sends it traffic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.columns import FAILURE_NAMES, REGISTRY_DIMENSIONS, REPORT_DIMENSIONS
from contracts.entities import Change
from contracts.protocols import Store
from contracts.releases import APPLICATION, FIRMWARE, MATCHED_ON, NEW_IN, SCHEDULING_RULE, is_release
from contracts.times import HOUR_MS, MINUTE_MS

BEFORE_MS = HOUR_MS  # how much a box serves is measured over the hour before the roll-out
BUCKET_MS = 5 * MINUTE_MS
LOAD = "load"
LOAD_EDGES = 3
PLACE = ("model", "device_isp", "device_region")  # what boxes that vanished are compared in, with their load
_BOX_DIMENSIONS = REGISTRY_DIMENSIONS + REPORT_DIMENSIONS

# ruff: noqa: S608 - columns are of contracts.columns; values are parameters.
_COLUMNS = "id, kind, scope, `start`, `end`, author, reference, note, extra"
_CHANGE = f"SELECT {_COLUMNS} FROM changes FINAL WHERE id = {{id:String}}"
_CHANGES = f"""SELECT {_COLUMNS} FROM changes FINAL
WHERE `start` >= {{since:Int64}} AND `start` < {{until:Int64}} AND kind IN {{kinds:Array(String)}}
ORDER BY `start` DESC, id LIMIT {{limit:Int64}}"""
_NEWEST = "SELECT max(minute) AS newest FROM box_minutes WHERE minute < {end:Int64}"
_AFTER = "minute >= {start:Int64} AND minute < {end:Int64}"
_HEARD = "(covered_ms > 0 OR requests > 0)"
_BOXES = """SELECT device, sumIf(requests, minute < {{start:Int64}}) AS before, max(at) AS reached_at,
    sumIf(requests, minute >= greatest(at, {{start:Int64}})) AS served, max(minute) AS heard, max(meant) AS intended,
    {places}
FROM (
    SELECT device, minute, requests, {place}, {intended} AS meant FROM box_minutes FINAL
    WHERE minute >= {{before:Int64}} AND minute < {{end:Int64}} AND {heard} AND {population}
) AS b LEFT JOIN ({reached}) AS r USING (device)
GROUP BY device"""
_REACHED = "SELECT device, min(minute) AS at FROM {table} WHERE {after} AND {new} GROUP BY device"
_USUAL = """SELECT device, sum(requests) AS usual FROM box_minutes FINAL
WHERE minute >= {before:Int64} AND minute < {start:Int64} GROUP BY device"""
_STRATA = """SELECT intDiv(minute, {bucket}) * {bucket} AS bucket, {matched},
    sumIf(requests, changed) AS changed_total, sumIf(failures, changed) AS changed_bad,
    sumIf(requests, NOT changed) AS unchanged_total, sumIf(failures, NOT changed) AS unchanged_bad
FROM (
    SELECT minute, {columns}, requests, failures, {load} AS load, {changed} AS changed, {kept} AS kept
    FROM (
        SELECT minute, device, {columns}, requests, {failures} AS failures, {new} AS is_new FROM {table} FINAL
        WHERE {after} AND {population}
    ) AS s LEFT JOIN ({reached}) AS r USING (device) LEFT JOIN ({usual}) AS u USING (device)
) AS judged
WHERE kept AND requests > 0
GROUP BY bucket, {matched} HAVING changed_total > 0 ORDER BY bucket, {matched}"""


def change(store: Store, change_id: str) -> Change | None:
    """A change by its id, or None."""
    found = _changes(store.query(_CHANGE, {"id": change_id}))
    return found[0] if found else None


def releases(store: Store, since: int, until: int, limit: int) -> list[Change]:
    """Roll-outs that began in [since, until), newest first."""
    asked = {"since": since, "until": until, "kinds": list(NEW_IN), "limit": limit}
    return [found for found in _changes(store.query(_CHANGES, asked)) if is_release(found)]


def newest_minute(store: Store, end: int) -> int:
    """The newest minute before `end` of which any box was heard, 0 without any."""
    return int(store.query(_NEWEST, {"end": end})["newest"][0])


def boxes(store: Store, release: Change, end: int) -> dict[str, list[Any]]:
    """Boxes heard from an hour before a release to `end`, as columns: device; before: requests in that hour;
    reached_at: minute, 0 if never; served: requests since then, or since the start; heard: newest minute; intended: 1
    if the release's scope names boxes and this is one; model, device_isp, device_region: in its newest minute."""
    meant = [f"{name} = {{scope_{name}:String}}" for name in _intended(release)]
    sql = _BOXES.format(
        intended=f"toUInt8({' AND '.join(meant)})" if meant else "toUInt8(0)",
        heard=_HEARD,
        places=", ".join(f"argMax({name}, minute) AS {name}" for name in PLACE),
        place=", ".join(PLACE),
        population=_population(release),
        reached=_reached(release),
    )
    return store.query(sql, _parameters(release, end))


def strata(store: Store, release: Change, end: int, edges: Sequence[float]) -> dict[str, list[Any]]:
    """Sums of five minutes and stratum with traffic on the changed side, as columns: bucket; the names of MATCHED_ON;
    changed_total, changed_bad, unchanged_total, unchanged_bad. `edges` (LOAD_EDGES,): least requests in the hour before
    of all bands of load but the lowest. The unchanged side of a firmware or application are boxes never reached, that
    of a rule what other rules place."""
    matched = MATCHED_ON[release.kind]
    columns = [name for name in matched if name != LOAD]
    of_boxes = release.kind == FIRMWARE
    is_new = {APPLICATION: "(at > 0 AND minute >= at)"}.get(release.kind, "is_new")
    bands = " + ".join(f"(usual >= {{edge_{i}:Float64}})" for i in range(LOAD_EDGES))
    sql = _STRATA.format(
        bucket=BUCKET_MS,
        matched=", ".join(matched),
        columns=", ".join(columns),
        load=bands,
        changed=is_new,
        kept="1" if release.kind == SCHEDULING_RULE else f"({is_new} OR at = 0)",
        failures="failures" if of_boxes else " + ".join(FAILURE_NAMES),
        new=_new(release),
        table=_table(release),
        after=_AFTER,
        population=_population(release),
        reached=_reached(release),
        usual=_USUAL,
    )
    return store.query(sql, _parameters(release, end) | {f"edge_{i}": float(e) for i, e in enumerate(edges)})


def _changes(rows: Mapping[str, list[Any]]) -> list[Change]:
    return [
        Change(found, kind, json.loads(scope), start, end, author, reference, note, json.loads(extra))
        for found, kind, scope, start, end, author, reference, note, extra in zip(*rows.values(), strict=True)
    ]


def _table(release: Change) -> str:
    return "box_minutes" if release.kind == FIRMWARE else "slices"


def _new(release: Change) -> str:
    """What is new about a row: of a firmware the firmware, of the others all that the scope says."""
    names = [NEW_IN[FIRMWARE]] if release.kind == FIRMWARE else sorted(release.scope)
    return "(" + " AND ".join(f"{name} = {{scope_{name}:String}}" for name in names) + ")"


def _population(release: Change) -> str:
    return "model = {scope_model:String}" if release.kind == FIRMWARE else "1"


def _reached(release: Change) -> str:
    served = "" if release.kind == FIRMWARE else " AND requests > 0"
    return _REACHED.format(table=_table(release), after=_AFTER, new=_new(release) + served)


def _intended(release: Change) -> list[str]:
    """Dimensions of the scope that say which boxes are to be reached."""
    taken = (*MATCHED_ON[SCHEDULING_RULE], "model", NEW_IN[FIRMWARE]) if release.kind == FIRMWARE else ()
    names = [name for name in _BOX_DIMENSIONS if name in release.scope and name not in taken]
    return [] if release.kind == SCHEDULING_RULE else names


def _parameters(release: Change, end: int) -> dict[str, Any]:
    times = {"before": release.start - BEFORE_MS, "start": release.start, "end": end}
    return times | {f"scope_{name}": value for name, value in release.scope.items()}
