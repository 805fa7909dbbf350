"""Bounded, non-blocking submission to Kafka. The library's own buffer has no bound, and its waits have many lengths."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from contracts.kafka import KafkaSettings
from contracts.protocols import LogError, LogUnavailable, Record
from contracts.topics import ALL
from ingest.log.kafka_client import missing, options, require_reachable, translated

RECORD_OVERHEAD_BYTES = 256
COMPACTED = frozenset(topic.name for topic in ALL if topic.compacted)
EMPTY = (b"", None)  # in a compacted topic an empty value ends its key: Kafka's word for it is null
PROBE_S = 0.5  # how often, with jitter, a lost Kafka is looked for

logger = logging.getLogger(__name__)

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """`max_buffered_bytes`: submitted and not yet acknowledged. `delivery_timeout_s`: when an unacknowledged submission
    fails, and Kafka counts as away. `max_request_bytes`: the largest record. `linger_ms`: waits for company."""

    max_buffered_bytes: int
    delivery_timeout_s: float
    max_request_bytes: int
    batch_bytes: int
    linger_ms: int


class Submission:
    """Records of one call on their way; ends its future once, whatever the producer says later."""

    __slots__ = ("deadline", "error", "future", "left", "places", "size")

    def __init__(self, count: int, size: int, deadline: float) -> None:
        self.future: Future[list[Place]] = Future()
        self.future.set_running_or_notify_cancel()  # a durable append cannot be taken back
        self.places: list[Place] = [(0, 0)] * count
        self.left = count
        self.size = size
        self.deadline = deadline
        self.error: BaseException | None = None


class Outbox:
    """One idempotent producer and what waits for its acknowledgement. When a submission is not acknowledged in time the
    producer is thrown away with everything it holds (callers hear LogUnavailable, and submit fails at once) and a new
    one is made as soon as a broker answers: no memory, sequence number or wait outlives an outage."""

    def __init__(self, settings: KafkaSettings, client_id: str, limits: OutboxSettings, topics: Sequence[str]) -> None:
        self._settings = settings
        self._client_id = client_id
        self._limits = limits
        self._topics = set(topics)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._pending: dict[Submission, None] = {}  # oldest first
        self._bytes = 0
        self._closed = False
        self._away = ""
        self._doomed = ""
        self._producer: Any = self._connect()
        self._watcher = threading.Thread(target=self._watch, name=f"{client_id}-outbox", daemon=True)
        self._watcher.start()

    @property
    def away(self) -> str:
        """Why Kafka counts as away; empty while it does not."""
        return self._away

    @property
    def buffered_bytes(self) -> int:
        """Submitted and neither acknowledged nor failed."""
        return self._bytes

    def learn(self, topic: str) -> None:
        """Have a topic's metadata, so that a submission need not wait for it. Blocks; raises LogError."""
        if topic in self._topics:
            return
        with self._lock:
            producer = self._producer
        if producer is None:
            raise LogUnavailable(self._away)
        _prefetch(producer, topic)
        self._topics.add(topic)

    def submit(self, records: Sequence[tuple[str, int, Record]]) -> Future[list[Place]]:
        """Send records (topic on Kafka, partition, record) in order. Never blocks. Raises LogUnavailable at once while
        Kafka is away, when the buffer is full, or after close; LogError for a record that is too large."""
        size = 0
        for topic, _, record in records:
            least = len(record.value) + len(record.key) + RECORD_OVERHEAD_BYTES
            if least > self._limits.max_request_bytes:
                raise LogError(
                    f"record of {topic}: expected at most {self._limits.max_request_bytes} bytes, got {least}"
                )
            size += least
        submission = Submission(len(records), size, time.monotonic() + self._limits.delivery_timeout_s)
        with self._lock:
            producer = self._producer
            if self._closed or producer is None:
                raise LogUnavailable("the log is closed" if self._closed else self._away)
            if self._bytes + size > self._limits.max_buffered_bytes:
                raise LogUnavailable(
                    f"Kafka is slow: {self._bytes} bytes are not acknowledged yet, at most "
                    f"{self._limits.max_buffered_bytes} may wait"
                )
            self._bytes += size
            self._pending[submission] = None
            if len(self._pending) == 1:
                self._changed.notify()
        try:
            for i, (topic, partition, record) in enumerate(records):
                sent = producer.send(
                    topic,
                    value=record.value or EMPTY[record.topic in COMPACTED],
                    key=record.key,
                    headers=[(k, v.encode()) for k, v in record.headers.items()],
                    partition=partition,
                    timestamp_ms=record.timestamp_ms,
                )
                sent.add_callback(self._stored, submission, i)
                sent.add_errback(self._failed, submission)
        except Exception as error:  # the rest was not sent; what was may still be stored
            self._failed(submission, error, rest=len(records) - i)
        return submission.future

    def close(self) -> None:
        """Wait for what was submitted, at most until it times out; then release."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._changed.wait_for(lambda: not self._pending, self._limits.delivery_timeout_s + 1)
            self._changed.notify_all()
            producer, self._producer = self._producer, None
            pending = self._take_pending()
        _end(pending, LogUnavailable("the log was closed before Kafka acknowledged"))
        if producer is not None:
            _discard(producer)
        self._watcher.join()

    # --- what the producer says, in its thread ---

    def _stored(self, submission: Submission, i: int, metadata: Any) -> None:
        submission.places[i] = (metadata.partition, metadata.offset)
        self._count(submission, 1)

    def _failed(self, submission: Submission, error: BaseException, rest: int = 1) -> None:
        submission.error = error
        self._count(submission, rest)

    def _count(self, submission: Submission, ended: int) -> None:
        with self._lock:
            submission.left -= ended
            if submission.left or submission not in self._pending:
                return
            del self._pending[submission]
            self._bytes -= submission.size
            if not self._pending:
                self._changed.notify_all()
            error = self._judge(submission.error) if submission.error is not None else None
        if error is None:
            submission.future.set_result(submission.places)
        else:
            submission.future.set_exception(error)

    def _judge(self, error: BaseException) -> LogError:
        """Of a submission that failed before its time. Under the lock. The library goes on to fail what was submitted
        next to it with the same error (for some errors for ever), so the producer has to go, and only the first to fail
        is to blame."""
        if self._doomed:
            return LogUnavailable(self._doomed)
        verdict = translated(error, "Kafka did not store the records")
        self._doomed = f"Kafka refused other records ({type(error).__name__}); a new connection is made"
        self._changed.notify_all()
        return verdict

    # --- outages ---

    def _watch(self) -> None:
        """Fail what is not acknowledged in time; look for Kafka while it is away."""
        pause_s = 0.0
        while True:
            with self._lock:
                if self._closed:
                    return
                if self._producer is None:
                    self._changed.wait(pause_s)
                    pause_s = PROBE_S * random.uniform(0.5, 1.5)
                    action = self._recover
                else:
                    oldest = next(iter(self._pending), None)
                    left = None if oldest is None else oldest.deadline - time.monotonic()
                    if not self._doomed and (left is None or left > 0):
                        self._changed.wait(left)
                        continue
                    pause_s = 0.0 if self._doomed else PROBE_S
                    action = self._lose
            action()

    def _lose(self) -> None:
        with self._lock:
            why = self._doomed or f"Kafka did not acknowledge within {self._limits.delivery_timeout_s:g} s"
            producer, self._producer, self._away, self._doomed = self._producer, None, why, ""
            pending = self._take_pending()
        logger.error("log: %s; %d submissions failed, looking for Kafka again", why, len(pending))
        _end(pending, LogUnavailable(why))
        _discard(producer)

    def _recover(self) -> None:
        if self._closed:
            return
        try:
            producer = self._connect()
        except LogError as error:
            self._away = str(error)
            return
        with self._lock:
            if not self._closed:
                self._producer, self._away = producer, ""
                logger.warning("log: Kafka is back")
                return
        _discard(producer)

    def _take_pending(self) -> list[Submission]:
        """All that waits, no longer counted. Under the lock."""
        pending = list(self._pending)
        self._pending.clear()
        self._bytes = 0
        self._changed.notify_all()
        return pending

    def _connect(self) -> Any:
        """A producer that knows the topics. Raises LogError."""
        require_reachable(self._settings)
        timeout_ms = int(self._limits.delivery_timeout_s * 1000)
        try:
            producer = KafkaProducer(
                **options(self._settings, self._client_id, self._limits.delivery_timeout_s),
                acks="all",
                enable_idempotence=True,
                compression_type="zstd",
                linger_ms=self._limits.linger_ms,
                batch_size=self._limits.batch_bytes,
                max_request_size=self._limits.max_request_bytes,
                max_block_ms=timeout_ms // 2,
                request_timeout_ms=timeout_ms // 2,
                # Ours comes first and ends everything; the library's must lie beyond it.
                delivery_timeout_ms=timeout_ms * 2,
                metadata_max_age_ms=60_000,
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )
        except kafka_errors.KafkaError as error:
            raise translated(error, "Kafka cannot be used") from None
        try:
            for topic in self._topics:
                _prefetch(producer, topic)
        except LogError:
            _discard(producer)
            raise
        return producer


def _prefetch(producer: Any, topic: str) -> None:
    try:
        producer.partitions_for(topic)
    except kafka_errors.KafkaTimeoutError:
        raise missing(topic) from None
    except kafka_errors.KafkaError as error:
        raise translated(error, f"topic {topic}") from None


def _end(pending: Sequence[Submission], error: LogError) -> None:
    for submission in pending:
        submission.future.set_exception(error)


def _discard(producer: Any) -> None:
    """Stop a producer without waiting for brokers. Its own close() first waits for every batch, and keeps the thread
    when that fails, so its sender is told directly."""
    producer._sender.force_close()
    producer._sender.join(5)
    close: Callable[[float], None] = producer.close
    try:
        close(1)
    except kafka_errors.KafkaError as error:
        logger.warning("log: a producer did not end cleanly: %s", error)
