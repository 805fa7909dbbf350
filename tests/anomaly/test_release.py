"""The verdict on a release: sequential, sparse, matched."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.release import (
    HOLD,
    INSUFFICIENT,
    PROMOTE,
    ROLL_BACK,
    BadInput,
    ReleaseSettings,
    Side,
    compare,
    course,
    expected_bad,
)

PLAIN = ReleaseSettings(dispersion=1.0)


def side(bad: list[float], total: list[float], boxes: int | list[int] = 50, vanished: int | list[int] = 0) -> Side:
    """`boxes`, `vanished`: of one stratum, or of several."""
    strata = np.atleast_1d(np.array(boxes, np.int64))
    return Side(np.array(bad, float), np.array(total, float), strata, np.broadcast_to(vanished, strata.shape))


def test_the_evidence_of_a_worked_example() -> None:
    """One row of equal exposure, 10 failures against 2, one alternative r = 2: p = 2/3 against 1/2."""
    settings = ReleaseSettings(dispersion=1.0, harm_ratios=(2.0,))
    told = compare(side([10], [1_000], boxes=0), side([2], [1_000], boxes=0), settings).arithmetic
    assert told.harm_e == pytest.approx((4 / 3) ** 10 * (2 / 3) ** 2)
    assert told.changed_bad == 10
    assert told.expected_bad == pytest.approx(1_000 * (2 + 10 * 0.002) / 1_010)


def test_ten_times_the_failures_roll_back() -> None:
    verdict = compare(side([30], [3_000]), side([3], [3_000]))
    assert verdict.verdict == ROLL_BACK
    assert verdict.why.startswith("30 of 3000 requests failed where 3.0 were expected")


def test_as_good_as_before_is_promoted_once_enough_was_seen() -> None:
    few = compare(side([2], [2_000]), side([2], [2_000]))
    assert few.verdict == HOLD
    many = compare(side([1_000], [500_000]), side([1_000], [500_000]))
    assert many.verdict == PROMOTE
    assert "not worse by 1.25 times" in many.why


def test_little_traffic_says_nothing_but_great_harm_is_told_all_the_same() -> None:
    assert compare(side([0], [300]), side([0], [300])).verdict == INSUFFICIENT
    assert compare(side([60], [300]), side([1], [300])).verdict == ROLL_BACK


def test_no_failure_anywhere_is_no_evidence_however_much_was_served() -> None:
    told = compare(side([0], [1e6]), side([0], [1e6]))
    assert told.verdict == HOLD
    assert told.arithmetic.ratio is None
    assert told.arithmetic.harm_e == told.arithmetic.fine_e == 1.0


def test_rows_that_nobody_comparable_served_are_left_out() -> None:
    told = compare(side([50, 2], [5_000, 2_000]), side([0, 2], [0, 2_000])).arithmetic
    assert (told.changed_bad, told.changed_total, told.unmatched_requests) == (2, 2_000, 5_000)


def test_a_bad_place_is_not_the_releases_fault() -> None:
    """The changed boxes serve mostly the bad row; within rows both are alike."""
    verdict = compare(side([900, 2], [9_000, 1_000]), side([100, 18], [1_000, 9_000]))
    assert verdict.arithmetic.ratio == pytest.approx(1.0, abs=0.05)
    assert verdict.verdict != ROLL_BACK


def test_boxes_that_vanish_count_as_failures() -> None:
    calm = side([4], [4_000], boxes=50)
    assert compare(calm, side([4], [4_000], boxes=200, vanished=2)).verdict == HOLD
    dying = compare(side([4], [4_000], boxes=50, vanished=12), side([4], [4_000], boxes=200, vanished=2))
    assert dying.verdict == ROLL_BACK
    assert "12 of 50 changed boxes vanished" in dying.why


def test_boxes_that_vanish_beside_their_neighbours_are_not_the_releases_fault() -> None:
    """All canaries stand in one place, which loses its power; 300 boxes elsewhere are heard."""
    changed = side([4], [4_000], boxes=[8, 0], vanished=[8, 0])
    verdict = compare(changed, side([4], [4_000], boxes=[8, 300], vanished=[8, 0]))
    assert verdict.verdict == HOLD
    assert verdict.arithmetic.harm_e < 1
    assert "8 of 8 changed boxes vanished, 8 of 8 others" in verdict.why


def test_a_release_that_kills_every_box_of_a_place_is_rolled_back_though_nobody_else_is_heard_of() -> None:
    """8 of 8 against 0 of 8 has a chance of 1 in 12,870 if the release kills nobody (Fisher)."""
    settings = ReleaseSettings(vanish_odds=(1e9,))
    verdict = compare(side([], [], boxes=8, vanished=8), side([], [], boxes=8), settings)
    assert verdict.arithmetic.harm_e == pytest.approx((1 + 12_870) / 2, rel=1e-6)
    assert compare(side([], [], boxes=8, vanished=8), side([], [], boxes=8)).verdict == ROLL_BACK


def test_boxes_without_a_comparable_one_are_told_and_judge_nothing() -> None:
    told = compare(side([], [], boxes=[9, 2], vanished=[9, 0]), side([], [], boxes=[0, 4], vanished=[0, 1])).arithmetic
    assert (told.changed_boxes, told.changed_vanished, told.unchanged_boxes, told.unchanged_vanished) == (2, 0, 4, 1)
    assert (told.unmatched_boxes, told.unmatched_vanished) == (9, 9)
    assert told.harm_e <= 1


def test_boxes_without_a_comparable_one_count_among_those_that_served() -> None:
    """A rule that is switched over leaves no box unreached; its requests are matched by who asks."""
    verdict = compare(side([1_000], [500_000], boxes=[60, 0]), side([1_000], [500_000], boxes=[0, 60]))
    assert verdict.verdict == PROMOTE


@pytest.mark.parametrize(("changed", "unchanged"), [(8, 300), (20, 20)])
def test_looking_after_every_box_that_vanishes_keeps_the_promised_error_rate(changed: int, unchanged: int) -> None:
    rng = np.random.default_rng(7)
    runs, wrong = 200, 0
    for _ in range(runs):
        order = rng.permutation(np.arange(changed + unchanged) < changed)[:60]
        gone = np.stack([np.cumsum(order), np.cumsum(~order)])
        wrong += any(
            compare(side([], [], changed, x1), side([], [], unchanged, x0)).verdict == ROLL_BACK for x1, x0 in gone.T
        )
    assert wrong <= 0.01 * runs + 3 * math.sqrt(0.01 * 0.99 * runs)


def test_more_failures_of_the_release_never_speak_for_it() -> None:
    seen = [compare(side([x], [5_000]), side([10], [5_000])).arithmetic for x in range(0, 60, 4)]
    harm, fine = [a.harm_e for a in seen], [a.fine_e for a in seen]
    assert harm[3:] == sorted(harm[3:])  # from as good as before on
    assert fine[3:] == sorted(fine[3:], reverse=True)


def watched(rng: np.random.Generator, ratio: float, minutes: int, settings: ReleaseSettings) -> tuple[bool, bool]:
    """Looked at after every minute: whether it was ever rolled back, ever promoted."""
    total1, total0 = rng.integers(100, 300, minutes).astype(float), rng.integers(500, 900, minutes).astype(float)
    bad1, bad0 = rng.poisson(0.004 * ratio * total1).astype(float), rng.poisson(0.004 * total0).astype(float)
    verdicts = set()
    for upto in range(1, minutes + 1, 3):
        none = np.zeros(1, np.int64)
        a, b = Side(bad1[:upto], total1[:upto], none, none), Side(bad0[:upto], total0[:upto], none, none)
        told = compare(a, b, settings).arithmetic
        verdicts |= {"harm"} if told.harm_e >= told.harm_needed else set()
        verdicts |= {"fine"} if told.fine_e >= told.fine_needed else set()
    return "harm" in verdicts, "fine" in verdicts


def test_looking_all_the_time_keeps_the_promised_error_rates() -> None:
    settings = ReleaseSettings(dispersion=1.0, alpha=0.05, beta=0.05)
    rng = np.random.default_rng(5)
    runs = 200
    rolled_back = sum(watched(rng, 1.0, 90, settings)[0] for _ in range(runs))
    promoted = sum(watched(rng, settings.margin, 90, settings)[1] for _ in range(runs))
    most = 0.05 * runs + 3 * math.sqrt(0.05 * 0.95 * runs)
    assert rolled_back <= most
    assert promoted <= most


def test_a_release_with_four_times_the_failures_is_found_within_an_hour() -> None:
    rng = np.random.default_rng(6)
    assert sum(watched(rng, 4.0, 60, ReleaseSettings())[0] for _ in range(40)) >= 38


@pytest.mark.parametrize(
    ("bad", "total", "boxes", "vanished"),
    [([2], [1], 5, 0), ([-1], [1], 5, 0), ([1, 2], [3], 5, 0), ([0], [math.inf], 5, 0), ([0], [1], 5, 6)],
)
def test_counts_that_cannot_be_are_refused(bad: list[float], total: list[float], boxes: int, vanished: int) -> None:
    with pytest.raises(BadInput):
        side(bad, total, boxes, vanished)


def test_sides_and_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInput, match="rows"):
        compare(side([1], [2]), side([1, 1], [2, 2]))
    with pytest.raises(BadInput, match="boxes"):
        compare(side([1], [2], boxes=[1, 2]), side([1], [2]))
    for wrong in ({"alpha": 0.0}, {"margin": 1.0}, {"margin": 1.05}, {"dispersion": 0.5}, {"vanish_odds": (1.0,)}):
        with pytest.raises(BadInput):
            ReleaseSettings(**wrong)


COUNT = st.integers(0, 10**7)


@given(st.lists(st.tuples(COUNT, COUNT, COUNT, COUNT), max_size=6), st.integers(0, 99), st.integers(0, 99))
def test_any_counts_get_a_verdict_with_finite_arithmetic(
    rows: list[tuple[int, int, int, int]], vanished1: int, vanished0: int
) -> None:
    a = side([r[0] for r in rows], [r[0] + r[1] for r in rows], 99, vanished1)
    b = side([r[2] for r in rows], [r[2] + r[3] for r in rows], 99, vanished0)
    verdict = compare(a, b, PLAIN)
    assert verdict.verdict in (PROMOTE, HOLD, ROLL_BACK, INSUFFICIENT)
    assert math.isfinite(verdict.arithmetic.harm_e)
    assert math.isfinite(verdict.arithmetic.fine_e)


def test_the_course_of_evidence_ends_where_the_verdict_stands() -> None:
    changed, unchanged = side([3, 0, 9, 4], [500, 0, 700, 300], boxes=0), side([1, 5, 2, 0], [900, 40, 600, 0], boxes=0)
    harm, fine = course(changed, unchanged, np.array([0, 0, 1, 2]))
    told = compare(changed, unchanged).arithmetic
    assert (harm[-1], fine[-1]) == (pytest.approx(told.harm_e), pytest.approx(told.fine_e))
    first = compare(side([3, 0], [500, 0], boxes=0), side([1, 5], [900, 40], boxes=0)).arithmetic
    assert (harm[0], fine[0]) == (pytest.approx(first.harm_e), pytest.approx(first.fine_e))
    assert expected_bad(changed, unchanged)[[1, 3]].tolist() == [0, 0]
    assert expected_bad(changed, unchanged).sum() == pytest.approx(told.expected_bad)
