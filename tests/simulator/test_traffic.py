"""Requests are distributed as the placement says, and counted without a gap."""

from __future__ import annotations

import math

import numpy as np
import pytest

from contracts.columns import COUNT_NAMES
from contracts.histogram import latency_base_ms, quantile
from simulator.catalogue import PROFILES, SERVICES
from simulator.conditions import Strength
from simulator.faults import Effect, Fault
from simulator.traffic import MEASURES, generate
from simulator.world import build_world
from tests.simulator.builders import START


def draw(mean: float, *, seed: int = 1, effect: Effect | None = None, boxes: int = 20):
    """An interval in which every row has `mean` requests on average; an effect hits every row."""
    p = build_world(1, boxes).placement
    n = len(p)
    strengths, faults = [], []
    if effect is not None:
        faults = [Fault("f", "degradation", START, START + 10_000, {}, {}, effect, 1.0)]
        strengths = [Strength(0, np.ones(n, dtype=np.float32), np.ones(n, dtype=bool))]
    rng = np.random.default_rng(seed)
    interval = generate(rng, p, boxes, 8, START, np.full(n, mean), np.ones(n), np.zeros(n), faults, strengths)
    return p, interval


def column(interval, name):
    return interval.counts[COUNT_NAMES.index(name)]


def histogram(sparse, row):
    a, b = sparse.at[row], sparse.at[row + 1]
    return dict(zip(sparse.cells[a:b].tolist(), sparse.counts[a:b].tolist(), strict=True))


def test_median_latency_of_a_row_is_the_placements():
    p, interval = draw(5_000)
    for row in range(0, interval.rows.size, 7):
        base = latency_base_ms(SERVICES[p.service[interval.rows[row]]])
        expected = base * 2 ** p.latency[interval.rows[row]]
        got = quantile(histogram(interval.latency, row), 0.5, base)
        assert got is not None
        # Histogram error 4.4%, sampling error of a median of 5,000 log-normal values about 1%.
        assert got.value == pytest.approx(expected, rel=0.09)


def test_the_spread_of_latency_is_the_services():
    p, interval = draw(5_000)
    row = int(np.flatnonzero(p.service[interval.rows] == SERVICES.index("vod"))[0])
    low, high = (quantile(histogram(interval.latency, row), q, 1.0) for q in (0.1587, 0.8413))
    assert math.log(high.value / low.value) / 2 == pytest.approx(PROFILES["vod"].latency_sigma, rel=0.1)


def test_failures_come_at_the_rate_of_the_placement():
    p, interval = draw(2_000, boxes=40)
    failed = sum(column(interval, f"f_{kind}") for kind in ("server", "timeout", "reset", "incomplete"))
    expected = (p.failure[interval.rows] * column(interval, "requests")).sum()
    assert failed.sum() == pytest.approx(expected, rel=5 / math.sqrt(expected))


def test_counts_of_a_row_add_up():
    p, interval = draw(30)
    requests = column(interval, "requests")
    statuses = sum(column(interval, f"s{k}xx") for k in range(2, 6))
    tasks = p.service[interval.rows] == SERVICES.index("compute")
    assert (statuses == np.where(tasks, 0, requests)).all()
    assert np.add.reduceat(interval.latency.counts, interval.latency.at[:-1]).tolist() == requests.tolist()
    assert (column(interval, "cache_hits") <= requests).all()
    assert (column(interval, "stalled_sessions") <= column(interval, "sessions")).all()
    assert (column(interval, "play_ms") >= 0).all()
    five = column(interval, "s5xx")
    assert (five == np.where(tasks, 0, column(interval, "f_server") + column(interval, "f_timeout"))).all()


def test_bounds_give_each_box_its_own_rows():
    p, interval = draw(0.5)
    for box in range(20):
        rows = interval.rows[interval.bounds[box] : interval.bounds[box + 1]]
        assert (p.device[rows] == box).all()
    assert interval.bounds[-1] == interval.rows.size


def test_an_effect_adds_failures_by_class_and_says_how_many():
    _, clean = draw(3_000)
    _, hurt = draw(3_000, effect=Effect(f_server=0.10, f_reset=0.05))
    n = column(hurt, "requests").sum()
    more = {k: int(column(hurt, k).sum() - column(clean, k).sum()) for k in ("f_server", "f_timeout", "f_reset")}
    assert more["f_server"] == pytest.approx(0.10 * n, rel=0.03)
    assert more["f_reset"] == pytest.approx(0.05 * n, rel=0.03)
    assert abs(more["f_timeout"]) < 0.002 * n
    (harm,) = hurt.harms
    added = harm.bad_added[:, MEASURES.index("failures")].sum()
    assert added == pytest.approx(0.15 * n, rel=0.02)
    assert harm.in_scope.sum() == n


def test_bad_added_is_the_difference_to_the_same_requests_without_the_fault():
    """A factor on latency draws nothing, so the same seed gives the same requests with and without it."""
    p, clean = draw(400)
    _, hurt = draw(400, effect=Effect(latency_factor=4.0))

    def slow(interval):
        row = np.repeat(np.arange(interval.rows.size), interval.latency.lengths)
        above = interval.latency.cells >= p.slow_cell[interval.rows][row]
        return int(interval.latency.counts[above].sum())

    (harm,) = hurt.harms
    assert harm.bad_added[:, MEASURES.index("slow_requests")].sum() == slow(hurt) - slow(clean) > 0
    assert harm.bad_added[:, MEASURES.index("failures")].sum() == 0


def test_a_latency_factor_moves_the_median_by_that_factor():
    _, clean = draw(5_000)
    _, hurt = draw(5_000, effect=Effect(latency_factor=4.0))
    before, after = (quantile(histogram(i.latency, 0), 0.5, 1.0) for i in (clean, hurt))
    assert after.value / before.value == pytest.approx(4.0, rel=0.1)


def test_stalls_and_throughput_suffer_as_told():
    _, clean = draw(2_000)
    _, hurt = draw(2_000, effect=Effect(throughput_factor=0.25, stall=0.5))
    ratio = [column(i, "stalled_sessions").sum() / column(i, "sessions").sum() for i in (clean, hurt)]
    assert ratio[1] == pytest.approx(ratio[0] + 0.5 * (1 - ratio[0]), rel=0.05)
    medians = [quantile(histogram(i.throughput, 0), 0.5, 1.0).value for i in (clean, hurt)]
    assert medians[1] / medians[0] == pytest.approx(0.25, rel=0.12)


def test_exemplars_are_failed_or_slow_requests_of_the_box():
    p, interval = draw(200)
    e = interval.exemplars
    assert e.row.size > 0
    assert np.bincount(e.device).max() <= 3
    assert (p.device[interval.rows[e.row]] == e.device).all()
    slow_ms = np.array([PROFILES[s].slow_threshold for s in SERVICES])[p.service[interval.rows[e.row]]]
    assert ((e.failure > 0) | (e.latency_ms > 0.95 * slow_ms)).all()
