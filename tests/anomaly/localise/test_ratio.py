"""Ratios: arithmetic by hand, laws by property."""

import numpy as np
import pytest

from anomaly.localise import RatioSettings, Verdict, localise_ratio
from anomaly.localise.baseline import calm_minutes, expected_rate
from anomaly.localise.ratio import count_excess
from tests.anomaly.localise.builders import full_cube, minutes, where


def answer(result):
    return [cause.where for cause in result.answer]


def test_excess_of_a_known_mean_is_that_of_poisson():
    # 20 ln(20/10) - (20 - 10) = 13.863 - 10
    known = count_excess(np.array([20.0, 5.0, 10.0]), np.full(3, 10.0), np.zeros(3))
    assert known == pytest.approx([3.862944, 0.0, 0.0], abs=1e-6)


def test_excess_of_a_doubtful_mean_is_less():
    # Variance 10 of a mean of 10: shape 10, so 20 ln(20/10) - 30 ln(30/20) = 13.863 - 12.164
    doubtful = count_excess(np.array([20.0]), np.array([10.0]), np.array([10.0]))
    assert doubtful == pytest.approx([1.698990], abs=1e-6)


def test_calm_minutes_leave_out_an_earlier_spike():
    bad = np.array([[1, 9, 2, 1, 0, 5]])
    total = np.array([[10, 10, 10, 10, 0, 10]])
    # rates .1 .9 .2 .1, none in minute 4; median .15
    assert calm_minutes(bad, total, 5, 10).tolist() == [0, 3]
    assert calm_minutes(bad, total, 5, 2).tolist() == [3]
    assert calm_minutes(bad, total, 0, 10).tolist() == []


def test_expected_rate_by_hand():
    # Overall (30 + .5) / (1999 + 1) = .01525. Value 0 has 10 of 999, value 1 20 of 1000:
    # factors (10 + 10) / (.01525 * 999 + 10) = .792499 and 30 / (15.25 + 10) = 1.188119;
    # priors .0120856 and .0181188; rates (10 + 2) / (999 + 2 / .0120856) and (20 + 2) / (1000 + 2 / .0181188).
    rate = expected_rate(
        np.array([[0], [1]]), np.array([10, 20]), np.array([999, 1000]), RatioSettings(value_weight=10, leaf_weight=2)
    )
    assert rate == pytest.approx([0.01030506, 0.01981317], rel=1e-5)


def test_parent_wins_when_all_its_children_rose():
    codes = full_cube(3, 4)
    now = np.where(codes[:, 0] == 1, 100, 20)
    result = localise_ratio(codes, *minutes(codes, now))
    assert result.verdict is Verdict.LOCALISED
    assert answer(result) == [where((0, 1))]
    cause = result.causes[0]
    # 4 leaves of 100 bad of 1000; nothing else rose, so all of the excess is here
    assert (cause.bad, cause.total, cause.leaves) == (400, 4000, 4)
    assert cause.expected == pytest.approx(80, rel=0.02)
    assert cause.share == pytest.approx(1.0, abs=0.02)
    assert cause.purity == pytest.approx(1.0)


def test_child_wins_when_it_alone_rose():
    codes = full_cube(3, 4)
    now = np.where((codes[:, 0] == 1) & (codes[:, 1] == 2), 100, 20)
    result = localise_ratio(codes, *minutes(codes, now))
    assert answer(result) == [where((0, 1), (1, 2))]
    assert result.causes[0].bad == 100


def test_two_causes_of_one_dimension():
    codes = full_cube(6, 4)
    now = np.where((codes[:, 0] == 1) | (codes[:, 0] == 4), 120, 20)
    result = localise_ratio(codes, *minutes(codes, now))
    assert sorted(answer(result)) == [where((0, 1)), where((0, 4))]
    assert [c.share for c in result.answer] == pytest.approx([0.5, 0.5], abs=0.02)


def test_equivalent_names_the_same_rows_and_those_that_differ():
    # The value 5 of dimension 0 occurs with value 0 of dimension 1 only, but for one leaf of 2 requests.
    codes = np.array([[5, 0, 0], [5, 0, 1], [5, 1, 0], [4, 0, 0], [4, 1, 1], [4, 1, 0]])
    total = np.array([1000, 1000, 2, 1000, 1000, 1000])
    usual = np.array([20, 20, 0, 20, 20, 20])
    bad, totals, moment = minutes(codes, [100, 100, 0, 20, 20, 20], total, usual)
    result = localise_ratio(codes, bad, totals, moment)
    cause = result.causes[0]
    named = {cause.where, *(e.where for e in cause.equivalents)}
    assert {where((0, 5)), where((0, 5), (1, 0))} <= named
    other = next(e for e in cause.equivalents if len(e.where) == 2 and e.where[0] == (0, 5))
    assert other.differing_leaves == (2,)
    assert (other.leaves_only_in_cause, other.leaves_only_in_equivalent) == (1, 0)


def test_a_shift_of_traffic_to_a_worse_network_is_no_cause():
    # Simpson: value 1 always fails 10 times as often; its share of the traffic grows from 1/4 to 3/4.
    codes = full_cube(2, 3)
    before = np.where(codes[:, 0] == 1, 1000, 3000)
    after = np.where(codes[:, 0] == 1, 3000, 1000)
    rate = np.where(codes[:, 0] == 1, 10, 1)  # in 100
    bad, total, moment = minutes(codes, after * rate // 100, before, before * rate // 100)
    total[:, -1] = after
    rates = bad.sum(axis=0) / total.sum(axis=0)
    assert rates[-1] > 2 * rates[0]
    result = localise_ratio(codes, bad, total, moment)
    assert result.verdict is Verdict.QUIET
    assert result.causes == ()


def test_dimensions_that_say_the_same_do_not_count_twice():
    # Two copies of one dimension: the fitted rates stay at what the two values had, 1% and 4%.
    column = np.repeat([0, 1], 500)
    bad, total = np.where(column == 0, 10, 40), np.full(1000, 1000)
    rate = expected_rate(np.column_stack((column, column)), bad, total, RatioSettings())
    assert rate[0] == pytest.approx(0.01, rel=0.01)
    assert rate[-1] == pytest.approx(0.04, rel=0.01)


def test_a_rise_of_everything_is_diffuse():
    codes = full_cube(3, 4)
    result = localise_ratio(codes, *minutes(codes, np.full(12, 60)))
    assert result.verdict is Verdict.DIFFUSE
    assert result.answer == ()


def test_causes_of_different_dimensions_are_found_one_by_one():
    codes = full_cube(5, 4, 4)
    first, second = codes[:, 0] == 1, (codes[:, 1] == 2) & (codes[:, 2] == 3)
    result = localise_ratio(codes, *minutes(codes, np.where(first | second, 150, 20)))
    assert sorted(answer(result)) == [where((0, 1)), where((1, 2), (2, 3))]


def test_a_quiet_minute_is_quiet():
    codes = full_cube(3, 4)
    result = localise_ratio(codes, *minutes(codes, np.full(12, 21)))
    assert result.verdict is Verdict.QUIET
    assert result.causes == ()


@pytest.mark.parametrize("moment", [0, 5])
def test_too_little_to_judge(moment):
    codes = full_cube(3, 4)
    bad, total, _ = minutes(codes, np.zeros(12, dtype=int))
    assert localise_ratio(codes, bad, total, moment).verdict is Verdict.INSUFFICIENT_DATA
