"""The incomplete beta function and the binomial bounds that follow from it, over arrays.

Sources: the continued fraction is 26.5.8 of Abramowitz and Stegun (1964), evaluated by the modified method of Lentz
(1976); the bound is that of Clopper and Pearson (1934).
"""

import numpy as np

from anomaly.detect.model import FloatArray

_SHIFT = 10
"""Stirling's series is taken at x + 10, where five terms give 13 digits."""
_TINY = 1e-300
_ENOUGH = 1e-12
_MOST_TERMS = 20_000
_HALVINGS = 52


def log_gamma(x: FloatArray) -> FloatArray:
    """ln of the gamma function for x > 0; absolute error below 1e-10 up to 1e6."""
    low = np.zeros_like(x)
    for step in range(_SHIFT):
        low += np.log(x + step)
    y = x + _SHIFT
    series = (1 / 12 - (1 / 360 - (1 / 1260 - 1 / (1680 * y**2)) / y**2) / y**2) / y
    shifted: FloatArray = (y - 0.5) * np.log(y) - y + 0.5 * np.log(2 * np.pi) + series - low
    return shifted


def incomplete_beta(x: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Regularised incomplete beta I_x(a, b), (n,), for 0 <= x <= 1 and a, b > 0."""
    mirrored = x > (a + 1) / (a + b + 2)
    at = np.where(mirrored, 1 - x, x)
    first, second = np.where(mirrored, b, a), np.where(mirrored, a, b)
    inside = (at > 0) & (at < 1)
    safe = np.where(inside, at, 0.5)
    log_front = (
        log_gamma(first + second)
        - log_gamma(first)
        - log_gamma(second)
        + first * np.log(safe)
        + second * np.log1p(-safe)
    )
    lower = np.exp(log_front) * _fraction(safe, first, second) / first
    lower = np.where(inside, np.minimum(lower, 1.0), at)
    result: FloatArray = np.where(mirrored, 1 - lower, lower)
    return result


def _fraction(x: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    c = np.ones_like(x)
    d = 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    value = d.copy()
    for m in range(1, _MOST_TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away_from_zero(1 + term * d)
            c = _away_from_zero(1 + term / c)
            value *= c * d
        if (np.abs(c * d - 1) < _ENOUGH).all():
            break
    return value


def _away_from_zero(values: FloatArray) -> FloatArray:
    return np.where(np.abs(values) < _TINY, _TINY, values)


def tail(bad: FloatArray, total: FloatArray, ratio: FloatArray) -> FloatArray:
    """P(X >= bad) for X binomial(total, ratio), (n,); counts may be fractions (effective counts). 1 where bad is 0."""
    some = bad > 0
    chance = np.ones_like(bad)
    spare = np.maximum(total[some] - bad[some], 0.0) + 1
    chance[some] = incomplete_beta(ratio[some], bad[some], spare)
    return chance


def lower_bound(bad: FloatArray, total: FloatArray, confidence: float) -> FloatArray:
    """One-sided lower bound of the ratio by Clopper and Pearson: the ratio at which `tail` is 1 - confidence, (n,)."""
    low: FloatArray = np.zeros_like(bad)
    high: FloatArray = np.where(total > 0, bad / np.maximum(total, _TINY), 0.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        rare = tail(bad, total, middle) < 1 - confidence
        low, high = np.where(rare, middle, low), np.where(rare, high, middle)
    return low
