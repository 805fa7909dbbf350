"""Reports straight to Kafka: deleted from the spool only after the brokers' acknowledgement. A real broker."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from agent_exporter.clock import Clock
from agent_exporter.config import load
from agent_exporter.errors import ConfigError, SendError
from agent_exporter.kafka import KafkaTransport
from agent_exporter.sender import Sender
from agent_exporter.transport import Transport, open_transport
from contracts.auth import Envelope, verify
from contracts.kafka import KafkaSettings, client_options
from contracts.topics import partition_of
from tests.agent_exporter.builders import KEY, Box, settings_for
from tests.services.kafka import Broker

ROOT = Path(__file__).parents[2]
PARTITIONS = 3
NOWHERE = KafkaSettings(("127.0.0.1:9",))  # the discard port: nobody listens
_numbers = count(1)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def topic(kafka: Broker) -> str:
    """A topic like telemetry.raw: brokers stamp its records."""
    name = f"agent-{next(_numbers)}"
    admin = KafkaAdminClient(**client_options(kafka.settings))
    configs = {"message.timestamp.type": "LogAppendTime"}
    admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=configs)])
    admin.close()
    return name


@pytest.fixture
def transport(kafka: Broker, topic: str) -> Iterator[KafkaTransport]:
    made = KafkaTransport(kafka.settings, KEY.device, 10.0, topic=topic)
    yield made
    made.close()


def records(kafka: Broker, topic: str, expected: int) -> list[Any]:
    """All records of a topic once there are as many as expected."""
    consumer = KafkaConsumer(**client_options(kafka.settings), auto_offset_reset="earliest")
    places = [TopicPartition(topic, p) for p in range(PARTITIONS)]
    consumer.assign(places)
    found: list[Any] = []
    deadline = time.monotonic() + 20
    while len(found) < expected and time.monotonic() < deadline:
        for some in consumer.poll(100).values():
            found += some
    assert sum(consumer.end_offsets(places).values()) == len(found) == expected
    consumer.close()
    return found


def sender_for(box: Box, transport: Any) -> Sender:
    """A sender of a box's spool that sends at once."""
    settings = settings_for(box.root, spread=0.0, backlog_reports_per_s=1000.0)
    said: list[str] = []
    return Sender(
        settings, KEY, box.spool, box.clock, transport,
        monotonic_s=time.monotonic, random=Random(1), log=said.append,
    )  # fmt: skip


def box_at(root: Path, now: int) -> Box:
    """A box with one report of ten seconds to send."""
    box = Box(root)
    box.now = now - now % 10_000
    box.clock = Clock(lambda: box.now)
    box.tick(10)
    return box


def test_a_report_is_signed_keyed_and_settled_after_the_acknowledgement(
    tmp_path: Path, kafka: Broker, topic: str, transport: KafkaTransport
) -> None:
    box = box_at(tmp_path, now_ms())
    sender = sender_for(box, transport)
    waiting = box.spool.waiting()
    assert waiting >= 1
    while box.spool.waiting():
        sender.step()
    assert sender.stats.answers == {"200": waiting}
    for record in records(kafka, topic, waiting):
        headers = {name: value.decode() for name, value in record.headers}
        envelope = Envelope(
            headers["dipper-device"], headers["dipper-boot"], int(headers["dipper-seq"]),
            int(headers["dipper-sent-at"]), headers["dipper-signature"],
        )  # fmt: skip
        assert verify(KEY.key, envelope, record.value)
        assert record.key == b"box-1"
        assert record.partition == partition_of(b"box-1", PARTITIONS)
        assert abs(record.timestamp - now_ms()) < 60_000


def test_without_brokers_the_spool_keeps_and_later_delivers(
    tmp_path: Path, kafka: Broker, topic: str, transport: KafkaTransport
) -> None:
    box = box_at(tmp_path, now_ms())
    cut_off = sender_for(box, KafkaTransport(NOWHERE, KEY.device, 0.3))
    waiting = box.spool.waiting()
    cut_off.step()
    assert box.spool.waiting() == waiting
    assert cut_off.is_blocked
    assert cut_off.stats.answers == {"none": 1}
    assert "no acknowledgement from Kafka" in cut_off.stats.last_error
    sender = sender_for(box, transport)
    while box.spool.waiting():
        sender.step()
    assert len(records(kafka, topic, waiting)) == waiting


def test_a_clock_out_of_the_window_is_corrected_by_the_brokers(
    tmp_path: Path, kafka: Broker, topic: str, transport: KafkaTransport
) -> None:
    box = box_at(tmp_path, now_ms() - 3_600_000)
    sender = sender_for(box, transport)
    while box.spool.waiting():
        sender.step()
    assert sender.stats.answers["401"] == 1
    assert abs(box.clock.now() - now_ms()) < 60_000
    last = records(kafka, topic, sum(sender.stats.answers.values()))[-1]
    sent_at = int(dict(last.headers)["dipper-sent-at"])
    assert abs(sent_at - last.timestamp) < 60_000


def test_a_missing_topic_is_no_answer(kafka: Broker) -> None:
    transport = KafkaTransport(kafka.settings, "box-1", 0.5, topic="no-such-topic")
    with pytest.raises(SendError, match="no acknowledgement"):
        transport.post("/v1/telemetry", b"x", lambda: {"dipper-sent-at": "1"})
    transport.close()


def test_settings_choose_the_way(tmp_path: Path) -> None:
    log = '[[log]]\nkind = "nginx"\npath = "/var/log/x.log"\n'
    (tmp_path / "kafka.toml").write_text('send_to = "kafka"\n' + log)
    settings = load(tmp_path / "kafka.toml")
    assert isinstance(open_transport(settings, "box-1", {"DIPPER_KAFKA": "a:9092"}), KafkaTransport)
    with pytest.raises(ConfigError, match="DIPPER_KAFKA: send_to"):
        open_transport(settings, "box-1", {})
    with pytest.raises(ConfigError, match="DIPPER_KAFKA_USER"):
        open_transport(settings, "box-1", {"DIPPER_KAFKA": "a:9092", "DIPPER_KAFKA_SECURITY": "SASL_SSL"})
    assert isinstance(open_transport(settings_for(tmp_path), "box-1", {"DIPPER_KAFKA": "a:9092"}), Transport)
    (tmp_path / "wrong.toml").write_text('send_to = "post"\n' + log)
    with pytest.raises(ConfigError, match="send_to: expected gateway or kafka, got 'post'"):
        load(tmp_path / "wrong.toml")
    (tmp_path / "none.toml").write_text(log)
    with pytest.raises(ConfigError, match="server: required"):
        load(tmp_path / "none.toml")


def test_without_the_package_a_sentence_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('send_to = "kafka"\n[[log]]\nkind = "nginx"\npath = "/var/log/x.log"\n')
    script = (
        "import sys; sys.modules['kafka'] = None\n"
        "from pathlib import Path; from agent_exporter.config import load\n"
        "from agent_exporter.transport import open_transport\n"
        "open_transport(load(Path(sys.argv[1])), 'box-1', {'DIPPER_KAFKA': 'a:1'})"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "agent.toml")]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert run.returncode != 0
    assert 'ConfigError: send_to: "kafka" needs kafka-python, which is not installed' in run.stderr


def test_an_agent_that_sends_to_a_gateway_never_loads_the_package() -> None:
    script = (
        "import sys; import agent_exporter.cli, agent_exporter.agent, agent_exporter.check\n"
        "assert 'kafka' not in sys.modules and 'agent_exporter.kafka' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, timeout=60)
