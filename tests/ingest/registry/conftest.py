from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from contracts.kafka import client_options
from ingest.registry import SqliteRegistry
from ingest.registry.kafka import KafkaRegistry
from tests.ingest.registry.builders import NOW
from tests.services.kafka import Broker

_numbers = count(1)

OpenKafka = Callable[..., KafkaRegistry]


def make_topic(broker: Broker) -> str:
    """A compacted topic of its own."""
    name = f"registry-{next(_numbers)}"
    admin = KafkaAdminClient(**client_options(broker.settings))
    admin.create_topics([NewTopic(name, 1, 1, topic_configs={"cleanup.policy": "compact"})])
    admin.close()
    return name


@pytest.fixture
def open_kafka(kafka: Broker, tmp_path: Path) -> Iterator[OpenKafka]:
    """A function that opens a registry of this test's topic: `open_kafka("a")` has its replica in the folder `a`."""
    topic, opened = make_topic(kafka), []

    def open_one(name: str = "replica", **options: object) -> KafkaRegistry:
        given = {"clock": lambda: NOW, "check_every_s": 0.0, "topic": topic, **options}
        registry = KafkaRegistry(kafka.settings, tmp_path / name / "registry.sqlite", **given)  # type: ignore[arg-type]
        opened.append(registry)
        return registry

    yield open_one
    for registry in opened:
        registry.close()


@pytest.fixture
def sqlite_registry(tmp_path: Path) -> Iterator[SqliteRegistry]:
    """A fresh registry whose look-ups check the file every time and whose clock stands at NOW."""
    with SqliteRegistry(tmp_path / "registry.sqlite", clock=lambda: NOW, check_every_s=0.0) as fresh:
        yield fresh


@pytest.fixture(params=["sqlite_registry", "open_kafka"], ids=["sqlite", "kafka"])
def registry(request: pytest.FixtureRequest) -> SqliteRegistry:
    """A fresh registry of each kind: what is said of one is said of both."""
    made = request.getfixturevalue(request.param)
    return made() if request.param == "open_kafka" else made  # type: ignore[no-any-return]
