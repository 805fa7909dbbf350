"""How well incidents match what the simulator did: `score.json`.

A fault counts as found when an incident of the right kind opens between its start and 5 minutes after its end and names
one of its customers or its scope. Each incident finds one fault at most, the one whose cause it names best; an incident
that fits no fault at all is false. Recall is over detectable faults (`DETECTABLE`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from contracts.incidents import QUALITY, SILENCE_REGION, Incident
from contracts.times import MINUTE_MS, from_rfc3339
from history.proportions import Proportion

AFTER_MS = 5 * MINUTE_MS
DETECTABLE = {
    "share_of_requests": 0.003, "minutes": 5.0, "bad_added": 500, "after_minutes": 10.0,
    "silent_minutes": 5.0, "dark_minutes": 3.0,
}  # fmt: skip
"""A quality fault that makes at least this part of its customers' requests bad, for so long, so many in all, not before
so many minutes of the run have passed; silence of boxes, or of a place, that lasts so long."""


@dataclass(frozen=True, slots=True)
class _Fault:
    id: str
    kind: str
    start: int
    end: int
    scope: Mapping[str, str]
    devices: frozenset[str]
    customers: frozenset[str]
    detectable: bool

    @staticmethod
    def of(document: Mapping[str, Any], begin: int) -> _Fault:
        start, end = from_rfc3339(document["start"]), from_rfc3339(document["end"])
        minutes = (end - start) / MINUTE_MS
        if document["incident_kind"] == QUALITY:
            detectable = (
                minutes >= DETECTABLE["minutes"]
                and document["share_of_requests"] >= DETECTABLE["share_of_requests"]
                and document["bad_added"] >= DETECTABLE["bad_added"]
                and start - begin >= DETECTABLE["after_minutes"] * MINUTE_MS
            )
        else:
            dark = document["incident_kind"] == SILENCE_REGION
            detectable = minutes >= DETECTABLE["dark_minutes" if dark else "silent_minutes"]
        return _Fault(
            document["id"], document["incident_kind"], start, end, document["scope"], frozenset(document["devices"]),
            frozenset(document["customers"]), detectable,
        )  # fmt: skip

    def fits(self, incident: Incident) -> bool:
        """Whether the incident is of this kind and time and names one of its customers or its scope."""
        if incident.kind != self.kind or not self.start <= incident.detected_at <= self.end + AFTER_MS:
            return False
        if self.kind == QUALITY:
            return bool(self.customers & set(incident.customers)) or self.rank(incident) is not None
        named = incident.where and all(incident.where.get(d) == v for d, v in self.scope.items())
        return bool(named or self.devices & set(incident.devices))

    def rank(self, incident: Incident) -> int | None:
        """Place of the scope among the incident's causes, from 0; equivalents count as the cause itself."""
        if self.kind != QUALITY:
            return 0 if self.devices & set(incident.devices) else None
        for place, cause in enumerate(incident.causes):
            names = [dict(cause.where), *(dict(e.where) for e in cause.equivalents)]
            if dict(self.scope) in names:
                return place
        return None


def score(truth: Mapping[str, Any], incidents: Sequence[Incident]) -> dict[str, Any]:
    """The form of score.json. `incidents`: as they were at the end; those merged into another are left out."""
    begin = from_rfc3339(truth["start"])
    faults = [_Fault.of(document, begin) for document in truth["faults"]]
    own = [i for i in incidents if i.merged_into is None]
    matches = _matches(faults, own)
    false = [i for i in own if not any(fault.fits(i) for fault in faults)]
    counted = [f for f in faults if f.detectable]
    found = [f for f in counted if f.id in matches]
    ranks = [matches[f.id].rank_of(f) for f in found if f.kind == QUALITY]
    seconds = [(matches[f.id].incident.detected_at - f.start) / 1_000 for f in found]
    exact, top3 = sum(r == 0 for r in ranks), sum(r is not None and r < 3 for r in ranks)
    true = len(own) - len(false)
    return {
        "faults": len(counted),
        "found": len(found),
        "recall": _ratio(len(found), len(counted)),
        "precision": _ratio(true, len(own)),
        "false_incidents": len(false),
        "incidents": len(own),
        "duplicates": true - len(matches),
        "seconds_to_detect": {"p50": _quantile(seconds, 50), "p95": _quantile(seconds, 95)},
        "cause_exact": _ratio(exact, len(ranks)),
        "cause_top3": _ratio(top3, len(ranks)),
        "intervals": {
            "recall": wilson(len(found), len(counted)),
            "precision": wilson(true, len(own)),
            "cause_exact": wilson(exact, len(ranks)),
            "cause_top3": wilson(top3, len(ranks)),
        },
        "detectable": DETECTABLE,
        "below_detectable": {"faults": len(faults) - len(counted), "found": len(matches) - len(found)},
        "missed": [f.id for f in counted if f.id not in matches],
        "false": [i.id for i in false],
        "matches": {fault: match.incident.id for fault, match in sorted(matches.items())},
    }


@dataclass(frozen=True, slots=True)
class _Match:
    incident: Incident

    def rank_of(self, fault: _Fault) -> int | None:
        return fault.rank(self.incident)


def _matches(faults: Sequence[_Fault], incidents: Sequence[Incident]) -> dict[str, _Match]:
    """Best pairs first: the cause it names, then how soon."""
    pairs = []
    for f, fault in enumerate(faults):
        for i, incident in enumerate(incidents):
            if fault.fits(incident):
                rank = fault.rank(incident)
                pairs.append((math.inf if rank is None else rank, incident.detected_at - fault.start, f, i))
    matches: dict[str, _Match] = {}
    taken: set[int] = set()
    for _, _, f, i in sorted(pairs):
        if faults[f].id not in matches and i not in taken:
            matches[faults[f].id] = _Match(incidents[i])
            taken.add(i)
    return matches


def wilson(hits: int, n: int) -> list[float] | None:
    """95% interval of a proportion, to four digits; None of nothing."""
    interval = Proportion(hits, n).interval
    return None if interval is None else [round(end, 4) for end in interval]


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _quantile(values: Sequence[float], percent: int) -> float | None:
    if not values:
        return None
    return float(values[0] if len(values) == 1 else quantiles(values, n=100, method="inclusive")[percent - 1])


def as_text(document: Mapping[str, Any]) -> str:
    """The file's text."""
    return json.dumps(document, indent=1) + "\n"


def in_words(document: Mapping[str, Any]) -> str:
    """The score as a sentence."""
    said = f"incidents: {document['found']} of {document['faults']} detectable faults found"
    if document["seconds_to_detect"]["p50"] is not None:
        said += f", half of them within {document['seconds_to_detect']['p50']:.0f} s"
    return f"{said}; {document['false_incidents']} of {document['incidents']} incidents false"
