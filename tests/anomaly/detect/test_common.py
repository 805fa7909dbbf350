"""What a family has in common is no dip of one of its series; it is bounded, and nobody has a say in one's own."""

import numpy as np
import pytest

from anomaly.detect import BadInput, CommonSettings, Counts, Detector, Verdict, explain
from anomaly.detect.common import ALONE, Common, Minute
from tests.anomaly.detect.builders import at, feed

N = 30
TOTAL = np.full(N, 200_000)


def minute(moves):
    """200,000 trials of which usually 1% are bad, times `moves`."""
    total = np.full(len(moves), 200_000.0)
    return Minute(total * 0.01 * np.asarray(moves), total, np.full(len(moves), 0.01), np.ones(len(moves), bool))


def fleet(families):
    detector = Detector(N, families=families)
    feed(detector, 120, np.full(N, 2_000), TOTAL)
    return detector


def test_what_all_do_together_is_expected_of_each():
    common = Common(CommonSettings(prior_series=0.0), np.zeros(5, int))
    assert common.factor(minute([1.05] * 5)) == pytest.approx(1.05, rel=1e-3)
    assert common.factor(minute([1.0] * 5)) == pytest.approx(1.0)


def test_a_series_has_no_say_in_what_is_expected_of_itself():
    common = Common(CommonSettings(prior_series=0.0), np.zeros(3, int))
    factor = common.factor(minute([1.06, 1.0, 1.0]))
    assert factor[0] == pytest.approx(1.0)
    assert factor[1:] == pytest.approx(1.06**0.5, rel=1e-3)  # the mean of the logarithms of the other two


def test_families_do_not_mix_and_who_has_none_is_left_alone():
    common = Common(CommonSettings(prior_series=0.0), np.array([0, 0, 0, 1, 1, ALONE]))
    factor = common.factor(minute([1.05, 1.05, 1.05, 1.0, 1.0, 1.05]))
    assert factor == pytest.approx([1.05, 1.05, 1.05, 1.0, 1.0, 1.0], rel=1e-3)


def test_the_movement_is_bounded_and_few_series_are_no_fleet():
    settings = CommonSettings()
    assert np.log(Common(settings, np.zeros(400, int)).factor(minute([3.0] * 400))) == pytest.approx(
        settings.most_common
    )
    two = Common(settings, np.zeros(2, int)).factor(minute([1.1, 1.1]))
    # One other, 2,200 of 2,000 expected: weight 1 / (2 / 2,001 + 0.05^2) = 285.7, against four times 1 / 0.05^2.
    assert np.log(two) == pytest.approx(np.log(2_201 / 2_001) * 285.7 / (285.7 + 1_600), rel=1e-3)


def test_it_is_an_average_of_the_last_minutes_that_learning_moves():
    common = Common(CommonSettings(prior_series=0.0), np.zeros(5, int))
    for _ in range(60):
        common.learn(minute([1.0] * 5))
    once = common.factor(minute([1.05] * 5))
    assert common.factor(minute([1.05] * 5)).tolist() == once.tolist()
    assert 1.0 < once[0] < 1.01
    for _ in range(60):
        common.learn(minute([1.05] * 5))
    assert common.factor(minute([1.05] * 5)) == pytest.approx(1.05, abs=0.002)


@pytest.mark.parametrize(("families", "least", "most"), [(np.zeros(N, int), 0.99, 1.02), (None, 1.03, 1.06)])
def test_a_drift_of_the_whole_fleet_is_followed_faster_than_that_of_one(families, least, most):
    detector = fleet(families)
    for step in range(40):
        bad = np.full(N, round(2_000 * (1 + 0.0025 * step)))  # a tenth more within 40 minutes
        scores = feed(detector, 1, bad, TOTAL, first=120 + step)
    ahead = bad / (TOTAL * scores.shift.expected.ratio)
    assert least < ahead.min() <= ahead.max() < most


def test_one_series_dips_beside_its_family_and_a_collapse_of_all_is_seen():
    detector = fleet(np.zeros(N, int))
    bad = np.full(N, 2_000)
    bad[3] = 4_000
    scores = feed(detector, 3, bad, TOTAL, first=120)
    assert np.flatnonzero(scores.verdict == Verdict.DIP).tolist() == [3]
    assert explain(scores, 3).common == pytest.approx(1.0, abs=0.002)
    together = feed(fleet(np.zeros(N, int)), 3, np.full(N, 4_000), TOTAL, first=120)
    assert (together.verdict == Verdict.DIP).all()


def test_families_are_kept_with_their_series():
    detector = fleet(np.repeat([0, 1], N // 2))
    detector.select(np.array([0, 1, N - 1]))
    detector.extend(1, np.array([1]))
    counts = Counts.of([2_000] * 4, [200_000] * 4)
    detector.learn(at(120), counts, detector.score(at(120), counts))
    assert detector.score(at(121), counts).shift.expected.common == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("families", [np.zeros(2, int), np.zeros(3), np.array([0, -2, 0])])
def test_wrong_families_are_named(families):
    with pytest.raises(BadInput, match="families"):
        Detector(3, families=families)
