"""Processes of a cluster on a real broker and a real engine: commands, standing by, silence that is said."""

import json
import subprocess
import urllib.error
import urllib.request

import pytest

from contracts.entities import Customer
from contracts.times import rfc3339
from dipper import settings
from dipper.clock import wall_clock
from dipper.fleet import register
from dipper.registries import opened_registry
from ingest.registry import SqliteRegistry
from simulator.truth import compare_ledger
from simulator.world import build_world
from tests.e2e.cluster import Cluster, Member, clean_environment
from tests.e2e.processes import ROOT, python, until

pytestmark = pytest.mark.verify

MINUTE_MS = 60_000
SILENT_AFTER_MS = 4_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster"), gateways=1, workers=0, dashboards=False, partitions=3) as running:
        yield running


def fleet(cluster, seed, name, *arguments):
    """A minute of the past, at once; what was really generated."""
    file = cluster.folder / f"{name}.json"
    start = rfc3339(wall_clock() // MINUTE_MS * MINUTE_MS - 3 * MINUTE_MS)
    done = subprocess.run(
        python(
            *("-m", "dipper", "fleet", "--devices", "20", "--customers", "2", "--seed", str(seed), "--minutes", "1"),
            *("--fault-rate", "0", "--start", start, "--truth", str(file)),
            *("--gateway", cluster.of("gateway")[0].boxes, *arguments),
        ),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env={**clean_environment(), **cluster.environment},
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(file.read_text())


def said(member):
    """/readyz: status and document."""
    try:
        with urllib.request.urlopen(f"{member.url}/readyz", timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def role(member):
    return said(member)[1]["parts"]["group"]["role"]


@pytest.fixture(scope="module")
def stored(cluster):
    """A fleet's minute, in history."""
    truth = fleet(cluster, 3, "first")
    until(lambda: compare_ledger(truth["ledger"], cluster.run("ledger"))[0], 60, "history holds the fleet's minute")
    return truth


def test_commands_work_on_the_cluster(cluster, stored):
    expected = {name: c["requests"] for name, c in stored["counts"].items() if c["requests"]}

    def by_customer():  # minutes are recomputed after slices are stored
        return {row["customer"]: row["requests"] for row in cluster.run("quality", "--all")["customers"]}

    until(lambda: by_customer() == expected, 60, f"quality shows {expected}, last {by_customer()}")
    assert cluster.run("devices", "show", "box-00001")["state"] == "enrolled"
    assert {c["id"] for c in cluster.run("customers", "list")} == set(stored["counts"])
    assert cluster.run("rejected", "list") == []
    assert cluster.run("history", "expire") == {}


def test_the_doctor_looks_at_brokers_topics_registry_and_store(cluster, stored):
    command = python("-m", "dipper", "doctor", "--json")
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env={**clean_environment(), **cluster.environment},
    )
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert {name: found[name]["ok"] for name in ("brokers", "registry", "store", "topics")} == dict.fromkeys(
        ("brokers", "registry", "store", "topics"), True
    )
    assert "20 boxes, 2 customers" in found["registry"]["found"]


def test_the_doctor_asks_a_running_process_on_its_health_listener(cluster):
    gateway = cluster.of("gateway")[0]
    environment = {**clean_environment(), **cluster.environment, "DIPPER_PORT": str(gateway.health)}
    command = python("-m", "dipper", "doctor", "--running", "--json")
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, env=environment)
    assert done.returncode == 0
    assert json.loads(done.stdout)[0]["found"] == "gateway is ready"


def test_what_was_refused_is_taken_in_once_its_cause_is_mended(cluster, stored, tmp_path):
    """A third customer that the cluster does not know: its rows are refused, kept, and replayed."""
    with opened_registry(settings.from_environment(cluster.environment), "test") as registry:
        register(registry, build_world(5, 20, 2), wall_clock())  # the boxes' keys, without the third customer
    truth = fleet(cluster, 5, "third", "--customers", "3", "--no-register")
    refusals = until(lambda: cluster.run("rejected", "list"), 60, "rows of the unknown customer are refused")
    assert {r["reason"] for r in refusals} == {"unknown_customer"}
    missing = set(truth["counts"]) - set(stored["counts"])
    assert len(missing) == 1
    cluster.run("customers", "add", missing.copy().pop(), "--name", "Late")

    def everything_refused():
        rows = cluster.run("rejected", "list", "--limit", "1000")
        return len(rows) if rows and all(row["state"] == "kept" for row in rows) else 0

    until(everything_refused, 60, "refusals are listed")
    ids = [row["id"] for row in cluster.run("rejected", "list", "--limit", "1000")]
    outcomes = cluster.run("rejected", "replay", *ids)
    assert {outcome["state"] for outcome in outcomes} == {"replayed"}


def test_a_registry_file_becomes_the_clusters(cluster, tmp_path):
    file = tmp_path / "registry.sqlite"
    with SqliteRegistry(file, clock=wall_clock) as registry:
        registry.add_customer(Customer("from-file", "From a file", "UTC", ()))
    assert cluster.run("registry", "import-file", str(file))["customer"] == 1
    assert cluster.run("registry", "import-file", str(file))["customer"] == 0
    assert "from-file" in {c["id"] for c in cluster.run("customers", "list")}


def test_a_sink_that_stands_by_follows_one_that_was_killed(cluster, stored):
    (first,) = cluster.of("sink")
    second = Member("sink-2", ["sink"], cluster.folder, cluster.environment)
    second.start()
    try:
        until(lambda: role(second) == "standby", 30, "the second stands by")
        assert second.metrics()["dipper_sink_active"] == 0
        assert role(first) == "active"
        first.kill()
        before = cluster.run("ledger")["requests"]["stored"]
        truth = fleet(cluster, 7, "after")
        until(lambda: role(second) == "active", 30, "the second has followed")
        expected = before + truth["ledger"]["requests"]["stored"]

        def grown():
            books = cluster.run("ledger")
            return books if books["requests"]["stored"] == expected and books["balanced"] else None

        books = until(grown, 60, "the second stores")
        assert books["requests"]["lost"] == books["requests"]["double_counted"] == 0
        assert truth["unsent"] == 0
    finally:
        first.start()
        assert second.stop() == 0
    until(lambda: role(first) == "active", 30, "the first works again")


def test_a_sink_whose_store_is_away_says_so_and_is_called_silent(cluster, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(f"[watch]\nsilent_after_ms = {SILENT_AFTER_MS}\n")
    (usual,) = cluster.of("sink")
    assert usual.stop() == 0
    sink = Member("sink-3", ["sink"], cluster.folder, {**cluster.environment, "DIPPER_POLICY": str(policy)})
    sink.start()
    try:
        until(lambda: role(sink) == "active", 30, "it works")
        cluster.engine.stop()

        def silent():
            status, document = said(sink)
            return document if status == 503 and any("got nothing done" in r for r in document["reasons"]) else None

        document = until(silent, 60, "it is called silent")
        assert any(reason.startswith("store: ") for reason in document["reasons"])
        assert sink.metrics()["dipper_silent"] == 1
        assert sink.running
        cluster.engine.start()
        until(lambda: said(sink)[0] == 200, 60, "it works again")
        assert sink.metrics()["dipper_silent"] == 0
        assert "alive, but got nothing done" in sink.log.read_text()
        assert "works again" in sink.log.read_text()
    finally:
        cluster.engine.start()
        assert sink.stop() == 0
        usual.start()


def test_an_intake_shares_the_clusters_registry_and_is_ready(cluster):
    intake = Member("intake-1", ["intake"], cluster.folder, cluster.environment)
    intake.start()
    try:
        until(lambda: intake.metrics().get("dipper_assigned_partitions") == 3, 30, "it has its partitions")
        assert intake.metrics()['dipper_lag_records{part="intake",topic="telemetry.raw"}'] == 0
    finally:
        assert intake.stop() == 0
