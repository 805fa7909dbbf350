"""The binomial tail and its bound against sums over whole numbers, and Benjamini and Hochberg by hand."""

from math import comb, lgamma

import numpy as np
import pytest

from anomaly.detect.discovery import benjamini_hochberg, level
from anomaly.detect.settings import DiscoverySettings
from anomaly.detect.special import log_gamma, lower_bound, tail


def exact_tail(bad, total, ratio):
    return sum(comb(total, k) * ratio**k * (1 - ratio) ** (total - k) for k in range(bad, total + 1))


def test_log_gamma_is_that_of_the_standard_library():
    x = np.array([0.01, 0.5, 1.0, 3.3, 50.0, 1e5, 1e7])
    assert log_gamma(x) == pytest.approx([lgamma(v) for v in x], rel=1e-13, abs=1e-11)


@pytest.mark.parametrize(
    ("bad", "total", "ratio"),
    [(1, 10, 0.3), (3, 50, 0.01), (10, 1000, 0.003), (40, 1000, 0.03), (500, 1000, 0.4), (10, 10, 0.5)],
)
def test_tail_is_the_sum_of_its_terms(bad, total, ratio):
    found = tail(np.array([float(bad)]), np.array([float(total)]), np.array([ratio]))
    assert found[0] == pytest.approx(exact_tail(bad, total, ratio), rel=1e-9)


def test_tail_of_nothing_is_certain():
    assert tail(np.zeros(1), np.array([10.0]), np.array([0.1]))[0] == 1.0


@pytest.mark.parametrize(("bad", "total"), [(1, 20), (3, 50), (30, 400)])
def test_at_the_bound_the_counts_are_as_rare_as_the_confidence_says(bad, total):
    bound = lower_bound(np.array([float(bad)]), np.array([float(total)]), 0.999)[0]
    assert 0 < bound < bad / total
    assert exact_tail(bad, total, bound) == pytest.approx(0.001, rel=1e-6)


def test_the_bound_of_no_bad_events_is_zero():
    assert lower_bound(np.zeros(2), np.array([0.0, 50.0]), 0.999).tolist() == [0.0, 0.0]


def test_the_example_of_benjamini_and_hochberg():
    # Their 15 p-values (1995, section 3.2): at 5% the four smallest are rejected, 0.0095 <= 4/15 x 0.05 = 0.0133.
    text = "0.0001 0.0004 0.0019 0.0095 0.0201 0.0278 0.0298 0.0344 0.0459 0.3240 0.4262 0.5719 0.6528 0.7590 1"
    p = np.array(text.split(), float)
    rejected, limit = benjamini_hochberg(p[::-1], 0.05)
    assert rejected[::-1].tolist() == [True] * 4 + [False] * 11
    assert limit == pytest.approx(4 / 15 * 0.05)


def test_what_is_not_tested_is_neither_counted_nor_found():
    rejected, limit = benjamini_hochberg(np.array([np.nan, 0.02, np.nan]), 0.05)
    assert rejected.tolist() == [False, True, False]
    assert limit == 0.05
    assert not benjamini_hochberg(np.array([np.nan]), 0.05)[0].any()


def test_a_p_of_zero_is_a_discovery():
    assert benjamini_hochberg(np.array([0.0, 1.0]), 1e-6)[0].tolist() == [True, False]


def test_the_level_grows_with_the_fleet_until_its_cap():
    settings = DiscoverySettings(false_per_series_day=0.00144, most_false_share=0.05)
    assert level(100, settings) == pytest.approx(100 * 1e-6)
    assert level(1_000_000, settings) == 0.05
