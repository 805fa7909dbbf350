"""Commands on a deployment with real rows: while it runs, and after it has stopped."""

import asyncio
import json

import pytest

from dipper import cli
from dipper.clock import SettableClock
from dipper.demo_once import _drive
from dipper.engine import open_engine
from dipper.paths import OwnerLock, Paths
from dipper.settings import load_policy
from simulator.drive import SimulatedClock
from simulator.settings import Settings, build_fleet


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A data directory with ten simulated minutes of five boxes; its log has been read, its process has ended."""
    data = tmp_path_factory.mktemp("filled") / "data"
    settings = Settings(devices=5, customers=3, minutes=4, seed=5, faults_per_hour=0)
    clock = SimulatedClock(settings.start_ms)
    with OwnerLock(Paths(data)):
        engine = open_engine(Paths(data), load_policy(), clock, manual=True, live=False)
        fleet = build_fleet(settings)
        asyncio.run(_drive(engine, fleet, clock, settings))
        engine.drain(clock())
        engine.close()
    return data, fleet


def command(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_quality_of_a_stopped_deployment_equals_what_was_generated(filled, capsys):
    data, fleet = filled
    code, out, _ = command(capsys, "quality", "--all", "--json", "--data", data)
    assert code == 0
    got = {row["customer"]: (row["requests"], row["failures"]) for row in json.loads(out)["customers"]}
    counts = fleet.truth.as_json(fleet.boxes)["counts"]
    assert got == {name: (c["requests"], c["failures"]) for name, c in counts.items() if c["requests"]}


def test_quality_reads_well_on_a_terminal(filled, capsys):
    data, _ = filled
    code, out, _ = command(capsys, "quality", "--all", "--data", data)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split()[:3] == ["customer", "requests", "failures"]
    assert len(lines) == 4
    assert all("%" in line for line in lines[1:])


def test_an_empty_span_is_said_to_be_empty(filled, capsys):
    data, _ = filled
    code, out, _ = command(
        capsys, "quality", "--from", "2020-01-01T00:00:00Z", "--to", "2020-01-02T00:00:00Z", "--data", data
    )
    assert (code, out) == (0, "no data in this span\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--from", "yesterday"], "--from: expected RFC 3339 with a zone, or 30m, 6h, 7d, got 'yesterday'"),
        (["--all", "--from", "1h"], "--all: expected without --from and --to"),
    ],
)
def test_wrong_spans_are_refused_by_name(filled, capsys, arguments, sentence):
    data, _ = filled
    code, _, errors = command(capsys, "quality", *arguments, "--data", data)
    assert code == 2
    assert sentence in errors


def test_the_ledger_prints_an_equation_and_succeeds_when_clean(filled, capsys):
    data, _ = filled
    code, out, _ = command(capsys, "ledger", "--data", data)
    assert code == 0
    assert "balanced" in out
    assert "double counted" in out


def test_a_backup_restores_to_the_same_ledger(filled, capsys, tmp_path):
    data, _ = filled
    assert command(capsys, "history", "backup", tmp_path / "backup", "--data", data)[0] == 0
    code, out, errors = command(capsys, "history", "restore", tmp_path / "backup", "--data", tmp_path / "new")
    assert code == 0, errors
    assert "its ledger agrees" in out
    before = json.loads(command(capsys, "ledger", "--json", "--data", data)[1])
    after = json.loads(command(capsys, "ledger", "--json", "--data", tmp_path / "new")[1])
    assert after["requests"] == before["requests"]
    assert before["requests"]["stored"] > 0


def test_a_backup_into_an_existing_folder_is_refused(filled, capsys, tmp_path):
    data, _ = filled
    code, _, errors = command(capsys, "history", "backup", tmp_path, "--data", data)
    assert code == 1
    assert "expected a folder that does not exist" in errors


def test_refusals_can_be_listed_shown_and_replayed(capsys, tmp_path):
    data = tmp_path / "data"
    settings = Settings(devices=3, customers=2, minutes=2, seed=5, faults_per_hour=0)
    clock = SimulatedClock(settings.start_ms)
    fleet = build_fleet(settings)
    stranger = fleet.world.customers[0]
    with OwnerLock(Paths(data)):
        engine = open_engine(Paths(data), load_policy(), clock, manual=True, live=False)
        engine.registry.upsert_customers(fleet.world.customers[1:])
        known = engine.registry.upsert_customers
        engine.registry.upsert_customers = lambda rows: known([c for c in rows if c.id != stranger.id])
        asyncio.run(_drive(engine, fleet, clock, settings))
        engine.drain(clock())
        engine.close()

    span = ["--from", "2026-01-05T00:00:00Z", "--to", "2026-01-06T00:00:00Z"]
    listed = json.loads(command(capsys, "rejected", "list", *span, "--json", "--data", data)[1])
    refused = fleet.truth.as_json(fleet.boxes)["counts"][stranger.id]["requests"]
    assert {row["reason"] for row in listed} == {"unknown_customer"}
    assert sum(row["requests"] for row in listed) == refused > 0
    shown = command(capsys, "rejected", "show", listed[0]["id"], "--data", data)[1]
    assert stranger.id in shown
    books = json.loads(command(capsys, "ledger", "--json", "--data", data)[1])
    assert books["requests"]["rejected"] == refused
    assert books["balanced"]

    assert command(capsys, "customers", "add", stranger.id, "--name", stranger.name, "--data", data)[0] == 0
    ids = [row["id"] for row in listed]
    code, out, errors = command(capsys, "rejected", "replay", *ids, "--json", "--data", data)
    assert code == 0, errors
    assert {row["state"] for row in json.loads(out)} == {"replayed"}
    books = json.loads(command(capsys, "ledger", "--json", "--data", data)[1])
    assert books["requests"]["rejected"] == 0
    assert books["requests"]["stored"] == books["requests"]["reported"]
    assert books["requests"]["double_counted"] == 0
    assert books["balanced"]
    again = json.loads(command(capsys, "rejected", "replay", *ids, "--json", "--data", data)[1])
    assert {row["stored_rows"] for row in again} == {0}


def test_an_unknown_refusal_is_named(filled, capsys):
    data, _ = filled
    code, _, errors = command(capsys, "rejected", "show", "nothing", "--data", data)
    assert code != 0
    assert "expected the id of a refusal" in errors


def test_a_settable_clock_never_runs_backwards():
    clock = SettableClock(10)
    clock.set(20)
    with pytest.raises(ValueError, match="at or after 20"):
        clock.set(19)
    assert clock() == 20
    clock.follow_wall()
    assert clock() > 10**12
