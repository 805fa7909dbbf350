"""The triage job on one log: minutes, cells, reports, changes and actions in; signals and incidents out.

Nothing is stored beside the log and history. A minute's incidents are durable before its signals are written, and the
newest signal says which minutes are done: after a restart they are not judged again, incidents are restored from their
newest versions, and the detector learns its past from history. A minute whose incidents were written and whose signals
were not is judged again and finds its incidents as it left them.

Two owners. One that lost its place without knowing it may still write. Before it writes, it looks whether its topics
end where it left them; if another one wrote there, it raises `Superseded` and must be replaced by a new one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa

from contracts import topics
from contracts.arrow import to_bytes
from contracts.entities import Objective
from contracts.errors import ContractError
from contracts.incidents import IllegalTransition, Incident, incident_from_json, incident_to_json
from contracts.protocols import Log, Record, StoredRecord, TopicPartition
from contracts.times import DAY_MS, MINUTE_MS, SECOND_MS
from streams.cuts import CutReader, ends_of
from streams.detect import DetectOperator, ServiceMinute, Signal, signals_batch
from streams.detect_measures import Promises, Service
from streams.incident_book import IncidentBook
from streams.incident_budget import BudgetWatch
from streams.incident_cells import CellMemory
from streams.incident_inputs import INPUTS, Inputs
from streams.incident_self_test import SelfTestWatch
from streams.incident_settings import TriageSettings
from streams.incident_silence import OwnLag, Served, SilenceWatch
from streams.incidents import QualityIncidents
from streams.runner import read_between
from streams.settings import StreamsError

Past = Callable[[int, int, Promises], Iterable[tuple[int, Mapping[Service, ServiceMinute]]]]
"""History: minutes of [start, end), ascending."""

_MINUTE_HEADER, _ACTIONS_HEADER = "minute", "actions"
_OUTPUTS = (topics.INCIDENTS.name, topics.SIGNALS.name)  # in the order of writing
_TOGETHER = (topics.QUALITY_MINUTES.name, topics.QUALITY_CUBE.name)
_GRID_MS = 10_000
_MOST_TICKS = 360  # a longer stretch without any time is skipped, not walked through


class Superseded(StreamsError):
    """Another triage job writes. This one must be given up; a new one may take its place."""


class TriageRunner:
    """Not thread-safe: one thread steps it. Raises LogError from any call that touches the log; after LogUnavailable
    the same call may be repeated, nothing is lost. `objectives`: customers' promises as they are now;
    `past`: what the detector learns at the start; `known`: incidents that history holds, for those the log let go;
    `served`: whom boxes served, as history knows."""

    def __init__(
        self,
        log: Log,
        settings: TriageSettings,
        objectives: Callable[[], Iterable[Objective]],
        past: Past | None = None,
        known: Iterable[Incident] = (),
        served: Served | None = None,
    ) -> None:
        self._log = log
        self._settings = settings
        self._objectives = objectives
        self._promises = Promises(objectives(), settings.detector)
        self._unsent: list[Record] = []
        self._records = self._judged = self._refused = 0
        self._ends: dict[TopicPartition, int] = ends_of(log, _OUTPUTS)
        self._done, self._actions_from = self._read_progress()
        self._book = IncidentBook()
        self._book.restore(known)
        self._book.restore(self._read_incidents())
        self._detect = DetectOperator(settings.detector)
        self._past = past
        if self._done:
            self._learn_past(self._done + MINUTE_MS)
        self._cells = CellMemory(settings.incident.memory_minutes)
        self._quality = QualityIncidents(self._book, settings.incident)
        self._silence = SilenceWatch(self._book, settings.silence, settings.incident, served)
        self._own = OwnLag(self._book, settings.incident)
        self._self_test = SelfTestWatch(self._book, settings.self_test_every_ms)
        self._budget = BudgetWatch(self._book, settings.incident)
        self._inputs = Inputs()
        self._ticked = 0
        self._reader = CutReader(log, self._start(), self._done or self._oldest(), _TOGETHER)

    # -- taking up

    def _read_progress(self) -> tuple[int, int]:
        """Newest minute that was judged, next offset of actions."""
        topic = topics.SIGNALS.name
        end = self._log.end_offsets(topic)[0]
        start = max(self._log.start_offsets(topic)[0], end - 1)
        newest = [r for records in read_between(self._log, {(topic, 0): start}, {(topic, 0): end}) for r in records]
        if not newest:
            return 0, 0
        headers = newest[-1].headers
        return int(headers[_MINUTE_HEADER]), int(headers[_ACTIONS_HEADER])

    def _read_incidents(self) -> Iterable[Incident]:
        topic = topics.INCIDENTS.name
        ends = {(topic, p): end for p, end in enumerate(self._log.end_offsets(topic))}
        starts = {(topic, p): start for p, start in enumerate(self._log.start_offsets(topic))}
        for records in read_between(self._log, starts, ends):
            for record in records:
                if record.value:
                    yield incident_from_json(json.loads(record.value))

    def _start(self) -> dict[TopicPartition, int]:
        """Offsets to read from: as far back as cells, boxes and changes are remembered."""
        incident, silence = self._settings.incident, self._settings.silence
        back = {
            topics.QUALITY_MINUTES.name: incident.memory_minutes * MINUTE_MS,
            topics.QUALITY_CUBE.name: incident.memory_minutes * MINUTE_MS,
            topics.REPORTS.name: 2 * silence.silent_after_ms + silence.together_ms,
            topics.VITALS.name: 2 * silence.silent_after_ms,
            topics.CHANGES.name: incident.changes_ms,
            topics.HEALTH_SCORES.name: incident.end_after_ms,
        }
        start: dict[TopicPartition, int] = {}
        for name in INPUTS:
            oldest = self._log.start_offsets(name)
            if self._done and name in back:
                offsets = self._log.offsets_for_time(name, self._done - back[name])
            elif name == topics.INCIDENT_ACTIONS.name:
                offsets = [max(first, self._actions_from) for first in oldest]
            else:
                offsets = oldest
            start.update({(name, p): offset for p, offset in enumerate(offsets)})
        return start

    def _oldest(self) -> int | None:
        """Time of the oldest minute there is; None without."""
        name = topics.QUALITY_MINUTES.name
        start = {(name, p): offset for p, offset in enumerate(self._log.start_offsets(name))}
        ends = ends_of(self._log, (name,))
        first = {place: min(at + 1, ends[place]) for place, at in start.items()}
        times = [r.timestamp_ms for records in read_between(self._log, start, first) for r in records]
        return min(times, default=None)

    # -- going on

    def step(self, now: int, timeout_s: float = 0.0) -> int:
        """Consume what is there, waiting at most timeout_s for a first record, and write what it led to; while it is
        behind, a stretch of what is there. Returns the number of records consumed. Output is durable when this
        returns. Raises Superseded."""
        self._send()
        behind = self._reader.behind
        consumed, drained = self._read(timeout_s)
        for rows in self._inputs.cells:
            self._cells.add(rows, self._promises)
        self._inputs.cells.clear()
        self._act()
        self._hear(drained)
        for state in sorted(self._inputs.budgets, key=lambda state: state.computed_at):
            self._budget.take(state)
        self._inputs.budgets.clear()
        if self._inputs.clock:
            if not behind:  # what is caught up with is judged late, but whole
                seen_until = self._inputs.seen_until if self._inputs.expecting else now
                self._own.look(now, seen_until, blind=self._silence.blind)
            self._budget.tick(self._inputs.clock)
            self._book.tick(self._inputs.clock)
        for minute, services in self._inputs.ready(0, drained=drained):
            self._judge(minute, services)
        if self._inputs.clock:
            self._self_test.look(self._inputs.clock, self._done + MINUTE_MS, self._inputs.changes.values())
        self._write(self._inputs.clock or now, ())
        self._send()
        return consumed

    def _read(self, timeout_s: float) -> tuple[int, bool]:
        self._promises = Promises(self._objectives(), self._settings.detector)
        consumed, whole = self._reader.read(
            lambda record: self._inputs.take(record, self._promises), self._settings.poll_records, timeout_s
        )
        self._records += consumed
        return consumed, whole

    def _act(self) -> None:
        """What people did. What the table of states does not allow is counted: the page or command that sent it has
        seen the refusal, or another person was faster."""
        for offset, action in self._inputs.actions:
            try:
                if self._book.act(action) is None:
                    self._refused += 1
            except IllegalTransition:
                self._refused += 1
            self._actions_from = offset
        self._inputs.actions.clear()

    def _hear(self, drained: bool) -> None:
        """Reports and vitals in their order, with a look at who is silent every ten seconds of event time."""
        clock = self._inputs.clock
        if not clock or not drained:
            return
        grid = clock - clock % _GRID_MS
        first = self._ticked or (self._inputs.boxes[0][0] if self._inputs.boxes else clock)
        first = max(first - first % _GRID_MS, grid - _MOST_TICKS * _GRID_MS)
        for time_ms in range(first + _GRID_MS, grid + 1, _GRID_MS):
            for topic, rows in self._inputs.boxes_until(time_ms):
                (self._silence.reports if topic == topics.REPORTS.name else self._silence.vitals)(rows)
            self._silence.tick(time_ms, frozen=self._own.late)
        self._ticked = max(self._ticked, grid)

    def _learn_past(self, until: int) -> None:
        """Once: what history holds of the time before, imported minutes included. On the very first start nothing was
        judged yet, and the past ends where the first minute begins."""
        if self._past is None:
            return
        since = until - MINUTE_MS - round(self._settings.detector.replay_days * DAY_MS)
        for minute, services in self._past(since, until, self._promises):
            self._detect.learn(minute, services, self._promises)
        self._past = None

    def _judge(self, minute: int, services: Mapping[Service, ServiceMinute]) -> None:
        self._learn_past(minute)
        if minute <= self._done:
            self._detect.learn(minute, services, self._promises)
            return
        signals = self._detect.judge(minute, services, self._promises, frozen=self._own.late)
        self._inputs.forget_changes(minute - self._settings.incident.changes_ms)
        if not self._own.late:
            self._quality.minute(minute, signals, self._cells, self._inputs.changes.values())
            self._self_test.keep_quiet(minute + MINUTE_MS)
        self._done = minute
        self._judged += 1
        self._write(minute + MINUTE_MS, signals)
        self._send()

    def _write(self, at: int, signals: Iterable[Signal]) -> None:
        for incident in self._book.take():
            value = json.dumps(incident_to_json(incident), separators=(",", ":")).encode()
            self._unsent.append(Record(topics.INCIDENTS.name, incident.id.encode(), value, at, 0))
        said = list(signals)
        if said:
            headers = {_MINUTE_HEADER: str(self._done), _ACTIONS_HEADER: str(self._actions_from)}
            value = to_bytes(signals_batch(said), pa)
            self._unsent.append(Record(topics.SIGNALS.name, b"", value, at, 0, headers))

    def _send(self) -> None:
        if not self._unsent:
            return
        if self._ends and ends_of(self._log, _OUTPUTS) != self._ends:
            raise Superseded(f"{_OUTPUTS[0]}: another triage job has written since")
        known, self._ends = self._ends, {}  # until all is acknowledged nobody knows what is there
        for topic in _OUTPUTS:
            mine = [record for record in self._unsent if record.topic == topic]
            if mine:
                written = self._log.submit(mine).result()
                if known:
                    known = {**known, (topic, 0): written[-1][1] + 1}
                self._unsent = [record for record in self._unsent if record.topic != topic]
        self._ends = known or ends_of(self._log, _OUTPUTS)

    # -- what it says of itself

    def status(self, now: int) -> dict[str, Any]:
        """What a status page shows. `lag_s`: None until anything was heard."""
        heard = self._inputs.seen_until
        positions = self._reader.positions()
        ends = {name: self._log.end_offsets(name) for name in INPUTS}
        return {
            "records": self._records,
            "lag_records": sum(max(0, ends[name][p] - at) for (name, p), at in positions.items()),
            "lag_s": (now - heard) / SECOND_MS if heard else None,
            "judged_minutes": self._judged,
            "newest_minute": self._done or None,
            "series": len(self._detect.series),
            "open_incidents": sum(1 for _ in self._book.active()),
            "refused_actions": self._refused,
            "poison": self._inputs.poison,
        }

    def incident(self, incident_id: str) -> Incident | None:
        """An incident as it is now."""
        return self._book.get(incident_id)

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset of every input: retention must not touch what comes after it."""
        return self._reader.positions()

    def close(self) -> None:
        """Release the reader. What was not written yet is done again by the next runner."""
        self._reader.close()


def read_incident(record: StoredRecord) -> Incident:
    """An incident of a record of topic `incidents`. Raises ContractError."""
    try:
        document = json.loads(record.value)
    except ValueError as error:
        raise ContractError("bad_incident", "incident", "a JSON object in UTF-8", str(error)) from None
    return incident_from_json(document)
