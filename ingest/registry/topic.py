"""The registry's compacted topic: one writer at a time by Kafka transactions, any number of readers.

Mutual exclusion: all writers share one transactional id. Initialising it ends the unfinished transaction of whoever
held it and fences that writer: nothing of it is accepted any more. So a writer that initialised, read the topic to its
end, and whose commit then succeeds has seen everything that was committed before its own records.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError, OffsetOutOfRangeError

from contracts.kafka import KafkaSettings
from ingest.log.kafka_client import FAST_CRC, options
from ingest.registry.errors import RegistryError

CLIENT_ID = "dipper-registry"
WRITE_HEADER = "write"  # id of the write a record belongs to
FLUSH_S = 60.0  # and for the records of one write: a fleet of 50,000 devices is about 20 MB
MAX_RECORD_BYTES = 1_000_000  # brokers refuse larger ones by default (message.max.bytes)
POLL_RECORDS = 5_000


def _is_news(record: logging.LogRecord) -> bool:
    """That another process took over is how writing works here, not an error to be logged as the library does."""
    return "ProducerFencedError" not in record.getMessage()


for _name in ("kafka.producer.transaction_manager", "kafka.producer.sender"):
    logging.getLogger(_name).addFilter(_is_news)


class TopicReplaced(RegistryError):
    """The replica has read further than the topic reaches: the topic was made anew, or brokers lost its end."""


class Unsettled(RegistryError):
    """A commit was asked for and not answered: whether the write counts shows when the topic is read again."""


@dataclass(frozen=True, slots=True)
class Change:
    """A committed record. `value` None: the entity is removed. `write`: id of the write it belongs to."""

    offset: int
    entity: str
    value: bytes | None
    write: str


class Tail:
    """Reads what is committed, in order. Not for two threads. `answer_s`: how long brokers may take for an answer.
    Raises KafkaError."""

    def __init__(self, settings: KafkaSettings, topic: str, answer_s: float) -> None:
        self._answer_s = answer_s
        self._place = TopicPartition(topic, 0)
        self._next = -1
        self._consumer: Any = KafkaConsumer(
            **options(settings, CLIENT_ID, answer_s),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            max_poll_records=POLL_RECORDS,
            check_crcs=FAST_CRC,
            request_timeout_ms=round(answer_s * 1000),
            metrics_enabled=False,
        )
        self._consumer.assign([self._place])

    def end(self) -> int:
        """Offset behind the last committed record."""
        try:
            ends: dict[TopicPartition, int] = self._consumer.end_offsets([self._place], round(self._answer_s * 1000))
        except KafkaTimeoutError:
            raise KafkaError(
                f"no broker said within {self._answer_s:g} s where topic {self._place.topic} ends; are brokers "
                "reachable, and does it exist (`dipper topics apply` makes it)?"
            ) from None
        return ends[self._place]

    def read(self, start: int, timeout_s: float) -> tuple[list[Change], int]:
        """Committed records from an offset, and the offset to go on from; waits for the first of them. Raises
        TopicReplaced."""
        if start != self._next:
            self._consumer.seek(self._place, start)
            self._next = start
        try:
            records = self._consumer.poll(round(timeout_s * 1000)).get(self._place, [])
        except OffsetOutOfRangeError:
            raise TopicReplaced(
                f"topic {self._place.topic}: expected records up to offset {start}, the topic ends before or begins "
                "after it; if it was made anew, delete this process's replica, it is built again from the topic"
            ) from None
        position: int = self._consumer.position(self._place)  # also behind markers, which are no records
        self._next = position
        return [_change(record) for record in records], position

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(KafkaError):
            self._consumer.close(timeout_ms=1000)


class Writer:
    """The one writer, until another one takes over; then every call raises KafkaError and this object is of no more
    use. Making one takes over."""

    def __init__(self, settings: KafkaSettings, topic: str, answer_s: float) -> None:
        self._answer_s = answer_s
        self._topic = topic
        self._producer: Any = KafkaProducer(
            **options(settings, CLIENT_ID, answer_s),
            transactional_id=transactional_id(topic),
            transaction_timeout_ms=round(FLUSH_S * 1000),
            acks="all",
            compression_type="zstd",
            batch_size=256 * 1024,
            max_request_size=MAX_RECORD_BYTES,
            allow_auto_create_topics=False,
            max_block_ms=round(answer_s * 1000),
            request_timeout_ms=round(answer_s * 1000),
            delivery_timeout_ms=round(FLUSH_S * 1000),
            retry_backoff_ms=20,
            metrics_enabled=False,
        )
        try:
            self._producer.init_transactions()
        except BaseException:
            self.close()
            raise

    def write(self, changes: Sequence[tuple[str, bytes | None]], write: str) -> int:
        """Append entities in one transaction; returns the offset behind the last. Raises Unsettled when the outcome is
        not known, KafkaError when nothing was written."""
        self._producer.begin_transaction()
        headers = [(WRITE_HEADER, write.encode())]
        futures = [
            self._producer.send(self._topic, value, key=entity.encode(), headers=headers, partition=0)
            for entity, value in changes
        ]
        self._producer.flush(FLUSH_S)
        # A fenced producer of this library recovers by a new epoch and would then report an empty transaction as
        # committed: every record's own acknowledgement is looked at before the commit.
        for future in futures:
            future.get(0)
        self._commit()
        return int(futures[-1].get(0).offset) + 1

    def _commit(self) -> None:
        """Commit, waiting a bounded time: the library itself would wait for ever."""
        failures: list[BaseException] = []
        thread = threading.Thread(
            target=_caught, args=(self._producer.commit_transaction, failures), name="registry-commit", daemon=True
        )
        thread.start()
        thread.join(self._answer_s)
        if thread.is_alive():
            raise Unsettled(f"no answer to a commit within {self._answer_s:g} s")
        if failures:
            raise Unsettled(str(failures[0])) from failures[0]

    def close(self) -> None:
        """Give up the connection; an unfinished transaction ends when the next writer takes over."""
        # `close` alone waits for records that a fenced or cut-off producer can never deliver.
        sender = self._producer._sender
        sender.force_close()
        sender.join(1.0)
        with contextlib.suppress(KafkaError):
            self._producer.close(timeout=0)


def transactional_id(topic: str) -> str:
    """What all writers of a topic share: `dipper-registry` for the registry."""
    return f"dipper-{topic}"


def _caught(call: Callable[[], None], failures: list[BaseException]) -> None:
    try:
        call()
    except Exception as error:
        failures.append(error)


def _change(record: Any) -> Change:
    headers = {name: value for name, value in record.headers or [] if value is not None}
    return Change(
        record.offset,
        (record.key or b"").decode("utf-8", "replace"),
        record.value,
        headers.get(WRITE_HEADER, b"").decode("utf-8", "replace"),
    )
