"""What a replay worked on, and what that means, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.incidents import Incident
from contracts.times import DAY_MS, rfc3339
from dipper.replay import LEAD_MS, NOT_JUDGED, Found, Plan, same_thresholds
from dipper.replay_inputs import Past
from streams.incident_settings import TriageSettings

_MEANING: Mapping[str, tuple[str, str]] = {
    "signals": ("minutes as they were judged", "minutes as they settled stand in for them: late reports are in them"),
    "minutes": ("minutes as they settled", "what was not judged then cannot be judged now"),
    "slices": ("cells as they were known then", "cells as they settled stand in for them: causes' counts differ a bit"),
    "cell_minutes": ("cells as they settled", "incidents older than that have no cause"),
    "reports": ("what was heard of boxes", "silence before that cannot be found"),
    "vitals": ("when boxes' machines started", "a dead agent before that may be called a box that was off"),
}


def inputs_used(past: Past, plan: Plan) -> list[dict[str, Any]]:
    """One entry per input: from when it is needed, from when it is stored, and what a gap means."""
    begin = plan.start - LEAD_MS
    told = []
    for name, (what, gap) in _MEANING.items():
        span = past.stored[name]
        if span is None:
            words = f"{what}: none are stored; {gap}"
        elif span[0] > plan.start:
            words = f"{what}: stored from {rfc3339(span[0])} only; {gap}"
        else:
            words = f"{what}: all of the span"
        told.append(
            {
                "input": name,
                "needed_from": rfc3339(begin),
                "stored_from": None if span is None else rfc3339(span[0]),
                "complete": span is not None and span[0] <= plan.start,
                "words": words,
            }
        )
    return told


def notes(plan: Plan, found: Found, settings: TriageSettings) -> list[str]:
    """What a reader should know before believing the comparison."""
    said = []
    judged = found.judged_minutes + found.settled_minutes
    if not judged:
        return ["nothing is stored of this span: neither what was judged nor minutes"]
    if found.settled_minutes:
        why = (
            "they were not judged then, or that is no longer stored"
            if same_thresholds(plan.own, settings)
            else "the settings count other requests as bad"
        )
        said.append(f"{found.settled_minutes} of {judged} minutes are as they settled, not as they were judged: {why}")
    if found.settled_cells:
        said.append(f"{found.settled_cells} minutes of cells are as they settled: their slices are no longer stored")
    if found.missing_cells:
        said.append(f"of {found.missing_cells} minutes no cells are stored: causes could not be looked for there")
    learned_days = found.learned_minutes / (DAY_MS / 60_000)
    if learned_days < settings.detector.replay_days:
        wanted = settings.detector.replay_days
        said.append(
            f"the detectors learned {learned_days:.2f} days of minutes before the span, of {wanted:g} they want"
        )
    if found.late_minutes:
        said.append(f"{found.late_minutes} minutes were frozen because our own pipeline was late then, as recorded")
    if found.unmatched_actions:
        said.append(
            f"{found.unmatched_actions} actions of people concern incidents that this replay does not have: left aside"
        )
    if found.promised_otherwise:
        some = ", ".join("/".join(series) for series in sorted(found.promised_otherwise)[:3])
        n = len(found.promised_otherwise)
        said.append(f"{n} series were promised something else then ({some}): what is promised now was used")
    if found.until < plan.end:
        said.append(f"what is stored ends at {rfc3339(found.until)}")
    return said


def left_aside(stored: Sequence[Incident]) -> list[str]:
    """How many incidents of then were compared with nothing, by kind; no line where there are none."""
    kinds = Counter(i.kind for i in stored if i.kind in NOT_JUDGED)
    if not kinds:
        return []
    named = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    are = "incident is" if kinds.total() == 1 else "incidents are"
    return [f"{kinds.total()} {are} left aside, because a replay does not judge what they are about: {named}"]
