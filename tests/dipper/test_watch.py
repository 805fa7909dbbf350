"""Health of a process: alive, ready, silent. Time is an argument; the steps that block are real threads."""

import asyncio
import json
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.protocols import LogUnavailable
from dipper.parts import Base, DependencyPart, IntakePart, SinkPart, StreamsPart, ThreadPart, WatchSettings
from dipper.shared import Shared
from dipper.silence import Silence
from dipper.watch import Watch
from dipper.worker import Worker
from ingest.http import call
from tests.e2e.processes import until

LIMITS = WatchSettings(silent_after_ms=45_000, ready_lag_s=60, stuck_s=300)


class Clock:
    def __init__(self):
        self.now = 1_000_000

    def __call__(self):
        return self.now


def ask(watch, path, method="GET"):
    status, headers, body = asyncio.run(call(watch, method, path))
    return status, json.loads(body) if headers["content-type"] == "application/json" and body else body


def watch_of(*parts, clock=None):
    return Watch("test", parts, clock or Clock(), silent_after_ms=45_000)


def test_a_healthy_process_is_alive_and_ready():
    watch = watch_of(Base("part"))
    assert ask(watch, "/healthz") == (200, {"status": "alive", "process": "test", "reasons": []})
    assert ask(watch, "/readyz") == (200, {"status": "ready", "process": "test", "reasons": [], "parts": {}})


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("POST", "/healthz", 405), ("HEAD", "/readyz", 200)]
)
def test_other_doors_are_closed(method, path, status):
    assert ask(watch_of(), path, method)[0] == status


def test_a_step_that_never_ends_is_noticed_within_a_minute_and_said():
    blocked, entered = threading.Event(), threading.Event()

    def step():
        entered.set()
        blocked.wait(60)

    clock = Clock()
    worker = Worker("sink", step, clock, random.Random(1))
    watch = watch_of(ThreadPart(worker, LIMITS), clock=clock)
    worker.start()
    try:
        assert entered.wait(10)
        for _ in range(60):  # the shell looks once a second
            watch.look(clock.now)
            clock.now += 1_000
        status, said = ask(watch, "/readyz")
        assert status == 503
        assert said["reasons"] == ["sink: alive, but got nothing done for 59 s"]
        assert ask(watch, "/healthz")[0] == 200  # a new start is not asked for yet
        assert "\ndipper_silent 1.0\n" in watch.metrics_text()
        assert "\ndipper_ready 0.0\n" in watch.metrics_text()
        blocked.set()
        until(lambda: worker.status().steps > 0, 10, "the step ends")
        watch.look(clock.now)
        assert ask(watch, "/readyz")[0] == 200
        assert "\ndipper_silent 0.0\n" in watch.metrics_text()
    finally:
        blocked.set()
        worker.stop(10)


def test_a_step_that_always_fails_makes_the_process_unready_with_the_reason():
    def step():
        raise LogUnavailable("no broker answers")

    clock = Clock()
    worker = Worker("streams", step, clock, random.Random(1))
    watch = watch_of(ThreadPart(worker, LIMITS), clock=clock)
    worker.start()
    try:
        until(lambda: worker.status().failures > 2, 20, "three failures")
        status, said = ask(watch, "/readyz")
        assert status == 503
        assert "no broker answers" in said["reasons"][0]
        assert "times in a row" in said["reasons"][0]
    finally:
        worker.stop(40)


def test_a_thread_that_ended_makes_the_process_not_alive():
    worker = Worker("sink", lambda: None, Clock(), random.Random(1))
    worker.start()
    worker.stop(10)
    watch = watch_of(ThreadPart(worker, LIMITS))
    assert ask(watch, "/healthz") == (
        503, {"status": "not alive", "process": "test", "reasons": ["sink: its thread has ended"]}
    )  # fmt: skip


def test_a_step_beyond_all_patience_makes_the_process_not_alive():
    blocked, entered = threading.Event(), threading.Event()
    worker = Worker("sink", lambda: entered.set() or blocked.wait(60), Clock(), random.Random(1))
    worker.start()
    try:
        assert entered.wait(10)
        limits = WatchSettings(stuck_s=0.0)
        until(lambda: worker.status().busy_s > 0.0, 10, "time passes")
        assert ask(watch_of(ThreadPart(worker, limits)), "/healthz")[0] == 503
    finally:
        blocked.set()
        worker.stop(10)


def test_a_dependency_that_is_away_is_named():
    def away():
        raise LogUnavailable("127.0.0.1:9092: connection refused")

    assert ask(watch_of(DependencyPart("kafka", away)), "/readyz") == (
        503,
        {
            "status": "not ready",
            "process": "test",
            "reasons": ["kafka: 127.0.0.1:9092: connection refused"],
            "parts": {},
        },
    )


class Stuck(Base):
    """A part that gets no answer from what it depends on."""

    def __init__(self):
        super().__init__("stuck")
        self.asked, self.answer = threading.Event(), threading.Event()

    def ready(self, now):
        self.asked.set()
        self.answer.wait(30)
        return []

    def facts(self, now):
        return {"ready": self.ready(now)}


def test_whether_a_process_lives_is_answered_while_dependencies_are_silent():
    part = Stuck()
    watch = watch_of(part)

    async def ask_while_others_wait():
        waiting = [asyncio.create_task(call(watch, "GET", path)) for path in ("/readyz", "/metrics") * 20]
        await asyncio.to_thread(part.asked.wait, 10)
        lives = asyncio.create_task(call(watch, "GET", "/healthz"))
        done, _ = await asyncio.wait([lives], timeout=10)
        part.answer.set()
        await asyncio.gather(*waiting)
        return [task.result()[0] for task in done]

    assert asyncio.run(ask_while_others_wait()) == [200]


def test_a_dependency_that_gives_no_answer_keeps_nobody_waiting():
    answer, asked = threading.Event(), []

    def probe():
        asked.append(threading.current_thread())
        answer.wait(30)

    part = DependencyPart("kafka", probe)
    part._probe._patience_s = 0.0
    assert [part.ready(0), part.ready(0)] == [["kafka: no answer for 0 s"]] * 2
    until(lambda: asked, 10, "the question is asked")
    assert len(asked) == 1, "one question at a time"
    answer.set()
    asked[0].join(10)
    assert part.ready(0) == []


def test_while_a_new_answer_is_on_its_way_the_last_one_serves_but_not_for_ever():
    answer = threading.Event()
    answer.set()
    seen = []

    def ask():
        assert answer.wait(30)
        seen.append(len(seen))
        return seen[-1]

    shared = Shared(ask, 0.0, patience_s=30)
    assert [shared(), shared()] == [0, 1]
    answer.clear()
    shared._patience_s = 0.0
    assert [shared(), shared()] == [1, 1]
    shared._overdue_s = 0.0
    with pytest.raises(TimeoutError, match="no answer for 0 s"):
        shared()
    answer.set()


SINK = {"lag_s": 2.0, "lag_records": 5, "positions": 100, "lag_by_topic": {"changes": 5}, "freshness_s": 9.0}


def test_a_reader_behind_its_bound_is_not_ready():
    assert SinkPart("history", lambda: SINK, LIMITS).ready(0) == []
    late = SinkPart("history", lambda: {**SINK, "lag_s": 61.0}, LIMITS)
    assert late.ready(0) == ["history: 61 s behind the log (60 s are allowed)"]


def test_a_sink_with_minutes_left_to_compute_says_that_it_catches_up():
    def ready(minutes):
        return SinkPart("history", lambda: {**SINK, "minutes_behind": minutes}, LIMITS).ready(0)

    assert ready(2) == []
    assert ready(17) == ["history: catching up: 17 minutes to recompute"]


def test_a_reader_that_does_not_move_while_records_wait_is_silent():
    status = dict(SINK)
    clock = Clock()
    watch = watch_of(SinkPart("history", lambda: dict(status), LIMITS), clock=clock)
    part = watch.parts[0]
    part._status._share_s = 0.0
    watch.look(clock.now)
    clock.now += 46_000
    watch.look(clock.now)
    assert watch.health().silent == ["history: alive, but got nothing done for 46 s"]
    status["positions"] += 1
    watch.look(clock.now)
    assert watch.health().silent == []
    status["lag_records"] = 0
    clock.now += 600_000
    watch.look(clock.now)
    assert watch.health().silent == []


def test_a_standby_is_ready_and_never_silent():
    clock = Clock()
    watch = watch_of(SinkPart("history", lambda: None, LIMITS), clock=clock)
    watch.look(clock.now)
    clock.now += 600_000
    watch.look(clock.now)
    assert ask(watch, "/readyz")[0] == 200
    assert "dipper_freshness_seconds" not in watch.metrics_text()


def test_what_a_part_says_of_its_silence_counts_at_once():
    status = {"silent": True, "reason": "partition 3 has not moved for 50 s", "lag_records": 0}
    clock = Clock()
    watch = watch_of(StreamsPart("worker", lambda: status, LIMITS), clock=clock)
    watch.look(clock.now)
    assert watch.health().silent == ["worker: partition 3 has not moved for 50 s"]


def test_a_part_whose_state_cannot_be_had_hides_nobody_else():
    def broken():
        raise LogUnavailable("away")

    watch = watch_of(SinkPart("history", broken, LIMITS), SinkPart("other", lambda: SINK, LIMITS))
    text = watch.metrics_text()
    assert 'dipper_lag_seconds{part="other"} 2.0' in text
    assert ask(watch, "/readyz")[1]["reasons"] == ["history: LogUnavailable: away"]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 20_000)), max_size=40))
def test_silence_is_said_exactly_when_nothing_moved_for_long_enough(looks):
    silence = Silence(45_000)
    now, since, before = 0, None, None
    for marker, expected, passed in looks:
        now += passed
        if since is None or marker != before or not expected:
            since, before = now, marker
        assert silence.look(marker, now, expected=expected) == (now - since if now - since >= 45_000 else None)


INTAKE = {
    "partitions": [0, 1], "lag_records": 4, "lag_s": 1.0, "stepped_ago_s": 0.2, "error": "", "records_total": 9,
    "unauthenticated_total": {"bad_signature": 3},
}  # fmt: skip


def test_an_intake_that_only_waits_for_an_outage_to_end_is_silent_and_says_why():
    assert IntakePart(lambda: INTAKE, LIMITS).silent(0) == ""
    status = {**INTAKE, "stepped_ago_s": 46.0, "error": "no broker answers"}
    part = IntakePart(lambda: status, LIMITS)
    assert part.silent(0) == "alive, but got nothing done for 46 s: no broker answers"
    assert part.ready(0) == ["intake: no broker answers"]


def test_an_intake_counts_what_nobody_signed_by_reason():
    readings = list(IntakePart(lambda: INTAKE, LIMITS).readings(0))
    assert ("dipper_intake_unauthenticated_total", ("bad_signature",), 3) in readings
    assert ("dipper_lag_records", ("intake", "telemetry.raw"), 4) in readings
    assert ("dipper_assigned_partitions", (), 2) in readings
