"""What may be the cause of some dips: whom to ask the localiser about, and what to make of its answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.incidents import Cause
from streams.detect import Signal
from streams.incident_causes import Explanation, Scene, customer_cause
from streams.incident_cells import Mask, Where

LOCALISED, DIFFUSE = "localised", "diffuse"
_SECOND_CAUSE_NATS = 20.0  # evidence for another cause in series that already have one
_SECOND_CAUSE_RATIO = 0.01  # additional bad of total for all of a customer's traffic to count as another cause


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cause of some dips, to be joined with an incident or to become one."""

    measure: str
    verdict: str
    reason: str
    causes: tuple[Cause, ...]
    signals: tuple[Signal, ...]


def first_cause(scene: Scene, outside: Mask, fresh: Sequence[Signal], measure: str) -> Candidate:
    """Of dips that no incident has. `outside`: cells beyond the causes that are known."""
    services = {(s.series[0], s.series[1]) for s in fresh}
    found = scene.explain(measure, scene.of_services(services) & outside)
    customers = sorted({customer for customer, _ in services})
    if found.verdict == DIFFUSE and len(customers) > 1:
        wide = scene.explain(measure, outside)
        found = wide if wide.verdict == LOCALISED else found
    if found.verdict == LOCALISED:
        lead = [c for c in found.causes if c.answer][:1]
        inside = [s for s in fresh if _touches(scene, s, lead[0].where)]
        rest = [c for c in found.causes if not c.answer]
        return Candidate(measure, LOCALISED, found.reason, (*lead, *rest), tuple(inside or fresh))
    if found.verdict == DIFFUSE:
        return _whole_customer(scene, found, fresh, customers[0])
    alone = [s for s in fresh if s.series[0] == customers[0]]
    return Candidate(measure, found.verdict, found.reason, found.causes, tuple(alone))


def _whole_customer(scene: Scene, found: Explanation, fresh: Sequence[Signal], customer: str) -> Candidate:
    """All of a customer's traffic is worse, other customers' is not: the customer is the cause."""
    cause = customer_cause(scene, found.measure, {"customer": customer})
    alone = tuple(s for s in fresh if s.series[0] == customer)
    return Candidate(found.measure, DIFFUSE, found.reason, (cause, *found.causes), alone)


def second_cause(scene: Scene, outside: Mask, held: Sequence[Signal], measure: str) -> Candidate | None:
    """Another cause in series that have one, seen in the last minutes outside the causes that are known."""
    found = scene.explain(measure, scene.of_services({(s.series[0], s.series[1]) for s in held}) & outside)
    if found.verdict == LOCALISED and found.causes[0].gain >= _SECOND_CAUSE_NATS:
        lead = found.causes[0]
        inside = [s for s in held if _touches(scene, s, lead.where)]
        rest = [c for c in found.causes if not c.answer]
        return Candidate(measure, LOCALISED, found.reason, (lead, *rest), tuple(inside or held))
    if found.verdict == DIFFUSE:
        for customer in sorted({s.series[0] for s in held}):
            bad, total, rate = scene.rate(measure, [{"customer": customer}], outside)
            grown = bad - rate * total > max(_SECOND_CAUSE_RATIO * total, rate * total)
            if grown and excess_nats(bad, rate * total) >= _SECOND_CAUSE_NATS:
                return _whole_customer(scene, found, held, customer)
    return None


def _touches(scene: Scene, signal: Signal, where: Where) -> bool:
    """Whether some of a series' traffic lies in a cause and is worse than usual there."""
    rows = scene.of_services([(signal.series[0], signal.series[1])])
    bad, total, rate = scene.rate(signal.series[2], [where], rows)
    return total > 0 and (rate != rate or bad > rate * total)


def excess_nats(bad: float, expected: float) -> float:
    """Log likelihood ratio of a raised mean against the expected one, Poisson; 0 when not raised."""
    if bad <= expected:
        return 0.0
    least = max(expected, 0.1)
    return bad * math.log(bad / least) - (bad - least)
