"""Is a release good: the boxes it reached against matched boxes it did not, looked at as often as one likes.

Rows are strata of a minute (same ISP, region, model and load): failures x1 of n1 requests on changed boxes, x0 of n0 on
matched unchanged ones. Given their sum t, x1 is binomial with p(r) = r n1 / (r n1 + n0) where r is the rate ratio,
exact for sparse counts, and whatever the strata's own rates are drops out. Two e-values accumulate over rows, each a
mixture of likelihood ratios over a grid of r:

    harm: r above 1 against r = 1            fine: r below `margin` against r = margin

By Ville's inequality an e-value above 1 / alpha ever, however often one looks, has probability alpha if its null is
true (Johari, Koomen, Pekelis, Walsh, "Always Valid Inference", Operations Research 70, 2022; for two binomial streams
Turner, Ly, Grunwald, "Generic E-variables for exact sequential k-sample tests that allow for optional stopping", J.
Statistical Planning and Inference 230, 2024). Counts weigh as `dispersion` times fewer, because failures of a box come
in bursts.

Boxes that vanished after the change are a second e-value of harm, harm being the mean of both (which is one too).
Within a stratum, given how many vanished on both sides together, how many of them were changed is hypergeometric, with
the odds of vanishing multiplied if the release kills boxes (Fisher's exact test): a place that goes dark takes both
sides with it and says nothing. It is computed anew at each look, from those that are silent then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PROMOTE, HOLD, ROLL_BACK, INSUFFICIENT = "promote", "hold", "roll back", "insufficient data"
LENT_REQUESTS = (
    10.0  # of all rows, that the unchanged side of a row is mixed with for `expected_bad`; no verdict uses it
)
_LARGEST_LOG = 700.0  # of what a float can hold


class BadInput(ValueError):
    """An argument breaks the contract; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSettings:
    """When to say what."""

    alpha: float = 0.01
    """Chance of rolling back a release that is as good as what it replaces, over all looks."""
    beta: float = 0.05
    """Chance of promoting one that is worse by `margin` or more."""
    margin: float = 1.25
    """A release with so many times the failures is not let through."""
    harm_ratios: tuple[float, ...] = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
    fine_ratios: tuple[float, ...] = (0.3, 0.5, 0.7, 0.85, 1.0, 1.1)
    vanish_odds: tuple[float, ...] = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
    """How many times the odds of vanishing may be; what kills boxes kills most of them, hence far up."""
    dispersion: float = 1.5
    least_requests: float = 1_000.0
    """On matched strata, on either side; below it nothing is said."""
    least_boxes: int = 5
    """Changed boxes with requests in the hour before or since, likewise."""

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise BadInput(f"{name}: expected a probability above 0 and below 1, got {getattr(self, name)}")
        if not self.margin > 1.0 or not min(self.harm_ratios) > 1.0 or not max(self.fine_ratios) < self.margin:
            raise BadInput(f"margin: expected above 1 and above every ratio of fine_ratios, got {self.margin}")
        if not min(self.vanish_odds) > 1.0:
            raise BadInput(f"vanish_odds: expected all above 1, got {self.vanish_odds}")
        if not self.dispersion >= 1.0:
            raise BadInput(f"dispersion: expected at least 1, got {self.dispersion}")


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the comparison: failures `bad` of `total` per row, (m,), float or integer; per stratum of boxes how
    many `boxes` had requests and how many of them `vanished` since the change, (k,)."""

    bad: Floats
    total: Floats
    boxes: Ints
    vanished: Ints

    def __post_init__(self) -> None:
        if len(self.bad) != len(self.total):
            raise BadInput(f"bad, total: expected the same rows, got {len(self.bad)} and {len(self.total)}")
        if not (np.isfinite(self.total).all() and (self.bad >= 0).all() and (self.bad <= self.total).all()):
            raise BadInput("bad, total: expected counts with 0 <= bad <= total in every row")
        if len(self.boxes) != len(self.vanished):
            raise BadInput(f"boxes, vanished: expected as many, got {len(self.boxes)} and {len(self.vanished)}")
        if not ((self.vanished >= 0).all() and (self.vanished <= self.boxes).all()):
            raise BadInput("boxes, vanished: expected counts with 0 <= vanished <= boxes in every stratum")


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What the verdict stands on, over rows that have requests on both sides: failures of requests; `expected_bad`, of
    the changed side at the unchanged rates; `ratio` bad / expected (None: nothing expected); the e-values and what they
    must reach; `unmatched_requests` of the changed side left out because nobody comparable was there. Boxes likewise:
    of strata that have some on both sides, and `unmatched_boxes` of the changed side, with `unmatched_vanished`."""

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
class Verdict:
    """`verdict`: promote | hold | roll back | insufficient data; `why` in one sentence."""

    verdict: str
    why: str
    arithmetic: Arithmetic


def compare(changed: Side, unchanged: Side, settings: ReleaseSettings | None = None) -> Verdict:
    """Compare a release with what it replaces; row i of both sides is the same stratum and minute, entry i of `boxes`
    and `vanished` the same stratum of boxes."""
    s = settings or ReleaseSettings()
    for what, a, b in (("rows", changed.total, unchanged.total), ("boxes", changed.boxes, unchanged.boxes)):
        if len(a) != len(b):
            raise BadInput(f"{what}: expected as many on both sides, got {len(a)} and {len(b)}")
    matched = (changed.total > 0) & (unchanged.total > 0)
    x1, n1, x0, n0 = (
        np.asarray(column, np.float64)[matched]
        for column in (changed.bad, changed.total, unchanged.bad, unchanged.total)
    )
    counts = (x1 / s.dispersion, n1, x0 / s.dispersion, n0)
    beside = (changed.boxes > 0) & (unchanged.boxes > 0)
    harm = [_mean_log(_log_ratios(counts, s.harm_ratios, 1.0))]
    if beside.any():
        harm.append(_mean_log(_log_vanishing(changed, unchanged, beside, s.vanish_odds)))
    expected = float(expected_bad(changed, unchanged).sum())
    told = Arithmetic(
        changed_bad=float(x1.sum()),
        changed_total=float(n1.sum()),
        unchanged_bad=float(x0.sum()),
        unchanged_total=float(n0.sum()),
        expected_bad=expected,
        ratio=float(x1.sum()) / expected if expected > 0 else None,
        harm_e=sum(map(_exp, harm)) / len(harm),
        harm_needed=1.0 / s.alpha,
        fine_e=_exp(_mean_log(_log_ratios(counts, s.fine_ratios, s.margin))),
        fine_needed=1.0 / s.beta,
        unmatched_requests=float(np.asarray(changed.total, np.float64)[~matched].sum()),
        changed_boxes=int(changed.boxes[beside].sum()),
        changed_vanished=int(changed.vanished[beside].sum()),
        unchanged_boxes=int(unchanged.boxes[beside].sum()),
        unchanged_vanished=int(unchanged.vanished[beside].sum()),
        unmatched_boxes=int(changed.boxes[~beside].sum()),
        unmatched_vanished=int(changed.vanished[~beside].sum()),
    )
    return _verdict(told, s)


def expected_bad(changed: Side, unchanged: Side) -> Floats:
    """Failures of the changed side's matched rows at the unchanged rates, (m,), 0 where a row is not matched: the
    unchanged rate of each row, by that of all rows where a row has few requests."""
    n1, x0, n0 = (np.asarray(c, np.float64) for c in (changed.total, unchanged.bad, unchanged.total))
    matched = (n1 > 0) & (n0 > 0)
    overall = float(x0[matched].sum() / n0[matched].sum()) if matched.any() else 0.0
    result: Floats = np.where(matched, n1 * (x0 + LENT_REQUESTS * overall) / (n0 + LENT_REQUESTS), 0.0)
    return result


def course(
    changed: Side, unchanged: Side, step: Ints, settings: ReleaseSettings | None = None
) -> tuple[Floats, Floats]:
    """How evidence grew: e-values of harm and of its absence after each step, (steps,), of requests alone. `step` (m,):
    of each row, from 0, in the order of time."""
    s = settings or ReleaseSettings()
    if len(step) != len(changed.total) or len(changed.total) != len(unchanged.total):
        raise BadInput(f"step: expected one per row, got {len(step)} for {len(changed.total)} rows")
    matched = (changed.total > 0) & (unchanged.total > 0)
    x1, n1, x0, n0 = (
        np.asarray(column, np.float64)[matched]
        for column in (changed.bad, changed.total, unchanged.bad, unchanged.total)
    )
    count = int(step.max(initial=-1)) + 1
    result = []
    for ratios, null in ((s.harm_ratios, 1.0), (s.fine_ratios, s.margin)):
        rows = _log_ratios((x1 / s.dispersion, n1, x0 / s.dispersion, n0), ratios, null)
        logs = np.cumsum([np.bincount(step[matched], row, count) for row in rows], axis=1)
        top = logs.max(axis=0)
        mean = top + np.log(np.exp(logs - top).mean(axis=0))
        result.append(np.exp(np.minimum(mean, _LARGEST_LOG)))
    return result[0], result[1]


def _verdict(a: Arithmetic, s: ReleaseSettings) -> Verdict:
    counts = f"{a.changed_bad:.0f} of {a.changed_total:.0f} requests failed where {a.expected_bad:.1f} were expected"
    gone = f"{a.changed_vanished} of {a.changed_boxes} changed boxes vanished, {a.unchanged_vanished} of"
    gone += f" {a.unchanged_boxes} others"
    boxes = a.changed_boxes + a.unmatched_boxes
    if a.harm_e >= a.harm_needed:
        return Verdict(
            ROLL_BACK, f"{counts}; {gone}: evidence of harm {a.harm_e:.3g}, {a.harm_needed:.3g} is enough", a
        )
    if min(a.changed_total, a.unchanged_total) < s.least_requests or boxes < s.least_boxes:
        why = (
            f"{a.changed_total:.0f} requests of {boxes} changed boxes and {a.unchanged_total:.0f} of others: "
            f"{s.least_requests:.0f} of either and {s.least_boxes} boxes are needed"
        )
        return Verdict(INSUFFICIENT, why, a)
    if a.fine_e >= a.fine_needed:
        why = f"{counts}: not worse by {s.margin:g} times, evidence {a.fine_e:.3g}, {a.fine_needed:.3g} is enough"
        return Verdict(PROMOTE, why, a)
    shown = f"neither harm ({a.harm_e:.3g}) nor its absence ({a.fine_e:.3g}) is shown yet"
    return Verdict(HOLD, f"{counts}; {gone}: {shown}", a)


def _mean_log(logs: Sequence[Floats]) -> float:
    """Logarithm of the mean of likelihood ratios, of each of which the logarithms of its factors are given."""
    sums = [float(row.sum()) for row in logs]
    top = max(sums)
    return top + math.log(sum(math.exp(v - top) for v in sums) / len(sums))


def _log_ratios(counts: Sequence[Floats], ratios: tuple[float, ...], null: float) -> list[Floats]:
    """Per ratio the logarithm of each row's likelihood ratio against `null`, (m,)."""
    x1, n1, x0, n0 = counts
    logs = []
    for r in ratios:
        p, q = r * n1 / (r * n1 + n0), null * n1 / (null * n1 + n0)
        logs.append(x1 * np.log(p / q) + x0 * np.log((1 - p) / (1 - q)))
    return logs


def _log_vanishing(
    changed: Side, unchanged: Side, strata: npt.NDArray[np.bool_], odds: tuple[float, ...]
) -> list[Floats]:
    """Per odds ratio the logarithm of each stratum's likelihood ratio against a release that kills no box, (k,)."""
    columns = (changed.vanished, changed.boxes, unchanged.vanished, unchanged.boxes)
    some = strata & (changed.vanished + unchanged.vanished > 0)
    rows = [_log_fisher(x1, n1, x0, n0, np.log(odds)) for x1, n1, x0, n0 in np.stack(columns)[:, some].T.tolist()]
    return list(np.array(rows, np.float64).reshape(-1, len(odds)).T)


def _log_fisher(x1: int, n1: int, x0: int, n0: int, log_odds: Floats) -> Floats:
    """Of x1 of n1 against x0 of n0, given x1 + x0: the non-central hypergeometric likelihood over the central one."""
    t = x1 + x0
    k = np.arange(max(0, t - n0), min(t, n1) + 1, dtype=np.float64)  # how many of the t could have been changed
    steps = np.log((n1 - k[:-1]) * (t - k[:-1])) - np.log(k[1:] * (n0 - t + k[1:]))
    central = np.concatenate([[0.0], np.cumsum(steps)])
    tilted = central + log_odds[:, None] * (k - x1)
    result: Floats = _log_sum(central) - _log_sum(tilted)
    return result


def _log_sum(logs: Floats) -> Any:
    top = logs.max(axis=-1, keepdims=True)
    return (top + np.log(np.exp(logs - top).sum(axis=-1, keepdims=True)))[..., 0]


def _exp(log: float) -> float:
    return math.exp(min(log, _LARGEST_LOG))
