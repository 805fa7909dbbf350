"""How good our alerts are: what operators said of incidents, and how many of the self-test's faults were found.

Precision is about incidents that operators labelled (false alarm, or what the real cause was), recall about faults that
the self-test injected: nobody knows how many real faults went unnoticed. Both by week and detector.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from contracts.incidents import (
    FALSE_ALARM,
    QUALITY,
    REAL_CAUSE,
    SELF_LAG,
    SELF_TEST,
    Incident,
    incident_from_json,
)
from contracts.protocols import Store
from contracts.self_test import CUSTOMER, FOUND_WITHIN_MS, Injected, found_by, injected, is_drill
from contracts.times import DAY_MS
from history.proportions import Proportion
from history.query_fleet import changes

WEEK_MS = 7 * DAY_MS
_MONDAY_MS = 4 * DAY_MS  # 1970-01-05
MOST_WEEKS = 53

TRUE, FALSE, UNLABELLED = "true", "false", "unlabelled"
SHIFT, BURN, SILENCE, LAG = "shift", "burn", "silence", "lag"
DETECTORS = (SHIFT, BURN, SILENCE, LAG)
"""What can speak for an incident: the shift against what is usual, the burn rate of an objective, silent boxes, our own
lag. An incident of quality counts for each detector that spoke."""

_DETECTED = """SELECT document FROM incidents FINAL
WHERE detected_at >= {start:Int64} AND detected_at < {end:Int64} ORDER BY detected_at, id"""


_SELF_TEST_MINUTES = """SELECT count(DISTINCT minute) AS n FROM minutes
WHERE customer = {customer:String} AND minute >= {since:Int64} AND requests > 0"""


@dataclass(frozen=True, slots=True)
class Seconds:
    """Median and 95th percentile, s; None of nothing."""

    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class DetectorQuality:
    """One detector in one week. `incidents`: it spoke for, without self-tests and merged ones; `precision`: real ones
    of the labelled; `cause`: of those with a real cause stated, how many named it first (or an equivalent); `recall`:
    of injected faults; `delay`: s from the onset, as stated in the end, to the detection."""

    detector: str
    incidents: int
    unlabelled: int
    precision: Proportion
    cause: Proportion
    recall: Proportion
    delay: Seconds


@dataclass(frozen=True, slots=True)
class WeekQuality:
    """[start, end) ms UTC, Monday to Monday. `all`: every incident once; `to_detect`: s from the start of an injected
    fault to its detection; `missed`: ids of injected faults that nobody found; `pending`: those that may still be."""

    start: int
    end: int
    all: DetectorQuality
    detectors: tuple[DetectorQuality, ...]
    to_detect: Seconds
    missed: tuple[str, ...]
    pending: int


def alert_quality(store: Store, now: int, weeks: int = 4) -> tuple[WeekQuality, ...]:
    """The last `weeks` weeks (1 to MOST_WEEKS), newest first; the first one is under way. Raises StoreError."""
    if not 1 <= weeks <= MOST_WEEKS:
        raise ValueError(f"weeks: expected 1 to {MOST_WEEKS}, got {weeks}")
    newest = week_of(now)
    return tuple(_week(store, newest - k * WEEK_MS, now) for k in range(weeks))


def week_of(time_ms: int) -> int:
    """Monday 00:00 UTC before a time."""
    return (time_ms - _MONDAY_MS) // WEEK_MS * WEEK_MS + _MONDAY_MS


def self_test_minutes(store: Store, since: int) -> int:
    """Measured minutes of the self-test's customer from a time on. Raises StoreError."""
    return int(store.query(_SELF_TEST_MINUTES, {"customer": CUSTOMER, "since": since})["n"][0])


def _week(store: Store, start: int, now: int) -> WeekQuality:
    end = start + WEEK_MS
    documents = store.query(_DETECTED, {"start": start, "end": end + DAY_MS})["document"]
    found = [incident_from_json(json.loads(text)) for text in documents]
    faults = [f for f in injected(changes(store, start, end)) if start <= f.start < end]
    return week_quality([i for i in found if i.merged_into is None], faults, start, now)


def week_quality(incidents: Sequence[Incident], faults: Sequence[Injected], start: int, now: int) -> WeekQuality:
    """One week from what is known of it: incidents detected from its start on (a day beyond its end, for faults that
    began at its end), faults injected in it."""
    end = start + WEEK_MS
    hits = {fault.id: found_by(fault, incidents) for fault in faults}
    over = [f for f in faults if hits[f.id] is not None or f.end + FOUND_WITHIN_MS <= now]
    found = [hit for f in over if (hit := hits[f.id]) is not None]
    real = [i for i in incidents if start <= i.detected_at < end and i.kind != SELF_TEST and not is_drill(i.customers)]

    def recall(name: str) -> Proportion:
        """Only faults of quality are injected."""
        by = sum(name in detectors_of(hit.incident) for hit in found)
        return Proportion(by, len(over) if name in (SHIFT, BURN) else 0)

    return WeekQuality(
        start=start,
        end=end,
        all=_quality("all", real, Proportion(len(found), len(over))),
        detectors=tuple(
            _quality(name, [i for i in real if name in detectors_of(i)], recall(name)) for name in DETECTORS
        ),
        to_detect=_seconds([hit.at - hit.fault.start for hit in found]),
        missed=tuple(f.id for f in over if hits[f.id] is None),
        pending=len(faults) - len(over),
    )


def _quality(name: str, mine: Sequence[Incident], recall: Proportion) -> DetectorQuality:
    labels = [label(i) for i in mine]
    true, false = labels.count(TRUE), labels.count(FALSE)
    told = [i for i in mine if i.real_cause and label(i) == TRUE and i.kind == QUALITY]
    return DetectorQuality(
        detector=name,
        incidents=len(mine),
        unlabelled=labels.count(UNLABELLED),
        precision=Proportion(true, true + false),
        cause=Proportion(sum(names_cause(i) for i in told), len(told)),
        recall=recall,
        delay=_seconds([i.detected_at - i.onset for i in mine]),
    )


def _seconds(values_ms: Sequence[int]) -> Seconds:
    if not values_ms:
        return Seconds(None, None)
    seconds = [value / 1_000 for value in values_ms]
    high = seconds[0] if len(seconds) == 1 else quantiles(seconds, n=20, method="inclusive")[-1]
    return Seconds(float(median(seconds)), float(high))


def label(incident: Incident) -> str:
    """What operators said last of an incident: a false alarm, or what it really was."""
    said = [line.verb for line in incident.history if line.verb in (FALSE_ALARM, REAL_CAUSE)]
    if not said:
        return UNLABELLED
    return FALSE if said[-1] == FALSE_ALARM else TRUE


def names_cause(incident: Incident) -> bool:
    """Whether the first cause, or what selects the same rows, is what operators said it really was."""
    lead = next((cause for cause in incident.causes if cause.answer), None)
    if lead is None or incident.real_cause is None:
        return False
    return dict(incident.real_cause) in [dict(lead.where), *(dict(e.where) for e in lead.equivalents)]


def detectors_of(incident: Incident) -> frozenset[str]:
    """Which detectors spoke for an incident."""
    if incident.kind == QUALITY:
        return frozenset(reason for s in incident.series for reason in s.reasons if reason in (SHIFT, BURN))
    if incident.kind == SELF_LAG:
        return frozenset({LAG})
    return frozenset({SILENCE}) if incident.kind.startswith("silence.") else frozenset()


def as_json(week: WeekQuality) -> dict[str, Any]:
    """JSON values; ratios with both counts and their interval."""

    def ratio(p: Proportion) -> dict[str, Any]:
        return {"part": p.part, "whole": p.whole, "ratio": p.ratio, "interval": p.interval}

    def one(q: DetectorQuality) -> dict[str, Any]:
        return {
            "detector": q.detector, "incidents": q.incidents, "unlabelled": q.unlabelled,
            "precision": ratio(q.precision), "cause": ratio(q.cause), "recall": ratio(q.recall),
            "delay_s": {"p50": q.delay.p50, "p95": q.delay.p95},
        }  # fmt: skip

    return {
        "start": week.start, "end": week.end, "all": one(week.all), "detectors": [one(q) for q in week.detectors],
        "seconds_to_detect": {"p50": week.to_detect.p50, "p95": week.to_detect.p95},
        "missed": list(week.missed), "pending": week.pending,
    }  # fmt: skip
