"""From observed and expected failures to a standardised ratio with its interval.

A box's failures O are Poisson around theta x E, E being what its strata made expect; theta has a gamma prior around the
ratio m of boxes like it (gamma-Poisson, also "empirical Bayes" of standardised mortality ratios: Clayton & Kaldor,
Biometrics 43, 1987):

    theta | O ~ Gamma(shape = a + O, rate = a / m + E),    mean (a + O) / (a / m + E)

With little evidence theta is m, with much it is O / E. m is that of the box's model, ISP and region, each mixed with
its wider group, all without the box itself, so that a box's own failures can only raise its theta, and without the
excess of the worst of the others: one ill box says nothing about its neighbours, two may.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from anomaly.health.settings import BadnessSettings, RatioSettings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def group_ratio(observed: Floats, expected: Floats, groups: Ints, settings: RatioSettings) -> Floats:
    """m, (n,): the ratio of each box's group without the box. `groups` (levels, n) int64: codes from 0, each level
    refining the one before; the widest prior is 1."""
    counted = np.minimum(observed, settings.most_per_box * expected + 1.0)
    m = np.ones_like(expected)
    for level in groups:
        n = int(level.max(initial=-1)) + 1
        others_o = np.bincount(level, counted, n)[level] - counted - _worst_of_others(counted - expected, level, n)
        others_e = np.bincount(level, expected, n)[level] - expected
        # Differences of sums may fall below 0 by rounding.
        mixed = np.maximum(others_o, 0.0) + settings.group_weight * m
        m = mixed / (np.maximum(others_e, 0.0) + settings.group_weight)
    return np.maximum(m, settings.least_group)


def _worst_of_others(excess: Floats, level: Ints, n_groups: int) -> Floats:
    """Per box the largest positive excess of another box of its group."""
    excess = np.maximum(excess, 0.0)
    order = np.lexsort((excess, level))
    ends = np.cumsum(np.bincount(level, minlength=n_groups)) - 1
    first, second = np.zeros(n_groups), np.zeros(n_groups)
    worst = np.full(n_groups, -1, dtype=np.int64)
    if len(order):
        worst = order[np.maximum(ends, 0)]
        first = excess[worst]
        before = order[np.maximum(ends - 1, 0)]
        second = np.where(level[before] == np.arange(n_groups), excess[before], 0.0)
        second = np.where(before == worst, 0.0, second)
    own = worst[level] == np.arange(len(level))
    result: Floats = np.where(own, second[level], first[level])
    return result


def posterior(observed: Floats, expected: Floats, m: Floats, settings: RatioSettings) -> tuple[Floats, Floats, Floats]:
    """Mean, lower and upper end of theta, each (n,)."""
    shape = settings.prior_shape + observed / settings.dispersion
    rate = settings.prior_shape / m + expected / settings.dispersion
    tail = (1.0 - settings.confidence) / 2
    return shape / rate, gamma_quantile(shape, tail) / rate, gamma_quantile(shape, 1.0 - tail) / rate


def gamma_quantile(shape: Floats, p: float) -> Floats:
    """Quantile of Gamma(shape, rate 1), by Wilson and Hilferty (1931): within 3% of the shape's scale for shape >= 1,
    at shape 0.5 within 0.1 of the value; rises with shape and is never negative."""
    z = NormalDist().inv_cdf(p)
    root = 1.0 - 1.0 / (9.0 * shape) + z / (3.0 * np.sqrt(shape))
    result: Floats = shape * np.maximum(root, 0.0) ** 3
    return result


def badness(theta: Floats, expected_ratio: Floats, settings: BadnessSettings) -> Floats:
    """0..1, (n,), rising with theta. `expected_ratio`: expected failures of a request; NaN counts as 0."""
    excess = (theta - 1.0) * np.nan_to_num(expected_ratio)
    by_ratio = _on_scale(theta, settings.ratio_from, settings.ratio_to)
    by_excess = _on_scale(excess, settings.excess_from, settings.excess_to)
    return np.minimum(by_ratio, by_excess)


def _on_scale(value: Floats, start: float, end: float) -> Floats:
    result: Floats = np.log(np.clip(value, start, end) / start) / np.log(end / start)
    return result
