"""The verdict on a firmware roll-out, from history: its boxes against matched boxes of the model it did not reach."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from anomaly.release import Side, Verdict, compare
from contracts.protocols import Store
from contracts.times import HOUR_MS, MINUTE_MS, rfc3339
from feed.errors import Refusal
from history.query_release import change, model_minutes, newest_minute

BEFORE_MS = HOUR_MS  # how much a box serves is measured over the hour before the roll-out
LONGEST_MS = 24 * HOUR_MS  # a roll-out is judged by its first day
BUCKET_MS = 5 * MINUTE_MS
VANISHED_MS = 5 * MINUTE_MS  # not heard for so long while others are
LOAD_BANDS = 4


def release(store: Store, change_id: str, now: int) -> bytes:
    """The answer of GET /v1/releases/{id}. Raises Refusal 404 for no such change, or for one that is no roll-out;
    StoreError."""
    found = change(store, change_id)
    if found is None:
        raise Refusal(404, "unknown_release", f"release: no change is named {change_id}", "release")
    firmware, model = found.scope.get("firmware"), found.scope.get("model")
    if found.kind != "firmware" or firmware is None or model is None:
        raise Refusal(404, "no_release", f"release: {change_id} is no roll-out of a firmware to a model", "release")
    end = min(now, found.start + LONGEST_MS, found.end or now)
    rows = model_minutes(store, model, found.start - BEFORE_MS, end)
    changed, unchanged = sides(rows, firmware, found.start, newest_minute(store, end))
    verdict = compare(changed, unchanged)
    document = {
        "id": found.id,
        "kind": found.kind,
        "scope": dict(found.scope),
        "start": rfc3339(found.start),
        "judged_until": rfc3339(end),
        **_plain(verdict),
    }
    return json.dumps(document, ensure_ascii=False).encode()


def _plain(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": verdict.verdict,
        "why": verdict.why,
        "arithmetic": {
            name: round(value, 6) if isinstance(value, float) else value
            for name, value in dataclasses.asdict(verdict.arithmetic).items()
        },
    }


def sides(rows: Mapping[str, list[Any]], firmware: str, start: int, newest: int) -> tuple[Side, Side]:
    """Both sides by strata (ISP, region, load, five minutes). `rows`: see history.query_release.model_minutes; a box is
    changed from its first minute on the new firmware, unchanged if it never had it. `newest`: minute heard of last."""
    minute = np.array(rows["minute"], np.int64)
    device, devices = _codes(rows["device"])
    isp, region = _codes(rows["device_isp"])[0], _codes(rows["device_region"])[0]
    on_new = np.array([name == firmware for name in rows["firmware"]], dtype=bool)
    requests, failures = np.array(rows["requests"], np.float64), np.array(rows["failures"], np.float64)
    after = minute >= start
    reached = np.zeros(devices, dtype=bool)
    reached[device[on_new & after]] = True
    band = _load_bands(device, requests, ~after, devices)[device]
    stratum = np.unique(np.stack([isp, region, band, minute // BUCKET_MS]), axis=1, return_inverse=True)[1].reshape(-1)
    count = int(stratum.max(initial=-1)) + 1
    result = []
    for mask in (after & on_new, after & ~reached[device]):
        heard = np.zeros(devices, np.int64)
        np.maximum.at(heard, device[mask], minute[mask])
        served = np.zeros(devices, dtype=bool)
        served[device[mask & (requests > 0)]] = True
        gone = served & (heard < newest - VANISHED_MS)
        bad, total = (np.bincount(stratum[mask], column[mask], count).astype(float) for column in (failures, requests))
        result.append(Side(bad, total, int(served.sum()), int(gone.sum())))
    return result[0], result[1]


def _codes(names: list[str]) -> tuple[Any, int]:
    found, codes = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)
    return codes.astype(np.int64), len(found)


def _load_bands(device: Any, requests: Any, before: Any, devices: int) -> Any:
    """Quarter of the boxes by what they served before, (devices,); boxes that served alike are in one."""
    usual = np.bincount(device[before], requests[before], devices)
    if not devices:
        return np.zeros(0, np.int64)
    edges = np.quantile(usual, np.arange(1, LOAD_BANDS) / LOAD_BANDS)
    return np.searchsorted(edges, usual, side="right")
