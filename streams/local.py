"""The stream jobs on one log in one process, without Faust: read, hand to operators, write what they emit.

Nothing is stored beside the log. After a restart, kill -9 included, the runner reads back what it had emitted, reads
the inputs again from as far back as the operator asks, and goes on. One step's output is one `submit`, which the
embedded log appends all or none, so a minute is never in the log without the cube that explains it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from contracts.arrow import HEARTBEAT, KIND_HEADER, batch, from_bytes, to_bytes
from contracts.columns import REJECTED, TABLES
from contracts.errors import ContractError
from contracts.protocols import Log, LogUnavailable, Record, StoredRecord, TopicPartition
from contracts.report import MAX_BODY_BYTES
from contracts.times import SECOND_MS
from contracts.topics import BY_NAME, DEVICE_EVIDENCE, QUALITY_CUBE, QUALITY_MINUTES
from contracts.topics import REJECTED as REJECTED_TOPIC
from streams.emission import Emission
from streams.quality import INPUTS, QualityOperator
from streams.settings import StreamSettings

OUTPUTS = (QUALITY_MINUTES.name, QUALITY_CUBE.name, DEVICE_EVIDENCE.name)
_READ_BACK_RECORDS = 64
_READ_BACK_WAIT_S = 1.0
_READ_BACK_TRIES = 30


class LocalRunner:
    """Runs the operators on a log. Not thread-safe: one thread steps it. Raises LogError from any call that touches
    the log; after LogUnavailable the same call may be repeated, nothing is lost or written twice."""

    def __init__(self, log: Log, settings: StreamSettings) -> None:
        self._log = log
        self._settings = settings
        self._unsent: list[Record] = []
        self._records = 0
        self._batches = 0
        self._poison = 0
        self._messages = 0
        self._operator = QualityOperator(settings.quality, {topic: log.partitions(topic) for topic in OUTPUTS})
        self._operator.assign((topic, p) for topic in INPUTS for p in range(log.partitions(topic)))
        since = self._restore()
        start = {}
        for topic in INPUTS:
            offsets = log.start_offsets(topic) if since is None else log.offsets_for_time(topic, since)
            start.update({(topic, p): offset for p, offset in enumerate(offsets)})
        self._reader = log.reader(start)

    def step(self, timeout_s: float) -> int:
        """Consume what is there, waiting at most timeout_s for a first record, and write what became due. Returns
        the number of records consumed. Output is durable when this returns."""
        self._send()
        records = self._reader.poll(self._settings.poll_records, timeout_s)
        for record in records:
            self._take(record)
        self._unsent += [self._record_of(emission) for emission in self._operator.advance()]
        self._send()
        return len(records)

    def status(self, now: int) -> dict[str, Any]:
        """What a status page shows. `watermark_lag_s` and `watermark_ms` are None until every partition has shown a
        record; `lag_records` counts input records not consumed yet."""
        watermark = self._operator.watermark
        positions = self._reader.positions()
        ends = {topic: self._log.end_offsets(topic) for topic in INPUTS}
        counters = self._operator.counters
        return {
            "watermark_ms": watermark,
            "watermark_lag_s": None if watermark is None else (now - watermark) / SECOND_MS,
            "lag_records": sum(max(0, ends[topic][p] - at) for (topic, p), at in positions.items()),
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

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset of every input: retention must not touch what comes after it, nor, for the sake of restarts, the
        hour and a half before."""
        return self._reader.positions()

    def close(self) -> None:
        """Release the reader. What was not emitted yet is rebuilt by the next runner."""
        self._reader.close()

    def _take(self, record: StoredRecord) -> None:
        self._records += 1
        if record.headers.get(KIND_HEADER) == HEARTBEAT:
            self._operator.heartbeat(record.topic, record.partition, record.timestamp_ms)
            return
        try:
            rows = _decode(record)
            self._operator.process(record.topic, record.partition, rows, record.timestamp_ms)
            self._batches += 1
        except ContractError as error:
            self._poison += 1
            self._operator.heartbeat(record.topic, record.partition, record.timestamp_ms)
            self._unsent.append(_rejected(record, error))

    def _send(self) -> None:
        if self._unsent:
            self._log.submit(self._unsent).result()
            self._messages += len(self._unsent)
            self._unsent = []

    def _record_of(self, emission: Emission) -> Record:
        value = to_bytes(emission.batch, pa)
        return Record(emission.topic, b"", value, emission.timestamp_ms, emission.partition)

    def _restore(self) -> int | None:
        """Give the operator what was emitted; returns from when inputs must be read, None: from the beginning."""
        ends = self._log.end_offsets(QUALITY_MINUTES.name)
        starts = self._log.start_offsets(QUALITY_MINUTES.name)
        last = [max(start, end - 1) for start, end in zip(starts, ends, strict=True)]
        emitted_at = max((r.timestamp_ms for r in self._read_back(QUALITY_MINUTES.name, last)), default=None)
        if emitted_at is None:
            return None
        return self._operator.restore(
            self._emitted(QUALITY_MINUTES.name, emitted_at), self._emitted(DEVICE_EVIDENCE.name, emitted_at)
        )

    def _emitted(self, topic: str, emitted_at: int) -> Iterator[Any]:
        since = self._operator.outputs_since(topic, emitted_at)
        for record in self._read_back(topic, self._log.offsets_for_time(topic, since)):
            try:
                yield _decode(record)
            except ContractError:
                self._poison += 1  # not ours; readers of that topic refuse it themselves

    def _read_back(self, topic: str, start: list[int]) -> Iterator[StoredRecord]:
        """Records of a topic from the given offsets to its present end."""
        ends = self._log.end_offsets(topic)
        wanted = {(topic, p): at for p, at in enumerate(start) if at < ends[p]}
        if not wanted:
            return
        reader = self._log.reader(wanted)
        tries = _READ_BACK_TRIES
        try:
            while any(at < ends[p] for (_, p), at in reader.positions().items()):
                records = reader.poll(_READ_BACK_RECORDS, _READ_BACK_WAIT_S)
                tries = _READ_BACK_TRIES if records else tries - 1
                if not tries:
                    raise LogUnavailable(f"{topic}: expected records up to offsets {ends}, got none for a while")
                yield from (r for r in records if r.offset < ends[r.partition])
        finally:
            reader.close()


def _decode(record: StoredRecord) -> Any:
    table = BY_NAME[record.topic].table
    assert table is not None
    return from_bytes(TABLES[table], record.value, pa)


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
