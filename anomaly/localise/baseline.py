"""What each leaf's own history makes one expect, for rates of rare events."""

import numpy as np

from anomaly.localise.model import FloatArray, IntArray
from anomaly.localise.settings import RatioSettings


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
    prior = np.full(len(bad), overall)
    for column in codes.T:
        bad_of = np.bincount(column, bad)
        total_of = np.bincount(column, total)
        factor = (bad_of + settings.value_weight) / (overall * total_of + settings.value_weight)
        prior *= factor[column]
    np.clip(prior, overall / settings.prior_clip, overall * settings.prior_clip, out=prior)
    weight = settings.leaf_weight
    rate: FloatArray = (bad + weight) / (total + weight / prior)
    return rate
