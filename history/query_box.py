"""One box's story: what it served and how it was, minute by minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.columns import VITALS_MEASURES, names
from contracts.protocols import Store

MEASURES = names(VITALS_MEASURES)

# ruff: noqa: S608 - column names are declared ones; values are parameters.
_SERVED = """SELECT minute, requests, failures, covered_ms FROM box_minutes FINAL
WHERE minute >= {start:Int64} AND minute < {end:Int64} AND device = {device:String} ORDER BY minute"""
_VITALS = f"""SELECT {", ".join(f"argMax({name}, start) AS x_{name}" for name in MEASURES)}, max(`end`) AS at
FROM vitals WHERE device = {{device:String}} AND minute >= {{start:Int64}} AND minute < {{end:Int64}}"""


@dataclass(frozen=True, slots=True)
class BoxStory:
    """Columns per minute with a report: requests, failures, covered_ms of 60 000. `vitals`: the newest values by name
    of contracts.columns.VITALS_MEASURES, None where it cannot be measured; of `vitals_at`, None without any."""

    minute: Sequence[int]
    requests: Sequence[int]
    failures: Sequence[int]
    covered_ms: Sequence[int]
    vitals: Mapping[str, float | None]
    vitals_at: int | None


def story(store: Store, device: str, start: int, end: int) -> BoxStory:
    """What a box reported in [start, end)."""
    window = {"device": device, "start": start, "end": end}
    served: dict[str, list[Any]] = store.query(_SERVED, window)
    row = {name: values[0] for name, values in store.query(_VITALS, window).items()}
    at = row.pop("at") or None
    vitals = {name: row[f"x_{name}"] if at else None for name in MEASURES}
    return BoxStory(**served, vitals=vitals, vitals_at=at)
