"""What alarms are worth on a stream: faults found, time to detect, false incidents, and the window score of the NAB.

Alarms are (minutes, customers, measures) booleans. An incident of a customer is a stretch of minutes with an alarm on
any of its measures, gaps up to half an hour bridged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
import numpy.typing as npt

from benchmarks.detect.streams import BIG, DAY, EFFECTS, Fault, Stream

Bools = npt.NDArray[np.bool_]

GRACE_MINUTES = 5
"""A fault counts as found from its start until this long after its end."""
BRIDGED_MINUTES = 30
WATERMARK_S = 20
"""What the stream waits after a minute before it judges it."""
NAB_PROFILES = {"standard": (0.11, 1.0), "reward_low_fp": (0.22, 1.0), "reward_low_fn": (0.11, 2.0)}
"""(cost of a false positive, cost of a miss); a hit is worth 1. Lavin and Ahmad (2015)."""


@dataclass(frozen=True, slots=True)
class Found:
    """One fault: `seconds` until the alarm, None when it was missed."""

    fault: Fault
    requests: float
    """Usual requests a minute of its first customer, over its time."""
    seconds: float | None
    measure: int
    """The one that spoke first; of a missed fault the one it raises most."""

    @property
    def big(self) -> bool:
        return self.requests >= BIG


@dataclass(frozen=True, slots=True)
class Outcome:
    found: tuple[Found, ...]
    false_incidents: int
    """On customer-days without any fault."""
    clean_days: int
    false_beside_faults: int
    """Those that touch no fault, on the other customer-days."""
    nab: Mapping[str, float]


def outcome(stream: Stream, alarms: Bools) -> Outcome:
    """All figures of one stream."""
    begin = stream.plan.warm_up_days * DAY
    found = tuple(_found(stream, alarms, fault) for fault in stream.faults)
    clean_days = false_clean = false_beside = 0
    windows, openings = [], []
    for customer in range(alarms.shape[1]):
        faults = [f for f in stream.faults if customer in f.customers]
        runs = [run for run in incidents(alarms[:, customer].any(axis=1)) if run[1] > begin]
        dirty = {day for f in faults for day in range(int(f.start) // DAY, (f.end + BRIDGED_MINUTES) // DAY + 1)}
        dirty |= set(range(int(stream.since[customer]) // DAY))
        clean_days += stream.plan.days - sum(day >= stream.plan.warm_up_days for day in dirty)
        for first, last in runs:
            if first < begin or any(f.start - 1 <= last and first <= f.end + BRIDGED_MINUTES for f in faults):
                continue
            if first // DAY in dirty:
                false_beside += 1
            else:
                false_clean += 1
        windows.append(sorted((int(f.start), f.end - 1) for f in faults))
        openings.append([first for first, _ in runs if first >= begin])
    return Outcome(found, false_clean, clean_days, false_beside, nab_scores(windows, openings))


def incidents(alarm: Bools) -> list[tuple[int, int]]:
    """First and last minute of each stretch of alarms (n,), gaps bridged."""
    at = np.flatnonzero(alarm)
    if len(at) == 0:
        return []
    breaks = np.flatnonzero(np.diff(at) > BRIDGED_MINUTES + 1)
    firsts = at[np.concatenate([[0], breaks + 1])]
    lasts = at[np.concatenate([breaks, [len(at) - 1]])]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def _found(stream: Stream, alarms: Bools, fault: Fault) -> Found:
    first = int(fault.start)
    requests = float(stream.usual_requests[first : fault.end, fault.customers[0]].mean())
    measures = [m for m, _ in EFFECTS[fault.kind]]
    rises = [
        (_first_new(alarms[first - 1 : fault.end + GRACE_MINUTES, customer, measure]), measure)
        for customer in fault.customers
        for measure in measures
    ]
    hits = [(minute, measure) for minute, measure in rises if minute is not None]
    if not hits:
        return Found(fault, requests, None, measures[0])
    minute, measure = min(hits, key=lambda hit: hit[0])
    return Found(fault, requests, (first + minute - fault.start) * 60 + WATERMARK_S, measure)


def _first_new(alarm: Bools) -> int | None:
    """Minutes from the fault's first one to the end of the first minute with an alarm that was off before; `alarm`
    begins a minute before the fault."""
    rises = np.flatnonzero(alarm[1:] & ~alarm[:-1])
    return int(rises[0]) + 1 if len(rises) else None


def nab_scores(windows: list[list[tuple[int, int]]], openings: list[list[int]]) -> dict[str, float]:
    """Score of the Numenta Anomaly Benchmark per profile, 0 for no alarm at all, 100 for every window at its first
    minute. windows: per series its labelled (first, last) minutes ascending; openings: per series the minutes in which
    an alarm opened."""
    n_windows = sum(len(w) for w in windows)
    scores = {}
    for profile, (false_cost, miss_cost) in NAB_PROFILES.items():
        total = sum(_nab(w, o, false_cost, miss_cost) for w, o in zip(windows, openings, strict=True))
        nothing = -miss_cost * n_windows
        scores[profile] = 100 * (total - nothing) / (n_windows - nothing) if n_windows else 0.0
    return scores


def _nab(windows: list[tuple[int, int]], openings: list[int], false_cost: float, miss_cost: float) -> float:
    hits = [-miss_cost] * len(windows)
    false = 0.0
    for at in openings:
        inside = [k for k, (first, last) in enumerate(windows) if first <= at <= last]
        for k in inside:
            first, last = windows[k]
            hits[k] = max(hits[k], sigmoid(-(last - at + 1) / (last - first + 1)) / sigmoid(-1.0))
        if not inside:
            before = [(first, last) for first, last in windows if last < at]
            past = (at - before[-1][1]) / max(1, before[-1][1] - before[-1][0]) if before else 3.0
            false += sigmoid(past)
    return sum(hits) + false_cost * false


def sigmoid(position: float) -> float:
    """The benchmark's curve: 0.987 at the left edge of a window (-1), 0 at its right edge, -1 far behind it."""
    return -1.0 if position >= 3 else 2 / (1 + exp(5 * position)) - 1


def wilson(hits: int, trials: int, z: float = 1.96) -> tuple[float, float] | None:
    """Two-sided interval of a share (Wilson, 1927); None of nothing."""
    if trials == 0:
        return None
    share = hits / trials
    centre = share + z * z / (2 * trials)
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return (centre - half) / (1 + z * z / trials), (centre + half) / (1 + z * z / trials)
