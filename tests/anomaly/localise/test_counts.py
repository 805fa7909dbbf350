"""Counts against a forecast."""

import numpy as np
import pytest

from anomaly.localise import Verdict, localise_counts
from tests.anomaly.localise.builders import full_cube, where


def noisy(codes, seed=1):
    rng = np.random.default_rng(seed)
    forecast = rng.uniform(50, 150, len(codes))
    return forecast * (1 + rng.normal(0, 0.05, len(codes))), forecast


@pytest.mark.parametrize("factor", [0.4, 1.8])
def test_a_parent_and_a_child_of_other_dimensions(factor):
    codes = full_cube(6, 5, 4)
    real, forecast = noisy(codes)
    parent = codes[:, 0] == 2
    child = (codes[:, 1] == 3) & (codes[:, 2] == 1)
    real[parent] *= factor
    real[child & ~parent] *= factor * factor
    result = localise_counts(codes, real, forecast)
    assert result.verdict is Verdict.LOCALISED
    assert {c.where for c in result.answer} == {where((0, 2)), where((1, 3), (2, 1))}
    cause = next(c for c in result.answer if c.where == where((0, 2)))
    assert cause.leaves == 20
    assert cause.bad == pytest.approx(real[parent].sum())
    assert cause.expected == pytest.approx(forecast[parent].sum())
    assert cause.share == pytest.approx((real - forecast)[parent].sum() / (real - forecast).sum())


def test_noise_alone_has_no_cause():
    codes = full_cube(6, 5, 4)
    result = localise_counts(codes, *noisy(codes))
    assert result.verdict is Verdict.QUIET
    assert result.causes == ()


def test_a_forecast_wrong_everywhere_is_diffuse():
    codes = full_cube(6, 5, 4)
    real, forecast = noisy(codes)
    assert localise_counts(codes, real * 1.5, forecast).verdict is Verdict.DIFFUSE


def test_nothing_counted_is_insufficient():
    codes = full_cube(3, 3)
    assert localise_counts(codes, np.zeros(9), np.zeros(9)).verdict is Verdict.INSUFFICIENT_DATA
