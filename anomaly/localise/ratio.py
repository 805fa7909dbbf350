"""Which combination of dimension values explains a rise in bad of total.

The method: expected bad events per leaf from calm history (`baseline`); the cell with the largest Poisson excess is
the core and tells how severe the trouble is; every leaf then gives evidence for or against having that severity; and
because the severity is shared, evidence adds up over leaves, so a parent beats its child exactly when the rest of the
parent is itself elevated.
"""

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
DEGREES = 6
"""Steps of the mean over degrees of severity; more change nothing."""


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

    def without(self, leaves: npt.NDArray[np.bool_]) -> "_Minute":
        keep = ~leaves
        return _Minute(self.codes[keep], self.index[keep], self.bad[keep], self.total[keep], self.rate[keep])


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
    bad, expected = float(minute.bad.sum()), float(minute.expected.sum())
    search = _peel(minute, settings)

    def verdict(verdict: Verdict, reason: str, causes: tuple[Cause, ...] = ()) -> Localisation:
        return Localisation(verdict, reason, bad, expected, float(minute.total.sum()), causes)

    if not search.found:
        return verdict(
            Verdict.QUIET, f"no combination has more bad events than chance gives: {bad:.0f}, {expected:.0f} expected"
        )
    inside = np.logical_or.reduce([select(minute.codes, where) for where in search.found])
    share = float((minute.bad - minute.expected)[inside].sum()) / bad
    if share < settings.min_answer_share:
        return verdict(Verdict.QUIET, f"what stands out most is an excess of only {share:.0%} of all bad events")
    others = [where for where in search.ranked if where not in search.found][: settings.candidates]
    if search.diffuse:
        causes = tuple(_cause(minute, search.evidence, where, False, settings) for where in search.ranked[:1] + others)
        return verdict(
            Verdict.DIFFUSE,
            f"{bad:.0f} bad events, {expected:.0f} expected: most leaves got worse about equally",
            causes,
        )
    causes = tuple(
        _cause(minute, search.evidence, where, i < len(search.found), settings)
        for i, where in enumerate((*search.found, *others))
    )
    count = len(search.found)
    names = "1 combination explains" if count == 1 else f"{count} combinations explain"
    explained = min(1.0, sum(c.share for c in causes if c.answer))
    return verdict(Verdict.LOCALISED, f"{names} {explained:.0%} of the excess", causes)


@dataclass(frozen=True, slots=True)
class _Search:
    found: list[Combination]
    ranked: list[Combination]
    """The best cell of each cuboid in the first round, best first."""
    evidence: FloatArray
    """(n,) nats of the first round."""
    diffuse: bool


def _peel(minute: _Minute, settings: RatioSettings) -> _Search:
    """Find the strongest cause, take its leaves away, and look again at the rest.

    The severity of each cause is its own. Later causes must be worth naming beside the first.
    """
    search = _Search([], [], np.zeros(len(minute.bad)), False)
    bad = float(minute.bad.sum())
    floor = max(1.0, settings.min_support_share * bad)
    least_excess = 0.0
    least_gain = 0.0
    left = minute
    while len(search.found) < settings.max_causes and np.maximum(left.bad - left.expected, 0).sum() > least_excess:
        core = _core(left, settings, floor)
        if core is None:
            break
        evidence = _evidence(left, core, settings)
        ranked = _candidates(left, evidence, settings, floor)
        where = ranked[0].cells[0]
        inside = select(left.codes, where)
        gain = float(evidence[inside].sum())
        if gain < least_gain or (left.bad - left.expected)[inside].sum() < least_excess:
            break
        if not search.found:
            diffuse = _rest_follows(left, evidence, ranked[0].cells, settings)
            search = _Search([], [c.cells[0] for c in ranked], evidence, diffuse)
            least_excess = floor = settings.min_cause_share * bad
            least_gain = settings.min_gain_share * gain
        search.found.append(where)
        if search.diffuse:
            break
        left = left.without(inside)
    return search


def _rest_follows(
    minute: _Minute, evidence: FloatArray, cells: tuple[Combination, ...], settings: RatioSettings
) -> bool:
    """Whether the leaves outside the best cells rose with them: per expected bad event, they give nearly as much
    evidence for the same severity."""
    inside = np.logical_or.reduce([select(minute.codes, where) for where in cells])
    gain, rest = float(evidence[inside].sum()), float(evidence[~inside].sum())
    weight, rest_weight = float(minute.expected[inside].sum()), float(minute.expected[~inside].sum())
    return rest > settings.min_core_excess and rest * weight > settings.diffuse_share * gain * rest_weight


def _core(minute: _Minute, settings: RatioSettings, floor: float) -> _Core | None:
    """The cell with the largest Poisson excess; of equals the one with fewer dimensions. None: all may be chance."""
    weights = np.stack((minute.bad, minute.expected, minute.total))
    best: _Core | None = None
    n_cells = 0
    for cuboid in walk(minute.codes, weights, range(minute.codes.shape[1]), settings.max_order, floor):
        n_cells += len(cuboid.codes)
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
    if best is None or best.excess_nats < settings.min_core_excess + np.log(n_cells):
        return None
    return best


def _evidence(minute: _Minute, core: _Core, settings: RatioSettings) -> FloatArray:
    """(n,) nats each leaf gives for having risen as the core did, against having its expected rate.

    Counts are negative binomial: Poisson around a leaf's rate, which itself varies a little between leaves of one
    cell. A leaf fully risen has the geometric mean of the core's growth and of its additive rise, because some faults
    multiply a rate and some add to it. How far the other leaves of a cause follow the core is unknown; evidence is
    the mean over all degrees from `least_degree` to full.
    """
    growth = core.bad / core.expected
    rise = (core.bad - core.expected) / core.total
    rate, expected = minute.rate, minute.expected
    log_full = 0.5 * np.log(growth * (rate + rise) / rate)
    shape = 1.0 / settings.leaf_variance
    nats = np.zeros(len(rate))
    degrees = np.linspace(settings.least_degree, 1.0, DEGREES)
    for degree in degrees:
        factor = np.exp(degree * log_full)
        # log NB(bad; factor x expected) - log NB(bad; expected), both of the same shape
        change = np.log((shape + expected) / (shape + factor * expected))
        nats += (shape + minute.bad) * change + minute.bad * degree * log_full
    return nats / len(degrees)


def _candidates(minute: _Minute, evidence: FloatArray, settings: RatioSettings, floor: float) -> list[_Candidate]:
    """Per cuboid its best set of cells; best cuboid first, and of that the sharpest description of its first cell."""
    weights = np.stack((minute.bad, evidence))
    tables = list(walk(minute.codes, weights, range(minute.codes.shape[1]), settings.max_order, floor))
    largest = max(float(cuboid.sums[1].max()) for cuboid in tables)
    found = [_best_set(cuboid, largest, settings) for cuboid in tables]
    found.sort(key=lambda c: (-float(f"{c.score:.9g}"), len(c.cells[0]), c.cells))
    best = found[0]
    if len(best.cells) > 1:
        sharper = _sharpest(tables, best.cells[0], largest, settings)
        found[0] = _Candidate(best.score, (sharper, *best.cells[1:]))
    return found


def _cost(order: int, largest: float, settings: RatioSettings) -> float:
    return order * (settings.order_cost + settings.order_cost_share * largest)


def _best_set(cuboid: Cuboid, largest: float, settings: RatioSettings) -> _Candidate:
    """The best cell of a cuboid, scored together with others of the cuboid that are worth their mention."""
    order = len(cuboid.dims)
    gain = cuboid.sums[1]
    ranked = np.argsort(-gain, kind="stable")[: 1 + settings.extra_cells]
    first = float(gain[ranked[0]])
    score = first - _cost(order, largest, settings)
    cells = [cuboid.where(int(ranked[0]))]
    for cell in ranked[1:]:
        worth = float(gain[cell]) - settings.order_cost * order - settings.extra_cost * largest
        if gain[cell] >= settings.extra_min_share * first and worth > 0:
            score += worth
            cells.append(cuboid.where(int(cell)))
    return _Candidate(score, tuple(cells))


def _sharpest(tables: list[Cuboid], where: Combination, largest: float, settings: RatioSettings) -> Combination:
    """`where` or the part of it that scores best: a set is chosen for its cells together, each may hold more than
    its share."""
    best, sharpest = -np.inf, where
    for cuboid in tables:
        if not set(cuboid.dims).issuperset(dim for dim, _ in where):
            continue
        within = np.ones(len(cuboid.codes), dtype=np.bool_)
        for dim, value in where:
            within &= cuboid.codes[:, cuboid.dims.index(dim)] == value
        for cell in np.flatnonzero(within):
            score = float(cuboid.sums[1][cell]) - _cost(len(cuboid.dims), largest, settings)
            if score > best:
                best, sharpest = score, cuboid.where(int(cell))
    return sharpest


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
