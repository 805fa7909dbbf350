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


@pytest.mark.parametrize("injected", [True, False])
def test_noise_skewed_towards_the_deviation_has_no_cause(injected):
    # Errors of mean 0, but with a long tail upwards: of 30,000 leaves in 7 dimensions some cells are all tail.
    rng = np.random.default_rng(0)
    sizes = (8, 5, 30, 4, 12, 9, 300)
    weights = [1 / np.arange(1, n + 1) for n in sizes]
    codes = np.column_stack([rng.choice(n, 30_000, p=w / w.sum()) for n, w in zip(sizes, weights, strict=True)])
    forecast = rng.uniform(50, 150, len(codes))
    real = forecast * np.exp(rng.exponential(0.3, len(codes)) - 0.3)
    if injected:
        real[(codes[:, 0] == 1) & (codes[:, 2] == 2)] *= 1.5
    causes = [c.where for c in localise_counts(codes, real, forecast).answer]
    assert causes == ([where((0, 1), (2, 2))] if injected else [])


def test_the_largest_dimension_may_stand_anywhere():
    # Thousands of values: narrowed down instead of added up in a table, in another order than the columns have.
    rng = np.random.default_rng(2)
    codes = np.column_stack([rng.integers(0, n, 20_000) for n in (6, 2_000, 7, 5)])
    forecast = rng.uniform(50, 150, len(codes))
    real = forecast * (1 + rng.normal(0, 0.05, len(codes)))
    real[codes[:, 1] == 1_999] *= 1.6
    real[(codes[:, 0] == 3) & (codes[:, 3] == 2)] *= 1.6
    expected = {where((1, 1_999)), where((0, 3), (3, 2))}
    assert {c.where for c in localise_counts(codes, real, forecast).answer} == expected
    turned = localise_counts(codes[:, ::-1], real, forecast)
    assert {tuple(sorted((3 - d, v) for d, v in c.where)) for c in turned.answer} == expected


def test_large_causes_do_not_hide_each_other():
    # A quarter and a fifth of all leaves, crossing: each makes the rest of the other look widely scattered.
    rng = np.random.default_rng(3)
    codes = np.column_stack([rng.integers(0, n, 20_000) for n in (5, 4, 30, 12)])
    forecast = rng.uniform(50, 150, len(codes))
    errors = rng.normal(0, 0.05, len(codes))
    errors[codes[:, 0] == 1] += 0.56
    errors[codes[:, 1] == 1] += 0.44
    errors[codes[:, 2] == 6] += 0.48
    result = localise_counts(codes, forecast * np.exp(errors), forecast)
    assert {c.where for c in result.answer} == {where((0, 1)), where((1, 1)), where((2, 6))}
