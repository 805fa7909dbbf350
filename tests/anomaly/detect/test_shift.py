"""Shifts against what is usual: quick and slight ones, onset, what is learned and what is not."""

import numpy as np
import pytest

from anomaly.detect import Baseline, Counts, Detector, DetectSettings, Verdict, explain
from anomaly.detect.dispersion import Dispersion
from anomaly.detect.settings import DispersionSettings
from anomaly.detect.shift import gain
from tests.anomaly.detect.builders import at, calm, feed

DAY = 1_440


def likelihood(bad, mean, shape):
    """ln P(bad) of the negative binomial, without the terms that do not depend on the mean."""
    return bad * np.log(mean / (mean + shape)) + shape * np.log(shape / (mean + shape))


def test_gain_is_the_likelihood_ratio_of_negative_binomials():
    bad = np.array([0.0, 25.0, 50.0, 75.0])
    total, usual, shifted = np.full(4, 5_000.0), np.full(4, 0.005), np.full(4, 0.015)
    found = gain(bad, total, usual, shifted, np.full(4, 2.0))
    assert found == pytest.approx(likelihood(bad, 75.0, 25.0) - likelihood(bad, 25.0, 25.0))
    assert found == pytest.approx([-17.33, -7.19, 2.94, 13.08], abs=0.01)


def test_one_percent_more_is_found_within_three_minutes_and_a_hiccup_is_none():
    detector = calm(1)
    assert feed(detector, 1, [75], [5_000], first=300).verdict[0] == Verdict.OK
    scores = feed(detector, 1, [75], [5_000], first=301)
    assert scores.verdict[0] == Verdict.DIP
    evidence = explain(scores, 0)
    assert evidence.reasons == ("shift",)
    assert evidence.onset == at(300)
    assert (evidence.since_bad, evidence.since_total) == (150, 10_000)
    assert evidence.since_expected == pytest.approx(50, rel=0.02)
    assert evidence.excess == pytest.approx(100, rel=0.02)
    assert evidence.band is not None
    assert evidence.band[0] < 25 < evidence.band[1] < 75


def test_a_slight_lasting_dip_is_found_with_its_onset():
    detector = calm(1, 2 * DAY)
    for minute in range(2 * DAY, 2 * DAY + 60):
        scores = feed(detector, 1, [40], [5_000], first=minute)  # 0.3% of 5,000 more
        if scores.verdict[0] == Verdict.DIP:
            break
    assert scores.verdict[0] == Verdict.DIP
    assert explain(scores, 0).onset == at(2 * DAY)


def test_a_small_customers_three_bad_requests_are_nothing():
    detector = calm(1, bad=0, total=20)
    assert feed(detector, 1, [3], [20], first=300).verdict[0] == Verdict.OK
    assert feed(detector, 1, [3], [20], first=301).verdict[0] == Verdict.OK


def test_the_dip_ends_with_the_trouble():
    detector = calm(1, 2 * DAY)
    feed(detector, 30, [75], [5_000], first=2 * DAY)
    assert feed(detector, 10, [25], [5_000], first=2 * DAY + 30).verdict[0] == Verdict.OK


def test_an_incident_is_not_learned_as_usual():
    detector = calm(1)
    before = detector.score(at(300), Counts.of([25], [5_000])).shift.expected.ratio[0]
    feed(detector, 60, [75], [5_000], first=300)
    after = detector.score(at(360), Counts.of([25], [5_000])).shift.expected.ratio[0]
    assert after < 1.1 * before


def test_baselines_are_named_from_coarse_to_fine():
    detector = Detector(1)
    seen = {}
    for minute in range(15 * DAY):
        counts = Counts.of([25], [5_000])
        scores = detector.score(at(minute), counts)
        seen.setdefault(Baseline(int(scores.shift.expected.baseline[0])), minute)
        detector.learn(at(minute), counts, scores)
    assert list(seen) == [Baseline.NONE, Baseline.OVERALL, Baseline.TIME_OF_DAY, Baseline.TIME_OF_WEEK]
    assert 55 <= seen[Baseline.OVERALL] <= 65
    assert seen[Baseline.TIME_OF_DAY] == DAY
    assert 7 * DAY <= seen[Baseline.TIME_OF_WEEK] <= 14 * DAY


def test_an_evening_that_is_always_worse_is_usual_after_some_days():
    detector = Detector(1)
    dips = []
    for minute in range(5 * DAY):
        bad = 50 if 720 <= minute % DAY < 960 else 25
        scores = feed(detector, 1, [bad], [5_000], first=minute)
        dips.append(scores.verdict[0] == Verdict.DIP)
    by_day = np.array(dips).reshape(5, DAY).sum(axis=1)
    assert by_day[0] > 0  # cold: the first evening is a surprise
    assert by_day[4] == 0


def test_a_holiday_hardly_changes_what_is_usual():
    usual, holiday = Detector(1), Detector(1)
    for detector in (usual, holiday):
        feed(detector, 4 * DAY, [100], [5_000])
    feed(usual, DAY, [100], [5_000], first=4 * DAY)
    feed(holiday, DAY, [130], [5_000], first=4 * DAY)
    noon = 5 * DAY + 720
    ratios = [d.score(at(noon), Counts.of([100], [5_000])).shift.expected.rhythm[0] for d in (usual, holiday)]
    # Five days of equal weight would move it by 30%/5 = 6%.
    assert ratios[1] < 1.03 * ratios[0]


def test_dispersion_is_that_of_the_counts():
    # Beta-binomial with rho 0.004 and 500 trials: variance 1 + 499 x 0.004 = 3.0 times the binomial one.
    rng = np.random.default_rng(5)
    p, rho, total = 0.02, 0.004, 500
    dispersion = Dispersion(DispersionSettings(), 40)
    ones = np.ones(40)
    for minute in range(3_000):
        ratio = rng.beta(p * (1 / rho - 1), (1 - p) * (1 / rho - 1), 40)
        dispersion.learn(minute, rng.binomial(total, ratio).astype(float), total * ones, p * ones, ones)
    single, _, half_hour = dispersion.factors(total * ones, p * ones)
    assert single.mean() == pytest.approx(3.0, rel=0.06)
    assert half_hour.mean() == pytest.approx(3.0, rel=0.2)  # independent minutes: the same over half an hour


def test_minutes_that_hang_together_are_more_dispersed_over_half_an_hour():
    rng = np.random.default_rng(6)
    dispersion = Dispersion(DispersionSettings(), 20)
    ones = np.ones(20)
    for minute in range(3_000):
        if minute % 30 == 0:
            ratio = 0.02 * rng.choice([0.8, 1.2], 20)
        dispersion.learn(minute, rng.binomial(500, ratio).astype(float), 500 * ones, 0.02 * ones, ones)
    single, _, half_hour = dispersion.factors(500 * ones, 0.02 * ones)
    # 15,000 trials, 300 expected, a common scatter of 20%: 1 + 300 x 0.04 = 13 (minus the binomial's 2%).
    assert half_hour.mean() == pytest.approx(13, rel=0.15)
    assert single.mean() == pytest.approx(1.4, rel=0.15)


def test_independent_counts_raise_no_false_alarm():
    # 200 series x 2 days at 0.0004 a series and day: 0.16 expected at most.
    rng = np.random.default_rng(11)
    ratio = rng.uniform(0.002, 0.05, 200)
    total = np.exp(rng.uniform(np.log(50), np.log(20_000), 200)).astype(int)
    detector = Detector(200, DetectSettings())
    found = np.zeros(200, bool)
    for minute in range(2 * DAY):
        scores = feed(detector, 1, rng.binomial(total, ratio), total, first=minute)
        found |= scores.verdict == Verdict.DIP
    assert found.sum() <= 2
