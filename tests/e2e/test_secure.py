"""A cluster behind TLS, passwords and ACLs: every process under a user of its own with the rights that are declared for
it, and with no others."""

import gzip
import http.client
import json
import subprocess
import time
from dataclasses import replace

import pytest

from agent_exporter.errors import SendError
from agent_exporter.kafka import KafkaTransport
from contracts.auth import headers_for
from contracts.protocols import LogError, LogUnavailable, Record
from contracts.rights import RIGHTS, Right
from contracts.times import MINUTE_MS, rfc3339
from contracts.topics import REGISTRY, SLICES
from dipper.clock import wall_clock
from ingest.log.kafka import KafkaLog
from tests.e2e.cluster import HOST, Member, clean_environment
from tests.e2e.processes import ROOT, python, until
from tests.ingest.builders import body_of, make_report
from tests.services.clickhouse import NativeServer
from tests.services.kafka import SecureBroker

pytestmark = pytest.mark.verify

ADD = ["--isp", "telecom", "--region", "hebei", "--nat", "full_cone", "--cohort", "stable", "--capacity", "30"]


class Site:
    """Broker, engine, one process of each kind. A report is there before any but the sink and the gateway start."""

    def __init__(self, folder):
        self.folder = folder
        self.broker = SecureBroker(folder / "kafka")
        self.engine = NativeServer(folder / "clickhouse")
        self.policy = folder / "policy.toml"
        self.members = {}

    def environment(self, component):
        given = {"DIPPER_STORE": self.engine.url, "DIPPER_POLICY": str(self.policy)}
        return {**self.broker.environment_of(f"dipper-{component}"), **given}

    def start(self):
        self.broker.start()
        self.engine.start()
        self.run("topics", "apply", "--partitions", "2")
        self.run("customers", "add", "acme", "--name", "Acme")
        for component, rights in RIGHTS.items():
            self.broker.grant(f"dipper-{component}", rights)
        self.policy.write_text("")
        for name in ("sink", "gateway"):
            self.add(name)
        key = key_of(self, "box-early")
        until(lambda: self.post("box-early", key, report_of("box-early")), 20, "the gateway knows the first box")
        for name in ("intake", "worker", "triage", "health", "feed", "dashboards"):
            self.add(name)

    def add(self, name):
        """Start a process under its own user, until it is ready."""
        self.members[name] = Member(name, [name], self.folder, self.environment(name))
        self.members[name].start()

    def post(self, device, key, report):
        """Whether the gateway took a report."""
        body, headers = signed(device, key, report)
        connection = http.client.HTTPConnection(HOST, self.members["gateway"].public, timeout=10)
        connection.request("POST", "/v1/telemetry", body, {**headers, "content-type": "application/json"})
        return connection.getresponse().status == 200

    def run(self, *arguments):
        """A person's command, over the listener that allows everything; its output."""
        done = subprocess.run(
            python("-m", "dipper", *arguments),
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=120,
            env={**clean_environment(), **self.broker.environment, "DIPPER_STORE": self.engine.url,
                 "DIPPER_DATA": str(self.folder / "command")},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def close(self):
        for member in self.members.values():
            member.stop()
        self.engine.stop()
        self.broker.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("secure"))
    try:
        made.start()
        yield made
    finally:
        made.close()


def key_of(site, device):
    site.run("devices", "add", device, *ADD)
    return json.loads(site.run("devices", "rotate", device, "--json"))["key"]


def report_of(device):
    start = time.time_ns() // 10_000_000_000 * 10_000 - 10_000
    return make_report(1, 7, device=device, start=start, end=start + 10_000)


def signed(device, key, report):
    body = body_of(report)
    return body, headers_for(bytes.fromhex(key), device, report.boot, report.seq, time.time_ns() // 1_000_000, body)


def test_every_process_works_with_its_own_rights_alone(site):
    for name, member in site.members.items():
        member.wait_ready()
        assert "Authorization" not in member.log.read_text(), name


def test_a_report_over_http_and_one_over_kafka_reach_history(site):
    boxes = {name: key_of(site, name) for name in ("box-http", "box-kafka")}
    intake = site.members["intake"]
    report = report_of("box-http")
    until(lambda: site.post("box-http", boxes["box-http"], report), 20, "the gateway knows the new box")
    until(lambda: intake.metrics().get("dipper_registry_behind", 0) == 0, 20, "the intake knows it as well")
    report = report_of("box-kafka")
    body, headers = signed("box-kafka", boxes["box-kafka"], report)
    transport = KafkaTransport(site.broker.secured("dipper-node"), "box-kafka", 10.0)
    assert transport.post("", body, lambda: headers).status == 200
    transport.close()

    def stored():
        books = json.loads(site.run("ledger", "--json"))
        return books["requests"]["stored"] == 21 and books["balanced"]

    until(stored, 60, "both reports are in history, beside the early one")
    worker = site.members["worker"]
    until(lambda: worker.metrics().get("dipper_stream_slices_total", 0) == 3, 60, "the streams read all three")


def test_policy_that_is_saved_is_taken_and_recorded_by_those_who_work(site):
    site.policy.write_text("[incident]\nend_after_ms = 240000\n[health]\nexpires_minutes = 9\n")
    wanted = {"Dipper: incident.end_after_ms: 300000 -> 240000", "Dipper: health.expires_minutes: 10 -> 9"}

    def recorded():
        found = json.loads(site.run("changes", "--to", rfc3339(wall_clock() + 10 * MINUTE_MS), "--json"))
        return wanted <= {change["note"] for change in found}

    until(recorded, 60, "triage and health record what they took")
    for name in ("triage", "health"):
        assert site.members[name].ready(), name
        assert "Authorization" not in site.members[name].log.read_text(), name


@pytest.mark.parametrize("component", ["node", "dashboards", "sink"])
def test_nobody_writes_what_is_not_theirs(site, component):
    log_settings = site.broker.secured(f"dipper-{component}")
    log = KafkaLog(log_settings, client_id="test")
    try:
        with pytest.raises(LogError, match=r"DIPPER_KAFKA_USER|this user may not see it"):
            log.submit([Record(SLICES.name, b"acme", b"forged", 0, partition=0)]).result(20)
    finally:
        log.close()


def test_a_trusted_node_cannot_read_the_keys_of_others(site):
    log = KafkaLog(site.broker.secured("dipper-node"), client_id="test")
    try:
        with pytest.raises(LogError):
            log.end_offsets(REGISTRY.name)
    finally:
        log.close()


def test_a_wrong_password_and_an_unknown_authority_are_told(site):
    good = site.broker.secured("dipper-node")
    for bad in (replace(good, password="guess"), replace(good, ca=None)):
        transport = KafkaTransport(bad, "box-kafka", 5.0)
        with pytest.raises(SendError, match="no acknowledgement from Kafka"):
            transport.post("", b"x", lambda: headers_for(b"k" * 32, "box-kafka", "b", 1, 1, b"x"))
        transport.close()
        with pytest.raises(LogUnavailable, match=r"refuse us; see DIPPER_KAFKA_SECURITY, .*_PASSWORD and _CA"):
            KafkaLog(bad, client_id="test")


def test_another_mechanism_works_as_well(site):
    settings = site.broker.grant("short", [Right("Write", "topic", "telemetry.raw")], mechanism="SCRAM-SHA-256")
    transport = KafkaTransport(settings, "box-kafka", 10.0)
    body = gzip.compress(b"{}")
    headers = headers_for(b"k" * 32, "box-kafka", "b", 1, time.time_ns() // 1_000_000, body)
    assert transport.post("", body, lambda: headers).status == 200
    transport.close()
