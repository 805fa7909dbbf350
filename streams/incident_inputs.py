"""What the triage job reads: records sorted into minutes, cells, reports, changes and actions, each in its order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from contracts import topics
from contracts.arrow import HEARTBEAT, KIND_HEADER, from_bytes
from contracts.columns import QUALITY_CUBE, QUALITY_MINUTES, REPORTS, VITALS
from contracts.entities import Change, change_from_json
from contracts.errors import ContractError
from contracts.health import BUDGET, BudgetState, budget_from_json
from contracts.incidents import Action, action_from_json
from contracts.protocols import StoredRecord
from contracts.times import MINUTE_MS, PLACEMENT_TTL_MINUTES, WATERMARK_DELAY_MS
from streams.detect import ServiceMinute, read_minutes
from streams.detect_measures import Promises, Service

INPUTS = (
    topics.QUALITY_MINUTES.name,
    topics.QUALITY_CUBE.name,
    topics.REPORTS.name,
    topics.VITALS.name,
    topics.CHANGES.name,
    topics.INCIDENT_ACTIONS.name,
    topics.HEALTH_SCORES.name,
)
_TABLES = {
    topics.QUALITY_MINUTES.name: QUALITY_MINUTES,
    topics.QUALITY_CUBE.name: QUALITY_CUBE,
    topics.REPORTS.name: REPORTS,
    topics.VITALS.name: VITALS,
}
_PATIENCE_MS = 2 * MINUTE_MS  # how long a minute waits for a partition that others are ahead of
_EMITTED_FOR_MS = (PLACEMENT_TTL_MINUTES - 5) * MINUTE_MS
_PARTITION_MEMORY_MS = 5 * MINUTE_MS


@dataclass(slots=True)
class _Pending:
    services: dict[Service, ServiceMinute] = field(default_factory=dict)


class Inputs:
    """Buffers of what was read and not worked off. `poison`: records nobody can read; their writers' readers refuse
    them, here they are counted."""

    def __init__(self) -> None:
        self.poison = 0
        self.cells: list[Any] = []
        self.boxes: list[tuple[int, str, Any]] = []  # timestamp, topic, batch of reports or vitals
        self.actions: list[tuple[int, Action]] = []  # next offset, action
        self.budgets: list[BudgetState] = []
        self.changes: dict[str, Change] = {}
        self.newest_report = 0
        self.emitted_at = 0
        self._minutes: dict[int, _Pending] = {}
        self._shown: dict[int, int] = {}  # partition of quality.minutes -> newest minute

    def take(self, record: StoredRecord, promises: Promises) -> None:
        """Sort a record in. Never raises for what it holds."""
        if record.topic == topics.REPORTS.name:
            self.newest_report = max(self.newest_report, record.timestamp_ms)
        kind = record.headers.get(KIND_HEADER)
        if kind == HEARTBEAT or kind == "exemplars" or (record.topic == topics.HEALTH_SCORES.name and kind != BUDGET):
            return
        try:
            self._take(record, promises)
        except (ContractError, ValueError):
            self.poison += 1

    def _take(self, record: StoredRecord, promises: Promises) -> None:
        if record.topic == topics.CHANGES.name:
            change = change_from_json(json.loads(record.value))
            self.changes[change.id] = change
        elif record.topic == topics.HEALTH_SCORES.name:
            self.budgets.append(budget_from_json(record.value))
        elif record.topic == topics.INCIDENT_ACTIONS.name:
            self.actions.append((record.offset + 1, action_from_json(json.loads(record.value))))
        else:
            rows = from_bytes(_TABLES[record.topic], record.value, pa)
            if record.topic == topics.QUALITY_CUBE.name:
                self.cells.append(rows)
            elif record.topic == topics.QUALITY_MINUTES.name:
                self._take_minutes(record.partition, rows, promises)
            else:
                self.boxes.append((record.timestamp_ms, record.topic, rows))

    def _take_minutes(self, partition: int, rows: Any, promises: Promises) -> None:
        for minute, service, content in read_minutes(rows, promises):
            self._minutes.setdefault(minute, _Pending()).services[service] = content
            self._shown[partition] = max(self._shown.get(partition, 0), minute)
        self.emitted_at = max(self.emitted_at, *rows.column("emitted_at").to_pylist())

    @property
    def clock(self) -> int:
        """Gateway's time up to which anything was heard; 0 before that."""
        return max(self.newest_report, self.emitted_at + WATERMARK_DELAY_MS if self.emitted_at else 0)

    @property
    def seen_until(self) -> int:
        """Gateway's time up to which reports have become minutes."""
        behind = self.newest_report - (self.emitted_at + WATERMARK_DELAY_MS) if self.emitted_at else 0
        return self.clock - max(0, behind)

    @property
    def expecting(self) -> bool:
        """Whether minutes must go on: they do for an hour after the last traffic, and then stop by themselves."""
        return bool(self.newest_report) and self.clock - self.newest_report < _EMITTED_FOR_MS

    def ready(self, after: int, *, drained: bool) -> Iterator[tuple[int, dict[Service, ServiceMinute]]]:
        """Minutes that every partition has shown, ascending; what is not after `after` is let go. `drained`: nothing
        more waits in the log, so what was read belongs together; else none."""
        for minute in sorted(self._minutes):
            if minute <= after:
                del self._minutes[minute]
            elif drained and self._whole(minute):
                yield minute, self._minutes.pop(minute).services
            else:
                return

    def _whole(self, minute: int) -> bool:
        lately = [shown for shown in self._shown.values() if shown >= minute - _PARTITION_MEMORY_MS]
        return min(lately) >= minute or self.emitted_at >= minute + MINUTE_MS + _PATIENCE_MS

    def boxes_until(self, time_ms: int) -> Iterator[tuple[str, Any]]:
        """Reports and vitals that came up to a time, in their order."""
        self.boxes.sort(key=lambda entry: entry[0])
        while self.boxes and self.boxes[0][0] <= time_ms:
            _, topic, rows = self.boxes.pop(0)
            yield topic, rows

    def forget_changes(self, before: int) -> None:
        """Let go of changes that began long ago."""
        self.changes = {key: c for key, c in self.changes.items() if max(c.start, c.end or 0) >= before}
