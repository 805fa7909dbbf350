"""The standardised ratio: shrinkage, groups, intervals, badness."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.health.ratio import badness, gamma_quantile, group_ratio, posterior
from anomaly.health.settings import BadnessSettings, RatioSettings

SETTINGS = RatioSettings()
NO_GROUPS = np.zeros((0, 1), np.int64)


def one(observed: float, expected: float) -> tuple[float, float, float]:
    mean, low, high = posterior(np.array([observed]), np.array([expected]), np.ones(1), SETTINGS)
    return float(mean[0]), float(low[0]), float(high[0])


@pytest.mark.parametrize(
    ("shape", "p", "expected"),
    [
        (1.0, 0.05, 0.0513),  # exponential: -ln(1 - p)
        (1.0, 0.95, 2.9957),
        (5.0, 0.05, 1.970),  # half of chi-square with 10 degrees of freedom, from tables
        (5.0, 0.95, 9.154),
        (50.0, 0.05, 38.965),  # 100 degrees of freedom
        (50.0, 0.95, 62.171),
    ],
)
def test_gamma_quantiles_agree_with_tables(shape: float, p: float, expected: float) -> None:
    assert gamma_quantile(np.array([shape]), p)[0] == pytest.approx(expected, rel=0.02, abs=0.02)


def test_gamma_quantiles_rise_with_the_shape() -> None:
    shapes = np.linspace(0.01, 100, 5_000)
    for p in (0.05, 0.5, 0.95):
        q = gamma_quantile(shapes, p)
        assert (q >= 0).all()
        assert (np.diff(q) >= 0).all()


def test_without_evidence_the_ratio_is_that_of_the_group() -> None:
    mean, low, high = one(0.0, 0.0)
    assert mean == pytest.approx(1.0)
    assert low < 0.1
    assert high > 3.0


def test_with_much_evidence_the_ratio_is_observed_over_expected() -> None:
    mean, low, high = one(5_000.0, 1_000.0)
    assert mean == pytest.approx(5.0, rel=0.01)
    assert low == pytest.approx(5.0, rel=0.05)
    assert high == pytest.approx(5.0, rel=0.05)


def test_more_failures_raise_the_whole_interval() -> None:
    fewer, more = one(4.0, 3.0), one(5.0, 3.0)
    assert all(a < b for a, b in zip(fewer, more, strict=True))


def test_more_evidence_of_the_same_ratio_narrows_the_interval() -> None:
    widths = [high - low for _, low, high in (one(2.0 * n, 1.0 * n) for n in (1, 4, 16, 64))]
    assert widths == sorted(widths, reverse=True)


def group_of(observed: list[float], expected: list[float], *levels: list[int]) -> list[float]:
    result = group_ratio(np.array(observed), np.array(expected), np.array(levels, np.int64), SETTINGS)
    return [float(m) for m in result]


def test_a_group_of_bad_boxes_is_expected_to_be_bad_and_others_are_not() -> None:
    n, bad = 50, 25
    observed = [60.0] * bad + [20.0] * (n - bad)
    m = group_of(observed, [20.0] * n, [0] * bad + [1] * (n - bad))
    assert min(m[:bad]) > 2.5
    assert max(m[bad:]) == pytest.approx(1.0)


def test_one_bad_box_does_not_touch_its_group_however_bad_it_is() -> None:
    calm = group_of([20.0] * 5, [20.0] * 5, [0] * 5)
    for failures in (100.0, 1e9):
        assert group_of([failures, *[20.0] * 4], [20.0] * 5, [0] * 5) == pytest.approx(calm)


def test_a_group_of_one_follows_its_wider_group() -> None:
    m = group_of([60.0] * 10 + [500.0], [20.0] * 11, [0] * 11, [0] * 10 + [1])
    assert m[-1] == pytest.approx(group_of([60.0] * 11, [20.0] * 11, [0] * 11)[-1])


def test_a_group_without_failures_is_not_taken_to_be_without_fault() -> None:
    assert group_of([0.0] * 50, [20.0] * 50, [0] * 50, [0] * 50, [0] * 50) == [SETTINGS.least_group] * 50


def test_a_boxs_own_failures_do_not_change_what_is_expected_of_it() -> None:
    few, many = (group_of([own, 3.0, 5.0], [4.0] * 3, [0] * 3)[0] for own in (0.0, 1_000.0))
    assert few == many


def test_badness_needs_a_high_ratio_and_a_high_excess() -> None:
    settings = BadnessSettings()
    theta = np.array([1.0, 2.0, 12.0, 1.9, 8.0, 100.0])
    ratio = np.array([0.1, 0.1, 0.001, 0.3, 0.1, 0.5])
    got = badness(theta, ratio, settings)
    # the first two are not above the first ratio; the third fails 1.1% more; the fourth has a bad neighbourhood
    assert got[:4].tolist() == [0.0, 0.0, 0.0, 0.0]
    assert got[4:].tolist() == pytest.approx([1.0, 1.0])


def test_badness_of_a_worked_example() -> None:
    # a ratio of 4 is half way from 2 to 8; its excess of (4 - 1) x 0.2 is beyond the end of its own scale
    assert badness(np.array([4.0]), np.array([0.2]), BadnessSettings())[0] == pytest.approx(0.5)
    # the excess is sqrt(0.015 x 0.08) = 0.03464, half way, while the ratio is beyond its end
    assert badness(np.array([35.64]), np.array([0.001]), BadnessSettings())[0] == pytest.approx(0.5, abs=0.001)
