"""A cursor over partitions on Kafka: a consumer of its own, without a group."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors

from contracts.kafka import KafkaSettings, header_texts
from contracts.protocols import LogError, LogUnavailable, StoredRecord
from contracts.protocols import TopicPartition as Place
from ingest.log.kafka_client import FAST_CRC, options, translated

PARTITION_FETCH_BYTES = 8 * 1024 * 1024
FETCH_BYTES = 32 * 1024 * 1024
SILENCE_S = 10.0  # without a record, after which the brokers are asked whether they are there
REQUEST_TIMEOUT_S = 5.0


def consumer(settings: KafkaSettings, client_id: str) -> Any:
    """A consumer that belongs to no group and starts where it is told. Raises LogError."""
    try:
        return KafkaConsumer(
            **options(settings, client_id, 2 * REQUEST_TIMEOUT_S),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
            request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
            metadata_max_age_ms=60_000,
            check_crcs=FAST_CRC,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
    except kafka_errors.KafkaError as error:
        raise translated(error, "Kafka cannot be used") from None


class KafkaReader:
    """Implements contracts.protocols.LogReader. Not shared between threads. `prefix`: of topic names on Kafka.
    `start_offsets(topic)`: as of Log."""

    def __init__(
        self,
        settings: KafkaSettings,
        client_id: str,
        start: Mapping[Place, int],
        start_offsets: Callable[[str], list[int]],
        prefix: str,
    ) -> None:
        self._prefix = prefix
        self._start_offsets = start_offsets
        self._oldest = {topic: start_offsets(topic) for topic in {topic for topic, _ in start}}
        self._positions: dict[Place, int] = {}
        self._silent_since = time.monotonic()
        for topic, partition in start:
            if not 0 <= partition < len(self._oldest[topic]):
                raise ValueError(f"partition of {topic}: expected 0..{len(self._oldest[topic]) - 1}, got {partition}")
        self._consumer = consumer(settings, client_id)
        self._consumer.assign([self._key(topic, partition) for topic, partition in start])
        for (topic, partition), offset in start.items():
            self.seek(topic, partition, offset)

    def positions(self) -> dict[Place, int]:
        """Next offset to be read, per partition."""
        return dict(self._positions)

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Continue a partition at an offset; one that is no longer kept continues at the oldest kept."""
        offset = max(offset, self._oldest[topic][partition])
        self._consumer.seek(self._key(topic, partition), offset)
        self._positions[topic, partition] = offset

    def poll(self, max_records: int, timeout_s: float) -> list[StoredRecord]:
        """Next records, at most max_records; empty when none came within timeout_s (with 0: of what was fetched ahead).
        Raises LogUnavailable when brokers are away, LogError when the topic lost what was to be read next."""
        if not self._positions:
            return []
        try:
            found = self._consumer.poll(timeout_ms=timeout_s * 1000, max_records=max_records)
        except kafka_errors.OffsetOutOfRangeError:
            self._forget_expired()
            return []
        except kafka_errors.KafkaError as error:
            raise translated(error, "Kafka cannot be read") from None
        if not found:
            self._require_brokers()
            return []
        self._silent_since = time.monotonic()
        records: list[StoredRecord] = []
        for (name, partition), entries in found.items():
            topic = name[len(self._prefix) :]
            for e in entries:
                headers = header_texts(e.headers)
                records.append(
                    StoredRecord(topic, partition, e.offset, e.key or b"", e.value or b"", e.timestamp, headers)
                )
            self._positions[topic, partition] = entries[-1].offset + 1
        return records

    def close(self) -> None:
        """Release the connections."""
        self._consumer.close(autocommit=False)

    def _key(self, topic: str, partition: int) -> TopicPartition:
        return TopicPartition(self._prefix + topic, partition)

    def _forget_expired(self) -> None:
        """Continue at the oldest kept where retention overtook a position. Raises LogError where the end did."""
        ends = self._consumer.end_offsets([self._key(*place) for place in self._positions])
        for topic in self._oldest:
            self._oldest[topic] = self._start_offsets(topic)
        for (topic, partition), position in list(self._positions.items()):
            end = ends[self._key(topic, partition)]
            if position > end:
                raise LogError(
                    f"{topic} partition {partition}: position {position} lies beyond the end {end}; the topic was made "
                    "anew or lost data"
                )
            self.seek(topic, partition, position)

    def _require_brokers(self) -> None:
        """Silence may be an outage, which the library waits out without a word."""
        now = time.monotonic()
        if now - self._silent_since < SILENCE_S:
            return
        self._silent_since = now
        try:
            self._consumer.end_offsets([self._key(*next(iter(self._positions)))], timeout_ms=2_000)
        except kafka_errors.KafkaError as error:
            raise LogUnavailable(f"Kafka does not answer: {type(error).__name__}: {error}") from None
