"""Adds events up to the rows of a report: counts, sparse histograms, folding of rare values, exemplars."""

from __future__ import annotations

import hashlib
import heapq
from random import Random
from typing import Any

from agent_exporter.lines import Event, Key
from contracts.columns import (
    COUNT_NAMES,
    EXEMPLARS_MEASURES,
    FAILURE_NAMES,
    MAX_VALUES_PER_DIMENSION,
    OTHER,
    SLICE_DIMENSIONS,
)
from contracts.histogram import THROUGHPUT_BASE_KB_PER_S, cell_of, latency_base_ms
from contracts.report import MAX_SLICES, Histograms, Slices

# Rows kept open before the smallest are dropped at the end of the interval; what comes beyond is folded.
MAX_OPEN_ROWS = 2 * MAX_SLICES
# Exemplars of an interval: candidates of each kind, and the JSON bytes they may take in the report.
CANDIDATES = 8
EXEMPLAR_BYTES = 1_200
_COLUMN = {name: i for i, name in enumerate(COUNT_NAMES)}
_REQUESTS = _COLUMN["requests"]
_STATUS_CLASS = {i: _COLUMN[f"s{i}xx"] for i in (2, 3, 4, 5)}
_FAILURE = {name: _COLUMN[name] for name in FAILURE_NAMES}
_BYTES, _CACHE_HITS = _COLUMN["bytes"], _COLUMN["cache_hits"]
_SESSIONS, _STALLED = _COLUMN["sessions"], _COLUMN["stalled_sessions"]
_PLAY, _STALL = _COLUMN["play_ms"], _COLUMN["stall_ms"]


class _Row:
    __slots__ = ("base", "counts", "latency", "throughput")

    def __init__(self, service: str) -> None:
        self.counts = [0] * len(COUNT_NAMES)
        self.latency: dict[int, int] = {}
        self.throughput: dict[int, int] = {}
        self.base = latency_base_ms(service)


class Accumulator:
    """The events of one interval. `folded` counts events that had a dimension value folded into `other`."""

    def __init__(self, random: Random) -> None:
        self.requests = 0
        self.folded = 0
        self._rows: dict[Key, _Row] = {}
        self._values: dict[tuple[str, int], set[str]] = {}
        self._exemplars = _Exemplars(random)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, event: Event) -> None:
        """Count one event."""
        row = self._rows.get(event.key) or self._new_row(event)
        counts = row.counts
        counts[_BYTES] += event.bytes
        if event.requests:
            self.requests += 1
            counts[_REQUESTS] += 1
            column = _STATUS_CLASS.get(event.status // 100)
            if column is not None:
                counts[column] += 1
            if event.failure:
                counts[_FAILURE[event.failure]] += 1
            counts[_CACHE_HITS] += event.cache_hit
            cell = cell_of(event.latency_ms, row.base)
            row.latency[cell] = row.latency.get(cell, 0) + 1
            if event.throughput_kb_per_s is not None:
                cell = cell_of(event.throughput_kb_per_s, THROUGHPUT_BASE_KB_PER_S)
                row.throughput[cell] = row.throughput.get(cell, 0) + 1
            self._exemplars.offer(event)
        if event.sessions:
            counts[_SESSIONS] += event.sessions
            counts[_STALLED] += event.stalled_sessions
        counts[_PLAY] += event.play_ms
        counts[_STALL] += event.stall_ms

    def _new_row(self, event: Event) -> _Row:
        key = self._folded(event.key)
        if key != event.key:
            self.folded += 1
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = _Row(key[1])
        return row

    def _folded(self, key: Key) -> Key:
        """The key with values beyond the first MAX_VALUES_PER_DIMENSION of its customer replaced by `other`."""
        customer = key[0]
        if len(self._rows) >= MAX_OPEN_ROWS:
            return (OTHER, key[1] if key[1] == "compute" else OTHER, OTHER, OTHER, OTHER, OTHER)
        parts = [customer]
        for i in range(1, len(SLICE_DIMENSIONS)):
            seen = self._values.setdefault((customer, i), set())
            value = key[i]
            # The service decides the histogram's base; `compute` keeps its own.
            if value in seen or len(seen) < MAX_VALUES_PER_DIMENSION or (i == 1 and value == "compute"):
                seen.add(value)
                parts.append(value)
            else:
                parts.append(OTHER)
        return (parts[0], parts[1], parts[2], parts[3], parts[4], parts[5])

    def slices(self, limit: int) -> tuple[Slices, int, int]:
        """At most `limit` rows, those with the most requests; and how many rows and requests were dropped for it."""
        ordered = sorted(self._rows.items(), key=lambda item: -item[1].counts[_REQUESTS])
        kept, dropped = ordered[:limit], ordered[limit:]
        columns = {name: [key[i] for key, _ in kept] for i, name in enumerate(SLICE_DIMENSIONS)}
        counts = {name: [row.counts[i] for _, row in kept] for i, name in enumerate(COUNT_NAMES)}
        histograms = {
            "latency": _sparse([row.latency for _, row in kept]),
            "throughput": _sparse([row.throughput for _, row in kept]),
        }
        lost = sum(row.counts[_REQUESTS] for _, row in dropped)
        return Slices(columns, counts, histograms), len(dropped), lost

    def exemplars(self, shift_ms: int) -> dict[str, list[Any]]:
        """Columns of the chosen exemplars within EXEMPLAR_BYTES; times shifted like the interval's."""
        return self._exemplars.columns(shift_ms)


def _sparse(rows: list[dict[int, int]]) -> Histograms:
    lengths: list[int] = []
    cells: list[int] = []
    counts: list[int] = []
    for row in rows:
        lengths.append(len(row))
        for cell in sorted(row):
            cells.append(cell)
            counts.append(row[cell])
    return Histograms(lengths, cells, counts)


class _Exemplars:
    """The slowest requests of the interval, and a uniform sample of the failed ones."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._slow: list[tuple[float, int, Event]] = []
        self._failed: list[Event] = []
        self._failures = 0
        self._order = 0

    def offer(self, event: Event) -> None:
        if event.failure:
            self._failures += 1
            if len(self._failed) < CANDIDATES:
                self._failed.append(event)
            else:
                at = self._random.randrange(self._failures)
                if at < CANDIDATES:
                    self._failed[at] = event
        elif len(self._slow) < CANDIDATES:
            self._order += 1
            heapq.heappush(self._slow, (event.latency_ms, self._order, event))
        elif event.latency_ms > self._slow[0][0]:
            self._order += 1
            heapq.heapreplace(self._slow, (event.latency_ms, self._order, event))

    def columns(self, shift_ms: int) -> dict[str, list[Any]]:
        slow = [event for _, _, event in sorted(self._slow, reverse=True)]
        chosen: list[tuple[Any, ...]] = []
        budget = EXEMPLAR_BYTES
        # Turn and turn about, so that neither kind crowds out the other.
        for i in range(CANDIDATES):
            for event in self._failed[i : i + 1] + slow[i : i + 1]:
                row = _exemplar(event, shift_ms)
                budget -= sum(len(str(value).encode()) + 3 for value in row)
                if budget < 0:
                    break
                chosen.append(row)
        if not chosen:
            return {}
        return {c.name: [row[i] for row in chosen] for i, c in enumerate(EXEMPLARS_MEASURES)}


def _exemplar(event: Event, shift_ms: int) -> tuple[Any, ...]:
    """Values in the order of EXEMPLARS_MEASURES."""
    customer, service, _, isp, region, rule = event.key
    path = event.path.partition("?")[0]
    path_hash = hashlib.sha256(path.encode("utf-8", "replace")).hexdigest()[:16]
    return (
        event.at + shift_ms,
        customer,
        service,
        isp,
        region,
        rule,
        path_hash,
        event.status,
        round(event.latency_ms),
        event.failure,
    )
