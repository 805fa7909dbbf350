"""What a replay reads: stored history in the form in which detection and incidents took it when it was new."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from contracts.columns import CELL_DIMENSIONS
from contracts.entities import MEASURES, Change, Objective
from contracts.incidents import SELF_LAG, Action, Incident
from contracts.times import HOUR_MS, MINUTE_MS
from dipper.past import text_as_codes
from history.query_replay import Read
from streams.detect import ServiceMinute, read_minutes
from streams.detect_measures import Promises, Service
from streams.incident_cells import CellMemory, Table

AT_ONCE_MS = 6 * HOUR_MS
BOXES_AT_ONCE_MS = HOUR_MS
FOREVER = 2**62
_FROZEN = "frozen"
_REVISED_MS = 4 * MINUTE_MS  # a minute changes for so long after it was first judged


@dataclass(frozen=True, slots=True)
class Minute:
    """One minute of all services. `settled`: from history's truth, because what was judged is not stored; `late`:
    our own pipeline was late when it was judged, None where nobody noted that."""

    minute: int
    services: Mapping[Service, ServiceMinute]
    settled: bool
    late: bool | None


@dataclass(frozen=True, slots=True)
class Past:
    """What a replay is about, besides rows: incidents and actions as they were stored, changes, promises as they are
    now, and what is stored from when to when (by table, minutes in ms UTC)."""

    incidents: tuple[Incident, ...]
    actions: tuple[Action, ...]
    changes: tuple[Change, ...]
    objectives: tuple[Objective, ...]
    stored: Mapping[str, tuple[int, int] | None]

    @property
    def late(self) -> tuple[tuple[int, int], ...]:
        """Spans in which our own pipeline was late, as recorded."""
        own = [i for i in self.incidents if i.kind == SELF_LAG]
        return tuple((i.detected_at, i.resolved_at or FOREVER) for i in own)


def minutes(
    read: Read, past: Past, start: int, end: int, promises: Promises, min_coverage: float, *, judged: bool
) -> Iterator[Minute]:
    """Minutes of [start, end), ascending: as judged where that is stored (and `judged` wants it), else as settled.
    `min_coverage`: with which they were judged, to tell low coverage from our own lag."""
    oldest = min((span[0] for name in ("signals", "minutes") if (span := past.stored[name])), default=end)
    for since in range(max(start, oldest), end, AT_ONCE_MS):
        part = {"start": since, "end": min(end, since + AT_ONCE_MS)}
        found: dict[int, Minute] = {}
        for minute, services in _settled(read, part, promises):
            found[minute] = Minute(minute, services, settled=True, late=None)
        if judged:
            for one in _judged(read, part, min_coverage):
                found[one.minute] = one
        for minute in sorted(found):
            yield found[minute]


def _settled(
    read: Read, part: Mapping[str, int], promises: Promises
) -> Iterator[tuple[int, dict[Service, ServiceMinute]]]:
    current: dict[Service, ServiceMinute] = {}
    newest: int | None = None
    for rows in text_as_codes(read("settled", part), ("customer", "service")):
        for minute, service, content in read_minutes(rows, promises):
            if newest is not None and minute != newest:
                yield newest, current
                current = {}
            newest = minute
            current[service] = content
    if newest is not None:
        yield newest, current


def _judged(read: Read, part: Mapping[str, int], min_coverage: float) -> Iterator[Minute]:
    rows = read("judged", part).to_pydict()
    begin = 0
    size = len(rows["minute"])
    while begin < size:
        end = begin
        while end < size and rows["minute"][end] == rows["minute"][begin]:
            end += 1
        yield _one_judged(rows, begin, end, min_coverage)
        begin = end


def _one_judged(rows: Mapping[str, list[Any]], begin: int, end: int, min_coverage: float) -> Minute:
    services: dict[Service, ServiceMinute] = {}
    frozen, low = True, True
    for i in range(begin, end):
        coverage = float("nan") if rows["coverage"][i] is None else rows["coverage"][i]
        key = rows["customer"][i], rows["service"][i]
        content = services.get(key)
        if content is None:
            nothing = np.zeros(len(MEASURES), np.int64)
            content = services[key] = ServiceMinute(nothing, nothing.copy(), coverage, 0)
        m = MEASURES.index(rows["measure"][i])
        content.bad[m], content.total[m] = rows["bad"][i], rows["total"][i]
        frozen &= rows["verdict"][i] == _FROZEN
        low &= coverage < min_coverage
    return Minute(rows["minute"][begin], services, settled=False, late=frozen and not low)


def promised_otherwise(read: Read, start: int, end: int, promises: Promises) -> set[tuple[str, str, str]]:
    """Series of [start, end) whose objective allowed something else than it does now."""
    rows = read("promised", {"start": start, "end": end}).to_pydict()
    found = set()
    for customer, service, measure, then in zip(*rows.values(), strict=True):
        now = promises.allowed(customer, service, measure)
        if (then is None or then != then) != (now != now) or (then is not None and now == now and then != now):
            found.add((customer, service, measure))
    return found


class StoredCells(CellMemory):
    """Cells read when somebody asks for them. While slices are stored they are as the stream knew them at the time that
    `come_to` states; before that as they settled. `settled_minutes`: of how many that was so."""

    def __init__(self, memory_minutes: int, read: Read, past: Past, promises: Promises) -> None:
        super().__init__(memory_minutes)
        self._kept_ms = memory_minutes * MINUTE_MS
        self._read = read
        self._slices, self._cells = past.stored["slices"], past.stored["cell_minutes"]
        self._promises = promises
        self._seen: list[int] = []
        self._known_at = 0
        self._loaded: dict[int, int] = {}  # minute -> as known at
        self._revision = 0
        self.settled_minutes = self.missing_minutes = 0

    def come_to(self, minute: int, known_at: int) -> None:
        """The newest minute, and the time as of which cells are asked for."""
        self._known_at = known_at
        self._seen = [m for m in self._seen if m > minute - self._kept_ms] + [minute]
        self._loaded = {m: at for m, at in self._loaded.items() if m > minute - self._kept_ms}

    def drop(self, minute: int) -> None:
        """Forget a minute that cannot be trusted."""
        self._seen = [m for m in self._seen if m != minute]
        super().drop(minute)

    @property
    def minutes(self) -> list[int]:
        """Which are known, ascending."""
        return list(self._seen)

    def table(self, groups: Sequence[Sequence[int]]) -> Table:
        """As CellMemory, after reading what is not read yet."""
        wanted = sorted({m for group in groups for m in group if self._is_stale(m)})
        then = [m for m in wanted if self._slices is not None and m >= self._slices[0]]
        settled = [m for m in wanted if m not in then and m not in self._loaded]
        if then:
            self._take(self._read("cells_then", {"minutes": then, "known_at": self._known_at}), then)
        if settled:
            self._take(self._read("cells_settled", {"minutes": settled}), settled)
            stored = self._cells is not None
            self.settled_minutes += sum(stored and m >= self._cells[0] for m in settled)  # type: ignore[index]
            self.missing_minutes += sum(not stored or m < self._cells[0] for m in settled)  # type: ignore[index]
        return super().table(groups)

    def _is_stale(self, minute: int) -> bool:
        known_at = self._loaded.get(minute)
        return known_at is None or (known_at < self._known_at and known_at < minute + _REVISED_MS)

    def _take(self, rows: pa.Table, asked: Sequence[int]) -> None:
        self._revision += 1
        self._loaded |= dict.fromkeys(asked, self._known_at)
        revision = pa.array(np.full(rows.num_rows, self._revision, np.int64))
        for batch in text_as_codes(rows.append_column("revision", revision), CELL_DIMENSIONS):
            self.add(batch, self._promises)


def boxes(read: Read, start: int, end: int) -> Iterator[tuple[int, str, Any]]:
    """What was heard of boxes in [start, end): (received at, `headers` or `vitals`, its rows), in order; of one moment
    headers first."""
    for since in range(start, end, BOXES_AT_ONCE_MS):
        part = {"start": since, "end": min(end, since + BOXES_AT_ONCE_MS)}
        heard = []
        for order, what in enumerate(("headers", "vitals")):
            rows = read(what, part)
            at = rows["received_at"].to_numpy() if rows.num_rows else np.zeros(0, np.int64)
            bounds = [0, *(np.flatnonzero(np.diff(at)) + 1).tolist(), len(at)] if len(at) else [0]
            heard += [(int(at[b]), order, what, rows.slice(b, e - b)) for b, e in itertools.pairwise(bounds)]
        for at_ms, _, what, rows in sorted(heard, key=lambda entry: entry[:2]):
            yield at_ms, what, rows
