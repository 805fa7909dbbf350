"""One minute of health: fold in evidence, judge, move states, keep to the budget.

Value. theta (ratio.py) over a fast and a slow window gives badness, and 1 - badness is the observed quality, the lower
of both windows. It counts as far as there is fresh evidence, the rest is neutral; vitals take from the whole:

    value = vitals x (neutral + c x (quality - neutral)),    c = requests / (requests + neutral_requests) x freshness

State. Badness at the lower end of theta is what is certain; it reduces or drains. A removed box comes back on evidence
gathered since: the log likelihood ratio of "well" (ratio 1) against "as ill as it was" (ratio t), never below 0,

    gathered += (t - 1) x E - O x ln t

(a CUSUM of the Poisson log likelihood, Lucas, Technometrics 27, 1985) over `return_evidence` is one step back; every
step of the ramp gathers anew. No requests, no evidence, no step. E counts up to twice what is usual: an ill box that
fails no more than everybody else while its whole place fails has not shown that it is well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomaly.health import vitals as vital_signs
from anomaly.health.budget import Capacity, Removal, remove
from anomaly.health.errors import BadInput
from anomaly.health.memory import (
    DRAINED,
    EXPECTED,
    NEVER,
    OBSERVED,
    REDUCED,
    REQUESTS,
    RETURNING,
    SERVING,
    Memory,
)
from anomaly.health.ratio import badness, group_ratio, posterior
from anomaly.health.settings import HealthSettings, StateSettings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NEUTRAL = 0.5


@dataclass(frozen=True, slots=True)
class Evidence:
    """New evidence of boxes, each at most once: `box` (m,) int64, `requests`, `failures`, `expected` (m,) float64. A
    correction of an earlier minute may be negative."""

    box: Ints
    requests: Floats
    failures: Floats
    expected: Floats

    def __post_init__(self) -> None:
        for name in ("requests", "failures", "expected"):
            values = getattr(self, name)
            if len(values) != len(self.box) or not np.isfinite(values).all():
                raise BadInput(name, "expected a finite number per box")


@dataclass(frozen=True, slots=True)
class Scores:
    """Per box, (n,): `value`, its interval `low`..`high`, `quality` before vitals, `certain` badness, `theta`, the
    `share` of its usual traffic it should get, `refused`: it looks ill and the budget kept it, `held`: wholly or in
    part. `factors` (signs, n): what each vital sign leaves. `age` in minutes since evidence, inf without any.
    `removal`: the budget's arithmetic."""

    value: Floats
    low: Floats
    high: Floats
    certain: Floats
    theta: Floats
    share: Floats
    refused: Bools
    held: Bools
    factors: Floats
    age: Floats
    removal: Removal
    sums: Floats


def fold(memory: Memory, minute: int, evidence: Evidence, settings: HealthSettings) -> None:
    """Add a minute's evidence (minutes since the epoch). What a box had decays by one minute, however long it was
    silent; a correction of a minute that was folded in already decays nothing."""
    box = evidence.box
    passed = np.where(memory.seen[box] == NEVER, 0, np.clip(minute - memory.seen[box], 0, 1))
    passed = passed * shares(memory, settings.state)[box]
    news = (evidence.requests, evidence.failures, evidence.expected)
    for w, half_life in enumerate((settings.ratio.fast_half_life_minutes, settings.ratio.slow_half_life_minutes)):
        kept = 0.5 ** (passed / half_life)
        for k, values in enumerate(news):
            memory.sums[w, k, box] = np.maximum(memory.sums[w, k, box] * kept + values, 0.0)
    active = box[evidence.requests > 0]
    memory.seen[active] = np.maximum(memory.seen[active], minute)
    removed = memory.phase[box] != SERVING
    _usual(memory, evidence, ~removed, settings)
    t = np.where(removed, memory.tested[box], 1.0)
    known = memory.usual[box] > 0
    most = np.where(known, settings.state.most_expected * memory.usual[box] * evidence.requests, np.inf)
    expected = np.minimum(evidence.expected, most)
    with np.errstate(divide="ignore"):
        news_of_return = ((t - 1.0) * expected - evidence.failures * np.log(t)) / settings.ratio.dispersion
    memory.gathered[box] = np.where(removed, np.maximum(memory.gathered[box] + news_of_return, 0.0), 0.0)


def _usual(memory: Memory, evidence: Evidence, serving: Bools, settings: HealthSettings) -> None:
    """What is usual for the clients of boxes that serve. An outage counts as little as any bad minute."""
    counts = serving & (evidence.requests > 0) & (evidence.expected > 0)
    box = evidence.box[counts]
    ratio = evidence.expected[counts] / evidence.requests[counts]
    before = memory.usual[box]
    ratio = np.where(before > 0, np.minimum(ratio, settings.state.most_expected * before), ratio)
    step = 1.0 - 0.5 ** (1.0 / settings.ratio.usual_half_life_minutes)
    memory.usual[box] = np.where(before > 0, before + (ratio - before) * step, ratio)


def judge(
    memory: Memory, minute: int, groups: Ints, signs: Floats, capacity: Capacity, settings: HealthSettings
) -> Scores:
    """Scores of all boxes as of a minute; moves phases in `memory`. `groups` (levels, n): see ratio.group_ratio;
    `signs` (len(SIGNS), n): see vitals.factors."""
    s = settings.ratio
    n = len(memory)
    if groups.shape[1:] != (n,) or signs.shape != (len(vital_signs.SIGNS), n):
        raise BadInput("groups, signs", f"expected columns for {n} boxes, got {groups.shape} and {signs.shape}")
    slow = memory.sums[1]
    m = group_ratio(slow[OBSERVED], slow[EXPECTED], groups, s)
    worst, certain, best, theta = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    for window in memory.sums:
        # Of the same minutes as theta: what was usual before an incident or after it makes no excess of this one.
        expected_ratio = np.divide(window[EXPECTED], window[REQUESTS], out=np.zeros(n), where=window[REQUESTS] > 0)
        mean, low, high = posterior(window[OBSERVED], window[EXPECTED], m, s)
        worst = np.maximum(worst, badness(mean, expected_ratio, settings.badness))
        certain = np.maximum(certain, badness(low, expected_ratio, settings.badness))
        best = np.maximum(best, badness(np.maximum(high, mean), expected_ratio, settings.badness))
        theta = np.maximum(theta, mean)
    age = np.where(memory.seen == NEVER, np.inf, np.maximum(minute - memory.seen, 0).astype(np.float64))
    freshness = 0.5 ** (np.maximum(age - s.fresh_minutes, 0.0) / s.stale_half_life_minutes)
    c = slow[REQUESTS] / (slow[REQUESTS] + s.neutral_requests) * freshness
    factors = vital_signs.factors(signs, settings.vitals)
    left = factors.prod(axis=0)
    certain = np.where(freshness > NEUTRAL, certain, 0.0)  # old evidence moves no state
    sums = slow.copy()
    removal, refused, held = _move(memory, certain, theta, left, capacity, settings)
    return Scores(
        value=left * (NEUTRAL + c * (1.0 - worst - NEUTRAL)),
        low=left * c * (1.0 - best),
        high=left * (c * (1.0 - np.minimum(certain, worst)) + 1.0 - c),
        certain=certain,
        theta=theta,
        share=shares(memory, settings.state),
        refused=refused,
        held=held,
        factors=factors,
        age=age,
        removal=removal,
        sums=sums,
    )


def shares(memory: Memory, settings: StateSettings) -> Floats:
    """Share of its usual traffic each box should get, (n,)."""
    return np.maximum(_share_of(memory.phase, memory.step, settings), memory.left)


def _move(
    memory: Memory,
    certain: Floats,
    theta: Floats,
    left: Floats,
    capacity: Capacity,
    settings: HealthSettings,
) -> tuple[Removal, Bools, Bools]:
    """Phases of a minute, within the budget; returns its arithmetic, who was kept by it, and who wholly or in part."""
    s = settings.state
    before, step_before = memory.phase.copy(), memory.step.copy()
    ill = certain >= s.reduce_at
    poorly = (left < s.vitals_below) | ((memory.by_vitals == 1) & (left < s.vitals_above))
    # What was counted before a removal does not speak against the return: only what was gathered since does.
    back = (before != SERVING) & (memory.gathered >= s.return_evidence) & ~poorly & ~(ill & (before == RETURNING))
    back |= (before == REDUCED) & (memory.by_vitals == 1) & ~poorly & ~ill

    phase, step = before.copy(), step_before.copy()
    of_reduced = int(np.searchsorted(s.ramp, s.reduced_share, side="right"))  # first step above what a reduced box has
    phase[back] = RETURNING
    step[back] = np.select(
        [before[back] == DRAINED, before[back] == REDUCED], [0, of_reduced], default=step_before[back] + 1
    )
    phase[(phase == RETURNING) & (step >= len(s.ramp))] = SERVING
    # On the first steps of the way back a box gets less than a reduced one: it stays there until it is well or drained.
    phase[(ill | poorly) & ((before == SERVING) | ((before == RETURNING) & (step_before >= of_reduced)))] = REDUCED
    phase[certain >= s.drain_at] = DRAINED
    phase[(before == DRAINED) & back] = RETURNING
    away = np.bincount(capacity.box, capacity.amount, len(phase)) == 0
    phase, step = np.where(away, before, phase), np.where(away, step_before, step)

    want, have = 1.0 - _share_of(phase, step, s), 1.0 - shares(memory, s)
    removal = remove(want, have, certain + (1.0 - left), capacity, settings.budget)
    refused = (removal.granted < removal.asked) & ~away
    given_back = refused & (removal.granted == 0)
    stays = refused & (removal.granted <= have)
    phase = np.where(given_back, SERVING, np.where(stays, before, phase))
    step = np.where(stays, step_before, step)
    _settle(memory, phase, step, given_back, theta, s)
    whole = 1.0 - _share_of(memory.phase, memory.step, s)
    memory.left[:] = np.where(away, memory.left, np.where(removal.granted < whole, 1.0 - removal.granted, 0.0))
    memory.by_vitals[:] = (phase == REDUCED) & poorly & ~ill & ((memory.by_vitals == 1) | (before != REDUCED))
    return removal, refused, refused | (memory.left > 0)


def _share_of(phase: Ints, step: Ints, s: StateSettings) -> Floats:
    ramp = np.array((*s.ramp, 1.0))
    fixed = np.array([1.0, s.reduced_share, s.probe_share, 1.0])
    result: Floats = np.where(phase == RETURNING, ramp[np.minimum(step, len(s.ramp))], fixed[phase])
    return result


def _settle(memory: Memory, phase: Ints, step: Ints, given_back: Bools, theta: Floats, s: StateSettings) -> None:
    """Take the new phases; who begins a new step begins with no evidence, neither of that step nor of illness."""
    before = memory.phase
    falls = (phase != before) & ((phase == DRAINED) | (phase == REDUCED))
    with np.errstate(divide="ignore"):
        most = np.where(memory.usual > 0, s.most_ill_ratio / memory.usual, np.inf)
    tested = np.maximum(np.minimum(theta, most), s.least_ratio)
    memory.tested[:] = np.where(
        falls, np.where(before == SERVING, tested, np.maximum(tested, memory.tested)), memory.tested
    )
    moved = (phase != before) | ((phase == RETURNING) & (step != memory.step))
    memory.gathered[moved] = 0.0
    rises = moved & ~falls & ~given_back
    memory.sums[:, :, rises] = 0.0
    memory.phase[:] = phase
    memory.step[:] = np.where(phase == RETURNING, step, 0)
    memory.tested[phase == SERVING] = 0.0
