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

Boxes that vanished after the change are failures too, of as many trials as boxes: a second pair of e-values, harm being
the mean of both pairs' (a mean of e-values is one). Idle boxes have no requests and say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    dispersion: float = 1.5
    least_requests: float = 1_000.0
    """On matched strata, on either side; below it nothing is said."""
    least_boxes: int = 5
    """Changed boxes with requests, likewise."""

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise BadInput(f"{name}: expected a probability above 0 and below 1, got {getattr(self, name)}")
        if not self.margin > 1.0 or not min(self.harm_ratios) > 1.0 or not max(self.fine_ratios) < self.margin:
            raise BadInput(f"margin: expected above 1 and above every ratio of fine_ratios, got {self.margin}")
        if not self.dispersion >= 1.0:
            raise BadInput(f"dispersion: expected at least 1, got {self.dispersion}")


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the comparison: failures `bad` of `total` per row, (m,), float or integer; `boxes` that had requests
    and how many of them `vanished` since the change."""

    bad: Floats
    total: Floats
    boxes: int
    vanished: int = 0

    def __post_init__(self) -> None:
        if len(self.bad) != len(self.total):
            raise BadInput(f"bad, total: expected the same rows, got {len(self.bad)} and {len(self.total)}")
        if not (np.isfinite(self.total).all() and (self.bad >= 0).all() and (self.bad <= self.total).all()):
            raise BadInput("bad, total: expected counts with 0 <= bad <= total in every row")
        if not 0 <= self.vanished <= self.boxes:
            raise BadInput(f"vanished: expected 0 to {self.boxes} boxes, got {self.vanished}")


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What the verdict stands on, over rows that have requests on both sides: failures of requests; `expected_bad`, of
    the changed side at the unchanged rates; `ratio` bad / expected (None: nothing expected); the e-values and what they
    must reach; `unmatched_requests` of the changed side left out because nobody comparable was there."""

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


@dataclass(frozen=True, slots=True)
class Verdict:
    """`verdict`: promote | hold | roll back | insufficient data; `why` in one sentence."""

    verdict: str
    why: str
    arithmetic: Arithmetic


def compare(changed: Side, unchanged: Side, settings: ReleaseSettings | None = None) -> Verdict:
    """Compare a release with what it replaces; row i of both sides is the same stratum and minute."""
    s = settings or ReleaseSettings()
    if len(changed.total) != len(unchanged.total):
        raise BadInput(f"rows: expected as many on both sides, got {len(changed.total)} and {len(unchanged.total)}")
    matched = (changed.total > 0) & (unchanged.total > 0)
    x1, n1, x0, n0 = (
        np.asarray(column, np.float64)[matched]
        for column in (changed.bad, changed.total, unchanged.bad, unchanged.total)
    )
    gone = tuple(
        np.array([float(v)]) for v in (changed.vanished, changed.boxes, unchanged.vanished, unchanged.boxes)
    )  # fmt: skip
    both_there = changed.boxes > 0 and unchanged.boxes > 0
    pairs: list[Sequence[Floats]] = [(x1 / s.dispersion, n1, x0 / s.dispersion, n0), *([gone] if both_there else [])]
    harm = [_mixture(pair, s.harm_ratios, 1.0) for pair in pairs]
    harm_e = _mean_exp(harm)
    fine_e = _exp(_mixture(pairs[0], s.fine_ratios, s.margin))
    expected = float(expected_bad(changed, unchanged).sum())
    told = Arithmetic(
        changed_bad=float(x1.sum()),
        changed_total=float(n1.sum()),
        unchanged_bad=float(x0.sum()),
        unchanged_total=float(n0.sum()),
        expected_bad=expected,
        ratio=float(x1.sum()) / expected if expected > 0 else None,
        harm_e=harm_e,
        harm_needed=1.0 / s.alpha,
        fine_e=fine_e,
        fine_needed=1.0 / s.beta,
        unmatched_requests=float(np.asarray(changed.total, np.float64)[~matched].sum()),
        changed_boxes=changed.boxes,
        changed_vanished=changed.vanished,
        unchanged_boxes=unchanged.boxes,
        unchanged_vanished=unchanged.vanished,
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
    gone = f"{a.changed_vanished} of {a.changed_boxes} changed boxes vanished, {a.unchanged_vanished} of the others"
    gone += f" {a.unchanged_boxes}"
    if a.harm_e >= a.harm_needed:
        return Verdict(
            ROLL_BACK, f"{counts}; {gone}: evidence of harm {a.harm_e:.3g}, {a.harm_needed:.3g} is enough", a
        )
    if min(a.changed_total, a.unchanged_total) < s.least_requests or a.changed_boxes < s.least_boxes:
        why = (
            f"{a.changed_total:.0f} requests of {a.changed_boxes} changed boxes and {a.unchanged_total:.0f} of others: "
            f"{s.least_requests:.0f} of either and {s.least_boxes} boxes are needed"
        )
        return Verdict(INSUFFICIENT, why, a)
    if a.fine_e >= a.fine_needed:
        why = f"{counts}: not worse by {s.margin:g} times, evidence {a.fine_e:.3g}, {a.fine_needed:.3g} is enough"
        return Verdict(PROMOTE, why, a)
    return Verdict(HOLD, f"{counts}: neither harm ({a.harm_e:.3g}) nor its absence ({a.fine_e:.3g}) is shown yet", a)


def _mixture(counts: Sequence[Floats], ratios: tuple[float, ...], null: float) -> float:
    """Logarithm of the mean over `ratios` of the likelihood ratio against `null`. `counts`: x1, n1, x0, n0."""
    logs = [float(row.sum()) for row in _log_ratios(counts, ratios, null)]
    top = max(logs)
    return top + math.log(sum(math.exp(v - top) for v in logs) / len(logs))


def _log_ratios(counts: Sequence[Floats], ratios: tuple[float, ...], null: float) -> list[Floats]:
    """Per ratio the logarithm of each row's likelihood ratio against `null`, (m,)."""
    x1, n1, x0, n0 = counts
    logs = []
    for r in ratios:
        p, q = r * n1 / (r * n1 + n0), null * n1 / (null * n1 + n0)
        logs.append(x1 * np.log(p / q) + x0 * np.log((1 - p) / (1 - q)))
    return logs


def _exp(log: float) -> float:
    return math.exp(min(log, _LARGEST_LOG))


def _mean_exp(logs: list[float]) -> float:
    return sum(_exp(v) for v in logs) / len(logs)
