"""The health job on a log: read, hand to the operator, write what it publishes.

Reads `device.evidence`, `telemetry.vitals` and of `telemetry.slices` who serves whom; writes `health.scores`. Records
nobody can read are counted and left to the job that owns their topic to refuse. Nothing is stored beside the log.

Nothing is scored before all was read that was there at the start: boxes not heard of yet would be taken for absent.
A minute's evidence comes in parts, one per worker's partition; they are waited for a moment, what comes later counts
in the next minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from anomaly.health import HealthSettings
from contracts.arrow import KIND_HEADER, from_bytes
from contracts.columns import DEVICE_EVIDENCE, VITALS
from contracts.errors import ContractError
from contracts.health import BUDGET, Score, score_from_json
from contracts.protocols import Log, Record, StoredRecord, TopicPartition
from contracts.times import MINUTE_MS, SECOND_MS
from contracts.topics import DEVICE_EVIDENCE as EVIDENCE_TOPIC
from contracts.topics import HEALTH_SCORES, SLICES
from contracts.topics import VITALS as VITALS_TOPIC
from streams.cuts import ends_of, reached
from streams.health import HealthOperator
from streams.health_settings import HealthJobSettings
from streams.runner import read_between

INPUTS = (EVIDENCE_TOPIC.name, VITALS_TOPIC.name, SLICES.name)
VITALS_KIND = "vitals"
_PLACEMENT = ("device", "customer", "requests")
_RECORDS_PER_POLL = 256
_RECORDS_PER_SUBMIT = 1_000
_MOST_BEHIND_MINUTES = 2  # a job that never catches up scores all the same
_PATIENCE_MS = 20 * SECOND_MS  # with a part that others are ahead of


class HealthRunner:
    """Runs the job on a log, from `now` (ms UTC) on. Not thread-safe: one thread steps it. Raises LogError from any
    call that touches the log; after LogUnavailable the same call may be repeated."""

    def __init__(
        self, log: Log, now: int, job: HealthJobSettings | None = None, settings: HealthSettings | None = None
    ) -> None:
        self.operator = HealthOperator(job, settings)
        self._log = log
        self._unsent: list[Record] = []
        self._records = self._poison = self._published = 0
        self._computed_at: int | None = None
        self._due_since: int | None = None
        self.operator.restore(self._scores())
        since = now - self.operator.job.read_back_minutes * MINUTE_MS
        start = {
            (topic, p): offset
            for topic in INPUTS
            for p, offset in enumerate(log.offsets_for_time(topic, since))
        }  # fmt: skip
        self._begin_at: dict[TopicPartition, int] = ends_of(log, INPUTS)  # empty once it was read
        self._reader = log.reader(start)

    def step(self, now: int, timeout_s: float) -> int:
        """Consume what is there, waiting at most timeout_s for a first record, and publish what became due. Returns the
        number of records consumed; what was published is durable then."""
        self._send()
        records = self._reader.poll(_RECORDS_PER_POLL, timeout_s)
        for record in records:
            self._take(record)
        if self._is_time(now, drained=len(records) < _RECORDS_PER_POLL):
            if news := self.operator.advance(now):
                self._unsent += news
                self._computed_at = now
            self._due_since = None
            self._send()
        return len(records)

    def _is_time(self, now: int, *, drained: bool) -> bool:
        """Whether the newest minute should be scored now."""
        if self._begin_at and reached(self._reader.positions(), self._begin_at):
            self._begin_at = {}
        operator = self.operator
        if self._begin_at or not operator.is_due:
            return False
        self._due_since = self._due_since or now
        behind = 0 if operator.scored is None else (operator.book.newest or 0) - operator.scored
        if behind >= _MOST_BEHIND_MINUTES:
            return True
        if not drained or not (operator.book.complete or now - self._due_since >= _PATIENCE_MS):
            return False
        return reached(self._reader.positions(), ends_of(self._log, (EVIDENCE_TOPIC.name,)))

    def status(self, now: int) -> dict[str, Any]:
        """What a status page shows; `computed_lag_s` None before the first scores."""
        ends = {topic: self._log.end_offsets(topic) for topic in INPUTS}
        return {
            "records": self._records,
            "poison": self._poison,
            "published": self._published,
            "boxes": len(self.operator.boxes),
            "exhausted_cells": self.operator.exhausted_cells,
            "computed_lag_s": None if self._computed_at is None else (now - self._computed_at) / SECOND_MS,
            "lag_records": sum(max(0, ends[topic][p] - at) for (topic, p), at in self._reader.positions().items()),
        }

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset of every input, for retention."""
        return self._reader.positions()

    def close(self) -> None:
        """Release the reader."""
        self._reader.close()

    def _take(self, record: StoredRecord) -> None:
        self._records += 1
        if not record.value:
            return  # a heartbeat
        try:
            if record.topic == EVIDENCE_TOPIC.name:
                self.operator.evidence(from_bytes(DEVICE_EVIDENCE, record.value, pa))
            elif record.topic == SLICES.name:
                self.operator.slices(_some_columns(record.value, _PLACEMENT), record.timestamp_ms)
            elif record.headers.get(KIND_HEADER) == VITALS_KIND:
                self.operator.vital_signs(from_bytes(VITALS, record.value, pa))
        except ContractError:
            self._poison += 1

    def _send(self) -> None:
        while self._unsent:
            part = self._unsent[:_RECORDS_PER_SUBMIT]
            self._log.submit(part).result()
            self._published += len(part)
            del self._unsent[: len(part)]

    def _scores(self) -> Iterator[Score]:
        """The newest of each box; an empty record took a box's back."""
        newest: dict[bytes, bytes] = {}
        topic = HEALTH_SCORES.name
        start = {(topic, p): at for p, at in enumerate(self._log.start_offsets(topic))}
        ends = {(topic, p): at for p, at in enumerate(self._log.end_offsets(topic))}
        for records in read_between(self._log, start, ends):
            for record in records:
                if record.headers.get(KIND_HEADER) != BUDGET:
                    newest[record.key] = record.value
        for value in filter(None, newest.values()):
            try:
                yield score_from_json(value)
            except ContractError:
                self._poison += 1


def _some_columns(message: bytes, names: tuple[str, ...]) -> Any:
    """The record batch of a message with only these columns decoded. Raises ContractError `malformed_batch`."""
    try:
        with pa.ipc.open_stream(message) as reader:
            fields = [reader.schema.get_field_index(name) for name in names]
        options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=fields)
        with pa.ipc.open_stream(message, options=options) as reader:
            record_batch = reader.read_next_batch()
        record_batch.validate(full=True)
    except (pa.ArrowException, OSError, StopIteration, OverflowError) as error:
        raise ContractError("malformed_batch", "message", "an Arrow IPC stream with one batch", str(error)) from None
    return record_batch
