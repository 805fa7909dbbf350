"""The scoring of benchmarks/detect: laws of the window score, intervals, what counts as found, as false, as named."""

import sys
from dataclasses import replace
from math import exp
from pathlib import Path

import numpy as np
import pytest

from benchmarks.detect import __main__ as command
from benchmarks.detect.__main__ import main
from benchmarks.detect.cause import ALARM, END, Named, named
from benchmarks.detect.compare import Peers
from benchmarks.detect.detectors import ours
from benchmarks.detect.report import cause_figures, poisson, shares
from benchmarks.detect.score import Found, incidents, nab_scores, outcome, sigmoid, wilson
from benchmarks.detect.state import Asked, Kept, State, fingerprint
from benchmarks.detect.streams import (
    BIG,
    DAY,
    EFFECTS,
    LATE_CUSTOMERS,
    MEASURES,
    SLOW,
    Fault,
    Plan,
    beta_binomial,
    stream,
)

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


def test_the_interval_of_a_count():
    # The exact ones (Garwood, 1936): 4.80 to 18.39 for 10, 0.03 to 5.57 for 1, 0 to 3.69 for none.
    assert poisson(10) == pytest.approx((4.80, 18.39), abs=0.02)
    assert poisson(1) == pytest.approx((0.03, 5.57), abs=0.05)
    assert poisson(0) == pytest.approx((0.0, 3.69), abs=0.1)


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


def test_counts_are_beta_binomial():
    # With a clump of c, the variance is 1 + c times the binomial one; p = 0.02 of 5,000 trials: 98 (1 + c).
    rng = np.random.default_rng(2)
    total = np.full((40_000, 1, 1), 5_000)
    bad = beta_binomial(rng, total, np.full(total.shape, 0.02), clumps=np.array([[1.5]]))
    assert bad.mean() == pytest.approx(100, rel=0.01)
    assert bad.var() == pytest.approx(98 * 2.5, rel=0.05)


def test_some_customers_come_late_and_their_days_before_are_no_clean_days():
    made = stream(3, SMALL)
    assert (made.since > 0).sum() == LATE_CUSTOMERS
    for customer in np.flatnonzero(made.since):
        assert made.total[: made.since[customer], customer].sum() == 0
        assert made.total[made.since[customer] :, customer].sum() > 0
    nothing = np.zeros(made.bad.shape, bool)
    absent = replace(made, since=np.full_like(made.since, 3 * DAY), faults=())
    assert outcome(replace(made, since=np.zeros_like(made.since), faults=()), nothing).clean_days == 40
    assert outcome(absent, nothing).clean_days == 0


def test_fleets_side_by_side_are_judged_as_each_alone():
    streams = []
    for seed in (3, 4):
        made = stream(seed, Plan(warm_up_days=2, days=1, quick=0, slight=0, any=0))
        streams.append(replace(made, bad=made.bad[:180], total=made.total[:180], frozen=made.frozen[:180]))
    streams[0].bad[120:150, :30] = streams[0].total[120:150, :30] // 3
    together = ours(streams)
    assert together[0].any()
    for made, alarms in zip(streams, together, strict=True):
        assert np.array_equal(alarms, ours([made])[0])


def test_a_large_fault_is_named_and_a_missed_one_is_not_asked_for():
    made = stream(3, SMALL)
    customer = int(made.usual_requests[2 * DAY + 100].argmax())
    fault = Fault("slow", "quick", (customer,), 0.05, 2 * DAY + 100.5, 0, 2 * DAY + 130)
    assert made.usual_requests[2 * DAY + 100, customer] > BIG
    answers = named(made, Found(fault, BIG, 140.0, SLOW), np.random.default_rng(1))
    assert [a.when for a in answers] == [ALARM, END]
    assert all(a.exact and a.top3 for a in answers)
    assert named(made, Found(fault, BIG, None, SLOW), np.random.default_rng(1)) == []


def test_figures_by_hand():
    fault = Fault("slow", "quick", (1,), 0.05, 100.0, 0, 120)
    found = [Found(fault, BIG, seconds, SLOW) for seconds in (80.0, 100.0, None)]
    assert shares(found) == {"faults": 3, "found": 2, "share": 0.667, "share_95": [0.208, 0.939], "median_s": 90}
    good, wrong = Named(END, "localised", True, True), Named(END, "quiet", False, False)
    figures = cause_figures([Asked(found[0], (good,)), Asked(found[1], (wrong,)), Asked(found[2], ())])
    assert (figures["quick"][END]["faults"], figures["quick"][END]["exact"]) == (2, 0.5)
    assert figures["quick"][END]["exact_of_answered"] == 1.0
    assert figures["quick"][ALARM]["exact"] is None


def test_what_the_environment_of_the_peers_lacks_is_named():
    assert Peers(Path(sys.executable)).missing() == ["pyod", "river"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--seed", "990", "--seeds", "20"], "all up to 1000"), (["--seed", "1001"], "are for tuning")],
)
def test_figures_are_not_made_on_seeds_for_tuning(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_what_was_worked_out_is_kept_for_the_same_code_only(tmp_path):
    made = stream(3, SMALL)
    of = outcome(made, np.zeros(made.bad.shape, bool))
    answer = Asked(of.found[0], (Named(END, "quiet", False, True),))
    kept = Kept(3, {"dipper": of}, (answer,), 1.5, 2)
    one, other = (State(tmp_path, "dipper", fingerprint(["anomaly/detect/*.py"], plan)) for plan in (SMALL, Plan()))
    assert one.get(3) is None
    one.put(kept)
    assert one.get(3) == kept
    assert other.get(3) is None
    assert one.get(4) is None


def test_a_run_goes_on_where_it_was_interrupted(tmp_path, monkeypatch, capsys):
    made = {}

    def counted(seed, plan):
        made[seed] = made.get(seed, 0) + 1
        return stream(seed, plan)

    monkeypatch.setattr(command, "stream", counted)
    monkeypatch.setattr(command, "ours", lambda streams: [np.zeros(s.bad.shape, bool) for s in streams])
    monkeypatch.setattr(command, "QUICK", Plan(warm_up_days=2, days=1, quick=1, slight=0, any=0))
    monkeypatch.setattr(command, "write_result", lambda name, figures, packages: figures)
    arguments = ["--seed", "1", "--quick", "--state", str(tmp_path), "--peers", str(tmp_path / "none")]
    assert main([*arguments, "--seeds", "1"]) == 0
    assert main([*arguments, "--seeds", "2"]) == 0
    assert made == {1: 1, 2: 1}
    assert "| dipper | 2 |" in capsys.readouterr().out
