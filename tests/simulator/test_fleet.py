"""A fleet as a gateway sees it: valid reports, nothing lost or doubled, whatever happens to the boxes."""

from __future__ import annotations

import gzip

import pytest

from contracts.auth import SERVER_TIME_HEADER
from contracts.decode import decode
from contracts.report import encode
from contracts.times import AUTH_WINDOW_MS, DEFAULT_INTERVAL_MS, MINUTE_MS
from simulator.fleet import Fleet, Habits
from simulator.truth import compare_ledger, compare_minutes
from simulator.world import build_world
from tests.simulator.builders import CALM, START, Gateway, exchange, make_fleet, play, settle, spec

BUSY = Habits(
    answer_lost_ratio=0.05, sent_twice_ratio=0.05, restarts_per_box_day=200, flaps_per_box_day=300, spool_reports=360
)
SILENCES = [
    spec("box_off", 2, 3, boxes=3),
    spec("uplink_off", 2.5, 4, boxes=3),
    spec("path_cut", 3, 5, boxes=4),
    spec("agent_dead", 1, 6, boxes=4),
    spec("firmware_leak", 2, 6, ramp_ms=2 * MINUTE_MS),
    spec("bad_rule", 1, 4),
]


def assert_agrees(fleet: Fleet, gateway: Gateway) -> None:
    truth = fleet.truth.ledger(fleet.boxes)
    assert compare_ledger(truth, gateway.ledger()) == (True, [])
    assert compare_minutes(fleet.truth.minutes(fleet.boxes), gateway.minutes()) == (True, [])
    assert truth["requests"]["reported"] > 0


def test_every_report_is_the_contracts_own_encoding_of_itself():
    fleet = make_fleet(SILENCES, habits=BUSY)
    gateway = Gateway(fleet)
    for k in range(1, 50):
        now = START + k * 10_000
        attempts = fleet.step(now)
        for attempt in attempts:
            body = gzip.decompress(attempt.body)
            assert encode(decode(body)) == body
        exchange(fleet, gateway, attempts, now)


def test_totals_are_the_sums_of_the_slices_of_a_boot():
    fleet = make_fleet(habits=BUSY)
    gateway = Gateway(fleet)
    settle(fleet, gateway, play(fleet, gateway, 5))
    assert len({(device, boot) for device, boot, _ in gateway.reports}) > len(fleet.boxes)
    for (device, boot, seq), (_, _, report) in gateway.reports.items():
        before = [gateway.reports[device, boot, s][2] for s in range(1, seq + 1)]
        assert report.totals.requests == sum(sum(r.slices.counts["requests"]) for r in before)
        assert report.totals.slices == sum(len(r.slices) for r in before)


def test_same_seed_sends_the_same_bytes_and_another_seed_others():
    def sent(seed: int) -> list[tuple[bytes, dict[str, str]]]:
        fleet = make_fleet(SILENCES, seed=seed)
        gateway = Gateway(fleet)
        result = []
        for k in range(1, 25):
            attempts = fleet.step(START + k * 10_000)
            result += [(a.body, a.headers) for a in attempts]
            exchange(fleet, gateway, attempts, START + k * 10_000)
        return result

    first = sent(5)
    assert first == sent(5)
    assert first != sent(6)


def test_a_quiet_run_leaves_nothing_and_agrees_with_an_independent_count():
    fleet = make_fleet(habits=CALM)
    gateway = Gateway(fleet)
    settle(fleet, gateway, play(fleet, gateway, 4))
    assert fleet.unsent() == 0
    assert_agrees(fleet, gateway)


def test_silences_restarts_lost_answers_and_doubles_lose_and_double_nothing():
    fleet = make_fleet(SILENCES, habits=BUSY)
    gateway = Gateway(fleet)
    now = play(fleet, gateway, 9)
    assert fleet.unsent() > 0
    settle(fleet, gateway, now)
    assert fleet.unsent() == 0
    assert len(gateway.statuses) > len(gateway.reports)  # some came more than once
    assert_agrees(fleet, gateway)
    assert fleet.truth.ledger(fleet.boxes)["requests"]["declared_dropped"] == 0


@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_an_outage_of_the_gateway_is_caught_up(status):
    fleet = make_fleet(habits=CALM)
    gateway = Gateway(fleet)
    play(fleet, gateway, 1)
    gateway.status = status
    before = len(gateway.statuses)
    play(fleet, gateway, 3, first_minute=1)
    sent_in_outage = len(gateway.statuses) - before
    assert sent_in_outage < 0.8 * 3 * 6 * len(fleet.boxes)  # boxes back off
    gateway.status = None
    settle(fleet, gateway, play(fleet, gateway, 1, first_minute=4))
    assert fleet.unsent() == 0
    assert_agrees(fleet, gateway)


def test_a_full_spool_drops_the_oldest_and_declares_it():
    habits = Habits(
        answer_lost_ratio=0, sent_twice_ratio=0, restarts_per_box_day=0, flaps_per_box_day=0, spool_reports=10
    )
    fleet = make_fleet([spec("path_cut", 1, 5, boxes=4)], habits=habits)
    gateway = Gateway(fleet)
    settle(fleet, gateway, play(fleet, gateway, 8))
    truth = fleet.truth.ledger(fleet.boxes)
    assert truth["requests"]["declared_dropped"] > 0
    assert_agrees(fleet, gateway)
    dropped = {r.device for _, _, r in gateway.reports.values() if r.totals.dropped_reports}
    assert len(dropped) == 4
    # Cut for 30 intervals, a spool of 10: the first report after the cut knows of 21 that are gone.
    newest = [max((r for _, _, r in gateway.reports.values() if r.device == d), key=lambda r: r.seq) for d in dropped]
    assert {r.totals.dropped_reports["spool_full"] for r in newest} == {21}


def test_a_report_the_gateway_refuses_is_let_go_and_counted():
    fleet = make_fleet(habits=CALM)
    gateway = Gateway(fleet)
    play(fleet, gateway, 1)
    gateway.status = 422
    play(fleet, gateway, 0.5, first_minute=1)
    assert fleet.unsent() == 0
    gateway.status = None
    play(fleet, gateway, 1, first_minute=1.5)
    truth = fleet.truth.ledger(fleet.boxes)
    assert truth["requests"]["rejected"] > 0
    assert truth["requests"]["stored"] == gateway.ledger()["requests"]["stored"]
    assert compare_minutes(fleet.truth.minutes(fleet.boxes), gateway.minutes()) == (True, [])


def test_a_report_planned_before_the_clock_was_corrected_is_sent_with_the_corrected_times():
    fleet = make_fleet()
    wrong = next(box for box in fleet.boxes if abs(box.clock_ms) > AUTH_WINDOW_MS)
    now = START + 10_000
    (first,) = [a for a in fleet.step(now) if a.box is wrong]
    (planned,) = [a for a in fleet.step(now + 10_000) if a.box is wrong]
    refusal = {SERVER_TIME_HEADER: str(now)}
    fleet.answer(first, 401, refusal, now)
    fleet.sign(planned, now + 10_000)
    start = decode(gzip.decompress(planned.body)).start
    assert start == now  # its interval began when the first one had ended
    assert abs(planned.sent_at - (now + 10_000)) <= DEFAULT_INTERVAL_MS / 2


def test_clocks_out_of_the_window_learn_from_the_refusal():
    world = build_world(11, 300, start_ms=START)
    wrong = {d.id for d in world.devices if abs(d.clock_error_ms) > 5 * MINUTE_MS}
    assert wrong
    fleet = Fleet(world, (), 11, CALM)
    gateway = Gateway(fleet)
    attempts = fleet.step(START + 10_000)
    exchange(fleet, gateway, attempts, START + 10_000)
    refused = {a.device for a, status in zip(attempts, gateway.statuses, strict=True) if status == 401}
    assert refused == wrong
    before = len(gateway.statuses)
    play(fleet, gateway, 1, first_minute=10 / 60)
    assert set(gateway.statuses[before:]) == {200}
    settle(fleet, gateway, START + 2 * MINUTE_MS)
    assert_agrees(fleet, gateway)


def test_after_a_failure_the_newest_report_alone_finds_out_whether_the_gateway_is_back():
    fleet = make_fleet(habits=CALM)
    box = fleet.boxes[0]

    def sent(k, status):
        now = START + 10_000 * k
        mine = [a for a in fleet.step(now) if a.box is box]
        for attempt in mine:
            fleet.answer(attempt, status, {}, now)
        return len(mine), box.retry_at_ms - now

    for k, (least_s, most_s) in ((1, (5, 10)), (2, (10, 20)), (4, (20, 40))):
        n, wait_ms = sent(k, 503)
        assert n == 1
        assert least_s * 1_000 <= wait_ms <= most_s * 1_000
    assert sent(8, 200)[0] == 1
    assert sent(9, 200)[0] == 4  # the newest, and the three that failed


def test_the_answer_that_ends_a_back_off_sends_the_backlog_at_the_agents_pace():
    fleet = make_fleet(habits=CALM)
    box = fleet.boxes[0]
    for k, status in ((1, 503), (2, 503), (4, 200)):
        now = START + 10_000 * k
        (attempt,) = [a for a in fleet.step(now) if a.box is box]
        later = fleet.answer_and_go_on(attempt, status, {}, now)
    assert [(a.held.head.seq, a.at_ms - now) for a in later] == [(1, 0), (2, 250)]
    assert all(a.held.in_flight for a in later)
    assert [fleet.answer_and_go_on(a, 200, {}, a.at_ms) for a in later] == [[], []]
    assert not box.held


def test_back_off_ends_at_a_minute_as_the_agents_does():
    fleet = make_fleet(habits=CALM)
    box = fleet.boxes[0]
    waits = []
    now = START
    for _ in range(12):
        now = max(now, box.retry_at_ms) + 10_000
        now -= now % 10_000
        (attempt,) = [a for a in fleet.step(now) if a.box is box]
        fleet.answer(attempt, 503, {}, now)
        waits.append(box.retry_at_ms - now)
    assert 30_000 <= waits[-1] <= 60_000
    assert max(waits) <= 60_000


def test_a_back_off_that_ends_within_an_interval_is_not_waited_out_to_the_next():
    fleet = make_fleet(habits=CALM)
    for attempt in fleet.step(START + 10_000):
        fleet.answer(attempt, 503, {}, START + 10_000)
    ends = {box.device.id: box.retry_at_ms for box in fleet.boxes if box.held}
    attempts = fleet.step(START + 20_000, 10_000)
    assert {a.device for a in attempts} == set(ends)
    assert all(a.at_ms >= ends[a.device] for a in attempts)
    assert all(START + 20_000 <= a.at_ms < START + 30_000 for a in attempts)


def test_an_agent_that_was_dead_reports_the_past_under_a_new_boot():
    fleet = make_fleet([spec("agent_dead", 1, 2)], habits=CALM)
    gateway = Gateway(fleet)
    settle(fleet, gateway, play(fleet, gateway, 4))
    device = fleet.faults[0].scope["device"]
    boots = {boot for d, boot, _ in gateway.reports if d == device}
    assert len(boots) == 2
    starts = {start for (d, _, _), (_, start, _) in gateway.reports.items() if d == device}
    assert len([s for s in starts if START + MINUTE_MS <= s < START + 3 * MINUTE_MS]) >= 10
    assert_agrees(fleet, gateway)


def test_a_box_that_was_off_has_no_traffic_then_and_a_new_machine_start_after():
    fleet = make_fleet([spec("box_off", 1, 2)], habits=CALM)
    gateway = Gateway(fleet)
    play(fleet, gateway, 4)
    device = fleet.faults[0].scope["device"]
    own = [(start, r) for (d, _, _), (_, start, r) in gateway.reports.items() if d == device]
    assert not [s for s, _ in own if START + MINUTE_MS <= s < START + 3 * MINUTE_MS]
    after = [r for s, r in own if s >= START + 3 * MINUTE_MS]
    assert all(r.vitals["reboots"] == 1 and r.vitals["uptime_s"] <= 60 for r in after)


def test_traffic_does_not_depend_on_what_the_gateway_answers():
    answered, ignored = make_fleet(habits=CALM), make_fleet(habits=CALM)
    gateway = Gateway(answered)
    play(answered, gateway, 2)
    deaf = Gateway(ignored)
    deaf.status = 503
    play(ignored, deaf, 2)
    assert answered.truth.minutes() == ignored.truth.minutes()
