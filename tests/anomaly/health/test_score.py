"""Scores and states over minutes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.health import (
    DRAINED,
    REDUCED,
    RETURNING,
    SERVING,
    SIGNS,
    BadInput,
    Capacity,
    Evidence,
    HealthSettings,
    Memory,
    Scores,
    fold,
    judge,
)

SETTINGS = HealthSettings()
E = 0.005  # failures expected of a request


class Fleet:
    """Boxes of one group and one cell with as much capacity each; a minute at a time."""

    def __init__(self, n: int = 20) -> None:
        self.memory = Memory()
        self.memory.grow(n)
        self.minute = 1_000
        self.signs = np.full((len(SIGNS), n), np.nan)
        self.present = np.ones(n)
        self.last: Scores | None = None

    def step(self, requests: dict[int, float], failures: dict[int, float] | None = None) -> Scores:
        """Requests of the boxes that served, of which failed what is stated, else as expected."""
        self.minute += 1
        box = np.array(sorted(requests), np.int64)
        served = np.array([requests[b] for b in sorted(requests)])
        failed = np.array([(failures or {}).get(b, E * requests[b]) for b in sorted(requests)])
        fold(self.memory, self.minute, Evidence(box, served, failed, E * served), SETTINGS)
        return self.judge()

    def judge(self) -> Scores:
        n = len(self.memory)
        capacity = Capacity(np.arange(n), np.zeros(n, np.int64), self.present, 1)
        return judge(self.memory, self.minute, np.zeros((1, n), np.int64), self.signs, capacity, SETTINGS)

    def serve(self, minutes: int, ratio: float | None = None, requests: float = 60.0) -> Scores:
        """All boxes serve their share of `requests` a minute; box 0 fails at a ratio."""
        scores = self.judge()
        for _ in range(minutes):
            served = {b: requests * float(scores.share[b]) for b in range(len(self.memory))}
            scores = self.step(served, {} if ratio is None else {0: ratio * served[0]})
        return scores

    def phase(self, box: int = 0) -> int:
        return int(self.memory.phase[box])


def test_no_evidence_is_neutral_not_healthy() -> None:
    scores = Fleet().judge()
    assert scores.value.tolist() == [0.5] * 20
    assert scores.low.tolist() == [0.0] * 20
    assert scores.high.tolist() == [1.0] * 20
    assert scores.share.tolist() == [1.0] * 20


def test_a_healthy_fleet_scores_high_with_a_narrow_interval() -> None:
    scores = Fleet().serve(120)
    assert scores.value.min() > 0.95
    assert scores.low.min() > 0.7
    assert (scores.low <= scores.value).all()
    assert (scores.value <= scores.high).all()


def test_an_outbreak_is_drained_within_three_minutes() -> None:
    fleet = Fleet()
    fleet.serve(60)
    scores = fleet.serve(3, ratio=0.3)
    assert fleet.phase() == DRAINED
    assert scores.share[0] == SETTINGS.state.probe_share
    assert scores.value[0] < 0.3
    assert scores.share[1:].tolist() == [1.0] * 19


def test_a_slight_lasting_illness_reduces() -> None:
    fleet = Fleet()
    fleet.serve(60)
    fleet.serve(60, ratio=0.05)
    assert fleet.phase() == REDUCED


def test_twice_as_many_failures_as_expected_remove_nobody() -> None:
    fleet = Fleet()
    scores = fleet.serve(240, ratio=2 * E)
    assert fleet.phase() == SERVING
    assert scores.value[0] > 0.5


def drained() -> Fleet:
    fleet = Fleet()
    fleet.serve(60)
    fleet.serve(5, ratio=0.3)
    assert fleet.phase() == DRAINED
    return fleet


def test_a_drained_box_without_requests_never_comes_back() -> None:
    fleet = drained()
    for _ in range(6 * 60):
        scores = fleet.step(dict.fromkeys(range(1, 20), 60.0))
    assert fleet.phase() == DRAINED
    assert scores.value[0] == pytest.approx(0.5, abs=0.01)  # nobody knows any more


def test_a_box_that_is_still_ill_stays_out_however_long_it_is_probed() -> None:
    fleet = drained()
    fleet.serve(6 * 60, ratio=0.3)
    assert fleet.phase() == DRAINED


def test_a_box_that_is_well_again_returns_by_steps_on_probes() -> None:
    fleet = drained()
    seen = []
    for _ in range(6 * 60):
        share = float(fleet.serve(1).share[0])
        if not seen or seen[-1] != share:
            seen.append(share)
    assert seen == [0.015, 0.1, 0.3, 0.6, 1.0]
    assert fleet.phase() == SERVING


def test_more_probes_bring_it_back_sooner() -> None:
    needed = []
    for requests in (60.0, 240.0):
        fleet = drained()
        minutes = 0
        while fleet.phase() == DRAINED:
            minutes += 1
            fleet.serve(1, requests=requests)
        needed.append(minutes)
    assert needed[1] < needed[0] / 3


def test_who_falls_ill_on_the_way_back_goes_again() -> None:
    fleet = drained()
    while fleet.phase() != RETURNING:
        fleet.serve(1)
    fleet.serve(30, ratio=0.3)
    assert fleet.phase() == DRAINED


def test_when_most_look_ill_the_budget_keeps_them() -> None:
    fleet = Fleet(20)
    fleet.serve(60)
    for _ in range(5):
        scores = fleet.step(dict.fromkeys(range(20), 60.0), dict.fromkeys(range(15), 18.0))
    assert (scores.share < 1).sum() == 4  # a fifth of 20
    assert scores.refused.sum() >= 11
    assert scores.removal.exhausted.tolist() == [True]


def test_a_box_too_large_for_the_budget_gets_less_as_far_as_the_budget_goes() -> None:
    fleet = Fleet(20)
    fleet.present[0] = 10.0  # 5.8 of 29 may go
    fleet.serve(60)
    scores = fleet.serve(4, ratio=0.3)
    assert scores.share[0] == pytest.approx(0.5)
    assert (scores.held[0], scores.refused[0]) == (True, False)
    assert not scores.removal.exhausted.any()
    scores = fleet.serve(60)
    assert (fleet.phase(), scores.share[0]) == (SERVING, 1.0)


def test_an_outage_that_is_over_makes_nobody_look_worse_than_usual() -> None:
    """Ten minutes of an outage raised what was expected; then three times the usual 0.5% is no excess of its 10%."""
    fleet = Fleet(20)
    fleet.serve(30)
    everybody = dict.fromkeys(range(20), 600.0)
    for _ in range(10):
        fleet.minute += 1
        box, requests = np.arange(20), np.full(20, 600.0)
        fold(fleet.memory, fleet.minute, Evidence(box, requests, 0.1 * requests, 0.1 * requests), SETTINGS)
        fleet.judge()
    for _ in range(6):
        scores = fleet.step(everybody, {0: 3 * E * 600})
    assert fleet.phase() == SERVING
    assert scores.share[0] == 1


def test_an_ill_box_does_not_return_because_everybody_fails() -> None:
    fleet = drained()
    for _ in range(60):
        fleet.minute += 1
        requests = np.full(20, 60.0)
        requests[0] = 0.9
        expected = 0.25 * requests
        failures = expected.copy()
        failures[0] = 0.3 * requests[0]  # as before
        fold(fleet.memory, fleet.minute, Evidence(np.arange(20), requests, failures, expected), SETTINGS)
        fleet.judge()
    assert fleet.phase() == DRAINED


def test_an_hour_of_outage_hardly_moves_what_is_usual() -> None:
    fleet = Fleet(20)
    fleet.serve(30)
    for _ in range(60):
        fleet.minute += 1
        requests = np.full(20, 60.0)
        fold(fleet.memory, fleet.minute, Evidence(np.arange(20), requests, 0.25 * requests, 0.25 * requests), SETTINGS)
    assert (fleet.memory.usual <= 2 * E + 1e-9).all()


def test_a_drained_box_that_is_away_stays_drained_when_it_comes_back() -> None:
    fleet = drained()
    fleet.present[0] = 0.0
    fleet.serve(1)
    fleet.present[0] = 1.0
    fleet.step(dict.fromkeys(range(1, 20), 60.0))
    assert fleet.phase() == DRAINED


def test_vitals_reduce_and_let_go_with_hysteresis() -> None:
    fleet = Fleet()
    fleet.serve(60)
    hot = SIGNS.index("temperature_c")
    fleet.signs[hot, 0] = 94.0
    scores = fleet.serve(1)
    assert fleet.phase() == REDUCED
    assert scores.value[0] < 0.5
    fleet.signs[hot, 0] = 87.0  # leaves 0.64: above what reduced it, below what lets it go
    fleet.serve(60)
    assert fleet.phase() == REDUCED
    fleet.signs[hot, 0] = 70.0
    fleet.serve(1)
    assert fleet.phase() == RETURNING
    fleet.serve(180)
    assert fleet.phase() == SERVING


def test_vitals_alone_never_drain() -> None:
    fleet = Fleet()
    fleet.signs[:, 0] = 1e6
    fleet.serve(60)
    assert fleet.phase() == REDUCED


def test_a_value_without_fresh_evidence_goes_to_neutral() -> None:
    fleet = Fleet()
    values = [float(fleet.serve(60).value[0])]
    values += [float(fleet.step(dict.fromkeys(range(1, 20), 60.0)).value[0]) for _ in range(120)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0.5, abs=0.01)


def test_a_correction_counts_once_and_lets_nothing_decay() -> None:
    late, at_once = Fleet(), Fleet()
    late.step({0: 60.0}, {0: 1.0})
    correction = Evidence(np.array([0]), np.array([10.0]), np.array([4.0]), np.array([10 * E]))
    fold(late.memory, late.minute, correction, SETTINGS)
    at_once.step({0: 70.0}, {0: 5.0})
    assert late.memory.sums[:, :, 0] == pytest.approx(at_once.memory.sums[:, :, 0])


def test_evidence_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadInput, match="failures"):
        Evidence(np.array([0]), np.array([1.0]), np.array([np.nan]), np.array([1.0]))


def test_signs_of_another_fleet_are_refused() -> None:
    fleet = Fleet(3)
    fleet.signs = fleet.signs[:, :2]
    with pytest.raises(BadInput, match="3 boxes"):
        fleet.judge()


@given(
    st.lists(st.tuples(st.integers(0, 400), st.floats(0, 1)), min_size=1, max_size=6),
    st.integers(0, 5),
    st.integers(1, 200),
)
@settings(max_examples=80, deadline=None)
def test_more_failures_never_raise_a_value_or_a_share(minutes: list[tuple[int, float]], at: int, more: int) -> None:
    """The same requests minute by minute, at one of them more failures: value and interval are no higher after it."""
    a, b = Fleet(8), Fleet(8)
    for k, (requests, ratio) in enumerate(minutes):
        failed = round(requests * ratio)
        worse = min(requests, failed + more) if k == at else failed
        # What follows from a state differs with the state: compare as long as both are in the same.
        for fleet, failures in ((a, failed), (b, worse)):
            fleet.memory.phase[:] = SERVING
            served = {0: float(requests), **dict.fromkeys(range(1, 8), 60.0)}
            fleet.last = fleet.step(served, {0: float(failures)})
        for name in ("value", "low", "high", "share"):
            assert getattr(b.last, name)[0] <= getattr(a.last, name)[0] + 1e-12, name


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1.0), st.floats(1, 10_000))
@settings(max_examples=12, deadline=None)
def test_one_ill_box_among_thousands_never_moves_its_neighbours(seed: int, ratio: float, requests: float) -> None:
    n = 1_500
    rng = np.random.default_rng(seed)
    groups = np.stack([rng.integers(0, 4, n), np.arange(n) % 500])
    groups[1] += 500 * groups[0]
    capacity = Capacity(np.arange(n), rng.integers(0, 40, n), np.ones(n), 40)
    signs = np.full((len(SIGNS), n), np.nan)
    served = rng.poisson(60, (12, n)).astype(float)
    usual = rng.poisson(served * E).astype(float)
    results = []
    for ill in (False, True):
        memory = Memory()
        memory.grow(n)
        for minute in range(12):
            failures, of = usual[minute].copy(), served[minute].copy()
            if ill:
                of[7], failures[7] = requests, ratio * requests
            fold(memory, minute, Evidence(np.arange(n), of, failures, of * E), SETTINGS)
            scores = judge(memory, minute, groups, signs, capacity, SETTINGS)
        results.append(scores)
    others = np.arange(n) != 7
    without, with_it = results
    assert with_it.share[others].tolist() == without.share[others].tolist()
    assert np.abs(with_it.value - without.value)[others].max() < 0.02
