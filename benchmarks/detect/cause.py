"""What the localiser makes of a fault that was found: cells in the proportions of its stream, one cause among them.

The streams hold counts of customers, not of cells; so for each found fault a cube of the same customers is drawn, with
the traffic, the usual ratio and the added share of the measure that spoke, and one combination as its cause. The
localiser is asked twice, as incidents ask it: at the alarm, with what was counted since the onset, and at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomaly.localise import localise_ratio
from benchmarks.detect.score import WATERMARK_S, Found
from benchmarks.detect.streams import EFFECTS, REQUESTS_PER_SESSION, STALLED, Stream
from benchmarks.localise.generate import HISTORY, sized
from benchmarks.localise.score import cells_of

LONGEST_MINUTES = 60
"""Of a column: what lasts longer is explained by its last hour."""
BEFORE_MINUTES = 120
ALARM, END = "at_alarm", "at_end"


@dataclass(frozen=True, slots=True)
class Named:
    """One answer of the localiser. exact: the cause and nothing else; top3: it is among the first three ranked."""

    when: str
    verdict: str
    exact: bool
    top3: bool


def named(stream: Stream, found: Found, rng: np.random.Generator) -> list[Named]:
    """At the alarm and at the end; empty for a fault that was missed, or that no single combination could cause."""
    if found.seconds is None:
        return []
    fault = found.fault
    opened = int(fault.start + (found.seconds - WATERMARK_S) / 60 + 0.5)
    answers = []
    for when, last in ((ALARM, min(opened, fault.end)), (END, fault.end)):
        first = max(int(fault.start), last - LONGEST_MINUTES)
        one = _named(stream, found, first, last, when, rng)
        if one is not None:
            answers.append(one)
    return answers


def _named(stream: Stream, found: Found, first: int, last: int, when: str, rng: np.random.Generator) -> Named | None:
    fault = found.fault
    span = np.arange(first, max(last, first + 1), dtype=float)
    times = dict(EFFECTS[fault.kind])[found.measure]
    excess = times * fault.share * float(fault.profile(span).mean())
    customers = list(fault.customers)
    before = slice(max(0, int(fault.start) - BEFORE_MINUTES), int(fault.start))
    bad = int(stream.bad[before, customers, found.measure].sum())
    total = int(stream.total[before, customers, found.measure].sum())
    requests = float(stream.usual_requests[int(fault.start) : fault.end, customers].mean(axis=0).sum()) * len(span)
    if found.measure == STALLED:
        requests /= REQUESTS_PER_SESSION
    if total == 0 or excess == 0:
        return None
    incident, cause = sized(excess, max(bad, 1) / total, requests, len(customers), rng)
    if cause is None:
        return None
    result = localise_ratio(incident.codes, incident.bad, incident.total, HISTORY)
    answer, ranked = cells_of(result)
    truth = frozenset(cause)
    return Named(when, result.verdict.value, answer == [truth], truth in ranked[:3])
