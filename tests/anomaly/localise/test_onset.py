"""Onset by change point, and changes joined with a cause."""

import numpy as np
import pytest

from anomaly.localise import (
    Onset,
    Relation,
    ScopedChange,
    Span,
    correlate,
    localise_ratio,
)
from anomaly.localise.onset import onset
from anomaly.localise.overlap import equivalents
from tests.anomaly.localise.builders import full_cube, minutes, where

MINUTE_MS = 60_000


def test_onset_is_the_step_not_the_alarm():
    bad = np.array([10, 9, 11, 10, 40, 38, 41.0])
    assert onset(bad, np.full(7, 10.0)) == Onset(minute=4, earliest=4, latest=4)


def test_an_earlier_spike_that_passed_is_not_the_onset():
    bad = np.array([10, 60, 10, 10, 10, 10, 10, 10, 40.0])
    found = onset(bad, np.full(9, 10.0))
    assert found is not None
    assert found.minute == 8


def test_a_small_rise_leaves_the_onset_open():
    # Level 1.6^.75 = 1.4226. A minute with b of 10 gives b ln 1.4226 - 4.226 nats: -1.05, -0.35, 0.71 and 1.41;
    # summed from the end 0.72, 1.78, 2.12, 1.41: largest since minute 2, and none more than 2 below it.
    found = onset(np.array([9, 11, 14, 16.0]), np.full(4, 10.0))
    assert found == Onset(minute=2, earliest=0, latest=3)


def test_no_rise_has_no_onset():
    assert onset(np.array([10, 12, 9.0]), np.full(3, 10.0)) is None
    assert onset(np.zeros(0), np.zeros(0)) is None


def test_minutes_without_traffic_cannot_be_the_onset():
    found = onset(np.array([10, 0, 40, 40.0]), np.array([10, 0, 10, 10.0]))
    assert found == Onset(minute=2, earliest=2, latest=2)


def test_a_cause_carries_the_onset_of_its_own_series():
    codes = full_cube(3, 4)
    bad, total, _ = minutes(codes, np.full(12, 20), history=9)
    bad[codes[:, 0] == 1, 7:] = 120
    result = localise_ratio(codes, bad, total, 9)
    assert [c.where for c in result.answer] == [where((0, 1))]
    assert result.answer[0].onset == Onset(minute=7, earliest=7, latest=7)


# A cube of two dimensions, 100 requests per leaf; the cause is value 1 of dimension 0: leaves 2 and 3.
CODES = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
TOTAL = np.full(4, 100)
CAUSE = where((0, 1))
SPAN = Span(earliest_ms=10 * MINUTE_MS, onset_ms=11 * MINUTE_MS, latest_ms=12 * MINUTE_MS)


def change(scope, start, end=None, name="c"):
    return ScopedChange(
        id=name, scope=scope, start_ms=start * MINUTE_MS, end_ms=None if end is None else end * MINUTE_MS
    )


@pytest.mark.parametrize(
    ("scope", "relation", "of_scope", "of_cause"),
    [
        (where((0, 1)), Relation.MATCHES, 1.0, 1.0),
        (where(), Relation.CONTAINS, 0.5, 1.0),
        (where((0, 1), (1, 0)), Relation.WITHIN, 1.0, 0.5),
    ],
)
def test_scope_and_cause_are_compared_by_their_traffic(scope, relation, of_scope, of_cause):
    (found,) = correlate(CODES, TOTAL, CAUSE, SPAN, [change(scope, 9)])
    assert (found.relation, found.share_of_scope, found.share_of_cause) == (relation, of_scope, of_cause)
    assert found.delay_ms == 2 * MINUTE_MS
    # sqrt(share x share), halved per 30 minutes
    assert found.score == pytest.approx((of_scope * of_cause) ** 0.5 * 0.5 ** (2 / 30))


@pytest.mark.parametrize(
    "unfit",
    [
        change(where((0, 0)), 9),  # other traffic
        change(where((1, 0)), 9),  # half inside, half outside: neither holds the other
        change(where((0, -1)), 9),  # a value that nothing has
        change(where((0, 1)), 14),  # after the onset
        change(where((0, 1)), -60 * 24),  # more than a day before
    ],
)
def test_changes_that_do_not_fit_are_left_out(unfit):
    assert correlate(CODES, TOTAL, CAUSE, SPAN, [unfit]) == ()


def test_the_nearer_and_the_better_fitting_change_comes_first():
    changes = [
        change(where((0, 1)), -50, name="early"),
        change(where((0, 1)), 10, name="late"),
        change(where(), 10, name="all"),
        change(where((0, 1)), -50, 9, name="rolling"),
    ]
    found = correlate(CODES, TOTAL, CAUSE, SPAN, changes)
    assert [c.id for c in found] == ["late", "rolling", "all", "early"]


def test_equivalents_by_hand():
    # Value 1 of dimension 0 has value 5 of dimension 1 but for 2 of 102 requests.
    codes = np.array([[1, 5], [1, 6], [0, 6]])
    measures = np.array([[100.0, 2.0, 50.0], [30.0, 1.0, 5.0]])
    found = equivalents(codes, measures, where((0, 1)), 2, 0.05, np.array([7, 8, 9]))
    assert [e.where for e in found] == [where((1, 5)), where((0, 1), (1, 5))]
    assert (found[0].leaves_only_in_cause, found[0].leaves_only_in_equivalent) == (1, 0)
    assert found[0].differing_leaves == (8,)
    assert equivalents(codes, measures, where((0, 1)), 2, 0.01, np.array([7, 8, 9])) == ()
