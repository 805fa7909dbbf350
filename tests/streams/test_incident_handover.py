"""The triage job through crashes at bad moments, long absences, and a second one beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from contracts import topics
from contracts.incidents import Incident
from contracts.protocols import LogUnavailable, Record
from contracts.times import MINUTE_MS
from ingest.log.embedded import EmbeddedLog
from streams.incident_runner import Superseded, TriageRunner
from tests.streams.incident_builders import OBJECTIVES, Network, minute, nothing
from tests.streams.logs import read, tables
from tests.streams.test_incident_runner import CALM, FAULT, LONG, PLAN, SETTINGS, feed, newest, run


class Mortal(EmbeddedLog):
    """A log that takes no signals while `deaf`."""

    deaf = False

    def submit(self, records: Sequence[Record]) -> Future[list[tuple[int, int]]]:
        if self.deaf and any(record.topic == topics.SIGNALS.name for record in records):
            raise LogUnavailable("away")
        return super().submit(records)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Mortal]:
    opened = Mortal(tmp_path / "log", partitions=2)
    yield opened
    opened.close()


def open_runner(log: EmbeddedLog) -> TriageRunner:
    return TriageRunner(log, SETTINGS, lambda: OBJECTIVES)


def judged(log: EmbeddedLog) -> list[int]:
    """Minutes in the order of their signals, one per record."""
    return [rows.column("minute")[0].as_py() for _, rows in tables(log, topics.SIGNALS.name)]


def account(incident: Incident) -> tuple[object, ...]:
    answers = [cause.where for cause in incident.causes if cause.answer]
    return incident.id, incident.onset, incident.state, incident.severity, answers


@pytest.mark.parametrize("when", [CALM + 1, CALM + 2, CALM + 4])
def test_a_death_between_a_minutes_incidents_and_its_signals_counts_nothing_twice(
    log: Mortal, tmp_path: Path, when: int
) -> None:
    network = Network()
    first = open_runner(log)
    run(log, first, PLAN[:when], network)
    at = feed(log, network, when, PLAN[when])
    log.deaf = True
    with pytest.raises(LogUnavailable):
        first.step(at)
    first.close()
    log.deaf = False
    before = len(judged(log))
    assert before == when
    second = open_runner(log)
    second.step(at)
    assert judged(log)[-1] == minute(when)
    run(log, second, PLAN[when + 1 :], network, since=when + 1)
    other = EmbeddedLog(tmp_path / "other", partitions=2)
    run(other, open_runner(other), PLAN, Network())
    (undisturbed,), (found,) = newest(other).values(), newest(log).values()
    other.close()
    assert account(found) == account(undisturbed)
    assert judged(log) == [minute(n) for n in range(len(PLAN))]


def test_of_two_jobs_the_one_that_wrote_last_goes_on(log: Mortal) -> None:
    network = Network()
    first = open_runner(log)
    run(log, first, PLAN[: CALM + 2], network)
    second = open_runner(log)
    at = feed(log, network, CALM + 2, FAULT)
    second.step(at)
    written = len(read(log, topics.INCIDENTS.name, topics.SIGNALS.name))
    with pytest.raises(Superseded, match="another triage job"):
        first.step(at)
    assert len(read(log, topics.INCIDENTS.name, topics.SIGNALS.name)) == written
    assert judged(log) == [minute(n) for n in range(CALM + 3)]


@pytest.mark.parametrize("until", [CALM, 1])
def test_what_came_while_nobody_looked_is_judged_as_if_somebody_had(log: Mortal, tmp_path: Path, until: int) -> None:
    plan = [*[nothing] * CALM, *[FAULT] * LONG, *[nothing] * 60]
    network = Network()
    first = open_runner(log)
    run(log, first, plan[:until], network)
    first.close()
    for n in range(until, len(plan)):
        at = feed(log, network, n, plan[n])
    second = open_runner(log)
    while second.step(at):
        pass
    other = EmbeddedLog(tmp_path / "other", partitions=2)
    run(other, open_runner(other), plan, Network())
    assert {i.kind for i in newest(log).values()} == {"quality"}
    (undisturbed,), (found,) = newest(other).values(), newest(log).values()
    other.close()
    assert found.state == "resolved"
    assert account(found) == account(undisturbed)
    assert judged(log) == [minute(n) for n in range(len(plan))]


def test_a_first_start_on_an_old_log_begins_at_its_oldest_minute(log: Mortal) -> None:
    network = Network()
    for n, worse in enumerate(PLAN):
        at = feed(log, network, n, worse)
    runner = open_runner(log)
    while runner.step(at + 24 * 60 * MINUTE_MS):
        pass
    written = [json.loads(r.value)["kind"] for r in read(log, topics.INCIDENTS.name)]
    assert "quality" in written
    assert judged(log) == [minute(n) for n in range(len(PLAN))]
