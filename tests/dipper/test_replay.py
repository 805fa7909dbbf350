"""`dipper replay` on a stored run: the same settings find what was found, other settings something else, and nothing is
written."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import pytest

from contracts.incidents import HEALTH_BUDGET, SELF_TEST, Incident, Sentence, Severity, incident_to_json
from contracts.protocols import Record
from contracts.times import DAY_MS, MINUTE_MS, rfc3339
from contracts.topics import INCIDENT_ACTIONS, INCIDENTS, SIGNALS
from dipper.cli import main
from dipper.clock import wall_clock
from dipper.demo_incidents import for_demo
from dipper.demo_once import GROUP_COMMIT_MS
from dipper.engine import Engine, open_engine
from dipper.fleet import register
from dipper.incident_operations import act, new_action
from dipper.paths import DEMO_MARKER, OwnerLock, Paths
from dipper.settings import load_policy
from history.query_incidents import incidents
from simulator.drive import SimulatedClock, run_simulated
from simulator.settings import Settings, build_fleet

SCRIPT = """
[[fault]]
kind = "origin_failure"
start_minute = 14
minutes = 6
severity = 0.6

[[fault]]
kind = "box_off"
start_minute = 16
minutes = 5

[[fault]]
kind = "isp_slow"
start_minute = 25
minutes = 6
severity = 0.9
"""
MINUTES = 34


class Run:
    """A stored run: where, from when to when, and what was found while it ran."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.start = settings.start_ms
        self.end = settings.start_ms + round(settings.minutes * MINUTE_MS)
        policy = load_policy()
        fast = {**for_demo(policy), "log": {**policy["log"], "group_commit_ms": GROUP_COMMIT_MS}}
        clock = SimulatedClock(settings.start_ms)
        with OwnerLock(Paths(folder)):
            (folder / DEMO_MARKER).touch()
            engine = open_engine(Paths(folder), fast, clock, manual=True, live=False)
            try:
                asyncio.run(self._live(engine, settings, clock))
                engine.drain(clock())
                found = incidents(engine.store, 0, clock() + DAY_MS)
            finally:
                engine.close()
        self.found: list[Incident] = sorted(
            (i for i in found if i.merged_into is None and i.detected_at < self.end), key=lambda i: i.detected_at
        )

    async def _live(self, engine: Engine, settings: Settings, clock: SimulatedClock) -> None:
        """Everything as it is live; history follows by the minute."""
        fleet, gateway = build_fleet(settings), engine.gateway
        register(engine.registry, fleet.world, clock())

        async def on_tick(now: int) -> None:
            await gateway.heartbeat(now)
            while engine.streams.step(0.0):
                pass
            if now <= self.end + MINUTE_MS:
                engine.triage_step(now)
            if now % MINUTE_MS == 30_000:
                engine.store_step(now)

        async def flush() -> None:
            await gateway.flush()

        await gateway.start()
        try:
            await run_simulated(fleet, gateway, clock, settings.minutes, on_tick, flush=flush)
        finally:
            await gateway.stop()

    def ends(self) -> dict[str, list[int]]:
        """Where the log's outputs end."""
        with OwnerLock(Paths(self.folder)):
            engine = open_engine(Paths(self.folder), load_policy(), wall_clock, manual=True, live=False)
            try:
                return {t.name: engine.log.end_offsets(t.name) for t in (INCIDENTS, SIGNALS, INCIDENT_ACTIONS)}
            finally:
                engine.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("replay")
    script = folder / "faults.toml"
    script.write_text(SCRIPT)
    data = folder / "data"
    data.mkdir()
    return Run(data, Settings(devices=24, customers=3, seed=11, minutes=MINUTES, script=script))


def replay(capsys: Any, run: Run, *arguments: str) -> dict[str, Any]:
    code = main(["replay", rfc3339(run.start), rfc3339(run.end), "--data", str(run.folder), "--json", *arguments])
    out, err = capsys.readouterr()
    assert code == 0, err
    document: dict[str, Any] = json.loads(out)
    return document


def test_the_same_settings_find_exactly_what_was_found(capsys: Any, run: Run) -> None:
    before = run.ends()
    document = replay(capsys, run)
    assert len(run.found) >= 3
    assert {"quality"} < {i.kind for i in run.found}
    assert [row["status"] for row in document["incidents"]] == ["both"] * len(run.found)
    assert [row["after"]["id"] for row in document["incidents"]] == [i.id for i in run.found]
    assert [row["differs"] for row in document["incidents"]] == [[]] * len(run.found)
    assert document["counts"]["unchanged"] == len(run.found)
    assert document["changed"] == []
    assert run.ends() == before


def test_a_stricter_threshold_finds_fewer(capsys: Any, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "stricter.toml"
    file.write_text("[detector]\nmin_excess = 1e6\n")
    document = replay(capsys, run, "--settings", str(file), "-o", str(tmp_path / "out.json"))
    after = [row for row in document["incidents"] if row["after"]]
    assert len(after) < len(run.found)
    assert all(row["after"]["kind"].startswith("silence.") for row in after)
    assert document["counts"]["only_after"] == 0
    assert document["changed"] == [{"setting": "detector.min_excess", "before": 20.0, "after": 1e6}]
    assert json.loads((tmp_path / "out.json").read_text()) == document


@pytest.mark.verify
def test_both_sides_can_be_run_again(capsys: Any, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "patient.toml"
    file.write_text("[silence]\nsilent_after_ms = 100000000\n")
    document = replay(capsys, run, "--settings", str(file), "--compare", "rerun")
    gone = [row for row in document["incidents"] if row["status"] == "only_before"]
    assert gone
    assert all(row["before"]["kind"].startswith("silence.") for row in gone)
    assert document["compared_with"] == "rerun"


@pytest.mark.verify
def test_a_part_of_the_run_finds_what_was_detected_in_it(capsys: Any, run: Run) -> None:
    middle = run.start + 22 * MINUTE_MS
    code = main(["replay", rfc3339(middle), rfc3339(run.end), "--data", str(run.folder), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    rows = json.loads(out)["incidents"]
    assert [row["after"]["id"] for row in rows] == [i.id for i in run.found if i.detected_at >= middle]
    assert [row["status"] for row in rows] == ["both"] * len(rows)


@pytest.mark.verify
def test_labels_and_gaps_are_told(capsys: Any, run: Run) -> None:
    quality = next(i for i in run.found if i.kind == "quality")
    with OwnerLock(Paths(run.folder)):
        engine = open_engine(Paths(run.folder), load_policy(), wall_clock, manual=True, live=False)
        try:
            later = quality.detected_at + DAY_MS
            told = act(engine.store, engine.log, new_action(quality.id, "false_alarm", "ana", later))
            value = json.dumps(incident_to_json(told)).encode()
            engine.log.submit([Record(INCIDENTS.name, told.id.encode(), value, later, 0)]).result()
            engine.drain(wall_clock())
            engine.store.execute("TRUNCATE TABLE slices")
        finally:
            engine.close()
    document = replay(capsys, run)
    assert {row["label"] for row in document["incidents"] if row["before"]["id"] == quality.id} == {"false"}
    assert (document["counts"]["false"], document["counts"]["false_still_found"]) == (1, 1)
    slices = next(i for i in document["inputs"] if i["input"] == "slices")
    assert (slices["complete"], slices["stored_from"]) == (False, None)
    assert any("cells are as they settled" in note for note in document["notes"])
    assert [row["status"] for row in document["incidents"]] == ["both"] * len(run.found)
    code = main(["replay", rfc3339(run.start), rfc3339(run.end), "--data", str(run.folder)])
    out = capsys.readouterr().out
    assert code == 0
    assert "of 1 false alarms 1" in out
    assert "cells as they were known then: none are stored" in out


def test_what_a_replay_does_not_judge_is_in_no_pair_but_in_a_note(capsys: Any, run: Run) -> None:
    """The scores' budget and the self-test's own checks are not run again: they were not lost."""
    detected = run.start + 20 * MINUTE_MS
    used = Sentence(HEALTH_BUDGET, {"where": {}, "used": 0.15, "allowed": 0.15, "since": detected})
    severity = Severity("medium")
    budget = Incident("budget-1", HEALTH_BUDGET, "open", detected, detected, detected, used, severity)
    missed = Sentence(SELF_TEST, {"fault": "f1", "since": detected})
    told = [budget, changed(budget, id="budget-2"), changed(budget, id="test-1", kind=SELF_TEST, headline=missed)]
    with OwnerLock(Paths(run.folder)):
        engine = open_engine(Paths(run.folder), load_policy(), wall_clock, manual=True, live=False)
        try:
            values = [(i.id.encode(), json.dumps(incident_to_json(i)).encode()) for i in told]
            engine.log.submit([Record(INCIDENTS.name, key, value, run.end, 0) for key, value in values]).result()
            engine.drain(wall_clock())
        finally:
            engine.close()
    document = replay(capsys, run)
    assert [row["before"]["id"] for row in document["incidents"]] == [i.id for i in run.found]
    assert document["counts"]["only_before"] == 0
    (note,) = (note for note in document["notes"] if "left aside" in note)
    assert note.startswith("3 incidents are left aside")
    assert note.endswith(": 2 health.budget, 1 self.test")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[detector]\nmin_coverage = 2.0\n", "min_coverage: expected 0 to 1, got 2.0"),
        ("[detector]\nwarm_up = 3\n", "detector.warm_up: expected one of"),
        ("[gateway]\nflush_ms = 3\n", "[gateway]: expected one of the tables ['detector', 'incident', 'silence']"),
        ("[detector]\nmin_excess = 'many'\n", "detector.min_excess: expected a float, got 'many'"),
        ("min_excess", "expected a readable TOML file"),
    ],
)
def test_a_wrong_settings_file_is_refused_before_anything_is_read(
    capsys: Any, tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    assert main(["replay", "2h", "1h", "--settings", str(file), "--data", str(tmp_path / "nowhere")]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("span", [("1h", "2h"), ("50d", "1h")])
def test_a_span_that_is_none_or_too_long_is_refused(capsys: Any, tmp_path: Path, span: tuple[str, str]) -> None:
    assert main(["replay", *span, "--data", str(tmp_path)]) == 2
    assert "FROM, TO: expected FROM before TO, at most 35 days apart" in capsys.readouterr().err
