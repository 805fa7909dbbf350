"""KafkaLog: contracts.protocols.Log on Kafka brokers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from kafka import TopicPartition as KafkaPlace
from kafka import errors as kafka_errors

from contracts.kafka import KafkaSettings
from contracts.protocols import LogError, LogUnavailable, Record, TopicPartition
from contracts.topics import BY_NAME, partition_of
from ingest.log.kafka_client import missing, require_reachable, translated
from ingest.log.kafka_outbox import Outbox, OutboxSettings
from ingest.log.kafka_reader import REQUEST_TIMEOUT_S, KafkaReader, consumer

MIB = 1024 * 1024
T = TypeVar("T")


class KafkaLog:
    """A log on Kafka for any number of processes and threads; connections are made on first use of each kind.

    `client_id`: names the process in brokers' logs and quotas. `prefix`: of topic names on Kafka, for deployments that
    share brokers. `max_buffered_bytes`: submitted and not yet acknowledged, before submit refuses.
    `delivery_timeout_s`: when an unacknowledged submission fails with LogUnavailable; from then on submit fails at once
    until a broker answers again. `max_record_bytes`: before compression. `linger_ms`: what a record waits for others.
    Raises LogUnavailable when no broker answers.
    """

    atomic = False  # brokers acknowledge each partition for itself

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        client_id: str,
        prefix: str = "",
        max_buffered_bytes: int = 64 * MIB,
        delivery_timeout_s: float = 10.0,
        max_record_bytes: int = 32 * MIB,
        batch_bytes: int = MIB,
        linger_ms: int = 5,
    ) -> None:
        require_reachable(settings)
        self._settings = settings
        self._client_id = client_id
        self._prefix = prefix
        self._limits = OutboxSettings(max_buffered_bytes, delivery_timeout_s, max_record_bytes, batch_bytes, linger_ms)
        self._asking = threading.Lock()
        self._consumer: Any = None
        self._partitions: dict[str, int] = {}
        self._starting = threading.Lock()
        self._outbox: Outbox | None = None
        self._closed = False
        self._learn_declared()

    # --- topics ---

    def partitions(self, topic: str) -> int:
        """Number of partitions of a topic, as it was when first asked: it never changes in service. Raises LogError for
        a topic that does not exist."""
        found = self._partitions.get(topic)
        if found is None:
            with self._ask(f"topic {topic}") as client:
                found = len(client.partitions_for_topic(self._prefix + topic))
            if not found:
                raise missing(self._prefix + topic)
            self._partitions[topic] = found
        return found

    def _learn_declared(self) -> None:
        """The partition counts of all declared topics that exist, with one request."""
        with self._ask("topics") as client:
            names = client.topics()
            for topic in BY_NAME:
                if self._prefix + topic in names:
                    self._partitions[topic] = len(client.partitions_for_topic(self._prefix + topic))

    # --- writing ---

    def submit(self, records: Sequence[Record]) -> Future[list[tuple[int, int]]]:
        """Append record by record; the future ends when brokers hold all of them durably, with (partition, offset) per
        record. Does not block, the first call and a topic's first use apart (an empty call only connects). Raises
        LogUnavailable at once when closed, when Kafka is away or too much is waiting, LogError for a record that cannot
        be placed; the future raises LogUnavailable when Kafka did not acknowledge in time: some records may be there, a
        retry writes them again."""
        placed = [self._place(record) for record in records]
        if self._closed:
            raise LogUnavailable("the log is closed")
        outbox = self._outbox or self._start_outbox()
        if not placed:
            done: Future[list[tuple[int, int]]] = Future()
            done.set_result([])
            return done
        for topic in {topic for topic, _, _ in placed}:
            outbox.learn(topic)
        return outbox.submit(placed)

    def _place(self, record: Record) -> tuple[str, int, Record]:
        partitions = self.partitions(record.topic)
        partition = partition_of(record.key, partitions) if record.partition is None else record.partition
        if not 0 <= partition < partitions:
            raise LogError(f"partition of {record.topic}: expected 0..{partitions - 1}, got {partition}")
        return self._prefix + record.topic, partition, record

    def _start_outbox(self) -> Outbox:
        with self._starting:
            if self._outbox is None:
                topics = [self._prefix + topic for topic in self._partitions]
                self._outbox = Outbox(self._settings, self._client_id, self._limits, topics)
            return self._outbox

    @property
    def buffered_bytes(self) -> int:
        """Submitted and neither acknowledged nor failed."""
        return self._outbox.buffered_bytes if self._outbox is not None else 0

    # --- reading ---

    def reader(self, start: Mapping[TopicPartition, int]) -> KafkaReader:
        """A reader of the given partitions from the given offsets; an offset before the oldest kept starts there."""
        if self._closed:
            raise LogUnavailable("the log is closed")
        return KafkaReader(self._settings, self._client_id, start, self.start_offsets, self._prefix)

    def start_offsets(self, topic: str) -> list[int]:
        """Oldest kept offset per partition. Raises LogError."""
        return self._offsets(topic, lambda client, places: client.beginning_offsets(places))

    def end_offsets(self, topic: str) -> list[int]:
        """Next offset to be written per partition, of what is durable, asked afresh. Raises LogError."""
        return self._offsets(topic, lambda client, places: client.end_offsets(places))

    def offsets_for_time(self, topic: str, time_ms: int) -> list[int]:
        """Per partition, the first offset whose timestamp is at or after a time; the end offset when none is. Raises
        LogError."""

        def ask(client: Any, places: list[KafkaPlace]) -> dict[KafkaPlace, int]:
            ends: dict[KafkaPlace, int] = client.end_offsets(places)  # first: what comes meanwhile is not skipped
            found = client.offsets_for_times(dict.fromkeys(places, max(0, time_ms)))
            return {place: ends[place] if found[place] is None else found[place].offset for place in places}

        return self._offsets(topic, ask)

    def _offsets(self, topic: str, ask: Callable[[Any, list[KafkaPlace]], dict[KafkaPlace, int]]) -> list[int]:
        places = [KafkaPlace(self._prefix + topic, p) for p in range(self.partitions(topic))]
        with self._ask(f"offsets of {topic}") as client:
            found = ask(client, places)
        return [found[place] for place in places]

    @contextlib.contextmanager
    def _ask(self, what: str) -> Iterator[Any]:
        """The client for questions, one at a time. Raises LogUnavailable rather than wait for long."""
        if not self._asking.acquire(timeout=2 * REQUEST_TIMEOUT_S):
            raise LogUnavailable(f"{what}: Kafka is slow to answer earlier questions")
        try:
            if self._closed:
                raise LogUnavailable("the log is closed")
            if self._consumer is None:
                require_reachable(self._settings)
                self._consumer = consumer(self._settings, f"{self._client_id}-questions")
            yield self._consumer
        except kafka_errors.KafkaError as error:
            raise translated(error, what) from None
        finally:
            self._asking.release()

    # --- end ---

    def close(self) -> None:
        """Finish what was submitted or let it time out, then release. Closing twice is harmless."""
        with self._starting:
            if self._closed:
                return
            self._closed = True
        if self._outbox is not None:
            self._outbox.close()
        with self._asking:
            if self._consumer is not None:
                self._consumer.close(autocommit=False)
                self._consumer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
