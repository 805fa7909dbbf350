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
    variance: FloatArray
    """(n,): relative variance of the expected rate, known from little history and scattering from minute to minute."""

    @property
    def expected(self) -> FloatArray:
        return self.total * self.rate

    def without(self, leaves: npt.NDArray[np.bool_]) -> "_Minute":
        keep = ~leaves
        return _Minute(
            self.codes[keep], self.index[keep], self.bad[keep], self.total[keep], self.rate[keep], self.variance[keep]
        )


@dataclass(frozen=True, slots=True)
class _Core:
    where: Combination
    bad: float
    expected: float


@dataclass(frozen=True, slots=True)
class _Candidate:
    score: float
    cells: tuple[Combination, ...]


def count_excess(bad: FloatArray, expected: FloatArray, variance: FloatArray) -> FloatArray:
    """Log likelihood ratio of the observed against the expected mean, in nats; 0 where bad <= expected.

    Counts are negative binomial: Poisson around a mean that is itself only known up to `variance`.
    """
    excess = np.zeros(len(bad))
    up = bad > expected
    b, e = bad[up], expected[up]
    shape = e**2 / np.maximum(variance[up], 1e-12 * e**2)
    excess[up] = b * np.log(b / e) - (b + shape) * np.log1p((b - e) / (e + shape))
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
        settings.leaf_variance + 1.0 / (bad[np.ix_(live, calm)].sum(axis=1) + settings.leaf_weight),
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

    def verdict(verdict: Verdict, reason: str, causes: tuple[Cause, ...] = ()) -> Localisation:
        return Localisation(verdict, reason, bad, expected, float(minute.total.sum()), causes)

    search = _peel(minute, settings)
    numbers = f"{bad:.0f} bad events, {expected:.0f} expected"
    if not search.found:
        return verdict(Verdict.QUIET, f"{numbers}: no combination has more of them than chance gives")
    contrast = _contrast(minute, search.found, settings)
    if contrast.excess_share < settings.min_answer_share:
        return verdict(Verdict.QUIET, f"{numbers}: what stands out most holds {contrast.excess_share:.0%} as excess")
    shared = contrast.is_shared(settings)
    if shared and bad - expected < settings.min_answer_share * bad:
        return verdict(Verdict.QUIET, f"{numbers}: no combination differs much from the rest")
    answer = [] if shared else [_cause(minute, search.evidence, where, True, settings) for where in search.found]
    answer.sort(key=lambda cause: (-cause.share, cause.where))
    others = [where for where in search.ranked if shared or where not in search.found][: settings.candidates]
    causes = (*answer, *(_cause(minute, search.evidence, where, False, settings) for where in others))
    if shared:
        grown = f"{contrast.growth:.1f} times in the worst combinations, {contrast.growth_outside:.1f} times elsewhere"
        return verdict(Verdict.DIFFUSE, f"{numbers}: they grew {grown}", causes)
    names = "1 combination explains" if len(answer) == 1 else f"{len(answer)} combinations explain"
    explained = min(1.0, sum(cause.share for cause in answer))
    return verdict(Verdict.LOCALISED, f"{numbers}: {names} {explained:.0%} of the excess", causes)


@dataclass(frozen=True, slots=True)
class _Search:
    found: list[Combination]
    ranked: list[Combination]
    """The best cell of each cuboid in the first round, best first."""
    evidence: FloatArray
    """(n,) nats of the first round."""


def _peel(minute: _Minute, settings: RatioSettings) -> _Search:
    """Find the strongest cause, take its leaves away, and look again at the rest.

    The severity of each cause is its own. Later causes must be worth naming beside the first.
    """
    search = _Search([], [], np.zeros(len(minute.bad)))
    bad = float(minute.bad.sum())
    floor = max(1.0, settings.min_support_share * bad)
    least_excess = least_gain = 0.0
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
        if gain <= least_gain or (left.bad - left.expected)[inside].sum() < least_excess:
            break
        if not search.found:
            search = _Search([], [c.cells[0] for c in ranked], evidence)
            least_excess = floor = settings.min_cause_share * bad
            least_gain = settings.min_gain_share * gain
        search.found.append(where)
        left = left.without(inside)
    return search


@dataclass(frozen=True, slots=True)
class _Contrast:
    """The answer against the rest of the traffic."""

    growth: float
    """Bad over expected events in the answer."""
    growth_outside: float
    """The same of the rest, at least 1; drawn to 1 where the rest is a small part."""
    excess_share: float
    """Excess of the answer, part of all bad events."""
    excess_share_beyond: float
    """The same when the rest's growth is expected in the answer, too."""

    def is_shared(self, settings: RatioSettings) -> bool:
        """Whether the rest got worse with the answer, so that naming it would mislead."""
        follows = np.log(self.growth_outside) >= settings.diffuse_degree * np.log(self.growth)
        close = self.growth < settings.min_contrast * self.growth_outside
        return bool(follows or close or self.excess_share_beyond < settings.min_answer_share)


def _contrast(minute: _Minute, found: list[Combination], settings: RatioSettings) -> _Contrast:
    inside = np.logical_or.reduce([select(minute.codes, where) for where in found])
    all_expected = float(minute.expected.sum())
    outside = ~inside
    if minute.expected[outside].sum() < settings.min_rest_share * all_expected:
        excess = minute.bad - minute.expected
        outside = ~max((select(minute.codes, where) for where in found), key=lambda mask: float(excess[mask].sum()))
    weight = settings.rest_weight * all_expected
    elsewhere = (minute.bad[outside].sum() + weight) / (minute.expected[outside].sum() + weight)
    growth_outside = max(1.0, float(elsewhere))
    bad, expected = float(minute.bad[inside].sum()), float(minute.expected[inside].sum())
    all_bad = float(minute.bad.sum())
    return _Contrast(
        bad / expected, growth_outside, (bad - expected) / all_bad, (bad - growth_outside * expected) / all_bad
    )


def _core(minute: _Minute, settings: RatioSettings, floor: float) -> _Core | None:
    """The cell with the largest excess; of equals the one with fewer dimensions. None: all may be chance."""
    expected = minute.expected
    weights = np.stack((minute.bad, expected, expected**2 * minute.variance))
    cuboids = list(walk(minute.codes, weights, range(minute.codes.shape[1]), settings.max_order, floor))
    if not cuboids:
        return None
    bad, mean, variance = np.concatenate([cuboid.sums for cuboid in cuboids], axis=1)
    nats = count_excess(bad, mean, variance + settings.cell_variance * mean**2)
    largest = float(nats.max())
    if largest < settings.min_core_excess + np.log(len(nats)):
        return None
    starts = np.cumsum([0, *(len(cuboid.codes) for cuboid in cuboids)])
    equals = []
    for cell in np.flatnonzero(nats >= largest * (1 - 1e-9)):
        cuboid = int(np.searchsorted(starts, cell, side="right")) - 1
        equals.append((cuboids[cuboid].where(int(cell - starts[cuboid])), cell))
    where, best = min(equals, key=lambda pair: (len(pair[0]), pair[0]))
    return _Core(where, float(bad[best]), float(mean[best]))


def _evidence(minute: _Minute, core: _Core, settings: RatioSettings) -> FloatArray:
    """(n,) nats each leaf gives for having risen as the core did, against having its expected rate.

    Counts are negative binomial: Poisson around a leaf's rate, which itself varies a little between leaves of one
    cell. A leaf fully risen has the geometric mean of the core's growth and of its additive rise, because some faults
    multiply a rate and some add to it. How far the other leaves of a cause follow the core is unknown; evidence is
    the mean over all degrees from `least_degree` to full.
    """
    growth = core.bad / core.expected
    rise = (core.bad - core.expected) / minute.total[select(minute.codes, core.where)].sum()
    rate, expected = minute.rate, minute.expected
    log_full = 0.5 * np.log(growth * (rate + rise) / rate)
    shape = 1.0 / minute.variance
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
    """`where`, or the part of it that scores best, in as few dimensions as select the same leaves.

    A set of cells is chosen for its cells together, so each may hold more than its share, or be named too long.
    """
    parts = _related(tables, where, wider=False)
    _, gain, bad, best = max(
        ((g - _cost(len(cell), largest, settings), g, b, cell) for cell, b, g in parts),
        key=lambda part: (part[0], -len(part[3])),
    )
    same = [cell for cell, b, g in _related(tables, best, wider=True) if b == bad and abs(g - gain) <= 1e-9 * abs(gain)]
    return min(same, key=lambda cell: (len(cell), cell))


def _related(tables: list[Cuboid], where: Combination, wider: bool) -> list[tuple[Combination, float, float]]:
    """(cell, bad, gain) of `where` and of the cells inside it, or of those around it."""
    own = dict(where)
    found = []
    for cuboid in tables:
        shared = set(cuboid.dims) & set(own)
        if shared != (set(cuboid.dims) if wider else set(own)):
            continue
        matching = np.ones(len(cuboid.codes), dtype=np.bool_)
        for position, dim in enumerate(cuboid.dims):
            if dim in own:
                matching &= cuboid.codes[:, position] == own[dim]
        found += [
            (cuboid.where(int(i)), float(cuboid.sums[0, i]), float(cuboid.sums[1, i])) for i in np.flatnonzero(matching)
        ]
    return found


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
