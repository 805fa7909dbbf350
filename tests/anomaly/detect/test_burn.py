"""Burn rates: both windows, sure of it, and silent where three bad requests are all there is."""

from math import comb

import numpy as np
import pytest

from anomaly.detect import WORKBOOK_RULES, BurnRate, BurnSettings, Counts, Severity
from tests.anomaly.detect.builders import at

ALLOWED = [0.01]


def run(minutes):
    """Scores of the last of (bad, total) minutes."""
    detector = BurnRate(1, BurnSettings())
    for k, (bad, total) in enumerate(minutes):
        counts = Counts.of([bad], [total], ALLOWED)
        scores = detector.score(at(k), counts)
        detector.learn(at(k), counts, scores)
    return scores


def test_the_rules_are_the_workbooks():
    # 2% of a month's budget in an hour, 5% in six hours, 10% in three days.
    month = 30 * 24 * 60
    shares = [round(rule.factor * rule.long_minutes / month, 6) for rule in WORKBOOK_RULES]
    assert shares == [0.02, 0.05, 0.1]
    assert [rule.long_minutes // rule.short_minutes for rule in WORKBOOK_RULES] == [12, 12, 12]
    assert [rule.severity for rule in WORKBOOK_RULES] == [Severity.PAGE, Severity.PAGE, Severity.TICKET]


def test_p_is_the_binomial_tail_of_the_less_certain_window():
    # Ten of 20 requests a minute, allowed 1%, factor 14.4: 600 of 1,200 in the hour, 50 of 100 in five minutes.
    scores = run([(10, 20)] * 60)
    short = sum(comb(100, k) * 0.144**k * 0.856 ** (100 - k) for k in range(50, 101))
    assert scores.p[0] == pytest.approx(3 * short, rel=1e-6)
    assert scores.rule[0] == 0
    bound = scores.lower(0, 0.999)
    assert bound is not None
    assert 0.144 < bound < 0.5
    assert scores.long[0, :, 0].tolist() == [600, 1_200, 60]
    assert scores.short[0, :, 0].tolist() == [50, 100, 5]


def test_three_bad_requests_page_nobody():
    # 3 of the last 10 are 30%, far above 14.4%, in both windows.
    scores = run([(0, 0)] * 55 + [(0, 1)] * 30 + [(1, 2)] * 3 + [(0, 2)] * 2)
    assert scores.p[0] == 1.0
    assert scores.lower(0, 0.999) is None


def test_when_it_is_over_the_short_window_says_so():
    assert run([(10, 20)] * 60 + [(0, 20)] * 5).p[0] == 1.0


def test_a_burst_that_costs_little_does_not_page():
    # 100% bad for 5 minutes of an hour is 8.3%: below 14.4 times 1%.
    assert run([(0, 20)] * 55 + [(20, 20)] * 5).p[0] == 1.0


def test_dispersed_counts_are_less_certain():
    detector = BurnRate(1, BurnSettings())
    for k in range(59):
        counts = Counts.of([10], [20], ALLOWED)
        detector.learn(at(k), counts, detector.score(at(k), counts))
    plain, dispersed = (detector.score(at(59), counts, np.array([d])) for d in (1.0, 4.0))
    assert dispersed.p[0] > plain.p[0]
    assert dispersed.lower(0, 0.999) < plain.lower(0, 0.999)


def test_half_of_a_window_must_have_been_measured():
    assert np.isnan(run([(10, 20)] * 29).p[0])
    assert run([(10, 20)] * 30).p[0] < 1e-6


def test_without_an_objective_nothing_is_judged():
    detector = BurnRate(1, BurnSettings())
    for k in range(60):
        counts = Counts.of([10], [20])
        scores = detector.score(at(k), counts)
        detector.learn(at(k), counts, scores)
    assert np.isnan(scores.p[0])


def test_a_rule_that_no_ratio_can_exceed_is_silent():
    detector = BurnRate(1, BurnSettings())
    for k in range(60):
        counts = Counts.of([20], [20], [0.1])
        scores = detector.score(at(k), counts)
        detector.learn(at(k), counts, scores)
    assert scores.p[0] == 1.0
