"""One tick: read the logs up to the interval's end, make the reports, commit them with the positions.

A tick makes one report for the interval that ended, also when idle, and one more for each older interval of which it
found lines (after downtime, or out of order). Either all of that is committed or none of it.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from agent_exporter import __version__
from agent_exporter.clock import Clock
from agent_exporter.config import LogSettings, Settings
from agent_exporter.entries import Drops, Entry
from agent_exporter.errors import LineError, SpoolError
from agent_exporter.lines import PARSERS, Event
from agent_exporter.logfile import LogFile
from agent_exporter.slices import Accumulator
from agent_exporter.spool import Spool
from agent_exporter.tail import UNREADABLE, Tail
from agent_exporter.vitals import Vitals
from contracts.report import (
    DROP_LINE_MALFORMED,
    DROP_SLICE_LIMIT,
    MAX_BODY_BYTES,
    MAX_DECODED_BYTES,
    MAX_SLICES,
    Report,
    Totals,
    encode,
)
from contracts.times import HOUR_MS

DROP_LINE_TOO_OLD = "line_too_old"
OLDEST_LINE_MS = 47 * HOUR_MS  # the gateway refuses what is older than 48 h; an hour is left to deliver it
AHEAD_MS = 5_000  # a line further ahead of the clock than this is counted now: the clock was set back
MAX_LINES_PER_TICK = 20_000  # shared evenly by the logs
MAX_OLDER_INTERVALS = 30
MALFORMED_SAMPLES = 5
SAMPLE_CHARS = 300
GZIP_LEVEL = 6


@dataclass(slots=True)
class Counters:
    """Cumulative since the agent's start. `dropped_*` without the spool's own causes, which the spool counts."""

    requests: int = 0
    slices: int = 0
    dropped_requests: dict[str, int] = field(default_factory=dict)
    dropped_slices: dict[str, int] = field(default_factory=dict)
    lines: int = 0
    folded: int = 0  # events with a dimension value folded into `other`
    ahead: int = 0  # lines counted now because their time lay ahead

    def copy(self) -> Counters:
        """A copy to work on until the tick is committed."""
        return Counters(
            self.requests,
            self.slices,
            dict(self.dropped_requests),
            dict(self.dropped_slices),
            self.lines,
            self.folded,
            self.ahead,
        )

    def drop_request(self, cause: str, requests: int = 1) -> None:
        """Requests that were seen and are in no slice."""
        self.dropped_requests[cause] = self.dropped_requests.get(cause, 0) + requests


@dataclass(slots=True)
class _Tick:
    """The work of one tick, thrown away if it cannot be committed."""

    start: int
    end: int
    now: int
    correction_ms: int
    counters: Counters
    open: dict[int, Accumulator] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)
    lines_of_log: int = 0


class Collector:
    """Owns the logs and the counters. `random` picks exemplars; `log` receives sentences for the operator;
    `sender_state` is what the sender wants kept for `status`."""

    def __init__(
        self,
        settings: Settings,
        device: str,
        boot: str,
        spool: Spool,
        clock: Clock,
        vitals: Vitals,
        *,
        random: Random,
        log: Callable[[str], None],
        sender_state: Callable[[], dict[str, Any]],
    ) -> None:
        self._settings = settings
        self._device = device
        self._boot = boot
        self._spool = spool
        self._clock = clock
        self._vitals = vitals
        self._random = random
        self._log = log
        self._sender_state = sender_state
        self._seq = 0
        self._interval_ms = settings.interval_s * 1000
        self.counters = Counters()
        state = spool.state
        self._samples: list[str] = state.get("malformed_sample", [])
        machine = vitals.boot_id()
        known = state.get("machine_boot")
        self._reboots: int = state.get("reboots", 0) + (known is not None and machine != known)
        self._machine_boot = machine
        saved = state.get("logs", {})
        self._tails = [(log, self._tail(log, saved.get(str(log.path)))) for log in settings.logs]
        spool.begin_boot(boot)

    def _tail(self, log: LogSettings, saved: dict[str, Any] | None) -> Tail:
        parse = PARSERS[log.kind]

        def time_of(line: bytes) -> int | None:
            try:
                return parse(line, log.defaults).at
            except LineError:
                return None

        return Tail(log.path, log.start_at, time_of, saved)

    def tick(self, end: int, *, with_vitals: bool = True) -> bool:
        """Report the interval that ends at `end`; lines that are later than it stay for the next. Returns whether the
        tick was kept; if not, the lines are still in the logs and the next tick takes them."""
        system, correction_ms = self._clock.system(), self._clock.correction_ms
        tick = _Tick(end - self._interval_ms, end, system + correction_ms, correction_ms, self.counters.copy())
        tick.open[tick.start] = Accumulator(self._random)
        read_until = [(tail, tail.last_at) for _, tail in self._tails]
        for log, tail in self._tails:
            self._read_log(tick, log, tail, system)
        vitals = self._vitals_now() if with_vitals else {}
        dropped = self._spool.dropped()
        reports = self._make_reports(tick, vitals, dropped)
        samples = (self._samples + tick.samples)[-MALFORMED_SAMPLES:]
        state = self._state(tick.counters, samples, self._seq + len(reports), system)
        try:
            self._spool.commit(reports, state, dropped)
        except SpoolError as error:
            self._log(f"{error}; nothing is lost while the logs are kept")
            for tail, last_at in read_until:
                tail.rollback(last_at)
            return False
        self._seq += len(reports)
        self.counters, self._samples = tick.counters, samples
        for _, tail in self._tails:
            tail.commit(system)
        return True

    def checkpoint(self) -> None:
        """Write down, without a report, what was delivered since the last tick."""
        state = self._state(self.counters, self._samples, self._seq, self._clock.system())
        try:
            self._spool.commit([], state, None)
        except SpoolError as error:
            self._log(f"{error}; what was just delivered will be sent again, and recognised")

    def close(self) -> None:
        """Close the logs."""
        for _, tail in self._tails:
            tail.close()

    # -- reading -----------------------------------------------------------------------------------------------

    def _read_log(self, tick: _Tick, log: LogSettings, tail: Tail, system: int) -> None:
        tick.lines_of_log = 0
        for log_file in tail.follow(system):
            try:
                self._read_file(tick, log, tail, log_file)
            except UNREADABLE as error:
                tail.give_up(log_file, error)
            for _ in range(log_file.overlong):
                self._malformed(tick, log, "line: expected at most 65536 bytes")
        for _ in range(tail.retire(system)):
            self._malformed(tick, log, "line: expected a newline at the end of a rotated file")
        for notice in dict.fromkeys(tail.notices):
            self._log(notice)
        tail.notices.clear()

    def _read_file(self, tick: _Tick, log: LogSettings, tail: Tail, log_file: LogFile) -> None:
        parse, defaults = PARSERS[log.kind], log.defaults
        while (line := log_file.peek()) is not None:
            if tick.lines_of_log >= MAX_LINES_PER_TICK // len(self._tails):
                return
            try:
                event = parse(line, defaults)
            except LineError as error:
                self._malformed(tick, log, str(error))
            else:
                if not self._place(tick, event, event.at + tick.correction_ms):
                    return
                tail.last_at = max(tail.last_at, event.at)
            log_file.take()
            tick.lines_of_log += 1
            tick.counters.lines += 1

    def _place(self, tick: _Tick, event: Event, at: int) -> bool:
        """Count an event in its interval; False: it belongs to a later tick."""
        start = tick.start
        if at >= tick.end:
            if at <= tick.now + AHEAD_MS:
                return False
            tick.counters.ahead += 1
        elif at < tick.now - OLDEST_LINE_MS:
            tick.counters.requests += event.requests
            if event.requests:
                tick.counters.drop_request(DROP_LINE_TOO_OLD)
            return True
        elif at < tick.start:
            start = at - at % self._interval_ms
            rows = sum(len(a) for s, a in tick.open.items() if s != tick.start)
            if start not in tick.open and (len(tick.open) > MAX_OLDER_INTERVALS or rows >= MAX_SLICES):
                return False
        accumulator = tick.open.get(start)
        if accumulator is None:
            accumulator = tick.open[start] = Accumulator(self._random)
        accumulator.add(event)
        return True

    def _malformed(self, tick: _Tick, log: LogSettings, message: str) -> None:
        tick.counters.requests += 1
        tick.counters.drop_request(DROP_LINE_MALFORMED)
        tick.samples.append(f"{log.path}: {message}"[:SAMPLE_CHARS])
        del tick.samples[:-MALFORMED_SAMPLES]

    # -- reports -----------------------------------------------------------------------------------------------

    def _make_reports(
        self, tick: _Tick, vitals: dict[str, float], dropped: dict[str, Drops]
    ) -> list[tuple[Entry, bytes]]:
        """Older intervals first, the newest last; sequence numbers follow."""
        reports = []
        for seq, start in enumerate(sorted(tick.open), self._seq + 1):
            accumulator = tick.open[start]
            tick.counters.requests += accumulator.requests
            tick.counters.folded += accumulator.folded
            live = start == tick.start
            reports.append(self._make_report(seq, start, accumulator, tick, vitals if live else {}, dropped, live=live))
        return reports

    def _make_report(
        self,
        seq: int,
        start: int,
        accumulator: Accumulator,
        tick: _Tick,
        vitals: dict[str, float],
        dropped: dict[str, Drops],
        *,
        live: bool,
    ) -> tuple[Entry, bytes]:
        limit = MAX_SLICES
        while True:
            counters = tick.counters.copy()
            slices, lost_slices, lost_requests = accumulator.slices(limit)
            counters.slices += len(slices) + lost_slices
            if lost_slices:
                counters.drop_request(DROP_SLICE_LIMIT, lost_requests)
                before = counters.dropped_slices.get(DROP_SLICE_LIMIT, 0)
                counters.dropped_slices[DROP_SLICE_LIMIT] = before + lost_slices
            text = encode(
                Report(
                    device=self._device,
                    boot=self._boot,
                    seq=seq,
                    start=start,
                    end=start + self._interval_ms,
                    oldest_spooled_seq=self._spool.oldest_seq() or self._seq + 1,
                    model=self._settings.model,
                    firmware=self._settings.firmware,
                    agent=__version__,
                    totals=_totals(counters, dropped),
                    earlier_boots=self._spool.earlier_boots(seq),
                    vitals=vitals,
                    slices=slices,
                    exemplars=accumulator.exemplars(tick.correction_ms),
                )
            )
            body = gzip.compress(text, GZIP_LEVEL, mtime=0)
            if len(text) <= MAX_DECODED_BYTES and len(body) <= MAX_BODY_BYTES:
                break
            limit = len(slices) // 2
        tick.counters = counters
        requests = sum(slices.counts["requests"])
        return Entry(self._boot, seq, requests, len(slices), tick.correction_ms, live), body

    def _vitals_now(self) -> dict[str, float]:
        vitals = self._vitals.read()
        vitals["reboots"] = self._reboots
        if self._clock.offset_ms is not None:
            vitals["clock_offset_ms"] = self._clock.offset_ms
        return vitals

    def _state(self, counters: Counters, samples: list[str], seq: int, system: int) -> dict[str, Any]:
        return {
            "device": self._device,
            "boot": self._boot,
            "seq": seq,
            "at": system,
            "lines": counters.lines,
            "requests": counters.requests,
            "dropped_requests": counters.dropped_requests,
            "folded": counters.folded,
            "ahead": counters.ahead,
            "malformed_sample": samples,
            "logs": {str(log.path): tail.to_dict(system) for log, tail in self._tails},
            "machine_boot": self._machine_boot,
            "reboots": self._reboots,
            "clock": [self._clock.correction_ms, self._clock.offset_ms],
            "sender": self._sender_state(),
        }


def _totals(counters: Counters, dropped: dict[str, Drops]) -> Totals:
    """The contract's totals: the counters' own drops and the spool's."""
    return Totals(
        requests=counters.requests,
        slices=counters.slices,
        dropped_requests=counters.dropped_requests | {c: d.requests for c, d in dropped.items()},
        dropped_slices=counters.dropped_slices | {c: d.slices for c, d in dropped.items()},
        dropped_reports={c: d.reports for c, d in dropped.items()},
    )
