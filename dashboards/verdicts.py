"""How a customer stands: the judgement of sums against an objective, ranks, onsets. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from contracts.entities import Customer
from dashboards.model import State, Steps, Sums

FULL_COVERAGE = 0.99  # below it, a figure never appears without its coverage


def limit_of(customer: Customer | None, service: str | None = None) -> float | None:
    """The failure ratio a customer was promised not to exceed: 1 - target of its objective for failures. Without a
    service, the strictest of its services'. None: no objective."""
    objectives = customer.objectives if customer else ()
    targets = [o.target for o in objectives if o.measure == "failures" and service in (None, o.service)]
    return 1.0 - max(targets) if targets else None


def judge(sums: Sums, limit: float | None) -> State:
    """BELOW if the objective fails even if all unmeasured requests were good, and chance cannot explain it; WITHIN if
    it holds even if all were bad; else UNDECIDED: the data cannot tell."""
    expected = sums.requests + sums.unmeasured
    if expected <= 0:
        return State.NO_TRAFFIC
    if limit is None:
        return State.NO_OBJECTIVE if sums.requests else State.UNDECIDED
    if (sums.failures + sums.unmeasured) / expected <= limit:
        return State.WITHIN
    fails = sums.failures / expected > limit and beyond_chance(sums.failures, sums.requests, limit)
    return State.BELOW if fails else State.UNDECIDED


def beyond_chance(failures: int, requests: int, limit: float, error: float = 0.01) -> bool:
    """Whether so many failures are improbable (below `error`) for a customer exactly at its limit, by the Chernoff
    bound P(X >= k) <= exp(-n KL(k/n || p)) of the binomial (Hoeffding 1963, theorem 1); it errs towards False."""
    ratio = failures / requests if requests else 0.0
    if ratio <= limit:
        return False
    if limit <= 0.0:
        return True
    divergence = ratio * math.log(ratio / limit)
    if ratio < 1.0:
        divergence += (1.0 - ratio) * math.log((1.0 - ratio) / (1.0 - limit))
    return requests * divergence > -math.log(error)


_ORDER = {s: i for i, s in enumerate((State.BELOW, State.UNDECIDED, State.WITHIN, State.NO_OBJECTIVE))}


def badness(state: State, present: Sums, whole: Sums, limit: float | None) -> tuple[int, float]:
    """Sort key, worst first: the state, then how many times its limit (without one: of 1%) the failure ratio is: the
    present one of customers below objective, else that of the whole range, so that calm rows keep their place."""
    ratio = (present if state is State.BELOW else whole).failure_ratio
    return _ORDER.get(state, len(_ORDER)), -(ratio / (limit or 0.01)) if ratio is not None else 0.0


def below_since(steps: Steps, limit: float | None, present_start: int) -> int | None:
    """Start of the newest run of steps above the limit that reaches into the present, steps without requests passed
    over; None: there is none. A run may have ended within the present."""
    since = None
    for i in reversed(range(len(steps))):
        ratio = steps.ratio(i)
        above = limit is not None and ratio is not None and ratio > limit
        if above:
            since = steps.start[i]
        elif ratio is not None and since is not None:
            break
        if since is None and steps.start[i] <= present_start:
            break
    return since


def worst_step(steps: Steps) -> int | None:
    """Index of the step with the highest failure ratio, the earliest of equals; None without requests."""
    best: tuple[float, int] | None = None
    for i in range(len(steps)):
        ratio = steps.ratio(i)
        if ratio is not None and (best is None or ratio > best[0]):
            best = ratio, i
    return best[1] if best else None


def spans(flags: Sequence[bool], steps: Steps) -> list[tuple[int, int]]:
    """Runs of true flags as (start, end) in ms."""
    runs: list[tuple[int, int]] = []
    for start, flag in zip(steps.start, flags, strict=True):
        if flag and runs and runs[-1][1] == start:
            runs[-1] = runs[-1][0], min(start + steps.step_ms, steps.until)
        elif flag:
            runs.append((start, min(start + steps.step_ms, steps.until)))
    return runs


def empty_spans(steps: Steps) -> list[tuple[int, int]]:
    """Spans without data: nothing measured and nothing expected."""
    return spans([not r and u <= 0 for r, u in zip(steps.requests, steps.unmeasured, strict=True)], steps)


def unmeasured_spans(steps: Steps) -> list[tuple[int, int]]:
    """Spans with coverage below FULL_COVERAGE, silence where traffic was expected included."""
    coverages = (steps.coverage(i) for i in range(len(steps)))
    return spans([c is not None and c < FULL_COVERAGE for c in coverages], steps)
