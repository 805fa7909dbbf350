"""A cluster behind TLS, passwords and ACLs: every process under a user of its own with the rights that are declared for
it, and with no others."""

import gzip
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
from contracts.topics import REGISTRY, SLICES
from ingest.log.kafka import KafkaLog
from tests.e2e.cluster import HOST, Member, clean_environment
from tests.e2e.processes import ROOT, python, until
from tests.ingest.builders import body_of, make_report
from tests.services.clickhouse import NativeServer
from tests.services.kafka import SecureBroker

pytestmark = pytest.mark.verify

ADD = ["--isp", "telecom", "--region", "hebei", "--nat", "full_cone", "--cohort", "stable", "--capacity", "30"]


class Site:
    """Broker, engine, and one process of each kind."""

    def __init__(self, folder):
        self.folder = folder
        self.broker = SecureBroker(folder / "kafka")
        self.engine = NativeServer(folder / "clickhouse")
        self.members = {}

    def environment(self, component):
        return {**self.broker.environment_of(f"dipper-{component}"), "DIPPER_STORE": self.engine.url}

    def start(self):
        self.broker.start()
        self.engine.start()
        self.run("topics", "apply", "--partitions", "2")
        self.run("customers", "add", "acme", "--name", "Acme")
        for component, rights in RIGHTS.items():
            self.broker.grant(f"dipper-{component}", rights)
        for name in ("sink", "gateway", "intake", "worker", "dashboards"):
            self.members[name] = Member(name, [name], self.folder, self.environment(name))
            self.members[name].start()

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
    import http.client

    boxes = {name: key_of(site, name) for name in ("box-http", "box-kafka")}
    gateway, intake = site.members["gateway"], site.members["intake"]
    report = report_of("box-http")
    body, headers = signed("box-http", boxes["box-http"], report)

    def posted():
        connection = http.client.HTTPConnection(HOST, gateway.public, timeout=10)
        connection.request("POST", "/v1/telemetry", body, {**headers, "content-type": "application/json"})
        return connection.getresponse().status == 200

    until(posted, 20, "the gateway knows the new box")
    until(lambda: intake.metrics().get("dipper_registry_behind", 0) == 0, 20, "the intake knows it as well")
    report = report_of("box-kafka")
    body, headers = signed("box-kafka", boxes["box-kafka"], report)
    transport = KafkaTransport(site.broker.secured("dipper-node"), "box-kafka", 10.0)
    assert transport.post("", body, lambda: headers).status == 200
    transport.close()

    def stored():
        books = json.loads(site.run("ledger", "--json"))
        return books["requests"]["stored"] == 14 and books["balanced"]

    until(stored, 60, "both reports are in history")
    worker = site.members["worker"]
    until(lambda: worker.metrics().get("dipper_stream_slices_total", 0) == 2, 60, "the streams read both")


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
