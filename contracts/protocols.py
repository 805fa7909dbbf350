"""The interfaces between packages: log, store, registry. Implementations pass one contract test suite each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from contracts.entities import Customer, DeviceAttributes, SchedulingRule

TopicPartition = tuple[str, int]


class LogError(Exception):
    """Base of what a log raises."""


class LogUnavailable(LogError):
    """The log cannot take or give data now; retry later. Nothing of the failed call was promised."""


class LogFull(LogUnavailable):
    """No space left: intake stops (503) until an operator or retention frees some."""


class LogCorrupt(LogError):
    """Stored bytes fail their checksum in the middle of the log. Not retriable; the message names file and position."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is appended. `partition` None: crc32(key) mod P. `timestamp_ms`: gateway's clock. `headers`: small texts."""

    topic: str
    key: bytes
    value: bytes
    timestamp_ms: int
    partition: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """What is read back: a record with the place it was given."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    timestamp_ms: int
    headers: Mapping[str, str]


class LogReader(Protocol):
    """A cursor over partitions. Not shared between threads."""

    def poll(self, max_records: int, timeout_s: float) -> list[StoredRecord]:
        """Next records, in offset order within a partition; empty after timeout_s without any. Raises LogError."""

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Continue a partition at an offset."""

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset to be read, per partition."""

    def close(self) -> None:
        """Release what the reader holds."""


@runtime_checkable
class Log(Protocol):
    """A partitioned, durable, ordered log: the embedded one, or Kafka."""

    @property
    def atomic(self) -> bool:
        """Whether records of one call of `submit` become durable all or none, whatever fails: so the embedded log.
        On Kafka each partition of each topic stands for itself, so whoever needs one record to be there before another
        submits the other once the first is durable."""

    def partitions(self, topic: str) -> int:
        """Number of partitions of a topic."""

    def submit(self, records: Sequence[Record]) -> Future[list[tuple[int, int]]]:
        """Append; the future ends when all records are durable, with (partition, offset) per record in order.
        Records of one call keep their order within a partition. Fails with LogUnavailable / LogFull, at once
        (back-pressure: the buffer is bounded) or through the future. Where the log is not `atomic`, a call that failed
        may have stored some, so whoever retries relies on identities."""

    def reader(self, start: Mapping[TopicPartition, int]) -> LogReader:
        """A reader of the given partitions from the given offsets; an offset before the oldest kept starts there."""

    def start_offsets(self, topic: str) -> list[int]:
        """Oldest kept offset per partition."""

    def end_offsets(self, topic: str) -> list[int]:
        """Next offset to be written per partition, of what is durable."""

    def offsets_for_time(self, topic: str, time_ms: int) -> list[int]:
        """Per partition, the first offset whose timestamp is at or after a time; the end offset when none is."""

    def close(self) -> None:
        """Finish what was submitted, then release."""


@runtime_checkable
class ArrowStream(Protocol):
    """Anything that exports the Arrow C stream interface: pyarrow tables and record batches do."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


class StoreError(Exception):
    """Base of what a store raises."""


class StoreUnavailable(StoreError):
    """The engine is away or overloaded; retry later."""


class StoreFull(StoreUnavailable):
    """No space left on the store's disk."""


@runtime_checkable
class Store(Protocol):
    """ClickHouse, embedded (chDB) or on servers. Queries are parameterised, never formatted."""

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement without result."""

    def insert(self, table: str, rows: ArrowStream) -> int:
        """Insert columnar rows; returns how many. All or nothing per block. Raises StoreError."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> dict[str, list[Any]]:
        """Columns of a result as Python lists, in select order."""

    def query_arrow(self, sql: str, parameters: Mapping[str, Any] | None = None) -> ArrowStream:
        """A result as columns without Python objects; low-cardinality text may be dictionary-encoded."""

    def close(self) -> None:
        """Release sessions and locks."""


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """A key that is accepted for a device; during rotation there are two. `key_id` is for people and logs."""

    key_id: str
    secret: bytes


class Registry(Protocol):
    """What is known of devices, customers and rules. Look-ups are from memory, a few microseconds."""

    def keys(self, device: str) -> Sequence[DeviceKey]:
        """Accepted keys; empty for an unknown or revoked device."""

    def attributes(self, device: str, at_ms: int) -> DeviceAttributes | None:
        """Attributes valid at a time (the earliest row serves times before it); None: unknown device."""

    def customer(self, customer_id: str) -> Customer | None:
        """A customer, or None."""

    def customers(self) -> Sequence[Customer]:
        """All customers, by id."""

    def rules(self) -> Sequence[SchedulingRule]:
        """All scheduling rules, by id and version."""

    def version(self) -> int:
        """Counts up with every change another process or thread may have made."""
