"""The self-test: what its box reports, when its faults come, and that a whole Dipper finds them, mutes them, and says
when it does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agent_exporter.clock import Clock
from agent_exporter.collector import Collector
from agent_exporter.config import LogSettings, Settings
from agent_exporter.errors import SendError
from agent_exporter.lines import Defaults, task_line
from agent_exporter.spool import Spool
from agent_exporter.vitals import Vitals
from contracts.auth import headers_for
from contracts.entities import SELF_TEST_CHANGE, Change
from contracts.incidents import Incident
from contracts.protocols import Record
from contracts.self_test import CUSTOMER, NOWHERE, WITHDRAWN, injected
from contracts.times import DAY_MS, MINUTE_MS, SECOND_MS
from contracts.topics import CHANGES
from dipper.clock import wall_clock
from dipper.engine import Engine, open_engine
from dipper.paths import OwnerLock, Paths
from dipper.self_test import APP, DEVICE, SERVICE, Plan, SelfTestSettings, Traffic, attributes, customer
from dipper.settings import SettingsError, load_policy
from history.query_alert_quality import alert_quality
from history.query_incidents import incidents
from ingest.operators import change_to_json
from simulator.asgi import post
from simulator.drive import TELEMETRY_PATH, SimulatedClock

T0 = wall_clock() // MINUTE_MS * MINUTE_MS
SETTINGS = SelfTestSettings()
DEFAULTS = Defaults(CUSTOMER, SERVICE, APP)


def events(path: Path) -> list[Any]:
    return [task_line(line, DEFAULTS) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize(("measure", "failed", "slow"), [(None, 0, 0), ("failures", 40, 0), ("slow_requests", 0, 40)])
def test_traffic_is_what_the_agent_reads_and_a_fault_hurts_its_share(
    tmp_path: Path, measure: str | None, failed: int, slow: int
) -> None:
    traffic = Traffic(tmp_path / "tasks.log", SETTINGS, Random(1))
    for second in range(300):
        traffic.second(T0 + second * SECOND_MS, measure)
    found = events(tmp_path / "tasks.log")
    assert len(found) == 5 * 240
    bad = sum(bool(e.failure) for e in found)
    late = sum(e.latency_ms >= 1_000 for e in found)
    assert bad / len(found) == pytest.approx(failed / 100, abs=0.05)
    assert late / len(found) == pytest.approx(slow / 100, abs=0.05)


def test_the_log_is_rotated_before_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dipper.self_test.ROTATE_BYTES", 2_000)
    traffic = Traffic(tmp_path / "tasks.log", SETTINGS, Random(1))
    for second in range(60):
        traffic.second(T0 + second * SECOND_MS, None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tasks.log", "tasks.log.1"]
    assert all(p.stat().st_size < 4_000 for p in tmp_path.iterdir())


class Told:
    """Changes that were announced; `refuse`: nobody takes them."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.refuse = False

    def __call__(self, change: Change) -> None:
        if self.refuse:
            raise SendError("nobody answers")
        self.changes.append(change)


def test_faults_come_on_their_schedule_hurting_measures_in_turn(tmp_path: Path) -> None:
    told = Told()
    plan = Plan(tmp_path / "fault.json", SETTINGS, T0 + MINUTE_MS, told)
    hurt = [plan.look(T0 + n * MINUTE_MS) for n in range(70)]
    assert hurt == [None, *["failures"] * 6, *[None] * 54, *["slow_requests"] * 6, *[None] * 3]
    assert [(f.start, f.end, f.measure) for f in injected(told.changes)] == [
        (T0 + MINUTE_MS, T0 + 7 * MINUTE_MS, "failures"),
        (T0 + 61 * MINUTE_MS, T0 + 67 * MINUTE_MS, "slow_requests"),
    ]
    assert {c.kind for c in told.changes} == {SELF_TEST_CHANGE}


def test_a_fault_that_nobody_was_told_of_is_not_made(tmp_path: Path) -> None:
    told = Told()
    told.refuse = True
    plan = Plan(tmp_path / "fault.json", SETTINGS, T0, told)
    with pytest.raises(SendError):
        plan.look(T0)
    assert plan.current is None
    told.refuse = False
    assert plan.look(T0 + 10 * SECOND_MS) == "failures"
    assert [c.reference for c in told.changes] == [WITHDRAWN, "failures"]  # the first may have been taken after all
    assert told.changes[0].id != told.changes[1].id


def test_a_fault_that_the_end_cut_short_is_taken_back_at_the_next_start(tmp_path: Path) -> None:
    told = Told()
    Plan(tmp_path / "fault.json", SETTINGS, T0, told).look(T0)
    plan = Plan(tmp_path / "fault.json", SETTINGS, T0 + 20 * MINUTE_MS, told)
    plan.settle()
    assert [c.reference for c in told.changes] == ["failures", WITHDRAWN]
    assert told.changes[0].id == told.changes[1].id
    plan.settle()
    assert len(told.changes) == 2


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"minutes": 1.0}, "self_test.minutes: expected at least 3, got 1.0"),
        ({"every_minutes": 30.0}, "self_test.every_minutes: expected at least 51, got 30.0"),
        ({"requests_per_minute": 6}, "self_test.requests_per_minute: expected 60..60000, got 6"),
        ({"share": 0.0}, "self_test.share: expected 0.05 to 1, got 0.0"),
    ],
)
def test_settings_that_could_not_be_found_are_refused(values: Mapping[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        SelfTestSettings(**values)


class Whole:
    """An engine with nothing but the self-test, in simulated time: the agent's collector on the written log, the
    gateway's door, all operators, history."""

    def __init__(self, folder: Path, detector: Mapping[str, Any]) -> None:
        self.folder = folder
        self.clock = SimulatedClock(T0)
        policy = load_policy()
        policy["detector"] |= {"warm_up_minutes": 10, **detector}
        policy["log"]["group_commit_ms"] = 0
        self.engine: Engine = open_engine(Paths(folder), policy, self.clock, manual=True, live=False)
        registry = self.engine.registry
        registry.upsert_customers([customer()])
        self.key = registry.bulk_add_devices([(DEVICE, attributes(0))], T0)[DEVICE].secret
        log = LogSettings((folder / "tasks.log").absolute(), "tasks", DEFAULTS, "beginning")
        box = Settings("http://x", folder / "no.key", folder / "agent", (log,), NOWHERE, NOWHERE)
        self.spool = Spool(folder / "agent" / "spool", box.spool_max_bytes)
        self.collector = Collector(
            box, DEVICE, "boot-1", self.spool, Clock(self.clock), Vitals("/", lambda: 0.0), random=Random(1),
            log=lambda _: None, sender_state=dict,
        )  # fmt: skip
        self.traffic = Traffic(folder / "tasks.log", SETTINGS, Random(2))
        self.plan = Plan(folder / "fault.json", SETTINGS, T0 + 14 * MINUTE_MS, self._announce)

    def _announce(self, change: Change) -> None:
        self.engine.log.submit([Record(CHANGES.name, b"s", change_to_json(change), change.start)]).result()

    async def run(self, minutes: int) -> None:
        gateway = self.engine.gateway
        await gateway.start()
        for _ in range(6 * minutes):
            for _ in range(10):
                self.clock.now_ms += SECOND_MS
                self.traffic.second(self.clock(), self.plan.look(self.clock()))
            self.collector.tick(self.clock())
            await self._send()
            await gateway.heartbeat(self.clock())
            while self.engine.streams.step(0.0):
                pass
            self.engine.triage_step(self.clock())
        await gateway.stop()
        self.engine.drain(self.clock())

    async def _send(self) -> None:
        entry = self.spool.live()
        assert entry is not None
        body = self.spool.take(entry)
        assert body is not None
        signed = headers_for(self.key, DEVICE, entry.boot, entry.seq, self.clock(), body)
        headers = {**signed, "content-type": "application/json", "content-encoding": "gzip"}
        answering = asyncio.ensure_future(post(self.engine.gateway, TELEMETRY_PATH, headers, body))
        while not answering.done():
            await asyncio.sleep(0)
            await self.engine.gateway.flush()
        assert answering.result()[0] == 200
        self.spool.settle(entry)

    def found(self) -> list[Incident]:
        return list(incidents(self.engine.store, 0, self.clock() + DAY_MS))


def whole(folder: Path, detector: Mapping[str, Any]) -> tuple[list[Incident], Any]:
    """Half an hour with a fault from minute 14 to 20; incidents, and the quality of alerts."""
    with OwnerLock(Paths(folder)):
        world = Whole(folder, detector)
        try:
            asyncio.run(world.run(28))
            found = world.found()
            weeks = alert_quality(world.engine.store, world.clock(), 2)
            return found, [week for week in weeks if week.all.recall.whole]
        finally:
            world.collector.close()
            world.spool.close()
            world.engine.close()


def test_a_whole_dipper_finds_the_fault_mutes_it_and_counts_it(tmp_path: Path) -> None:
    found, weeks = whole(tmp_path / "data", {})
    (drill,) = (i for i in found if i.kind == "quality")
    assert drill.customers == (CUSTOMER,)
    assert (drill.history[0].verb, drill.history[0].author) == ("mute", "dipper")
    assert T0 + 14 * MINUTE_MS <= drill.detected_at <= T0 + 19 * MINUTE_MS
    assert not [i for i in found if i.kind == "self.test"]
    (week,) = weeks
    assert (week.all.recall.part, week.all.recall.whole, week.missed) == (1, 1, ())
    assert week.all.incidents == 0  # a drill is no alert


@pytest.mark.verify
def test_a_dipper_that_finds_nothing_says_so(tmp_path: Path) -> None:
    found, weeks = whole(tmp_path / "data", {"min_excess": 1e9})
    assert [i for i in found if i.kind == "quality"] == []
    (missed,) = (i for i in found if i.kind == "self.test")
    assert (missed.state, missed.headline.key) == ("open", "self.test")
    assert missed.detected_at >= T0 + 25 * MINUTE_MS
    (week,) = weeks
    assert (week.all.recall.part, len(week.missed)) == (0, 1)
    assert json.dumps(week.missed) == json.dumps([missed.headline.params["fault"]])
