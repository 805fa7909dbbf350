"""Attainment's arithmetic, against the definition spelled out minute by minute in fractions."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.sla import CreditTier
from history import sla
from history.sla import BAD, EXCLUDED, GOOD, NO_TRAFFIC, PENDING, UNMEASURED, Tally

TARGETS = ("0.9", "0.95", "0.99", "0.995", "0.999", "0.9999", "0.3")
TIERS = (CreditTier(0.999, 0.1), CreditTier(0.99, 0.25), CreditTier(0.95, 1.0))

counts = st.integers(0, 5_000).flatmap(lambda total: st.tuples(st.just(total), st.integers(0, total)))
# Shares as boxes give them: so many of so many heard.
covers = st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def reference(total, bad, unmeasured, target):
    """The definition, in exact arithmetic."""
    trials = total + unmeasured
    if trials == 0:
        return NO_TRAFFIC
    allowed = (1 - target) * trials
    if bad + unmeasured <= allowed:
        return GOOD
    return BAD if bad > allowed else UNMEASURED


def arrays(*columns):
    return [np.array(column) for column in columns]


@given(st.lists(st.tuples(counts, st.integers(0, 5_000)), min_size=1, max_size=30), st.sampled_from(TARGETS))
@example([((1000, 1), 0)], "0.999")
@example([((100, 10), 0)], "0.9")
@example([((90, 0), 10)], "0.9")
@example([((90, 1), 10)], "0.9")
@example([((0, 0), 3)], "0.9")
def test_a_minutes_class_is_the_definitions(minutes, target):
    total, bad = arrays(*zip(*(m[0] for m in minutes), strict=True))
    unmeasured = np.array([float(m[1]) for m in minutes])
    wanted = [reference(*m[0], m[1], Fraction(target)) for m in minutes]
    assert sla.classify(total, bad, unmeasured, float(target)).tolist() == wanted


@given(counts, covers)
def test_what_was_not_measured_is_as_the_measured_rest(count, cover):
    total, _ = count
    heard, placed = cover
    found = sla.expected_unmeasured(*arrays([total], [heard / placed], [float(placed)], [1.0]))[0]
    if heard and total:
        assert found == pytest.approx(float(total * (Fraction(placed, heard) - 1)))
    else:
        assert found == pytest.approx(max(0, placed - heard - total))


@pytest.mark.parametrize(("placed", "expected"), [(600.0, 60.0), (5.1, 0.51), (4.9, 0.0)])
def test_where_nothing_was_measured_silent_boxes_would_have_served_their_usual_share(placed, expected):
    """Of `placed` requests per minute, every second of the service, 80% come from boxes that were heard."""
    found = sla.expected_unmeasured(*arrays([0, 0], [0.8, 1.0], [placed, placed], [0.5, 0.5]))
    assert found.tolist() == pytest.approx([expected, 0.0])


def test_silence_is_neither_good_nor_without_traffic():
    total, bad = arrays([0, 0, 7], [0, 0, 0])
    unmeasured = sla.expected_unmeasured(total, *arrays([0.0, np.nan, np.nan], [50.0, 0.0, 0.0], [1.0, 1.0, 1.0]))
    assert unmeasured[:2].tolist() == [50.0, 0.0]
    assert np.isnan(unmeasured[2])  # trials came, but no box stated what it covered
    assert sla.classify(total, bad, unmeasured, 0.99).tolist() == [UNMEASURED, NO_TRAFFIC, UNMEASURED]


@given(st.lists(st.sampled_from(range(6)), max_size=300), st.sampled_from(TARGETS))
def test_attainment_is_an_interval_that_holds_every_truth(codes, target):
    classes = np.array(codes, np.uint8)
    tally = Tally.of(classes)
    counted = [c for c in codes if c in (GOOD, BAD, UNMEASURED)]
    assert tally.counted == len(counted)
    if not counted:
        assert (tally.lower, tally.upper) == (None, None)
        assert tally.verdict(float(target)) == "no_data"
        return
    good, unmeasured, pending = codes.count(GOOD), codes.count(UNMEASURED), codes.count(PENDING)
    truths = [Fraction(good + n, len(counted)) for n in range(unmeasured + 1)]
    assert tally.lower == pytest.approx(float(min(truths)))
    assert tally.upper == pytest.approx(float(max(truths)))
    truths = [Fraction(good + n, len(counted) + pending) for n in range(unmeasured + pending + 1)]
    kept = {t >= Fraction(target) for t in truths}
    assert tally.verdict(float(target)) == {(True,): "met", (False,): "missed"}.get(tuple(kept), "undecided")


def test_the_verdict_at_the_very_target_is_met():
    assert Tally(good=999, bad=1).verdict(0.999) == "met"
    assert Tally(good=998, bad=2).verdict(0.999) == "missed"
    assert Tally(good=998, bad=1, unmeasured=1).verdict(0.999) == "undecided"


def test_the_budget_counts_minutes_to_come_and_spends_the_lost():
    found = sla.budget(Tally(good=9_000, bad=4, unmeasured=6, no_traffic=500, excluded=100, pending=990), 0.99)
    assert found.allowed == pytest.approx(100.0)  # 1% of 9 010 counted and 990 to come
    assert (found.spent, found.spent_at_most) == (4, 10)


@pytest.mark.parametrize(
    ("tally", "due"),
    [
        (Tally(good=9_990, bad=10), (0.0, 0.0)),
        (Tally(good=9_989, bad=11), (0.1, 0.1)),
        (Tally(good=9_900, bad=100), (0.1, 0.1)),
        (Tally(good=9_899, bad=11, unmeasured=90), (0.1, 0.25)),
        (Tally(good=0, bad=3), (1.0, 1.0)),
        (Tally(no_traffic=40_000), (0.0, 0.0)),
    ],
)
def test_credits_are_those_of_the_lowest_tier_reached(tally, due):
    assert sla.credits_of(TIERS, tally) == due


def test_maintenance_is_taken_out_of_the_count():
    start = 1_790_000_040_000
    classes = sla.exclude(
        np.zeros(10, np.uint8), [(start - 60_000, start + 120_000), (start + 540_000, start + 900_000)], start
    )
    assert classes.tolist() == [EXCLUDED] * 2 + [GOOD] * 7 + [EXCLUDED]


@given(st.lists(st.sampled_from(range(6)), max_size=200), st.integers(0, 12))
def test_every_lost_minute_lies_in_one_episode(codes, gap):
    found = sla.episodes(np.array(codes, np.uint8), gap)
    lost = [i for i, c in enumerate(codes) if c in (BAD, UNMEASURED)]
    covered = [i for e in found for i in lost if e.first <= i <= e.last]
    assert covered == lost
    assert sum(e.bad for e in found) == codes.count(BAD)
    assert sum(e.unmeasured for e in found) == codes.count(UNMEASURED)
    for before, after in itertools.pairwise(found):
        assert after.first - before.last - 1 > gap
    for e in found:
        inside = [i for i in lost if e.first <= i <= e.last]
        assert all(b - a - 1 <= gap for a, b in itertools.pairwise(inside))


@given(st.lists(st.sampled_from(range(6)), max_size=300))
def test_classes_survive_writing(codes):
    assert sla.read(sla.written(np.array(codes, np.uint8))).tolist() == codes


def test_what_was_not_written_so_is_refused():
    assert sla.written(np.array([GOOD] * 3 + [BAD, PENDING], np.uint8)) == "3g1b1p"
    for text in ("3g1", "g", "3q", "3g 1b", "-3g"):
        with pytest.raises(ValueError, match="minutes: expected runs"):
            sla.read(text)
