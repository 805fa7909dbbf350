"""A cluster of real processes: a small fleet through it, its books, pages, metrics and commands, and an orderly end."""

import asyncio
import json
import re
import signal
import subprocess
import urllib.request

import psutil
import pytest
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from simulator.settings import Settings, build_fleet
from simulator.truth import compare_ledger
from tests.e2e.cluster import Cluster, clean_environment
from tests.e2e.processes import ROOT, Process, python, until

pytestmark = pytest.mark.verify

DEVICES, CUSTOMERS, SEED = 40, 4, 11
FLEET = ["--devices", str(DEVICES), "--customers", str(CUSTOMERS), "--seed", str(SEED), "--fault-rate", "0"]
FLEET_DEADLINE_S = 180
SETTLE_S = 90
PAGE_DEADLINE_S = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def truth(cluster):
    """What a fleet generated in a minute, after everything it sent was taken."""
    file = cluster.folder / "truth.json"
    command = ["fleet", *FLEET, "--minutes", "1", "--truth", str(file)]
    for gateway in cluster.of("gateway"):
        command += ["--gateway", gateway.boxes]
    done = subprocess.run(
        python("-m", "dipper", *command),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=FLEET_DEADLINE_S,
        env={**clean_environment(), **cluster.environment},
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return json.loads(file.read_text())


def test_the_ledger_is_balanced_and_equal_to_the_truth(cluster, truth):
    until(lambda: compare_ledger(truth["ledger"], cluster.run("ledger"))[0], SETTLE_S, "history holds what was sent")
    books = cluster.run("ledger")
    assert books["balanced"]
    for quantity in ("requests", "slices"):
        assert books[quantity]["lost"] == books[quantity]["pending"] == books[quantity]["double_counted"] == 0
        assert books[quantity]["stored"] == truth["ledger"][quantity]["stored"] > 0


def test_quality_per_customer_equals_the_truth(cluster, truth):
    def stored():
        rows = cluster.run("quality", "--all")["customers"]
        return {row["customer"]: row["requests"] for row in rows}

    expected = {name: counts["requests"] for name, counts in truth["counts"].items() if counts["requests"]}
    assert len(expected) >= 2
    until(lambda: stored() == expected, SETTLE_S, f"quality shows {expected}, last {stored()}")


def test_every_process_tells_its_figures(cluster, truth):
    def told(kind):
        return [member.metrics() for member in cluster.of(kind)]

    def stored_by_gateways():
        return sum(metrics["dipper_gateway_slices_stored_total"] for metrics in told("gateway"))

    slices = truth["ledger"]["slices"]["stored"]
    assert stored_by_gateways() >= slices  # a report that reached two gateways is in the log twice
    until(lambda: told("worker")[0]["dipper_stream_slices_total"] >= slices, SETTLE_S, "the streams took it all in")
    (worker,) = told("worker")
    assert worker["dipper_assigned_partitions"] == cluster.partitions
    assert 0 < worker["dipper_watermark_delay_seconds"] < 60
    (sink,) = told("sink")
    assert sink["dipper_stored_slices_total"] == slices
    assert sink["dipper_sink_active"] == 1
    for member in cluster.members.values():
        metrics = member.metrics()
        assert metrics["dipper_ready"] == 1, member.name
        assert metrics["process_cpu_seconds_total"] > 0, member.name
        with urllib.request.urlopen(f"{member.url}/healthz", timeout=5) as answer:
            assert answer.status == 200


async def page(port):
    """Everything the overview sends to a browser, as one text."""
    text = ""
    async with websockets.connect(
        f"ws://127.0.0.1:{port}/_stcore/stream", subprotocols=["streamlit"], max_size=None
    ) as socket:
        ask = BackMsg()
        ask.rerun_script.query_string = "range=1h"
        await socket.send(ask.SerializeToString())
        while True:
            message = ForwardMsg()
            message.ParseFromString(await socket.recv(decode=False))
            text += str(message)
            if message.WhichOneof("type") == "script_finished":
                return text


def test_the_pages_show_the_customers(cluster, truth):
    dashboards = cluster.members["dashboards"]
    for path in ("/", "/v1/customers/openapi.json"):  # people's pages, and what customers' programs reach
        with urllib.request.urlopen(dashboards.url + path, timeout=10) as answer:
            assert answer.status == 200
    fleet = build_fleet(Settings(devices=DEVICES, customers=CUSTOMERS, seed=SEED, minutes=1, faults_per_hour=0))
    names = {customer.name for customer in fleet.world.customers if truth["counts"][customer.id]["requests"]}
    seen = set()

    def shown():
        text = asyncio.run(asyncio.wait_for(page(dashboards.health), PAGE_DEADLINE_S))
        seen.update(name for name in names if name in text)
        return seen == names

    until(shown, PAGE_DEADLINE_S, f"the overview shows {names}")


def test_topics_are_as_declared(cluster):
    cluster.run("topics", "check", "--partitions", str(cluster.partitions), as_json=False)


def test_it_stops_in_order(cluster, truth):
    pids = [member.pid for member in cluster.members.values()]
    cluster.stop_members()
    assert set(cluster.exit_codes) == set(cluster.members)
    assert set(cluster.exit_codes.values()) == {0}, cluster.exit_codes
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)
    for member in cluster.members.values():
        assert "Traceback" not in member.log.read_text(errors="replace"), member.tail(60)


def test_make_cluster_serves_until_ctrl_c_and_leaves_nothing_behind(tmp_path):
    process = Process(
        python("-m", "tools.cluster", "--devices", "20", "--keep", tmp_path / "kept"), tmp_path / "cluster.out"
    ).start()
    try:
        until(lambda: "everything is up" in process.tail() or not process.running(), 120, "everything is up")
        assert process.running(), process.tail()
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 10  # broker, engine, gateway, worker, sink, triage, health, feed, pages, fleet
        pages = re.search(r"pages +(http://\S+)", process.tail(20_000))[1]
        with urllib.request.urlopen(pages, timeout=10) as answer:
            assert answer.status == 200
        until(lambda: "fleet: reporting" in process.tail(20_000), 60, "the fleet reports")
        process.child.send_signal(signal.SIGINT)
        assert process.child.wait(90) == 0, process.tail()
        _, alive = psutil.wait_procs(children, timeout=5)
        assert alive == []
    finally:
        process.stop(90)
    assert "Traceback" not in process.tail(100_000)
