"""Releases: what a gray roll-out of a firmware, an application or a scheduling rule is judged to be, and by what.

A release is a change (`contracts.entities.Change`) whose scope names what is new. Whoever judges it hands over a
`Release`; pages draw it, the feed sends it as JSON. Times in ms UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contracts.entities import Change
from contracts.plain import to_plain
from contracts.times import rfc3339

FIRMWARE, APPLICATION, SCHEDULING_RULE = "firmware", "application", "scheduling_rule"
NEW_IN: Mapping[str, str] = {FIRMWARE: "firmware", APPLICATION: "app", SCHEDULING_RULE: "sched_rule"}
"""Kind of change -> the dimension whose value in the scope is what is new."""
NEEDED_IN_SCOPE: Mapping[str, tuple[str, ...]] = {
    FIRMWARE: ("model", "firmware"),
    APPLICATION: ("app",),
    SCHEDULING_RULE: ("sched_rule",),
}
MATCHED_ON: Mapping[str, tuple[str, ...]] = {
    FIRMWARE: ("model", "device_isp", "device_region", "load"),
    APPLICATION: ("customer", "service", "model", "device_isp", "device_region", "load"),
    SCHEDULING_RULE: ("customer", "service", "client_isp", "client_region"),
}
"""What both sides of a stratum have in common. A rule decides which box serves: its traffic is matched by who asks."""

PROMOTE, HOLD, ROLL_BACK, INSUFFICIENT = "promote", "hold", "roll back", "insufficient data"
VERDICTS = (PROMOTE, HOLD, ROLL_BACK, INSUFFICIENT)


def is_release(change: Change) -> bool:
    """Whether a change is a roll-out that can be judged."""
    return all(name in change.scope for name in NEEDED_IN_SCOPE.get(change.kind, ("",)))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a verdict stands on, over strata that have requests on both sides: failures of requests; `expected_bad`, of
    the changed side at the unchanged rates; `ratio` bad / expected (None: nothing expected); the e-values and what they
    must reach; `unmatched_requests` of the changed side left out because nothing comparable was there. `boxes` that
    had requests, of strata of model, ISP, region and load with some on both sides, and how many of them `vanished`:
    silent while others are heard. `unmatched_boxes` of the changed side had nobody comparable beside them."""

    changed_bad: float
    changed_total: float
    unchanged_bad: float
    unchanged_total: float
    expected_bad: float
    ratio: float | None
    harm_e: float
    harm_needed: float
    fine_e: float
    fine_needed: float
    unmatched_requests: float
    changed_boxes: int
    changed_vanished: int
    unchanged_boxes: int
    unchanged_vanished: int
    unmatched_boxes: int
    unmatched_vanished: int


@dataclass(frozen=True, slots=True)
class ReleaseStep:
    """Five minutes from `at` on: matched counts of these minutes, and the e-values as they stood at their end (of
    requests alone: when a box vanished is known at the end only)."""

    at: int
    changed_bad: float
    changed_total: float
    unchanged_bad: float
    unchanged_total: float
    expected_bad: float
    harm_e: float
    fine_e: float


@dataclass(frozen=True, slots=True)
class ReleaseGroup:
    """Matched counts of one group of strata: `where` has the dimensions of MATCHED_ON without load."""

    where: Mapping[str, str]
    changed_bad: float
    changed_total: float
    unchanged_bad: float
    unchanged_total: float
    expected_bad: float


@dataclass(frozen=True, slots=True)
class Release:
    """A release judged. `judged_until`: end of what was looked at. `why`: the arithmetic in one English sentence.
    `steps` ascending; `groups`: those with most requests on the changed side, at most MOST_GROUPS."""

    change: Change
    judged_until: int
    verdict: str
    why: str
    comparison: Comparison
    steps: tuple[ReleaseStep, ...]
    groups: tuple[ReleaseGroup, ...]
    margin: float
    least_requests: float
    least_boxes: int


MOST_GROUPS = 50


def change_to_json(change: Change) -> dict[str, Any]:
    """A release in a list: what was rolled out, times as RFC 3339."""
    return {
        "id": change.id,
        "kind": change.kind,
        "scope": dict(change.scope),
        "start": rfc3339(change.start),
        "end": None if change.end is None else rfc3339(change.end),
        "author": change.author,
        "reference": change.reference,
        "note": change.note,
    }


def release_to_json(release: Release) -> dict[str, Any]:
    """JSON values of a release, times as RFC 3339."""
    steps = [{**to_plain(step), "at": rfc3339(step.at)} for step in release.steps]
    return {
        **change_to_json(release.change),
        "judged_until": rfc3339(release.judged_until),
        "verdict": release.verdict,
        "why": release.why,
        "matched_on": list(MATCHED_ON[release.change.kind]),
        "arithmetic": to_plain(release.comparison),
        "margin": release.margin,
        "least_requests": release.least_requests,
        "least_boxes": release.least_boxes,
        "steps": steps,
        "groups": to_plain(release.groups),
    }
