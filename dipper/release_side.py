"""The verdict on a roll-out, from history: boxes and traffic it reached against matched ones that it did not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from anomaly.release import Ints, ReleaseSettings, Side, Verdict, compare, course, expected_bad
from contracts.entities import Change
from contracts.errors import ContractError
from contracts.protocols import Store
from contracts.releases import (
    MATCHED_ON,
    MOST_GROUPS,
    NEEDED_IN_SCOPE,
    Comparison,
    Release,
    ReleaseGroup,
    ReleaseStep,
    is_release,
)
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from history.query_release import LOAD, LOAD_EDGES, PLACE, boxes, change, newest_minute, releases, strata

LONGEST_MS = 24 * HOUR_MS  # a roll-out is judged by its first day
VANISHED_MS = 5 * MINUTE_MS  # not heard for so long while others are
LISTED_MS = 30 * DAY_MS
MOST_LISTED = 200
_COUNTS = ("changed_bad", "changed_total", "unchanged_bad", "unchanged_total", "expected_bad")


def recent(store: Store, now: int) -> list[Change]:
    """Roll-outs of the last thirty days, newest first. Raises StoreError."""
    return releases(store, now - LISTED_MS, now + 1, MOST_LISTED)


def judge(store: Store, change_id: str, now: int, settings: ReleaseSettings | None = None) -> Release:
    """A roll-out by the id of its change. Raises ContractError `unknown_release` for no such change, `no_release` for
    one that is no roll-out; StoreError."""
    s = settings or ReleaseSettings()
    found = change(store, change_id)
    if found is None:
        raise ContractError("unknown_release", "release", "the id of a change", change_id)
    if not is_release(found):
        kinds = "; ".join(f"{kind} with {', '.join(names)} in its scope" for kind, names in NEEDED_IN_SCOPE.items())
        raise ContractError("no_release", "release", f"a roll-out: {kinds}", f"{change_id}, {found.kind}")
    end = max(found.start, min(now, found.start + LONGEST_MS, found.end or now))
    fleet = boxes(store, found, end)
    rows = strata(store, found, end, load_edges(fleet))
    changed, unchanged = sides(rows, fleet, found.start, newest_minute(store, end))
    verdict = compare(changed, unchanged, s)
    return Release(
        change=found,
        judged_until=end,
        verdict=verdict.verdict,
        why=verdict.why,
        comparison=_comparison(verdict),
        steps=_steps(rows, changed, unchanged, s),
        groups=_groups(rows, changed, unchanged, [name for name in MATCHED_ON[found.kind] if name != LOAD]),
        margin=s.margin,
        least_requests=s.least_requests,
        least_boxes=s.least_boxes,
    )


def load_edges(fleet: Mapping[str, list[Any]]) -> list[float]:
    """What divides boxes into quarters by what they served before, (LOAD_EDGES,); boxes that served alike are in one
    band. `fleet`: see history.query_release.boxes."""
    if not fleet["before"]:
        return [0.0] * LOAD_EDGES
    quarters = np.arange(1, LOAD_EDGES + 1) / (LOAD_EDGES + 1)
    edges: list[float] = np.quantile(np.array(fleet["before"], np.float64), quarters).tolist()
    return edges


def sides(rows: Mapping[str, list[Any]], fleet: Mapping[str, list[Any]], start: int, newest: int) -> tuple[Side, Side]:
    """Both sides, a row per stratum and five minutes, boxes by PLACE and load. `rows`, `fleet`: see
    history.query_release; `newest`: minute any box was heard of last. Boxes that served nothing before or since count
    nowhere, nor do those silent before the start. One that was to be reached and fell silent since is of the changed
    side, although nobody heard of it since the change: that may be why."""
    reached = np.array(fleet["reached_at"], np.int64) > 0
    heard, before = np.array(fleet["heard"], np.int64), np.array(fleet["before"], np.float64)
    gone = heard < newest - VANISHED_MS
    lost = (np.array(fleet["intended"], np.int64) > 0) & ~reached & gone
    judged = ((np.array(fleet["served"], np.float64) > 0) | (before > 0)) & (heard >= start - MINUTE_MS)
    place, count = _places(fleet)
    result = []
    for name, mask in (("changed", judged & (reached | lost)), ("unchanged", judged & ~(reached | lost))):
        bad, total = (np.array(rows[f"{name}_{what}"], np.float64) for what in ("bad", "total"))
        there, silent = (np.bincount(place[chosen], minlength=count) for chosen in (mask, mask & gone))
        result.append(Side(bad, total, there, silent))
    return result[0], result[1]


def _places(fleet: Mapping[str, list[Any]]) -> tuple[Ints, int]:
    """Per box the number of its model, ISP, region and band of load, (boxes,); and how many there are."""
    band = (np.array(fleet["before"], np.float64)[:, None] >= np.array(load_edges(fleet))).sum(axis=1)
    found: dict[tuple[Any, ...], int] = {}
    keys = zip(*(fleet[name] for name in PLACE), band.tolist(), strict=True)
    return np.array([found.setdefault(key, len(found)) for key in keys], np.int64), len(found)


def _comparison(verdict: Verdict) -> Comparison:
    numbers = dataclasses.asdict(verdict.arithmetic).items()
    told: dict[str, Any] = {name: round(v, 6) if isinstance(v, float) else v for name, v in numbers}
    return Comparison(**told)


def _steps(
    rows: Mapping[str, list[Any]], changed: Side, unchanged: Side, settings: ReleaseSettings
) -> tuple[ReleaseStep, ...]:
    at, step = np.unique(np.array(rows["bucket"], np.int64), return_inverse=True)
    counts = _counts(changed, unchanged, step.reshape(-1), len(at))
    harm, fine = course(changed, unchanged, step.reshape(-1), settings)
    return tuple(
        ReleaseStep(time, bad, total, others_bad, others_total, expected, h, f)
        for time, (bad, total, others_bad, others_total, expected), h, f in zip(
            at.tolist(), counts, harm.tolist(), fine.tolist(), strict=True
        )
    )


def _groups(
    rows: Mapping[str, list[Any]], changed: Side, unchanged: Side, names: list[str]
) -> tuple[ReleaseGroup, ...]:
    found: dict[tuple[str, ...], int] = {}
    keys = zip(*(rows[name] for name in names), strict=True)
    place = np.array([found.setdefault(key, len(found)) for key in keys], np.int64)
    counts = _counts(changed, unchanged, place, len(found))
    groups = [
        ReleaseGroup(dict(zip(names, key, strict=True)), *counts[i]) for key, i in found.items() if counts[i][1] > 0
    ]
    return tuple(sorted(groups, key=lambda g: (-g.changed_total, sorted(g.where.items())))[:MOST_GROUPS])


def _counts(changed: Side, unchanged: Side, place: Any, n: int) -> list[list[float]]:
    """Matched sums per place, in the order of _COUNTS."""
    matched = (changed.total > 0) & (unchanged.total > 0)
    columns = (changed.bad, changed.total, unchanged.bad, unchanged.total, expected_bad(changed, unchanged))
    sums = np.array([np.bincount(place[matched], column[matched], n) for column in columns])
    result: list[list[float]] = np.round(sums.T.reshape(n, len(_COUNTS)), 6).tolist()
    return result
