"""What an operator hands to its shell: record batches, each for one partition of one topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from contracts.topics import DEVICE_EVIDENCE, QUALITY_CUBE, QUALITY_MEMORY, QUALITY_MINUTES, partition_of
from streams.kernel import Ints
from streams.memory import ClosedMinute, memory_batch
from streams.tables import EvidenceRow, MinuteRecord, cube_batch, evidence_batch, minutes_batch
from streams.window import Window


@dataclass(frozen=True, slots=True)
class Emission:
    """A message to write: `batch` is a pyarrow RecordBatch of the topic's table, `partition` where its keys belong,
    `timestamp_ms` the watermark (event time)."""

    topic: str
    partition: int
    batch: Any
    timestamp_ms: int


class Emissions:
    """Collects one advance's output and splits it by partition and size.

    Order matters to shells whose log is not atomic: cube, evidence and memory come before the minutes they
    explain, because a minute in quality.minutes is what a restart takes as proof of emission.
    """

    def __init__(self, partitions: Mapping[str, int], part: int, rows_per_message: int, watermark: int) -> None:
        self._partitions = partitions
        self._part = part
        self._rows = rows_per_message
        self._watermark = watermark
        self._minutes: list[MinuteRecord] = []
        self._explaining: list[Emission] = []

    def add_minute(self, record: MinuteRecord) -> None:
        """A row of quality.minutes."""
        self._minutes.append(record)

    def add_cells(self, minute: int, window: Window, cells: Ints, revisions: Ints) -> None:
        """Cells of quality.cube with their revisions, in the order they should have."""
        of_customer = np.array(self._places(QUALITY_CUBE.name, window.names("customer")), np.int64)
        place = of_customer[window.services_of_cells()[0][cells]]
        for partition in np.unique(place).tolist():
            index = np.flatnonzero(place == partition)
            for begin in range(0, len(index), self._rows):
                part = index[begin : begin + self._rows]
                self._explain(QUALITY_CUBE.name, partition, cube_batch(minute, window, cells[part], revisions[part]))

    def add_evidence(self, minute: int, rows: list[tuple[str, int, EvidenceRow]]) -> None:
        """Rows of device.evidence: device, revision, content."""
        places = self._places(DEVICE_EVIDENCE.name, [device for device, _, _ in rows])
        for partition in sorted(set(places)):
            mine = [row for row, place in zip(rows, places, strict=True) if place == partition]
            for begin in range(0, len(mine), self._rows):
                part = evidence_batch(minute, self._part, mine[begin : begin + self._rows])
                self._explain(DEVICE_EVIDENCE.name, partition, part)

    def add_memory(self, minute: int, closed: ClosedMinute) -> None:
        """A minute that closes, in one message, so that it is there as a whole or not at all."""
        self._explain(QUALITY_MEMORY.name, self._part, memory_batch(minute, closed))

    def all(self) -> list[Emission]:
        """Everything, minutes last."""
        places = self._places(QUALITY_MINUTES.name, [r.service[0] for r in self._minutes])
        result = list(self._explaining)
        for partition in sorted(set(places)):
            mine = [r for r, place in zip(self._minutes, places, strict=True) if place == partition]
            for begin in range(0, len(mine), self._rows):
                rows = minutes_batch(mine[begin : begin + self._rows], self._watermark)
                result.append(Emission(QUALITY_MINUTES.name, partition, rows, self._watermark))
        return result

    def _places(self, topic: str, keys: list[str]) -> list[int]:
        return [partition_of(key.encode(), self._partitions[topic]) for key in keys]

    def _explain(self, topic: str, partition: int, batch: Any) -> None:
        self._explaining.append(Emission(topic, partition, batch, self._watermark))
