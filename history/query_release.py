"""What a release is judged by: its change, and the minutes of the boxes of its model."""

from __future__ import annotations

import json
from typing import Any

from contracts.entities import Change
from contracts.protocols import Store

_CHANGE = """SELECT id, kind, scope, `start`, `end`, author, reference, note, extra FROM changes FINAL
WHERE id = {id:String}"""
_MINUTES = """SELECT minute, device, device_isp, device_region, firmware, requests, failures
FROM box_minutes FINAL
WHERE minute >= {start:Int64} AND minute < {end:Int64} AND model = {model:String}
    AND (covered_ms > 0 OR requests > 0)
ORDER BY minute, device"""
_NEWEST = "SELECT max(minute) AS newest FROM box_minutes WHERE minute < {end:Int64}"


def change(store: Store, change_id: str) -> Change | None:
    """A change by its id, or None."""
    rows = list(zip(*store.query(_CHANGE, {"id": change_id}).values(), strict=True))
    if not rows:
        return None
    found, kind, scope, start, end, author, reference, note, extra = rows[0]
    return Change(found, kind, json.loads(scope), start, end, author, reference, note, json.loads(extra))


def model_minutes(store: Store, model: str, start: int, end: int) -> dict[str, list[Any]]:
    """Minutes of [start, end) of every box of a model that was heard, as columns: minute, device, device_isp,
    device_region, firmware, requests, failures."""
    return store.query(_MINUTES, {"model": model, "start": start, "end": end})


def newest_minute(store: Store, end: int) -> int:
    """The newest minute before `end` of which any box was heard, 0 without any."""
    return int(store.query(_NEWEST, {"end": end})["newest"][0])
