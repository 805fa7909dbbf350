"""After an outage: what is fresh first, the rest within a budget, in order, and nothing forgotten."""

import random

import pytest

from history.ledger import ledger
from history.sink import Sink, SinkSettings
from tests.history.builders import MINUTE, T0, Box, make_slice, random_fleet, send
from tests.history.test_sink import assert_truth, coverage_shown

NOW = T0 + 6 * MINUTE + 30_000
STATEMENTS = 5  # per group of minutes


class Slow:
    """A store whose statements take a second each on a clock of its own."""

    def __init__(self, store):
        self._store = store
        self.now_s = 0.0

    def execute(self, sql, parameters=None):
        self.now_s += 1.0
        self._store.execute(sql, parameters)

    def clock(self):
        return self.now_s

    def __getattr__(self, name):
        return getattr(self._store, name)


def sink_of(log, store, **settings):
    prompt = {"flush_every_ms": 0, "live_refresh_ms": 0, "late_refresh_ms": 0, **settings}
    return Sink(log, store, SinkSettings(**prompt), clock=store.clock)


def final(store):
    return store.query("SELECT DISTINCT minute FROM coverage_minutes FINAL ORDER BY minute")["minute"]


def shown(store):
    return store.query("SELECT DISTINCT minute FROM minutes FINAL ORDER BY minute")["minute"]


def test_after_an_outage_the_live_minute_is_shown_at_once_and_the_others_are_worked_off_in_order(embedded, log):
    store = Slow(embedded.empty())
    box = Box()
    reports = [box.report(T0 + 10_000 * k, [make_slice()]) for k in range(39)]
    send(log, *reports)
    sink = sink_of(log, store, budget_s=STATEMENTS - 1.0)
    ended = [T0 + MINUTE * m for m in range(6)]
    sink.step(NOW)
    assert shown(store) == [ended[0], T0 + 6 * MINUTE], "the oldest, and the one under way"
    for done in range(1, 7):
        assert final(store) == ended[:done]
        status = sink.status(NOW)
        assert (status["minutes_behind"], status["dirty_minutes"]) == (6 - done, 7 - done)
        sink.step(NOW)
    assert ledger(store, NOW).balanced
    assert_truth(store, reports, minutes=ended)
    assert store.query("SELECT count() AS n FROM restatements")["n"] == [0], "nothing was shown as ended before"


def test_a_budget_takes_as_many_minutes_as_the_engine_manages(embedded, log):
    store = Slow(embedded.empty())
    box = Box()
    send(log, *[box.report(T0 + 10_000 * k, [make_slice()]) for k in range(36)])
    sink = sink_of(log, store, budget_s=2.0 * STATEMENTS)
    sink.step(NOW)
    # One alone, since its cost was not known, then as many as 6 rows in 5 s let hope for.
    assert final(store) == [T0, T0 + MINUTE, T0 + 2 * MINUTE]
    sink.step(NOW)
    assert sink.status(NOW)["minutes_behind"] == 0


def test_late_minutes_wait_for_those_that_were_never_computed(embedded, log):
    store = Slow(embedded.empty())
    box, late_box = Box(), Box("late")
    late = [late_box.report(T0 + 10_000 * k, [make_slice()]) for k in range(12)]
    first = [box.report(T0 + 10_000 * k, [make_slice()]) for k in range(12)]
    send(log, *first)
    sink = sink_of(log, store, budget_s=1.0)
    sink.drain(T0 + 2 * MINUTE + 20_000)
    again = [box.report(T0 + 10_000 * k, [make_slice()]) for k in range(12, 24)]
    send(log, *late, *again)
    now = T0 + 4 * MINUTE + 20_000
    behind = []
    while not behind or sink.status(now)["dirty_minutes"]:
        sink.step(now)
        behind.append((sink.status(now)["minutes_behind"], sink.status(now)["dirty_minutes"]))
    assert behind == [(1, 3), (0, 2), (0, 1), (0, 0)]
    assert_truth(store, [*first, *late, *again])


def test_a_sink_behind_the_log_goes_on_at_once_and_restates_nothing(embedded, log):
    store = Slow(embedded.empty())
    reports = random_fleet(random.Random(9), boxes=3, minutes=4)
    send(log, *reports)
    sink = sink_of(log, store, flush_every_ms=3_000, block_rows=60, poll_records=20, blocks_per_step=1)
    now = T0 + 5 * MINUTE
    steps = [sink.step(now)]
    while not steps[-1].caught_up:
        steps.append(sink.step(now + len(steps)))
    assert len(steps) > 2
    assert all(step.records for step in steps)
    sink.drain(now + MINUTE)
    assert store.query("SELECT count() AS n FROM restatements")["n"] == [0], "a minute ended without its headers"
    assert_truth(store, reports)


@pytest.mark.parametrize("restart", [False, True])
def test_no_minute_ends_before_its_headers_are_read(embedded, log, restart):
    store = Slow(embedded.empty())
    reports = random_fleet(random.Random(9), boxes=3, minutes=4)
    send(log, *reports)
    settings = {"block_rows": 60, "poll_records": 20, "blocks_per_step": 1, "budget_s": 1.0}
    sink = sink_of(log, store, **settings)
    now = T0 + 5 * MINUTE
    steps = 0
    while not sink.step(now).caught_up or sink.status(now)["dirty_minutes"]:
        steps += 1
        assert 0.0 not in coverage_shown(store).values(), "slices without their headers look like silence"
        if restart:
            sink.close()
            sink = sink_of(log, store, **settings)
    assert steps > 4
    assert_truth(store, reports)
