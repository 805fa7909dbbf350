"""The scoring of benchmarks/detect: laws of the window score, intervals, what counts as found and as false."""

from math import exp

import numpy as np
import pytest

from benchmarks.detect.score import incidents, nab_scores, outcome, sigmoid, wilson
from benchmarks.detect.streams import DAY, EFFECTS, MEASURES, Plan, stream

SMALL = Plan(warm_up_days=2, days=1, quick=4, slight=3, any=3)


def standard(windows, openings):
    return nab_scores([windows], [openings])["standard"]


def test_the_curve_has_the_published_values():
    assert sigmoid(-1.0) == pytest.approx(2 / (1 + exp(-5)) - 1)
    assert sigmoid(-1.0) == pytest.approx(0.98661, abs=1e-5)
    assert sigmoid(-0.5) == pytest.approx(0.84828, abs=1e-5)
    assert sigmoid(0.0) == 0.0
    assert sigmoid(1.0) == pytest.approx(-0.98661, abs=1e-5)
    assert sigmoid(3.0) == -1.0


def test_nothing_scores_0_and_every_window_at_once_100():
    windows = [(100, 129), (300, 309)]
    assert standard(windows, []) == 0.0
    assert standard(windows, [100, 300]) == pytest.approx(100.0)


def test_an_earlier_alarm_scores_more_and_a_second_one_nothing():
    windows = [(100, 129)]
    assert standard(windows, [105]) > standard(windows, [120]) > 0
    assert standard(windows, [105, 110]) == standard(windows, [105])


def test_a_false_alarm_costs_a_ninth_of_a_hit():
    assert standard([(100, 129)], [10, 100]) == pytest.approx(100 * (1 - 0.11 + 1) / 2)


def test_wilsons_interval_by_hand():
    # 8 of 10, z = 2: centre (0.8 + 0.2) / 1.4 = 0.714, half 2 sqrt(0.016 + 0.01) / 1.4 = 0.2303.
    assert wilson(8, 10, 2.0) == pytest.approx((0.4840, 0.9446), abs=1e-4)
    assert wilson(0, 0) is None


def test_gaps_of_half_an_hour_are_bridged():
    alarm = np.zeros(200, bool)
    alarm[[10, 11, 42, 74]] = True
    assert incidents(alarm) == [(10, 42), (74, 74)]
    assert incidents(np.zeros(5, bool)) == []


def test_streams_are_a_function_of_their_seed():
    one, again, other = stream(3, SMALL), stream(3, SMALL), stream(4, SMALL)
    assert np.array_equal(one.bad, again.bad)
    assert one.faults == again.faults
    assert not np.array_equal(one.total, other.total)
    assert (one.bad <= one.total).all()
    assert [f.class_ for f in one.faults] == ["quick"] * 4 + ["slight"] * 3 + ["any"] * 3


def test_the_null_detector_finds_nothing_and_one_that_knows_finds_all():
    made = stream(3, SMALL)
    nothing = np.zeros(made.bad.shape, bool)
    assert all(f.seconds is None for f in outcome(made, nothing).found)
    assert outcome(made, nothing).false_incidents == 0
    knowing = nothing.copy()
    for fault in made.faults:
        for customer in fault.customers:
            knowing[int(fault.start) + 1 : fault.end, customer, EFFECTS[fault.kind][0][0]] = True
    result = outcome(made, knowing)
    assert all(f.seconds is not None and 20 < f.seconds <= 140 for f in result.found)
    assert result.false_incidents + result.false_beside_faults == 0


def test_an_alarm_that_was_on_before_finds_nothing_and_is_false():
    made = stream(3, SMALL)
    always = np.zeros(made.bad.shape, bool)
    always[2 * DAY :] = True
    result = outcome(made, always)
    late = [f for f in result.found if f.fault.start > 2 * DAY + 1]
    assert late
    assert all(f.seconds is None for f in late)
    assert result.false_incidents == result.clean_days > 0


def test_a_fault_raises_its_measures():
    made = stream(3, SMALL)
    fault = max((f for f in made.faults if f.kind == "errors" or f.class_ == "quick"), key=lambda f: f.share)
    span = slice(int(fault.start) + fault.ramp + 1, fault.end)
    before = slice(int(fault.start) - 60, int(fault.start))
    customer, (measure, times) = fault.customers[0], EFFECTS[fault.kind][0]
    bad, total = made.bad[:, customer, measure], made.total[:, customer, measure]
    risen = bad[span].sum() / total[span].sum() - bad[before].sum() / total[before].sum()
    assert risen == pytest.approx(times * fault.share, rel=0.35), MEASURES[measure]
