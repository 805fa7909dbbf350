"""What every shell of the quality operator on a log shares: decode, refuse, encode, read back, count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from contracts.arrow import batch, to_bytes
from contracts.columns import REJECTED
from contracts.errors import ContractError
from contracts.protocols import Log, LogUnavailable, Record, StoredRecord, TopicPartition
from contracts.report import MAX_BODY_BYTES
from contracts.topics import DEVICE_EVIDENCE, QUALITY_CUBE, QUALITY_MINUTES, SLICES
from contracts.topics import REJECTED as REJECTED_TOPIC
from streams.decoding import Block, Decoded, decode
from streams.emission import Emission
from streams.headers import Headers
from streams.quality import QualityOperator
from streams.settings import StreamSettings

OUTPUTS = (QUALITY_MINUTES.name, QUALITY_CUBE.name, DEVICE_EVIDENCE.name)
_READ_BACK_RECORDS = 256
_READ_BACK_WAIT_S = 1.0
_READ_BACK_TRIES = 30


def read_between(
    log: Log, start: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> Iterator[list[StoredRecord]]:
    """Records from offsets `start` up to, and without, `ends`, in polls. Raises LogUnavailable when the log gives
    nothing of what it must have for half a minute."""
    wanted = {place: at for place, at in start.items() if at < ends[place]}
    if not wanted:
        return
    reader = log.reader(wanted)
    tries = _READ_BACK_TRIES
    try:
        while any(at < ends[place] for place, at in reader.positions().items()):
            records = reader.poll(_READ_BACK_RECORDS, _READ_BACK_WAIT_S)
            tries = _READ_BACK_TRIES if records else tries - 1
            if not tries:
                raise LogUnavailable(f"expected records of {sorted(wanted)} up to {ends}, got none for a while")
            yield [r for r in records if r.offset < ends[r.topic, r.partition]]
    finally:
        reader.close()


class OperatorRunner:
    """A quality operator, the records it has written but the log has not, and counters. `part`: of device.evidence.
    `remembers`: writes quality.memory."""

    def __init__(self, log: Log, settings: StreamSettings, part: int, *, remembers: bool = False) -> None:
        self._log = log
        self._settings = settings
        self._records = 0
        self._batches = 0
        self._poison = 0
        self._messages = 0
        counts = {topic: log.partitions(topic) for topic in OUTPUTS}
        self._operator = QualityOperator(settings.quality, counts, part, remembers=remembers)

    def _feed(self, decoded: Decoded, refuse: Callable[[Record], None]) -> None:
        """Give the operator a record, or refuse it with its place and let only its time count."""
        record = decoded.record
        self._records += 1
        error = decoded.error
        if decoded.batch is not None:
            try:
                self._operator.process(record.topic, record.partition, decoded.batch, record.timestamp_ms)
                self._batches += 1
                return
            except ContractError as refusal:
                error = refusal
        self._operator.heartbeat(record.topic, record.partition, record.timestamp_ms)
        if error is not None:
            self._poison += 1
            refuse(_rejected(record, error))

    def _feed_block(self, block: Block) -> None:
        """Give the operator records of telemetry.slices at once. Raises ContractError, and nothing is taken."""
        place = (SLICES.name, block.records[0].partition)
        if block.batch is None:
            self._operator.heartbeat(*place, int(block.timestamps.max()))
        else:
            self._operator.process_slices(place[1], block.batch, block.timestamps, block.ends)
        self._records += len(block.records)
        self._batches += int(np.count_nonzero(np.diff(block.ends, prepend=0)))

    def _feed_headers(self, headers: Headers, refuse: Callable[[Record], None]) -> None:
        """Give the operator a block of headers; what of it nobody can read is refused, and only its time counts."""
        self._records += len(headers)
        self._batches += len(headers) - len(headers.refused)
        self._poison += len(headers.refused)
        self._operator.take_headers(headers.partition, headers.rows, headers.timestamps, headers.ends)
        for decoded in headers.refused:
            assert decoded.error is not None
            refuse(_rejected(decoded.record, decoded.error))

    def _since(self, topic: str, time_ms: int) -> dict[TopicPartition, int]:
        """Per partition of a topic the first offset at or after a time."""
        return {(topic, p): at for p, at in enumerate(self._log.offsets_for_time(topic, time_ms))}

    def _restored(self, topic: str, start: Mapping[TopicPartition, int]) -> Iterator[Decoded]:
        """Readable records of an output topic from the given offsets to its present end."""
        ends = {(topic, p): end for p, end in enumerate(self._log.end_offsets(topic))}
        for records in read_between(self._log, start, ends):
            for decoded in map(decode, records):
                if decoded.batch is not None:
                    yield decoded
                elif decoded.error is not None:
                    self._poison += 1  # not ours; readers of that topic refuse it themselves

    def _counts(self) -> dict[str, Any]:
        counters = self._operator.counters
        return {
            "records": self._records,
            "batches": self._batches,
            "poison": self._poison,
            "messages_emitted": self._messages,
            "open_minutes": self._operator.open_minutes,
            "slices": counters.slices,
            "reports": counters.reports,
            "duplicate_slices": counters.duplicate_slices,
            "late_reports": counters.late_reports,
            "late_requests": counters.late_requests,
            "forgotten_requests": counters.forgotten_requests,
            "misdated_requests": counters.misdated_requests,
        }


def record_of(emission: Emission, headers: Mapping[str, str] | None = None) -> Record:
    """The record to write."""
    value = to_bytes(emission.batch, pa)
    return Record(emission.topic, b"", value, emission.timestamp_ms, emission.partition, headers or {})


def _rejected(record: StoredRecord, error: ContractError) -> Record:
    """A record for telemetry.rejected. Its id is the place in the log, so refusing it again adds nothing."""
    place = f"topic {record.topic}, partition {record.partition}, offset {record.offset}"
    empty: dict[str, Any] = {"int64": 0, "bytes": b""}  # what only a box could state
    values = {column.name: [empty.get(column.dtype, "")] for column in REJECTED}
    values |= {
        "id": [f"{record.topic}:{record.partition}:{record.offset}"],
        "received_at": [record.timestamp_ms],
        "reason": [error.reason],
        "detail": [f"{place}: {error}"],
        "rows": ["[]"],
        "body": [record.value[:MAX_BODY_BYTES]],
        "source": ["operator"],
        "state": ["kept"],
    }
    return Record(REJECTED_TOPIC.name, record.key, to_bytes(batch(REJECTED, values, pa), pa), record.timestamp_ms)
