"""What each leaf's own history makes one expect, for rates of rare events."""

import numpy as np

from anomaly.localise.model import FloatArray, IntArray
from anomaly.localise.settings import RatioSettings

MAX_SWEEPS = 20
CONVERGED = 0.001
"""Relative step of the factors below which the fit ends: far below the scatter of any rate."""


def calm_minutes(bad: IntArray, total: IntArray, moment: int, length: int) -> IntArray:
    """Columns of the history: of the last `length` measured minutes before `moment` those up to their median rate.

    An earlier spike must not become part of what is expected, and calm minutes are what "normal" means.
    bad, total: (n_leaves, n_minutes).
    """
    before = np.flatnonzero(total[:, :moment].sum(axis=0) > 0)[-length:]
    if len(before) == 0:
        return before
    rate = bad[:, before].sum(axis=0) / total[:, before].sum(axis=0)
    calm: IntArray = before[rate <= np.median(rate)]
    return calm


def expected_rate(codes: IntArray, bad: IntArray, total: IntArray, settings: RatioSettings) -> FloatArray:
    """Expected rate per leaf, (n_leaves,), shrunk twice.

    A leaf with little history is drawn to the product of its dimension values' factors, and each factor, where its
    value has little history, to 1. bad, total: (n_leaves,) sums over the history.
    """
    overall = (bad.sum() + 0.5) / (total.sum() + 1.0)
    product = _product_of_factors(codes, bad, overall * total, settings.value_weight)
    prior = overall * np.clip(product, 1 / settings.prior_clip, settings.prior_clip)
    weight = settings.leaf_weight
    rate: FloatArray = (bad + weight) / (total + weight / prior)
    return rate


def _product_of_factors(codes: IntArray, bad: IntArray, expected: FloatArray, weight: float) -> FloatArray:
    """(n_leaves,): product of one factor per dimension value, by which `expected` bad events differ from `bad`.

    All factors are fitted together (Poisson regression with Gamma priors of mean 1, coordinate by coordinate), so
    that dimensions which depend on each other, like model and firmware, do not count the same effect twice.
    """
    product = np.ones(len(bad))
    bad_of = [np.bincount(column, bad) for column in codes.T]
    factors = [np.ones(len(sums)) for sums in bad_of]
    for _ in range(MAX_SWEEPS):
        largest_step = 0.0
        for d, column in enumerate(codes.T):
            fitted = np.bincount(column, expected * product)
            updated = (bad_of[d] + weight) / (fitted / factors[d] + weight)
            step = updated / factors[d]
            factors[d] = updated
            product *= step[column]
            largest_step = max(largest_step, float(np.abs(step - 1.0).max()))
        if largest_step < CONVERGED:
            break
    return product
