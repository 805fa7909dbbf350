"""What came in and when: watermarks per input partition, batches waiting to be folded, and who is late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import ContractError
from contracts.times import FUTURE_LIMIT_MS, MINUTE_MS, minute_of
from contracts.topics import REPORTS, SLICES
from streams.kernel import Ints
from streams.rows import (
    ReportRows,
    SliceRows,
    check_reports,
    check_slices,
    join,
    join_reports,
    report_rows_of,
    slice_rows,
)
from streams.settings import QualitySettings

Mask = npt.NDArray[np.bool_]
_ROWS_AT_ONCE = 4_096
_CHECKS = {SLICES.name: check_slices, REPORTS.name: check_reports}


@dataclass(frozen=True, slots=True)
class _Held:
    """Checked rows of one or several records: watermarks (m,) and rows (m,) of each."""

    batch: Any
    watermarks: Ints
    rows: Ints


@dataclass(frozen=True, slots=True)
class Fate:
    """Per row: the minute it belongs to, and exactly one of: on time, late but counted, forgotten (too late even for
    that), misdated (further in the future than a gateway lets pass)."""

    minute: Ints
    on_time: Mask
    late: Mask
    forgotten: Mask
    misdated: Mask


class Intake:
    """Inputs of the quality operator. A row's fate depends only on its own partition's records up to its own."""

    def __init__(self, settings: QualitySettings) -> None:
        self.held_rows = 0
        self._settings = settings
        self._newest: dict[tuple[str, int], int | None] = {}  # newest timestamp per partition
        self._held: dict[str, list[_Held]] = {name: [] for name in _CHECKS}
        self._headers: list[tuple[ReportRows, Ints]] = []  # rows, their watermarks

    def assign(self, inputs: Iterable[tuple[str, int]]) -> None:
        """The (topic, partition) pairs that are read; those that stay keep their watermark."""
        self._newest = {place: self._newest.get(place) for place in inputs}

    def heartbeat(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """Time has come to a partition; returns its watermark."""
        newest = self._newest.get((topic, partition))
        newest = timestamp_ms if newest is None else max(newest, timestamp_ms)
        self._newest[topic, partition] = newest
        return newest - self._settings.watermark_delay_ms

    def add(self, topic: str, partition: int, record_batch: Any, timestamp_ms: int) -> None:
        """Hold a checked batch. Raises ContractError `malformed_batch` and keeps nothing."""
        if topic not in _CHECKS:
            raise ContractError("malformed_batch", "topic", f"one of {tuple(_CHECKS)}", topic)
        _CHECKS[topic](record_batch)
        watermark = self.heartbeat(topic, partition, timestamp_ms)
        self._hold(topic, record_batch, np.array([watermark]), np.array([record_batch.num_rows]))

    def add_slices(self, partition: int, record_batch: Any, timestamps: Ints, ends: Ints) -> None:
        """Hold the rows of several records of a partition: `timestamps` (m,), and rows up to and with each one. Raises
        ContractError `malformed_batch` and keeps nothing."""
        check_slices(record_batch)
        watermarks = self._watermarks_of(SLICES.name, partition, timestamps)
        self._hold(SLICES.name, record_batch, watermarks, np.diff(ends, prepend=0))

    def add_headers(self, partition: int, rows: ReportRows, timestamps: Ints, ends: Ints) -> None:
        """Hold checked headers of several records of a partition: `timestamps`, and rows up to and with each one."""
        watermarks = self._watermarks_of(REPORTS.name, partition, timestamps)
        if len(rows):
            self._headers.append((rows, np.repeat(watermarks, np.diff(ends, prepend=0))))

    def _hold(self, topic: str, record_batch: Any, watermarks: Ints, rows: Ints) -> None:
        if record_batch.num_rows:
            self._held[topic].append(_Held(record_batch, watermarks, rows))
            self.held_rows += record_batch.num_rows

    def _watermarks_of(self, topic: str, partition: int, timestamps: Ints) -> Ints:
        """(m,) the watermark of a partition after each of several records."""
        before = self.heartbeat(topic, partition, int(timestamps[0]))
        watermarks: Ints = np.maximum.accumulate(timestamps - self._settings.watermark_delay_ms)
        np.maximum(watermarks, before, out=watermarks)
        self.heartbeat(topic, partition, int(timestamps.max()))
        return watermarks

    @property
    def watermark(self) -> int | None:
        """The lowest of all partitions of telemetry.slices; None until each has shown a record."""
        stamps = [stamp for (topic, _), stamp in self._newest.items() if topic == SLICES.name]
        known = [stamp for stamp in stamps if stamp is not None]
        if not known or len(known) < len(stamps):
            return None
        return min(known) - self._settings.watermark_delay_ms

    def take_slices(self) -> Iterator[tuple[SliceRows, int | Fate]]:
        """Slices held since the last call, in the order they came. A minute in place of fates: all rows are on time
        and belong to it."""
        for run in _runs(self._take(SLICES.name)):
            rows = slice_rows(join([held.batch for held in run]))
            minute = self._common_minute(rows.start, run)
            yield rows, self._fate(rows.start, _watermarks(run)) if minute is None else minute

    def take_reports(self) -> tuple[ReportRows, Fate] | None:
        """Report headers held since the last call."""
        held, self._headers = self._headers, []
        if whole := self._take(REPORTS.name):
            held.append((report_rows_of([part.batch for part in whole]), _watermarks(whole)))
        if not held:
            return None
        rows = join_reports([part for part, _ in held])
        return rows, self._fate(rows.start, np.concatenate([watermarks for _, watermarks in held]))

    def _take(self, topic: str) -> list[_Held]:
        taken, self._held[topic] = self._held[topic], []
        self.held_rows -= sum(held.batch.num_rows for held in taken)
        return taken

    def _common_minute(self, start: Ints, run: Sequence[_Held]) -> int | None:
        """The minute all rows belong to if they do, and none is late or misdated."""
        oldest, newest = int(start.min()), int(start.max())
        lowest = min(int(held.watermarks[0]) for held in run)  # a partition's never falls
        highest = max(int(held.watermarks[-1]) for held in run)
        minute = minute_of(oldest)
        on_time = minute + MINUTE_MS + self._settings.allowed_lateness_ms > highest
        misdated = newest > lowest + self._settings.watermark_delay_ms + FUTURE_LIMIT_MS
        return minute if on_time and not misdated and minute_of(newest) == minute else None

    def _fate(self, start: Ints, watermark: Ints) -> Fate:
        minute = start - start % MINUTE_MS
        end = minute + MINUTE_MS
        misdated = start > watermark + self._settings.watermark_delay_ms + FUTURE_LIMIT_MS
        on_time = ~misdated & (end + self._settings.allowed_lateness_ms > watermark)
        counted = end + self._settings.late_memory_minutes * MINUTE_MS > watermark
        late = ~misdated & ~on_time & counted
        return Fate(minute, on_time, late, ~misdated & ~on_time & ~counted, misdated)


def _watermarks(run: Sequence[_Held]) -> Ints:
    """(n,) that of each row."""
    return np.repeat(np.concatenate([held.watermarks for held in run]), np.concatenate([held.rows for held in run]))


def _runs(parts: Sequence[_Held]) -> Iterator[list[_Held]]:
    """The parts in turn; small ones several at a time, as handling one costs more than its rows."""
    run: list[_Held] = []
    rows = 0
    for held in parts:
        run.append(held)
        rows += held.batch.num_rows
        if rows >= _ROWS_AT_ONCE:
            yield run
            run, rows = [], 0
    if run:
        yield run
