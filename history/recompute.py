"""When which minutes are recomputed, and the order of the steps.

A minute ends for history when the time it works by has passed its end and the watermark's delay. Before that its
customer rows alone are refreshed, so that live pages see it; when it ends everything is computed from it; late rows
make it dirty again. Coverage of a minute depends on the hour before, so a dirty minute also renews the coverage of
the hour that follows. Ended minutes in which nothing came at all get their coverage too: silence is not uptime.

A step has a time budget, for while it recomputes nothing is read. After an outage many minutes are due at once: those
that never were computed come first and in order, so that what is shown as ended is whole up to one minute; then
those with late rows, the longest waiting first. The others stay dirty for the next steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from contracts.protocols import Store
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, PLACEMENT_TTL_MINUTES, WATERMARK_DELAY_MS, minute_of
from history import rollups
from history.cell_rollups import CellRollups
from history.coverage_table import CLOSED_THROUGH, write_coverage
from history.dirty import DirtyMinutes
from history.versions import Versions

_NEWEST_DATA = """SELECT max(minute) AS minute FROM (
SELECT max(minute) AS minute FROM box_minutes UNION ALL SELECT max(minute) FROM minutes)"""
_SHOWN = f"""SELECT minute, customer, service, requests, {rollups.FAILURES} AS failures, coverage
FROM (SELECT * FROM minutes FINAL WHERE minute IN {{minutes:Array(Int64)}}) AS m
LEFT JOIN (SELECT minute, customer, coverage FROM coverage_minutes FINAL WHERE minute IN {{minutes:Array(Int64)}}) AS c
USING (minute, customer) ORDER BY minute, customer, service"""  # noqa: S608 - declared column names

_Shown = tuple[int, int, float | None]  # requests, failures, coverage


@dataclass(frozen=True, slots=True)
class RecomputeSettings:
    """`watermark_delay_ms`: how long after its end a minute waits for stragglers. `live_refresh_ms`: how often the
    open minute is refreshed; None: never (headless runs). `late_refresh_ms`: how long late rows are collected before
    their minutes are recomputed. `budget_s`: no further ended minutes are taken up when a step has recomputed for so
    long; a minute that was taken up is finished. `rows_per_statement`: bounds the engine's memory."""

    watermark_delay_ms: int = WATERMARK_DELAY_MS
    live_refresh_ms: int | None = 8_000
    late_refresh_ms: int = 30_000
    budget_s: float = 2.0
    rows_per_statement: int = 700_000


class Recompute:
    """Keeps rollups equal to what is stored. Not shared between threads. `clock` measures durations only, in s."""

    def __init__(
        self,
        store: Store,
        dirty: DirtyMinutes,
        versions: Versions,
        settings: RecomputeSettings | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store = store
        self._dirty = dirty
        self._versions = versions
        self._settings = settings or RecomputeSettings()
        self._cells = CellRollups(store, versions)
        self._clock = clock
        self._rows_per_s = 0.0  # of the last statements; unknown at first
        self._newest_data = int(store.query(_NEWEST_DATA)["minute"][0])
        # Unknown after a start without coverage: the first minute that ends sets it.
        self._closed_through = int(store.query(CLOSED_THROUGH)["minute"][0]) or None

    def saw(self, minutes: Iterable[int]) -> None:
        """Tell which minutes rows came for."""
        self._newest_data = max(self._newest_data, *minutes, 0)

    def is_closed(self, minute: int, now: int) -> bool:
        """Whether a minute has ended for history."""
        return now >= minute + MINUTE_MS + self._settings.watermark_delay_ms

    def behind(self, now: int) -> int:
        """How many dirty minutes have ended without ever having been computed as ended ones."""
        # The set grows and shrinks in the sink's thread; whoever asks may be another.
        return sum(self.is_closed(m, now) and not self._was_closed(m) for m in list(self._dirty.minutes))

    def step(self, now: int, read_through: int | None = None) -> int:
        """Do what is due at `now`, within the budget; returns how many minutes were recomputed. `read_through`: while
        the log is being caught up with, a minute has ended only as far as it has been read."""
        reached = now if read_through is None else read_through
        ended, live = [], []
        for minute, entry in self._dirty.minutes.items():
            if not self.is_closed(minute, now):
                if self._live_due(minute, now):
                    live.append(minute)
            elif self.is_closed(minute, reached) and self._ended_due(minute, now):
                ended.append((self._was_closed(minute), entry.since if self._was_closed(minute) else 0, minute))
        self._refresh(sorted(live), now)
        in_turn = [minute for *_, minute in sorted(ended)]
        done = len(live) + self._close(in_turn, reached, now, self._settings.budget_s)
        self._cells.step(self._closed_through, self._dirty.minutes)
        return done

    def finish(self, now: int) -> int:
        """Recompute every dirty minute, open ones as far as they have come; open ones stay dirty."""
        closed = sorted(m for m in self._dirty.minutes if self.is_closed(m, now))
        live = [m for m, entry in self._dirty.minutes.items() if not self.is_closed(m, now) and entry.fresh]
        self._refresh(sorted(live), now)
        done = len(live) + self._close(closed, now, now, None)
        self._cells.step(self._closed_through, self._dirty.minutes, most=None)
        return done

    def _was_closed(self, minute: int) -> bool:
        return self._closed_through is not None and minute <= self._closed_through

    def _ended_due(self, minute: int, now: int) -> bool:
        waits_ms = now - self._dirty.minutes[minute].since
        return not self._was_closed(minute) or waits_ms >= self._settings.late_refresh_ms

    def _live_due(self, minute: int, now: int) -> bool:
        every = self._settings.live_refresh_ms
        entry = self._dirty.minutes[minute]
        last = entry.since if entry.refreshed_at is None else entry.refreshed_at
        return every is not None and entry.fresh and now - last >= every

    def _refresh(self, minutes: list[int], now: int) -> None:
        if minutes:
            parameters = {"minutes": minutes, "version": self._versions.next()}
            self._store.execute(rollups.MINUTES, parameters)
            self._dirty.refreshed(minutes, now)

    def _close(self, minutes: list[int], reached: int, now: int, budget_s: float | None) -> int:
        """Compute ended minutes, first come first served; returns how many the budget sufficed for."""
        before: dict[tuple[int, str, str], _Shown] = {}
        done: list[int] = []
        end = None if budget_s is None else self._clock() + budget_s
        for group in self._groups(minutes, budget_s):
            if done and end is not None and self._clock() >= end:
                break
            before |= self._shown(group)
            self._compute(group)
            done += group
        silent = self._silent(minutes, len(done), reached)
        if not done and not silent:
            return 0
        targets = self._coverage_targets(done, reached) | set(silent)
        write_coverage(self._store, sorted(targets), self._versions.next())
        self._coarser(done)
        self._cells.owe(done)
        self._log_restatements(before, self._shown(done), now)
        self._closed_through = max([self._closed_through or 0, *done, *silent])
        self._dirty.clear(sorted(done))
        return len(done)

    def _compute(self, group: list[int]) -> None:
        parameters = {"minutes": group, "version": self._versions.next()}
        for statement in rollups.PER_MINUTE:
            self._store.execute(statement, parameters)

    def _silent(self, minutes: list[int], done: int, reached: int) -> list[int]:
        """Minutes that ended without a row, while boxes may still count as placed; none above one that still waits."""
        if self._closed_through is None and not minutes:
            return []
        through = minutes[0] if self._closed_through is None else self._closed_through
        last = minute_of(reached - MINUTE_MS - self._settings.watermark_delay_ms)
        last = min(last, self._newest_data + (PLACEMENT_TTL_MINUTES - 1) * MINUTE_MS)
        last = min([last, *(m for m in minutes[done:] if not self._was_closed(m))])
        return [m for m in range(through + MINUTE_MS, last + 1, MINUTE_MS) if m not in self._dirty.minutes]

    def _coverage_targets(self, minutes: list[int], reached: int) -> set[int]:
        end = (self._closed_through or 0) + 1
        targets = set(minutes)
        for minute in minutes:
            targets |= set(range(minute, min(minute + PLACEMENT_TTL_MINUTES * MINUTE_MS, end), MINUTE_MS))
        return {m for m in targets if self.is_closed(m, reached)}

    def _groups(self, minutes: list[int], budget_s: float | None) -> Iterator[list[int]]:
        """Minutes in groups whose slices fit into memory together, and into the budget as far as can be foreseen. The
        caller takes each group only when the one before is computed."""
        counted = self._store.query(rollups.SLICES_PER_MINUTE, {"minutes": minutes}) if minutes else {"minute": []}
        rows = dict(zip(counted["minute"], counted.get("slices", []), strict=True))
        at = 0
        while at < len(minutes):
            most = float(self._settings.rows_per_statement)
            if budget_s is not None:
                most = min(most, self._rows_per_s * budget_s)
            end, size = at + 1, rows.get(minutes[at], 0)
            while end < len(minutes) and size + rows.get(minutes[end], 0) <= most:
                size += rows.get(minutes[end], 0)
                end += 1
            begin = self._clock()
            yield minutes[at:end]
            self._rows_per_s = size / max(self._clock() - begin, 1e-6)
            at = end

    def _coarser(self, minutes: list[int]) -> None:
        if not minutes:
            return
        version = self._versions.next()
        for statement, width in ((rollups.HOURS, HOUR_MS), (rollups.DAYS, DAY_MS)):
            starts = sorted({m - m % width for m in minutes})
            self._store.execute(statement, {"starts": starts, "version": version})

    def _shown(self, minutes: list[int]) -> dict[tuple[int, str, str], _Shown]:
        """What pages show of minutes that had ended before."""
        ended = [m for m in minutes if self._was_closed(m)]
        if not ended:
            return {}
        rows = self._store.query(_SHOWN, {"minutes": ended})
        keys = zip(rows["minute"], rows["customer"], rows["service"], strict=True)
        return dict(zip(keys, zip(rows["requests"], rows["failures"], rows["coverage"], strict=True), strict=True))

    def _log_restatements(
        self,
        before: Mapping[tuple[int, str, str], _Shown],
        after: Mapping[tuple[int, str, str], _Shown],
        now: int,
    ) -> None:
        changed = [(key, before.get(key, (0, 0, None)), value) for key, value in after.items()]
        changed = [c for c in changed if c[1] != c[2]]
        if not changed:
            return
        columns = {
            "minute": [key[0] for key, _, _ in changed],
            "customer": [key[1] for key, _, _ in changed],
            "service": [key[2] for key, _, _ in changed],
            "restated_at": [now] * len(changed),
            "requests_before": [b[0] for _, b, _ in changed],
            "requests_after": [a[0] for _, _, a in changed],
            "failures_before": [b[1] for _, b, _ in changed],
            "failures_after": [a[1] for _, _, a in changed],
            "coverage_before": pa.array([b[2] for _, b, _ in changed], pa.float64()),
            "coverage_after": pa.array([a[2] for _, _, a in changed], pa.float64()),
        }
        self._store.insert("restatements", pa.table(columns))
