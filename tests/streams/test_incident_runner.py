"""The triage job on an embedded log: from minutes to written incidents, through restarts and people's actions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from contracts import topics
from contracts.arrow import to_bytes
from contracts.entities import Change
from contracts.health import BUDGET, BUDGET_KEY, BudgetState, Cell
from contracts.incidents import Action, Incident, action_to_json
from contracts.protocols import Record
from contracts.times import MINUTE_MS
from ingest.log.embedded import EmbeddedLog
from ingest.operators import change_to_json
from streams.incident_runner import TriageRunner, read_incident
from streams.incident_settings import DetectorSettings, TriageSettings
from tests.streams.incident_builders import OBJECTIVES, Network, Worse, inside, minute, nothing, reports
from tests.streams.logs import read, tables

SETTINGS = TriageSettings(detector=DetectorSettings(warm_up_minutes=10))
CALM, LONG = 15, 6
FAULT = inside({"client_isp": "unicom", "client_region": "north"}, 0.12)
BOXES = {f"box-{n}": ("boot-1", ("telecom", "unicom")[n % 2], "north") for n in range(12)}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    opened = EmbeddedLog(tmp_path / "log", partitions=2)
    yield opened
    opened.close()


def open_runner(log: EmbeddedLog) -> TriageRunner:
    return TriageRunner(log, SETTINGS, lambda: OBJECTIVES)


def feed(log: EmbeddedLog, network: Network, n: int, worse: Worse = nothing, *, heard: bool = True) -> int:
    """Minute n as the gateway and the quality job write it; returns the time afterwards."""
    minutes, cube = network.minute(n, worse)
    at = minute(n + 1) + 20_000
    told = [
        Record(topics.REPORTS.name, b"", to_bytes(reports(BOXES, t), pa), t, 0)
        for t in range(minute(n) + 10_000, minute(n + 1) + 1, 10_000)
    ]
    log.submit(
        [
            *(told if heard else []),
            Record(topics.QUALITY_CUBE.name, b"", to_bytes(cube, pa), at, 0),
            Record(topics.QUALITY_MINUTES.name, b"", to_bytes(minutes, pa), at, 0),
        ]
    ).result()
    return at


def run(log: EmbeddedLog, runner: TriageRunner, plan: Sequence[Worse], network: Network, since: int = 0) -> None:
    for n, worse in enumerate(plan, since):
        runner.step(feed(log, network, n, worse))


def newest(log: EmbeddedLog) -> dict[str, Incident]:
    """By id, the version that counts."""
    found: dict[str, Incident] = {}
    for record in read(log, topics.INCIDENTS.name):
        incident = read_incident(record)
        assert incident.id == record.key.decode()
        assert incident.id not in found or incident.version > found[incident.id].version
        found[incident.id] = incident
    return found


PLAN = [*[nothing] * CALM, *[FAULT] * LONG, *[nothing] * 12]


def test_one_fault_is_one_incident_with_its_cause_and_the_change_that_made_it(log: EmbeddedLog) -> None:
    rollout = Change("rollout-7", "configuration", {"client_isp": "unicom"}, minute(CALM), None, "ana")
    log.submit([Record(topics.CHANGES.name, b"s", change_to_json(rollout), minute(CALM))]).result()
    run(log, open_runner(log), PLAN, Network())
    (incident,) = newest(log).values()
    assert (incident.kind, incident.state, incident.verdict) == ("quality", "resolved", "localised")
    assert incident.causes[0].where == {"client_isp": "unicom", "client_region": "north"}
    assert incident.causes[0].answer
    assert incident.onset == minute(CALM)
    assert incident.detected_at <= minute(CALM + 2)
    assert incident.newest <= minute(CALM + LONG)
    assert incident.customers == ("acme", "bolt", "core")
    assert incident.measures == ("failures",)
    assert [(c.id, c.relation) for c in incident.changes] == [("rollout-7", "contains")]
    assert incident.severity.level in ("high", "critical")
    assert incident.severity.customer_minutes >= 3 * (LONG - 2)
    assert incident.headline.key == "quality.localised"
    assert [line.verb for line in incident.history] == ["end"]


def test_a_calm_network_opens_nothing(log: EmbeddedLog) -> None:
    run(log, open_runner(log), [nothing] * 40, Network(seed=5))
    assert newest(log) == {}


def test_every_minute_has_its_signals_and_is_judged_once(log: EmbeddedLog) -> None:
    runner = open_runner(log)
    run(log, runner, [nothing] * 4, Network())
    runner.step(minute(5))
    judged = [row["minute"] for _, rows in tables(log, topics.SIGNALS.name) for row in rows.to_pylist()]
    assert sorted(set(judged)) == [minute(n) for n in range(4)]
    assert len(judged) == 4 * 3 * 5  # customers, measures


def test_the_same_log_gives_the_same_incidents(log: EmbeddedLog, tmp_path: Path) -> None:
    run(log, open_runner(log), PLAN, Network())
    other = EmbeddedLog(tmp_path / "other", partitions=2)
    run(other, open_runner(other), PLAN, Network())
    assert newest(other) == newest(log)
    other.close()


@pytest.mark.parametrize("when", [CALM + 1, CALM + 3, CALM + LONG + 2])
def test_a_restart_keeps_ids_and_repeats_no_minute(log: EmbeddedLog, when: int) -> None:
    network = Network()
    first = open_runner(log)
    run(log, first, PLAN[:when], network)
    before = newest(log)
    first.close()
    run(log, open_runner(log), PLAN[when:], network, since=when)
    after = newest(log)
    assert set(before) <= set(after)
    (incident,) = after.values()
    assert (incident.state, incident.causes[0].where) == (
        "resolved",
        {"client_isp": "unicom", "client_region": "north"},
    )
    judged = [row["minute"] for _, rows in tables(log, topics.SIGNALS.name) for row in rows.to_pylist()]
    assert len(judged) == len(PLAN) * 3 * 5


def test_what_people_do_is_applied_once_also_after_a_restart(log: EmbeddedLog) -> None:
    network = Network()
    first = open_runner(log)
    run(log, first, PLAN[: CALM + 3], network)
    (incident,) = newest(log).values()
    actions = [
        Action("a-1", incident.id, "acknowledge", "ana", minute(CALM + 3), "mine"),
        Action("a-2", incident.id, "acknowledge", "ben", minute(CALM + 3), "too late"),
        Action("a-3", incident.id, "real_cause", "ana", minute(CALM + 3), cause={"client_isp": "unicom"}),
    ]
    for action in actions:
        value = json.dumps(action_to_json(action)).encode()
        log.submit([Record(topics.INCIDENT_ACTIONS.name, b"", value, action.at, 0)]).result()
    run(log, first, PLAN[CALM + 3 : CALM + 4], network, since=CALM + 3)
    assert first.status(minute(CALM + 4))["refused_actions"] == 1
    first.close()
    run(log, open_runner(log), PLAN[CALM + 4 :], network, since=CALM + 4)
    after = newest(log)[incident.id]
    assert [(line.verb, line.author) for line in after.history] == [
        ("acknowledge", "ana"),
        ("real_cause", "ana"),
        ("end", "dipper"),
    ]
    assert after.real_cause == {"client_isp": "unicom"}


def test_our_own_lag_is_one_incident_and_freezes_the_rest(log: EmbeddedLog) -> None:
    network = Network()
    runner = open_runner(log)
    run(log, runner, [nothing] * CALM, network)
    runner.step(minute(CALM + 10))  # nothing came for ten minutes of our clock
    (lag,) = newest(log).values()
    assert (lag.kind, lag.state, lag.severity.level) == ("self.lag", "open", "critical")
    for n in range(CALM, CALM + 6):  # a fault in what is read late
        feed(log, network, n, inside({}, 0.4))
    runner.step(minute(CALM + 12))
    assert {i.kind for i in newest(log).values()} == {"self.lag"}
    for n in range(CALM + 6, CALM + 16):
        feed(log, network, n)
    runner.step(minute(CALM + 16))
    assert [i.state for i in newest(log).values()] == ["resolved"]


def test_a_network_without_traffic_is_no_lag_of_ours(log: EmbeddedLog) -> None:
    network = Network()
    runner = open_runner(log)
    run(log, runner, [nothing] * 3, network)
    for n in range(3, 62):  # minutes go on for an hour without a report, then end
        runner.step(feed(log, network, n, heard=False))
    runner.step(minute(90))
    assert not [i for i in newest(log).values() if i.kind == "self.lag" and i.active]


def test_poison_is_counted_and_passed_over(log: EmbeddedLog) -> None:
    for topic in (topics.QUALITY_MINUTES, topics.QUALITY_CUBE, topics.CHANGES, topics.INCIDENT_ACTIONS, topics.REPORTS):
        log.submit([Record(topic.name, b"", b"\xff{", minute(0), 0)]).result()
    runner = open_runner(log)
    run(log, runner, [nothing] * 3, Network())
    status = runner.status(minute(4))
    assert (status["poison"], status["judged_minutes"], status["lag_records"]) == (5, 3, 0)


def test_a_past_from_history_spares_the_warm_up(log: EmbeddedLog) -> None:
    network = Network()
    run(log, open_runner(log), [nothing] * CALM, network)
    asked = []

    def past(start: int, end: int, promises: object) -> Iterator[tuple[int, dict[tuple[str, str], object]]]:
        asked.append((start, end))
        yield from ()

    TriageRunner(log, SETTINGS, lambda: OBJECTIVES, past)  # type: ignore[arg-type]
    assert asked == [(minute(CALM - 1) - 15 * 1_440 * MINUTE_MS, minute(CALM))]


def test_a_removal_budget_that_is_used_up_is_an_incident(log: EmbeddedLog) -> None:
    runner, network = open_runner(log), Network()
    cell = Cell({"device_region": "north", "device_isp": "unicom", "customer": "acme"}, 40, 0.2, 0.2, 0.7)
    for n in range(3):
        at = feed(log, network, n)
        value = BudgetState(at, 100, 0, 8, 20, (cell,)).to_json()
        score = Record(topics.HEALTH_SCORES.name, b"box-1", b"{}", at, headers={"kind": "score"})  # another's business
        log.submit([score, Record(topics.HEALTH_SCORES.name, BUDGET_KEY, value, at, headers={"kind": BUDGET})]).result()
        runner.step(at)
    (incident,) = newest(log).values()
    assert (incident.kind, incident.customers) == ("health.budget", ("acme",))
    assert incident.where == {"device_region": "north", "device_isp": "unicom"}
    assert runner.status(at)["poison"] == 0


def test_the_first_start_learns_what_was_imported_before_the_first_minute(log: EmbeddedLog) -> None:
    asked = []

    def past(start: int, end: int, promises: object) -> Iterator[tuple[int, dict[tuple[str, str], object]]]:
        asked.append((start, end))
        yield from ()

    runner = TriageRunner(log, SETTINGS, lambda: OBJECTIVES, past)  # type: ignore[arg-type]
    assert asked == []
    run(log, runner, [nothing] * 3, Network())
    assert asked == [(minute(-1) - 15 * 1_440 * MINUTE_MS, minute(0))]
