"""From where a task of one partition reads when it starts, and what it takes back before that.

Three ways. With a checkpoint in quality.memory whose memory is whole, slices and reports are read from where rows of
the minutes open then are: three or four minutes. Without one, but with minutes in quality.minutes, everything that may
count is read again: more than an hour, which takes minutes of computing; so it is after an upgrade, or where the log
keeps less than an hour. A partition for which nothing was written begins with the oldest slices there are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from contracts.arrow import HEARTBEAT, KIND_HEADER
from contracts.protocols import Log, StoredRecord, TopicPartition
from contracts.times import FUTURE_LIMIT_MS, MINUTE_MS, PLACEMENT_TTL_MINUTES
from contracts.topics import DEVICE_EVIDENCE, QUALITY_MEMORY, QUALITY_MINUTES, REPORTS, SLICES
from streams.decoding import Decoded
from streams.memory import CHECKPOINT_HEADER, Checkpoint, read_memory
from streams.quality import INPUTS
from streams.reach import Start
from streams.runner import OperatorRunner, read_between
from streams.settings import StreamSettings

logger = logging.getLogger(__name__)


class RestartingRunner(OperatorRunner):
    """The operator of one partition of telemetry.slices. Any call may raise LogUnavailable and may then be repeated."""

    def __init__(self, log: Log, settings: StreamSettings, partition: int) -> None:
        super().__init__(log, settings, part=partition, remembers=True)
        self.partition = partition
        self._slices: TopicPartition = (SLICES.name, partition)
        self._inputs = [self._slices, *((REPORTS.name, p) for p in range(log.partitions(REPORTS.name)))]
        self._operator.assign(self._inputs)
        self._minutes_end = 0  # of the own partition of quality.minutes, as this task knows it
        self._resumed: Checkpoint | None = None

    def _restore(self) -> dict[TopicPartition, Start]:
        """Give the operator what was emitted; returns from where inputs must be read."""
        minutes, self._minutes_end = self._last(QUALITY_MINUTES.name)
        memory, _ = self._last(QUALITY_MEMORY.name)
        point = None if memory is None else Checkpoint.of(memory.headers.get(CHECKPOINT_HEADER))
        if point is not None and self._resume(point):
            self._resumed = point
            return dict(zip(self._inputs, point.inputs, strict=True))
        if minutes is None:
            return self._begin()
        logger.info("partition %d: %s holds no whole hour: reads all of it again", self.partition, QUALITY_MEMORY.name)
        emitted_at = minutes.timestamp_ms
        told = self._told(self._operator.outputs_since(QUALITY_MINUTES.name, emitted_at))
        evidence = self._evidence(self._operator.outputs_since(DEVICE_EVIDENCE.name, emitted_at))
        from_ms = self._operator.restore((decoded.batch for decoded in told), evidence)
        return self._begin() if from_ms is None else self._inputs_since(from_ms)  # None: nothing in it could be read

    def _resume(self, point: Checkpoint) -> bool:
        """Give the operator what a checkpoint says; False, and nothing is given, if the log does not hold it all."""
        if not self._holds(point):
            return False
        hour_ms = (PLACEMENT_TTL_MINUTES - 1) * MINUTE_MS
        first = point.first_open
        memory = read_memory(d.batch for d in self._own(QUALITY_MEMORY.name, first - hour_ms))
        memory = {minute: closed for minute, closed in memory.items() if first - hour_ms <= minute < first}
        if len(memory) != point.remembered:
            return False
        # Nothing is written of a minute before it begins, and late requests come up to an hour after its end.
        minutes = self._told(first - max(hour_ms, self._settings.quality.late_memory_minutes * MINUTE_MS))
        self._operator.resume(
            first,
            [d.batch for d in minutes if d.record.offset < point.minutes],
            [d.batch for d in minutes if d.record.offset >= point.minutes],
            list(self._evidence(first)),
            memory,
        )
        return True

    def _holds(self, point: Checkpoint) -> bool:
        """Whether the offsets of a checkpoint are in the log; they are not where a topic was made anew."""
        if point.slices > self._end(SLICES.name) or point.minutes > self._minutes_end:
            return False
        ends = {(topic, p): at for topic in INPUTS for p, at in enumerate(self._log.end_offsets(topic))}
        if len(point.inputs) != len(self._inputs):
            return False
        return all(start.offset <= ends[place] for place, start in zip(self._inputs, point.inputs, strict=True))

    def _begin(self) -> dict[TopicPartition, Start]:
        """Nothing was emitted: read slices from the first there are, reports from an hour and some before."""
        offset, time_ms = self._first_slices()
        from_ms = max(0, time_ms - PLACEMENT_TTL_MINUTES * MINUTE_MS - FUTURE_LIMIT_MS)
        self._operator.restore([], self._evidence(time_ms))  # a task may have died between evidence and minutes
        return self._inputs_since(from_ms) | {self._slices: Start(offset, 0)}

    def _first_slices(self) -> tuple[int, int]:
        """Offset and timestamp of the oldest record with slices; of the last heartbeat if there are only those."""
        offset = self._log.start_offsets(SLICES.name)[self.partition]
        time_ms = 0
        for records in read_between(self._log, {self._slices: offset}, {self._slices: self._end(SLICES.name)}):
            for record in records:
                offset, time_ms = record.offset, record.timestamp_ms
                if record.headers.get(KIND_HEADER) != HEARTBEAT:
                    return offset, time_ms
        return offset, time_ms

    # Reading the log

    def _end(self, topic: str) -> int:
        return self._log.end_offsets(topic)[self.partition]

    def _last(self, topic: str) -> tuple[StoredRecord | None, int]:
        """The last record of the own partition of a topic, and the end."""
        place, end = (topic, self.partition), self._end(topic)
        last = max(self._log.start_offsets(topic)[self.partition], end - 1)
        records = [r for some in read_between(self._log, {place: last}, {place: end}) for r in some]
        return records[-1] if records else None, end

    def _own(self, topic: str, since_ms: int) -> list[Decoded]:
        """Readable records of the own partition of an output topic since a time."""
        start = {(topic, self.partition): self._log.offsets_for_time(topic, max(0, since_ms))[self.partition]}
        return list(self._restored(topic, start))

    def _told(self, since_ms: int) -> list[Decoded]:
        return self._own(QUALITY_MINUTES.name, since_ms)

    def _evidence(self, since_ms: int) -> Iterator[Any]:
        start = self._since(DEVICE_EVIDENCE.name, max(0, since_ms))
        return (decoded.batch for decoded in self._restored(DEVICE_EVIDENCE.name, start))

    def _inputs_since(self, time_ms: int) -> dict[TopicPartition, Start]:
        since = self._since(SLICES.name, max(0, time_ms)) | self._since(REPORTS.name, max(0, time_ms))
        return {place: Start(since[place], 0) for place in self._inputs}
