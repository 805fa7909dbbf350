"""When which minutes are recomputed, and the order of the steps.

A minute ends for history when the time it works by has passed its end and the watermark's delay. Before that its
customer rows alone are refreshed, so that live pages see it; when it ends everything is computed from it; late rows
make it dirty again. Coverage of a minute depends on the hour before, so a dirty minute also renews the coverage of
the hour that follows. Ended minutes in which nothing came at all get their coverage too: silence is not uptime.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from contracts.protocols import Store
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, PLACEMENT_TTL_MINUTES, WATERMARK_DELAY_MS, minute_of
from history import rollups
from history.cell_rollups import CellRollups
from history.coverage_table import write_coverage
from history.dirty import DirtyMinutes
from history.versions import Versions

_CLOSED_THROUGH = "SELECT max(minute) AS minute FROM coverage_minutes"
_NEWEST_DATA = """SELECT max(minute) AS minute FROM (
SELECT max(minute) AS minute FROM box_minutes UNION ALL SELECT max(minute) FROM minutes)"""
_SHOWN = f"""SELECT minute, customer, service, requests, {rollups.FAILURES} AS failures, coverage
FROM (SELECT * FROM minutes FINAL WHERE minute IN {{minutes:Array(Int64)}}) AS m
LEFT JOIN (SELECT minute, customer, coverage FROM coverage_minutes FINAL WHERE minute IN {{minutes:Array(Int64)}}) AS c
USING (minute, customer) ORDER BY minute, customer, service"""  # noqa: S608 - declared column names


@dataclass(frozen=True, slots=True)
class RecomputeSettings:
    """`watermark_delay_ms`: how long after its end a minute waits for stragglers. `live_refresh_ms`: how often the
    open minute is refreshed; None: never (headless runs). `late_refresh_ms`: how long late rows are collected before
    their minutes are recomputed. `late_minutes_per_step`, `rows_per_statement`: bounds on the work of one step."""

    watermark_delay_ms: int = WATERMARK_DELAY_MS
    live_refresh_ms: int | None = 8_000
    late_refresh_ms: int = 30_000
    late_minutes_per_step: int = 20
    rows_per_statement: int = 700_000


class Recompute:
    """Keeps rollups equal to what is stored. Not shared between threads."""

    def __init__(
        self, store: Store, dirty: DirtyMinutes, versions: Versions, settings: RecomputeSettings | None = None
    ) -> None:
        self._store = store
        self._dirty = dirty
        self._versions = versions
        self._settings = settings or RecomputeSettings()
        self._cells = CellRollups(store, versions)
        self._newest_data = int(store.query(_NEWEST_DATA)["minute"][0])
        # Unknown after a start without coverage: the first minute that ends sets it.
        self._closed_through = int(store.query(_CLOSED_THROUGH)["minute"][0]) or None

    def saw(self, minutes: Iterable[int]) -> None:
        """Tell which minutes rows came for."""
        self._newest_data = max(self._newest_data, *minutes, 0)

    def is_closed(self, minute: int, now: int) -> bool:
        """Whether a minute has ended for history."""
        return now >= minute + MINUTE_MS + self._settings.watermark_delay_ms

    def step(self, now: int) -> int:
        """Do what is due at `now`; returns how many minutes were recomputed."""
        due, late, live = [], [], []
        for minute, entry in self._dirty.minutes.items():
            if not self.is_closed(minute, now):
                if self._live_due(minute, now):
                    live.append(minute)
            elif self._closed_through is None or minute > self._closed_through:
                due.append(minute)
            elif now - entry.since >= self._settings.late_refresh_ms:
                late.append(minute)
        late = sorted(late, key=lambda m: self._dirty.minutes[m].since)[: self._settings.late_minutes_per_step]
        self._refresh(sorted(live), now)
        done = len(live) + self._close(due + late, now)
        self._cells.step(self._closed_through, self._dirty.minutes)
        return done

    def finish(self, now: int) -> int:
        """Recompute every dirty minute, open ones as far as they have come; open ones stay dirty."""
        closed = [m for m in self._dirty.minutes if self.is_closed(m, now)]
        live = [m for m, entry in self._dirty.minutes.items() if m not in closed and entry.fresh]
        self._refresh(sorted(live), now)
        done = len(live) + self._close(closed, now)
        self._cells.step(self._closed_through, self._dirty.minutes, most=None)
        return done

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

    def _close(self, minutes: list[int], now: int) -> int:
        minutes = sorted(minutes)
        silent = self._silent(minutes, now)
        if not minutes and not silent:
            return 0
        targets = self._coverage_targets(minutes, now) | set(silent)
        before = self._shown(minutes)
        for group in self._groups(minutes):
            parameters = {"minutes": group, "version": self._versions.next()}
            for statement in rollups.PER_MINUTE:
                self._store.execute(statement, parameters)
        write_coverage(self._store, sorted(targets), self._versions.next())
        self._coarser(minutes)
        self._cells.owe(minutes)
        self._log_restatements(before, self._shown(minutes), now)
        self._closed_through = max([self._closed_through or 0, *minutes, *silent])
        self._dirty.clear(minutes)
        return len(minutes)

    def _silent(self, minutes: list[int], now: int) -> list[int]:
        """Minutes that ended without a row, while boxes may still count as placed."""
        if self._closed_through is None and not minutes:
            return []
        through = minutes[0] if self._closed_through is None else self._closed_through
        last = minute_of(now - MINUTE_MS - self._settings.watermark_delay_ms)
        last = min(last, self._newest_data + (PLACEMENT_TTL_MINUTES - 1) * MINUTE_MS)
        return [m for m in range(through + MINUTE_MS, last + 1, MINUTE_MS) if m not in self._dirty.minutes]

    def _coverage_targets(self, minutes: list[int], now: int) -> set[int]:
        end = (self._closed_through or 0) + 1
        targets = set(minutes)
        for minute in minutes:
            targets |= set(range(minute, min(minute + PLACEMENT_TTL_MINUTES * MINUTE_MS, end), MINUTE_MS))
        return {m for m in targets if self.is_closed(m, now)}

    def _groups(self, minutes: list[int]) -> list[list[int]]:
        """Minutes in groups whose slices fit into memory together."""
        counted = self._store.query(rollups.SLICES_PER_MINUTE, {"minutes": minutes}) if minutes else {"minute": []}
        rows = dict(zip(counted["minute"], counted.get("slices", []), strict=True))
        groups: list[list[int]] = []
        size = 0
        for minute in minutes:
            size += rows.get(minute, 0)
            if not groups or size > self._settings.rows_per_statement:
                groups.append([])
                size = rows.get(minute, 0)
            groups[-1].append(minute)
        return groups

    def _coarser(self, minutes: list[int]) -> None:
        if not minutes:
            return
        version = self._versions.next()
        for statement, width in ((rollups.HOURS, HOUR_MS), (rollups.DAYS, DAY_MS)):
            starts = sorted({m - m % width for m in minutes})
            self._store.execute(statement, {"starts": starts, "version": version})

    def _shown(self, minutes: list[int]) -> dict[tuple[int, str, str], tuple[int, int, float | None]]:
        """What pages show of minutes that had ended before: requests, failures, coverage."""
        ended = [m for m in minutes if self._closed_through is not None and m <= self._closed_through]
        if not ended:
            return {}
        rows = self._store.query(_SHOWN, {"minutes": ended})
        keys = zip(rows["minute"], rows["customer"], rows["service"], strict=True)
        return dict(zip(keys, zip(rows["requests"], rows["failures"], rows["coverage"], strict=True), strict=True))

    def _log_restatements(
        self,
        before: Mapping[tuple[int, str, str], tuple[int, int, float | None]],
        after: Mapping[tuple[int, str, str], tuple[int, int, float | None]],
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
