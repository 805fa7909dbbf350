"""Which combination of dimension values explains a rise in bad of total.

The method: expected bad events per leaf from calm history (`baseline`); the cell with the largest Poisson excess is
the core and tells how severe the trouble is; every leaf then gives evidence for or against having that severity; and
because the severity is shared, evidence adds up over leaves, so a parent beats its child exactly when the rest of the
parent is itself elevated.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.localise import check
from anomaly.localise.baseline import calm_minutes, expected_rate
from anomaly.localise.cells import Cuboid, select, walk
from anomaly.localise.errors import BadInput
from anomaly.localise.model import Cause, Combination, FloatArray, IntArray, Localisation, Verdict
from anomaly.localise.onset import onset
from anomaly.localise.overlap import equivalents
from anomaly.localise.settings import RatioSettings

DEFAULT = RatioSettings()


@dataclass(frozen=True, slots=True)
class _Minute:
    """The leaves that had traffic in the moment."""

    codes: IntArray
    index: IntArray
    """(n,): the caller's number of each leaf."""
    bad: FloatArray
    total: FloatArray
    rate: FloatArray
    """(n,): expected."""

    @property
    def expected(self) -> FloatArray:
        return self.total * self.rate


@dataclass(frozen=True, slots=True)
class _Core:
    where: Combination
    bad: float
    expected: float
    total: float
    excess_nats: float


@dataclass(frozen=True, slots=True)
class _Candidate:
    score: float
    cells: tuple[Combination, ...]


def poisson_excess(bad: FloatArray, expected: FloatArray) -> FloatArray:
    """Log likelihood ratio of the observed against the expected Poisson mean, in nats; 0 where bad <= expected."""
    excess = np.zeros(len(bad))
    up = bad > expected
    excess[up] = bad[up] * np.log(bad[up] / expected[up]) - (bad[up] - expected[up])
    return excess


def localise_ratio(
    codes: npt.NDArray[Any],
    bad: npt.NDArray[Any],
    total: npt.NDArray[Any],
    moment: int,
    settings: RatioSettings = DEFAULT,
) -> Localisation:
    """Explain the rise of bad/total in one minute by combinations of dimension values.

    codes: (n_leaves, n_dims) integers >= 0, one row per full tuple of values; bad, total: (n_leaves, n_minutes)
    integers, bad <= total, minutes ascending, 0 of 0 where a leaf was absent; moment: column to explain. Only columns
    before it are history. Raises BadInput.
    """
    check.order(settings.max_order)
    codes = check.codes_array(codes)
    bad = check.count_matrix("bad", bad, len(codes))
    total = check.count_matrix("total", total, len(codes))
    check.bad_of_total(bad, total)
    if not 0 <= moment < bad.shape[1]:
        raise BadInput("moment", f"expected a minute from 0 to {bad.shape[1] - 1}, got {moment}")
    calm = calm_minutes(bad, total, moment, settings.history_minutes)
    bad_now, total_now = float(bad[:, moment].sum()), float(total[:, moment].sum())
    if len(calm) == 0 or bad_now < settings.min_bad:
        reason = (
            "no minute before this one has any traffic to compare with"
            if len(calm) == 0
            else f"{bad_now:.0f} bad of {total_now:.0f} are too few to tell a cause from chance"
        )
        return Localisation(Verdict.INSUFFICIENT_DATA, reason, bad_now, float("nan"), total_now)
    rate = expected_rate(codes, bad[:, calm].sum(axis=1), total[:, calm].sum(axis=1), settings)
    live = np.flatnonzero(total[:, moment])
    minute = _Minute(
        codes[live],
        live,
        bad[live, moment].astype(float),
        total[live, moment].astype(float),
        rate[live],
    )
    result = _explain(minute, settings)
    began = slice(0, moment + 1)
    causes = []
    for cause in result.causes:
        if cause.answer:
            inside = select(codes, cause.where)
            series = bad[inside, began].sum(axis=0), rate[inside] @ total[inside, began]
            causes.append(replace(cause, onset=onset(*series)))
        else:
            causes.append(cause)
    return replace(result, causes=tuple(causes))


def _explain(minute: _Minute, settings: RatioSettings) -> Localisation:
    weights = np.stack((minute.bad, minute.expected, minute.total))
    bad_now, expected_now, total_now = (float(s) for s in weights.sum(axis=1))
    floor = max(1.0, settings.min_support_share * bad_now)
    core = _core(walk(minute.codes, weights, range(minute.codes.shape[1]), settings.max_order, floor))
    if core is None or core.excess_nats < settings.min_core_excess:
        reason = f"no combination has more bad events than chance gives ({bad_now:.0f}, expected {expected_now:.0f})"
        return Localisation(Verdict.QUIET, reason, bad_now, expected_now, total_now)
    share = (core.bad - core.expected) / bad_now
    if share < settings.min_core_share:
        reason = f"the most conspicuous combination holds only {share:.0%} of the bad events as excess"
        return Localisation(Verdict.QUIET, reason, bad_now, expected_now, total_now)
    evidence = _evidence(minute, core, settings)
    ranked = _candidates(minute, evidence, settings, floor)
    answer = ranked[0].cells
    others = [c.cells[0] for c in ranked[1 : 1 + settings.candidates]]
    causes = tuple(
        _cause(minute, evidence, where, i < len(answer), settings) for i, where in enumerate((*answer, *others))
    )
    explained = min(1.0, sum(c.share for c in causes if c.answer))
    reason = f"{len(answer)} of the combinations explain {explained:.0%} of the excess"
    return Localisation(Verdict.LOCALISED, reason, bad_now, expected_now, total_now, causes)


def _core(cuboids: Iterable[Cuboid]) -> _Core | None:
    """The cell with the largest Poisson excess; of equals the one with fewer dimensions."""
    best: _Core | None = None
    for cuboid in cuboids:
        excess = poisson_excess(cuboid.sums[0], cuboid.sums[1])
        cell = int(excess.argmax())
        nats = float(excess[cell])
        margin = 1e-9 * nats
        if (
            best is None
            or nats > best.excess_nats + margin
            or (nats >= best.excess_nats - margin and len(cuboid.dims) < len(best.where))
        ):
            bad, expected, total = (float(s) for s in cuboid.sums[:, cell])
            best = _Core(cuboid.where(cell), bad, expected, total, nats)
    return best


def _evidence(minute: _Minute, core: _Core, settings: RatioSettings) -> FloatArray:
    """(n,) nats each leaf gives for having risen the way the core did, against having its expected rate."""
    growth = core.bad / core.expected
    rise = (core.bad - core.expected) / core.total
    rate = minute.rate
    risen = np.sqrt(rate * growth**settings.severity_ratio * (rate + settings.severity_difference * rise))
    nats: FloatArray = minute.bad * np.log(risen / rate) - minute.total * (risen - rate)
    return nats


def _candidates(minute: _Minute, evidence: FloatArray, settings: RatioSettings, floor: float) -> list[_Candidate]:
    """Per cuboid its best set of cells; best cuboid first."""
    weights = np.stack((minute.bad, evidence))
    tables = [
        (c, c.sums[1]) for c in walk(minute.codes, weights, range(minute.codes.shape[1]), settings.max_order, floor)
    ]
    largest = max(float(gain.max()) for _, gain in tables)
    found = [_best_set(cuboid, gain, largest, settings) for cuboid, gain in tables]
    return sorted(found, key=lambda c: (-c.score, len(c.cells[0]), c.cells))


def _best_set(cuboid: Cuboid, gain: FloatArray, largest: float, settings: RatioSettings) -> _Candidate:
    order = len(cuboid.dims)
    ranked = np.argsort(-gain, kind="stable")[: 1 + settings.extra_cells]
    first = float(gain[ranked[0]])
    score = first - order * (settings.order_cost + settings.order_cost_share * largest)
    cells = [cuboid.where(int(ranked[0]))]
    for cell in ranked[1:]:
        worth = float(gain[cell]) - settings.order_cost * order - settings.extra_cost * largest
        if gain[cell] >= settings.extra_min_share * first and worth > 0:
            score += worth
            cells.append(cuboid.where(int(cell)))
    return _Candidate(score, tuple(cells))


def _cause(
    minute: _Minute,
    evidence: FloatArray,
    where: Combination,
    answer: bool,
    settings: RatioSettings,
) -> Cause:
    inside = select(minute.codes, where)
    bad, expected = float(minute.bad[inside].sum()), float(minute.expected[inside].sum())
    whole = max(float(minute.bad.sum() - minute.expected.sum()), bad - expected)
    mine = evidence[inside]
    weight = float(np.abs(mine).sum())
    return Cause(
        where=where,
        bad=bad,
        expected=expected,
        total=float(minute.total[inside].sum()),
        leaves=int(inside.sum()),
        share=(bad - expected) / whole if whole > 0 else 0.0,
        purity=float(mine[mine > 0].sum()) / weight if weight > 0 else 0.0,
        gain=float(mine.sum()),
        answer=answer,
        equivalents=equivalents(
            minute.codes,
            np.stack((minute.total, minute.bad)),
            where,
            settings.max_order,
            settings.equivalent_tolerance,
            minute.index,
        ),
    )
