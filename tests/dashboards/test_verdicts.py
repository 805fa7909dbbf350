"""Judgements, by hand."""

from __future__ import annotations

import math

import pytest

from contracts.entities import Customer, Objective
from dashboards.model import State, Sums
from dashboards.verdicts import (
    badness,
    below_since,
    beyond_chance,
    empty_spans,
    judge,
    limit_of,
    unmeasured_spans,
    worst_step,
)
from tests.dashboards.synthetic import make_customer, make_steps

MINUTE = 60_000


@pytest.mark.parametrize(
    ("sums", "limit", "state"),
    [
        (Sums(10_000, 40), 0.005, State.WITHIN),
        (Sums(10_000, 100), 0.005, State.BELOW),
        # 40 failures of 10 000 measured, 5 000 not: holds if those were good (0.27%), not if they were bad.
        (Sums(10_000, 40, 5_000.0), 0.005, State.UNDECIDED),
        # 100 of 10 000, but 15 000 unmeasured: 100/25 000 = 0.4% if all of those were good.
        (Sums(10_000, 100, 15_000.0), 0.005, State.UNDECIDED),
        (Sums(300, 1), 0.001, State.UNDECIDED),  # one failure of 300 is above 0.1%, and chance explains it
        (Sums(0, 0, 12.0), 0.005, State.UNDECIDED),
        (Sums(0, 0), 0.005, State.NO_TRAFFIC),
        (Sums(10_000, 9_999), None, State.NO_OBJECTIVE),
    ],
)
def test_a_customer_is_judged_by_what_unmeasured_requests_could_change(
    sums: Sums, limit: float | None, state: State
) -> None:
    assert judge(sums, limit) is state


@pytest.mark.parametrize(("failures", "requests", "limit"), [(5, 300, 0.005), (8, 300, 0.005), (70, 10_000, 0.005)])
def test_chance_is_excluded_only_when_the_exact_binomial_tail_excludes_it(
    failures: int, requests: int, limit: float
) -> None:
    tail = 1.0 - sum(math.comb(requests, k) * limit**k * (1 - limit) ** (requests - k) for k in range(failures))
    if beyond_chance(failures, requests, limit):
        assert tail < 0.01


def test_chance_edges() -> None:
    assert not beyond_chance(0, 0, 0.01)
    assert not beyond_chance(1, 100, 0.01)  # exactly at the limit
    assert beyond_chance(100, 100, 0.01)
    assert beyond_chance(1, 1_000_000, 0.0)
    assert beyond_chance(266, 100_000, 0.001)


def test_the_limit_is_the_strictest_objective_for_failures_or_that_of_the_service() -> None:
    objectives = (
        Objective("c", "video", "failures", 0.995),
        Objective("c", "download", "failures", 0.99),
        Objective("c", "video", "stalled_sessions", 0.9999),
    )
    customer = Customer("c", "C", "UTC", objectives)
    assert limit_of(customer) == pytest.approx(0.005)
    assert limit_of(customer, "download") == pytest.approx(0.01)
    assert limit_of(customer, "live") is None
    assert limit_of(None) is None
    assert limit_of(make_customer(target=None)) is None


def test_below_customers_rank_by_the_present_and_calm_ones_by_the_whole_range() -> None:
    bad = badness(State.BELOW, Sums(1_000, 20), Sums(10_000, 1), 0.01)
    worse = badness(State.BELOW, Sums(1_000, 30), Sums(10_000, 1), 0.01)
    calm = badness(State.WITHIN, Sums(1_000, 9), Sums(10_000, 10), 0.01)
    calmer = badness(State.WITHIN, Sums(1_000, 10), Sums(10_000, 9), 0.01)
    assert worse < bad < calm < calmer


def test_the_onset_is_where_the_unbroken_run_began() -> None:
    steps = make_steps([100, 100, 0, 100, 100, 0], [5, 0, 0, 3, 4, 0])
    first, fourth, fifth = steps.start[0], steps.start[3], steps.start[4]
    assert below_since(steps, 0.01, fifth) == fourth  # the empty newest step does not end the run
    assert below_since(steps, 0.05, fifth) is None
    assert below_since(steps, None, fifth) is None
    gap = make_steps([100, 0, 100], [3, 0, 4])
    assert below_since(gap, 0.01, gap.start[2]) == gap.start[0]  # silence in between does not break it
    assert below_since(steps, 0.045, first) == first


def test_a_run_that_ended_within_the_present_still_has_its_onset() -> None:
    steps = make_steps([100] * 6, [0, 20, 20, 20, 0, 0])
    assert below_since(steps, 0.01, steps.start[3]) == steps.start[1]
    assert below_since(steps, 0.01, steps.start[4]) is None  # it ended before the present


def test_the_worst_step_is_the_first_of_equals() -> None:
    assert worst_step(make_steps([100, 0, 100, 200], [1, 0, 2, 4])) == 2
    assert worst_step(make_steps([0, 0], [0, 0])) is None


def test_spans_tell_empty_from_unmeasured() -> None:
    steps = make_steps([100, 0, 0, 60, 100], [0] * 5, [0.0, 0.0, 50.0, 40.0, 0.5])
    first = steps.start[0]
    assert empty_spans(steps) == [(first + MINUTE, first + 2 * MINUTE)]
    assert unmeasured_spans(steps) == [(first + 2 * MINUTE, first + 4 * MINUTE)]
