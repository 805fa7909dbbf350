"""Detection and incidents once more, over stored history, with these settings or others. Reads only.

The operators are those of the triage job, in its order: what was heard of boxes, what people did, then each minute as
it was judged. Time is the gateway's: a minute is looked at when the stream's watermark had passed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.entities import Change
from contracts.incidents import HEALTH_BUDGET, SELF_TEST, Action, IllegalTransition, Incident
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, WATERMARK_DELAY_MS
from dipper.replay_inputs import Minute, Past, StoredCells, boxes, minutes, promised_otherwise
from history.query_replay import Read
from streams.detect import DetectOperator, Signal
from streams.detect_measures import Promises
from streams.incident_book import IncidentBook
from streams.incident_settings import TriageSettings
from streams.incident_silence import OwnLag, SilenceWatch
from streams.incidents import QualityIncidents

LEAD_MS = 2 * HOUR_MS
"""Incidents begin to be told so long before the span, so that one that goes on at its start is not new."""
TAIL_MS = 2 * HOUR_MS
"""Incidents of the span are followed so long beyond it, until they end."""
NOT_JUDGED = (HEALTH_BUDGET, SELF_TEST)
"""Kinds of incident that no replay finds: what they are judged by, scores' budget and announced faults, is not run."""
_GRID_MS = 10_000
_MOST_TICKS = 360  # as in the job: a longer stretch without any minute is skipped
_THRESHOLDS = ("slow_ms", "slow_task_ms", "low_kb_per_s")


@dataclass(frozen=True, slots=True)
class Plan:
    """A span [start, end), ms UTC, and the deployment's own settings, with which its minutes were judged."""

    start: int
    end: int
    own: TriageSettings


@dataclass(slots=True)
class Found:
    """What a replay found and what it worked on. `incidents`: those detected in the span, as they were at the end,
    without what was merged into others; `until`: how far it went. Counts are of minutes, `unmatched_actions` of what
    people did to incidents that this replay did not have."""

    incidents: list[Incident] = field(default_factory=list)
    until: int = 0
    judged_minutes: int = 0
    settled_minutes: int = 0
    learned_minutes: int = 0
    learned_settled_minutes: int = 0
    settled_cells: int = 0
    missing_cells: int = 0
    late_minutes: int = 0
    unmatched_actions: int = 0
    promised_otherwise: set[tuple[str, str, str]] = field(default_factory=set)


def same_thresholds(one: TriageSettings, other: TriageSettings) -> bool:
    """Whether what was counted as bad then is bad with these settings, too."""
    return all(getattr(one.detector, name) == getattr(other.detector, name) for name in _THRESHOLDS)


def replay(
    read: Read, past: Past, plan: Plan, settings: TriageSettings, progress: Callable[[int], None] | None = None
) -> Found:
    """Run it. `progress(minute)` is called for every minute of the past that is learned or judged."""
    return _Run(read, past, plan, settings).run(progress or (lambda _: None))


class _Run:
    def __init__(self, read: Read, past: Past, plan: Plan, settings: TriageSettings) -> None:
        self._read, self._past, self._plan = read, past, plan
        self._settings = settings
        self._promises = Promises(past.objectives, settings.detector)
        self._book = IncidentBook()
        self._detect = DetectOperator(settings.detector)
        self._cells = StoredCells(settings.incident.memory_minutes, read, past, self._promises)
        self._quality = QualityIncidents(self._book, settings.incident)
        self._silence = SilenceWatch(self._book, settings.silence, settings.incident, self._served)
        self._own = OwnLag(self._book, settings.incident)
        self._changes = sorted(past.changes, key=lambda c: (c.start, c.id))
        self._actions = sorted(past.actions, key=lambda a: a.at)
        self._originals = {i.id: i for i in past.incidents}
        self._kept: dict[str, Incident] = {}
        self._ticked = 0
        self._heard: Iterator[tuple[int, str, Any]] = iter(())
        self._next: tuple[int, str, Any] | None = None
        self.found = Found()

    def run(self, progress: Callable[[int], None]) -> Found:
        plan = self._plan
        begin = plan.start - LEAD_MS
        learn_from = begin - round(self._settings.detector.replay_days * DAY_MS)
        last = self._last_minute()
        self._heard = boxes(self._read, self._first_heard(begin), last + 2 * MINUTE_MS)
        self._next = next(self._heard, None)
        for one in self._minutes(learn_from, last + MINUTE_MS):
            progress(one.minute)
            if one.minute < begin:
                self._learn(one)
            elif one.minute < plan.end or self._unfinished():
                self._go_on(one)
            else:
                break
        self.found.promised_otherwise = promised_otherwise(self._read, plan.start, plan.end, self._promises)
        self.found.settled_cells = self._cells.settled_minutes
        self.found.missing_cells = self._cells.missing_minutes
        self._keep()
        self.found.incidents = sorted(
            (i for i in self._kept.values() if i.merged_into is None and plan.start <= i.detected_at < plan.end),
            key=lambda i: (i.detected_at, i.id),
        )
        return self.found

    # -- what there is

    def _minutes(self, start: int, end: int) -> Iterable[Minute]:
        own = self._plan.own
        return minutes(
            self._read, self._past, start, end, self._promises, own.detector.min_coverage,
            judged=same_thresholds(own, self._settings),
        )  # fmt: skip

    def _last_minute(self) -> int:
        """The newest that was judged, or that is settled where none was; not beyond the tail."""
        spans = [s for name in ("signals", "minutes") if (s := self._past.stored[name]) is not None]
        newest = spans[0][1] if spans else self._plan.start
        return min(newest, self._plan.end + TAIL_MS)

    def _first_heard(self, begin: int) -> int:
        stored = self._past.stored["reports"]
        return begin if stored is None else max(begin, stored[0])

    # -- going on

    def _learn(self, one: Minute) -> None:
        self._detect.judge(one.minute, one.services, self._promises, frozen=bool(one.late))
        self._cells.come_to(one.minute, _known_at(one.minute))
        self.found.learned_minutes += 1
        self.found.learned_settled_minutes += one.settled

    def _go_on(self, one: Minute) -> None:
        at = _known_at(one.minute)
        self._act(at)
        self._hear(at)
        self._book.tick(at)
        self._cells.come_to(one.minute, at)
        late = self._own.late if one.late is None else one.late
        signals = self._detect.judge(one.minute, one.services, self._promises, frozen=late)
        if not late:
            self._judge(one.minute, signals)
        self._keep()
        self.found.until = one.minute + MINUTE_MS
        self.found.judged_minutes += not one.settled
        self.found.settled_minutes += one.settled
        self.found.late_minutes += late

    def _judge(self, minute: int, signals: list[Signal]) -> None:
        oldest = minute - self._settings.incident.changes_ms
        known: list[Change] = [
            c for c in self._changes if c.start <= _known_at(minute) and max(c.start, c.end or 0) >= oldest
        ]
        self._quality.minute(minute, signals, self._cells, known)

    def _hear(self, until: int) -> None:
        """Reports and vitals in their order, with a look at who is silent every ten seconds."""
        grid = until - until % _GRID_MS
        heard = until if self._next is None else self._next[0]
        first = max(self._ticked or heard - heard % _GRID_MS, grid - _MOST_TICKS * _GRID_MS)
        for now in range(first + _GRID_MS, grid + 1, _GRID_MS):
            while self._next is not None and self._next[0] <= now:
                _, what, rows = self._next
                (self._silence.reports if what == "headers" else self._silence.vitals)(rows)
                self._next = next(self._heard, None)
            self._silence.tick(now, frozen=self._own.late)
            was_late = any(start <= now < end for start, end in self._past.late)
            limit = self._settings.incident.lag_limit_ms
            self._own.look(now, now - 2 * limit if was_late else now, blind=self._silence.blind)
        self._ticked = max(self._ticked, grid)

    def _served(self, devices: Sequence[str], start: int, end: int) -> Sequence[str]:
        """Customers that some boxes served."""
        served = self._read("served", {"start": start, "end": end, "devices": list(devices)}).column("customer")
        names: list[str] = served.to_pylist()
        return names

    def _act(self, until: int) -> None:
        """What people did then, where this replay has the incident they did it to."""
        while self._actions and self._actions[0].at <= until:
            action = self._actions.pop(0)
            if not self._applies(action):
                self.found.unmatched_actions += 1
                continue
            try:
                self._book.act(action)
            except IllegalTransition:  # refused then as well, or this incident has come another way
                self.found.unmatched_actions += 1

    def _applies(self, action: Action) -> bool:
        here, original = self._book.get(action.incident), self._originals.get(action.incident)
        if here is None or original is None or here.detected_at != original.detected_at:
            return False
        mine, other = {*here.customers, *here.devices}, {*original.customers, *original.devices}
        return here.kind.split(".")[0] == original.kind.split(".")[0] and (mine == other or bool(mine & other))

    def _unfinished(self) -> bool:
        return any(i.detected_at >= self._plan.start for i in self._book.active())

    def _keep(self) -> None:
        self._kept |= {incident.id: incident for incident in self._book.take()}


def _known_at(minute: int) -> int:
    """When the stream looked at a minute: its watermark had passed the end."""
    return minute + MINUTE_MS + WATERMARK_DELAY_MS
