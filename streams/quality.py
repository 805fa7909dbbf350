"""The quality operator: slices and report headers in, customer minutes, cube and device evidence out.

Pure: no I/O, no clock. A shell (local.py, or a Faust worker) gives it decoded record batches with the place and the
timestamp of their log record, and writes what `advance` returns.

Time. The watermark of an input partition is the newest record timestamp in it (gateway's clock) less
`watermark_delay_ms`; the operator's watermark is the lowest of all assigned partitions of telemetry.slices (gateways
send heartbeats to idle ones; headers of reports are appended with their slices and need no watermark of their own:
should they come later, coverage is revised). A minute is emitted (revision
1) when the watermark reaches its end, again when data came since (at most once per `revise_every_ms`), and a last
time, if anything changed, when it closes `allowed_lateness_ms` later. A row is late if its own partition's watermark
had passed that point when it came: this depends on the log alone, not on how batches are cut, on how partitions
interleave, or on when `advance` is called, so a replay of the log decides the same. Late rows count in
`late_requests` of their minute and otherwise reach only history. Repeated late rows are counted again: their
identities are gone by then.

Emission of a minute: a (customer, service) with slices in it, with late requests for it, or with traffic in the
60 minutes up to it, so that a customer that falls silent is seen with zero counts and its coverage, not left out.

Restart. `restore` takes back what was emitted and says from when inputs must be read again; while the watermark is
below the newest one emitted, only closing minutes are compared, and only what differs is emitted (of the cube, all
cells of a customer minute that differs). `resume` does the same from a checkpoint, with the memory of closed minutes,
so that only open minutes are read again (memory.py).

Memory: open windows (about 350 bytes per cell of dimensions, 60 per box and stratum, 8 per row), the coverage of 60
minutes (coverage.py), and about 1 kB per (customer, service) and minute that can still get late requests. A
partition that stays behind the others holds its windows open; heartbeats keep idle ones moving.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contracts.columns import CELL_DIMENSIONS
from contracts.times import FUTURE_LIMIT_MS, MINUTE_MS, PLACEMENT_TTL_MINUTES, minute_of
from contracts.topics import DEVICE_EVIDENCE, REPORTS, SLICES
from streams.counters import Counters
from streams.coverage import CoverageMemory, ranks
from streams.emission import Emission, Emissions
from streams.intake import Fate, Intake
from streams.kernel import Ints, ascending
from streams.late import LateRequests, requests_of
from streams.memory import ClosedMinute
from streams.restored import Emitted, EmittedEvidence, Restored
from streams.rows import ReportRows, SliceRows
from streams.settings import QualitySettings
from streams.tables import (
    NO_TRAFFIC,
    MinuteRecord,
    MinuteRow,
    Service,
    evidence_rows,
    minute_rows,
    with_context,
)
from streams.window import Window

INPUTS = (SLICES.name, REPORTS.name)
_REMEMBERED_MS = (PLACEMENT_TTL_MINUTES - 1) * MINUTE_MS  # closed minutes that count for an open one


@dataclass(slots=True)
class _Open:
    """A minute that has not closed. `dirty`: something came since it was last looked at."""

    window: Window = field(default_factory=Window)
    rows: Emitted = field(default_factory=dict)
    evidence: EmittedEvidence = field(default_factory=dict)
    seen: bool = False  # visited after its end
    dirty: bool = True


class QualityOperator:
    """See the module's text. Not thread-safe. `partitions`: partition count per output topic. `part`: of
    device.evidence, the one partition of telemetry.slices this operator reads; 0 when it reads them all. `remembers`:
    write quality.memory, so that `resume` can follow; only for one partition of telemetry.slices."""

    def __init__(
        self, settings: QualitySettings, partitions: Mapping[str, int], part: int = 0, *, remembers: bool = False
    ) -> None:
        self.counters = Counters()
        self._part = part
        self._remembers = remembers
        self._settings = settings
        self._partitions = dict(partitions)
        self._intake = Intake(settings)
        self._open: dict[int, _Open] = {}
        self._next: int | None = None  # oldest minute that has not closed
        self._worked: int | None = None  # watermark of the last look at the windows
        self._closed: dict[int, Emitted] = {}
        self._late = LateRequests()
        self._late_told = False  # of what comes: it comes again
        self._coverage = CoverageMemory()
        self._traffic: dict[Service, int] = {}  # newest closed minute with slices
        self._restored = Restored()
        self._compare_from = 0  # first minute that a replay rebuilds whole

    # Inputs

    def assign(self, inputs: Iterable[tuple[str, int]]) -> None:
        """The (topic, partition) pairs this operator reads; those it had keep their watermark."""
        self._intake.assign(inputs)

    def process(self, topic: str, partition: int, record_batch: Any, timestamp_ms: int) -> None:
        """Take a record batch of telemetry.slices or telemetry.reports.

        Raises ContractError `malformed_batch` on values that break the schema's meaning; nothing of the batch is
        kept then.
        """
        self._intake.add(topic, partition, record_batch, timestamp_ms)
        if self._intake.held_rows >= self._settings.flush_rows:
            self._flush()

    def process_slices(self, partition: int, record_batch: Any, timestamps: Ints, ends: Ints) -> None:
        """Take the rows of several records of a partition of telemetry.slices, in order, as of Block: as if `process`
        had taken one after the other. Raises ContractError `malformed_batch`; nothing of any is kept then."""
        self._intake.add_slices(partition, record_batch, timestamps, ends)
        if self._intake.held_rows >= self._settings.flush_rows:
            self._flush()

    def take_headers(self, partition: int, rows: ReportRows, timestamps: Ints, ends: Ints) -> None:
        """Take checked headers of consecutive records of a partition of telemetry.reports, as of Headers."""
        self._intake.add_headers(partition, rows, timestamps, ends)

    def heartbeat(self, topic: str, partition: int, timestamp_ms: int) -> None:
        """A record of a partition that carries no rows: only time."""
        self._intake.heartbeat(topic, partition, timestamp_ms)

    @property
    def watermark(self) -> int | None:
        """Event time up to which data is complete, ms UTC; None until every partition has shown one record."""
        return self._intake.watermark

    @property
    def open_minutes(self) -> int:
        """Windows held in memory."""
        return len(self._open)

    # Restart

    def outputs_since(self, topic: str, emitted_at: int) -> int:
        """From which record timestamp an output topic must be read back for `restore`, when its newest message was
        emitted at that watermark."""
        if topic == DEVICE_EVIDENCE.name:
            return self._first_compared(emitted_at)
        return emitted_at - self._late_memory_ms - MINUTE_MS

    def restore(self, minutes: Iterable[Any], evidence: Iterable[Any]) -> int | None:
        """Take back record batches of quality.minutes and device.evidence, before any input.

        Returns the record timestamp from which all inputs must be read again; None: from the beginning.
        """
        self._restored.add_minutes(minutes)
        self._restored.add_evidence(evidence, self._part)
        newest = self._restored.newest
        if newest is None:
            return None
        self._compare_from = self._first_compared(newest)
        oldest_covered = self._compare_from - PLACEMENT_TTL_MINUTES * MINUTE_MS
        return min(newest - self._late_memory_ms - MINUTE_MS, oldest_covered) - FUTURE_LIMIT_MS

    def resume(
        self,
        first_open: int,
        told: Iterable[Any],
        after: Iterable[Any],
        evidence: Iterable[Any],
        memory: Mapping[int, ClosedMinute],
    ) -> None:
        """Go on from a checkpoint, before any input: instead of `restore`, and slices and reports must be read only as
        far back as rows of minutes from `first_open` on reach. `told` and `after`: record batches of quality.minutes
        before and after the checkpoint; `memory`: minutes before `first_open`, ascending. Late requests count as told
        until `late_begins`."""
        self._restored.add_minutes(told)
        for minute, rows in self._restored.minutes.items():
            for service, (_, row) in rows.items():
                if row.late_requests:
                    self._late.start(minute, service, row.late_requests)
                if row.boxes and first_open - _REMEMBERED_MS <= minute < first_open:
                    self._traffic[service] = max(minute, self._traffic.get(service, minute))
        self._restored.add_minutes(after)
        self._restored.add_evidence(evidence, self._part)
        for minute, closed in memory.items():
            self._coverage.recall(minute, closed)
        self._next = self._compare_from = first_open
        self._late_told = True

    def late_begins(self) -> None:
        """After `resume`: what comes from now on came after the checkpoint."""
        if self._late_told:
            self._flush()
            self._late_told = False

    @property
    def settled(self) -> tuple[int, int] | None:
        """The first open minute and how many of those remembered before it have content, if everything that came is
        told; None in a replay."""
        if self._next is None or self._worked is None or self._late_told or self._is_replay(self._worked):
            return None
        return self._next, self._coverage.count(self._next - _REMEMBERED_MS, self._next)

    # Output

    def advance(self) -> list[Emission]:
        """Emit what the watermark makes due. Cheap when nothing is."""
        watermark = self.watermark
        if watermark is None or not self.is_due:
            return []
        self._flush()
        self._worked = watermark
        out = Emissions(self._partitions, self._part, self._settings.rows_per_message, watermark)
        oldest_open = self._oldest_open(watermark)
        if self._next is None:
            self._next = min([oldest_open, *self._open])
        changed = False
        minute = self._next
        while minute + MINUTE_MS <= watermark:
            held = self._window_of(minute)
            changed = changed or held.dirty or not held.seen
            closing = minute < oldest_open
            self._visit(minute, held, closing, out, changed=changed)
            if closing:
                self._close(minute, held, out)
            minute = self._following(minute, oldest_open)
        self._next = max(self._next, oldest_open)
        if not self._is_replay(watermark):  # what a replay may not tell yet, the look that ends it tells
            self._revise_late(out)
            self._forget(watermark)
        return out.all()

    @property
    def is_due(self) -> bool:
        """Whether `advance` has anything to do: a minute ends, and with it, lateness being whole minutes, another one
        closes; or it is time to revise."""
        watermark, worked = self.watermark, self._worked
        if watermark is None or worked is None:
            return watermark is not None
        return minute_of(watermark) > minute_of(worked) or watermark - worked >= self._settings.revise_every_ms

    def _is_replay(self, watermark: int) -> bool:
        return self._restored.newest is not None and watermark <= self._restored.newest

    @property
    def _late_memory_ms(self) -> int:
        return self._settings.late_memory_minutes * MINUTE_MS

    def _oldest_open(self, watermark: int) -> int:
        """First minute that is not closed at a watermark."""
        return minute_of(watermark - self._settings.allowed_lateness_ms)

    def _first_compared(self, emitted_at: int) -> int:
        return self._oldest_open(emitted_at) - MINUTE_MS

    def _following(self, minute: int, oldest_open: int) -> int:
        """The next minute to visit: a long silence is skipped once nothing is expected any more."""
        idle = not (self._open or self._traffic or len(self._coverage))
        return max(minute + MINUTE_MS, oldest_open) if idle else minute + MINUTE_MS

    def _window_of(self, minute: int) -> _Open:
        held = self._open.get(minute)
        if held is None:
            held = self._open[minute] = _Open()
            held.rows = self._restored.minutes.pop(minute, {})
            held.evidence = self._restored.evidence.pop(minute, {})
        return held

    def _visit(self, minute: int, held: _Open, closing: bool, out: Emissions, *, changed: bool) -> None:
        held.window.settle()
        if held.dirty and held.window.services:
            device, customer, requests = held.window.traffic()
            names = held.window.names("device"), held.window.names("customer")
            self._coverage.set_traffic(minute, *names, (device, customer), requests)
        held.dirty = False
        assert self._worked is not None
        # What closed before is told, and of it not all was read back. One look may lead over it and past the replay.
        if minute < self._compare_from or (self._is_replay(self._worked) and not closing):
            return
        first, held.seen = not held.seen, True
        if changed:
            self._emit_minute(minute, held, out)
        if first or closing:
            self._emit_evidence(minute, held, out)

    def _emit_minute(self, minute: int, held: _Open, out: Emissions) -> None:
        revised: dict[Service, int] = {}
        for service, row in sorted(self._rows(minute, held).items()):
            revision, emitted = held.rows.get(service, (0, None))
            if row != emitted:
                held.rows[service] = (revision + 1, row)
                revised[service] = revision + 1
                out.add_minute(MinuteRecord(minute, service, revision + 1, row))
        self._emit_cells(minute, held.window, revised, out)

    def _rows(self, minute: int, held: _Open) -> dict[Service, MinuteRow]:
        coverage = self._coverage.evaluate(minute)
        late = self._late.of(minute)
        rows = minute_rows(held.window)
        oldest = minute - (PLACEMENT_TTL_MINUTES - 1) * MINUTE_MS
        expected = {service for service, newest in self._traffic.items() if newest >= oldest}
        for at, earlier in self._open.items():
            if oldest <= at < minute:
                expected |= earlier.window.services
        result = {}
        for service in expected | set(late) | set(rows) | set(held.rows):
            # While a replay counts late requests anew, those already told are the better figure.
            told = held.rows[service][1].late_requests if service in held.rows else 0
            row = rows.get(service, NO_TRAFFIC)
            result[service] = with_context(row, coverage.get(service[0]), max(told, late.get(service, 0)))
        return result

    def _emit_cells(self, minute: int, window: Window, revised: dict[Service, int], out: Emissions) -> None:
        touched = np.flatnonzero(window.touched)
        window.mark_emitted()
        if not len(touched):
            return
        customers, services = window.names("customer"), window.names("service")
        by_code = np.array([[revised.get((c, s), 0) for s in services] for c in customers], np.int64)
        customer, service = window.services_of_cells()
        revisions: Ints = by_code[customer[touched], service[touched]]
        cells, revisions = touched[revisions > 0], revisions[revisions > 0]
        keys = [ranks(window.codes[name])[window.cells.keys[i, cells]] for i, name in enumerate(CELL_DIMENSIONS)]
        order = ascending(keys)
        out.add_cells(minute, window, cells[order], revisions[order])

    def _emit_evidence(self, minute: int, held: _Open, out: Emissions) -> None:
        revised = []
        for device, row in evidence_rows(held.window, self._settings.prior_requests).items():
            revision, emitted = held.evidence.get(device, (0, None))
            if row != emitted:
                held.evidence[device] = (revision + 1, row)
                revised.append((device, revision + 1, row))
        out.add_evidence(minute, revised)

    def _close(self, minute: int, held: _Open, out: Emissions) -> None:
        if self._remembers:
            out.add_memory(minute, self._coverage.remembered(minute))
        self._traffic.update(dict.fromkeys(held.window.services, minute))
        oldest = minute + MINUTE_MS - (PLACEMENT_TTL_MINUTES - 1) * MINUTE_MS
        self._traffic = {service: newest for service, newest in self._traffic.items() if newest >= oldest}
        self._coverage.close(minute)
        self._closed[minute] = held.rows
        del self._open[minute]

    def _revise_late(self, out: Emissions) -> None:
        """Emit closed minutes again whose late requests grew."""
        assert self._next is not None
        for minute in self._late.take_fresh(self._next):
            rows = self._closed.setdefault(minute, self._restored.minutes.pop(minute, {}))
            coverage = {customer: row.coverage for (customer, _), (_, row) in rows.items()}
            for service, requests in sorted(self._late.of(minute).items()):
                revision, row = rows.get(service, (0, NO_TRAFFIC))
                if requests > row.late_requests:
                    rows[service] = (revision + 1, with_context(row, coverage.get(service[0]), requests))
                    out.add_minute(MinuteRecord(minute, service, *rows[service]))

    def _forget(self, watermark: int) -> None:
        """Give up minutes too old to get late requests."""
        oldest = watermark - self._late_memory_ms - MINUTE_MS
        memories: tuple[dict[int, Any], ...] = (self._closed, self._restored.minutes, self._restored.evidence)
        for memory in memories:
            for minute in [m for m in memory if m <= oldest]:
                del memory[minute]
        self._late.forget(oldest)

    # Folding in

    def _flush(self) -> None:
        self._flush_reports()
        self._flush_slices()

    def _flush_reports(self) -> None:
        if (taken := self._intake.take_reports()) is None:
            return
        headers, fate = taken
        closed = -1 if self._next is None else self._next
        index = np.flatnonzero(fate.on_time & (fate.minute >= closed))
        self.counters.reports += len(fate.minute)
        self.counters.late_reports += len(fate.minute) - len(index)
        self._coverage.add_reports(headers.take(index), fate.minute[index])
        for minute in np.unique(fate.minute[index]).tolist():
            self._window_of(minute).dirty = True

    def _flush_slices(self) -> None:
        parts: dict[int, list[SliceRows]] = {}
        for rows, fate in self._intake.take_slices():
            self.counters.slices += len(rows)
            if isinstance(fate, int):
                parts.setdefault(fate, []).append(rows)
                continue
            self._count(rows, fate)
            for minute in np.unique(fate.minute[fate.on_time]).tolist():
                mine = rows.take(np.flatnonzero(fate.on_time & (fate.minute == minute)))
                parts.setdefault(minute, []).append(mine)
            if fate.late.any() and not self._late_told:
                for minute in self._late.add(rows.take(np.flatnonzero(fate.late)), fate.minute[fate.late]):
                    if minute in self._open:
                        self._open[minute].dirty = True
        for minute, on_time in parts.items():
            if self._late_told and minute < self._compare_from:
                continue  # it came in time, before the checkpoint: the minute has closed since
            held = self._window_of(minute)
            held.dirty = True
            self.counters.duplicate_slices += held.window.add(on_time)

    def _count(self, rows: SliceRows, fate: Fate) -> None:
        self.counters.late_requests += requests_of(rows, fate.late)
        self.counters.forgotten_requests += requests_of(rows, fate.forgotten)
        self.counters.misdated_requests += requests_of(rows, fate.misdated)
