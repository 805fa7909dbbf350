"""Things people declare: devices' attributes, customers, objectives, scheduling rules, changes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.auth import check_id
from contracts.columns import CELL_DIMENSIONS
from contracts.errors import ContractError
from contracts.report import MAX_TEXT
from contracts.times import MAX_TIME_MS, from_rfc3339

MEASURES = ("failures", "slow_requests", "stalled_sessions", "low_throughput", "cache_misses")
SELF_TEST_CHANGE = "self_test"  # a fault that Dipper makes on purpose (contracts/self_test.py)
CHANGE_KINDS = (
    "firmware", "scheduling_rule", "configuration", "application", "maintenance", SELF_TEST_CHANGE, "other",
)  # fmt: skip
MAX_NOTE_CHARS = 2_000
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can carry them, UTF-8 cannot


@dataclass(frozen=True, slots=True)
class DeviceAttributes:
    """What the registry knows of a box from `valid_from` (ms UTC) until the next row. `capacity_mbps`: uplink."""

    valid_from: int
    device_isp: str
    device_region: str
    nat_type: str
    cohort: str
    capacity_mbps: float


@dataclass(frozen=True, slots=True)
class Objective:
    """A customer's promise for one measure: bad/total stays at or below 1 - target.

    `threshold`: for slow_requests ms (compute: ms of task duration), for low_throughput kB/s, else None. Raises
    ContractError `bad_objective`.
    """

    customer: str
    service: str
    measure: str
    target: float
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise ContractError("bad_objective", "objective.measure", f"one of {MEASURES}", self.measure)
        if not 0.0 < self.target < 1.0:
            raise ContractError("bad_objective", "objective.target", "a number between 0 and 1", self.target)
        needs_threshold = self.measure in ("slow_requests", "low_throughput")
        if needs_threshold and not (self.threshold is not None and 0 < self.threshold < math.inf):
            raise ContractError("bad_objective", "objective.threshold", f"above 0 for {self.measure}", self.threshold)
        if not needs_threshold and self.threshold is not None:
            raise ContractError("bad_objective", "objective.threshold", f"none for {self.measure}", self.threshold)


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer: id, name for people, services it buys, time zone of its month (IANA name)."""

    id: str
    name: str
    timezone: str = "UTC"
    objectives: tuple[Objective, ...] = ()


@dataclass(frozen=True, slots=True)
class SchedulingRule:
    """A scheduling rule and its version as traffic carries it (`sched_rule` = id@version), with an owner to ask."""

    id: str
    version: int
    name: str
    owner: str
    valid_from: int

    @property
    def sched_rule(self) -> str:
        """The value of dimension `sched_rule`."""
        return f"{self.id}@{self.version}"


@dataclass(frozen=True, slots=True)
class Change:
    """Something people did. `scope`: combination of dimension values ({}: everything). Times ms UTC."""

    id: str
    kind: str
    scope: Mapping[str, str]
    start: int
    end: int | None
    author: str
    reference: str = ""
    note: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


def change_from_json(document: object) -> Change:
    """A validated change; times as RFC 3339 with zone or ms UTC. Raises ContractError `bad_change` or `bad_id`."""
    if not isinstance(document, dict):
        raise ContractError("bad_change", "change", "an object", document)
    kind = document.get("kind")
    if kind not in CHANGE_KINDS:
        raise ContractError("bad_change", "kind", f"one of {CHANGE_KINDS}", kind)
    scope = document.get("scope", {})
    if not isinstance(scope, dict) or not all(_is_dimension_value(v) for v in scope.values()):
        raise ContractError("bad_change", "scope", "an object of dimension: value", scope)
    unknown = [d for d in scope if d not in CELL_DIMENSIONS]
    if unknown:
        raise ContractError("bad_change", "scope", f"dimensions among {CELL_DIMENSIONS}", unknown[0])
    start = _time("start", document.get("start"))
    end = None if document.get("end") is None else _time("end", document.get("end"))
    if end is not None and end < start:
        raise ContractError("bad_change", "end", "not before start", document.get("end"))
    return Change(
        id=check_id("id", document.get("id")),
        kind=kind,
        scope=dict(scope),
        start=start,
        end=end,
        author=_note("author", document.get("author"), least=1, most=64),
        reference=_note("reference", document.get("reference", "")),
        note=_note("note", document.get("note", "")),
    )


def _is_dimension_value(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= MAX_TEXT and value.isprintable()


def _time(path: str, value: object) -> int:
    time_ms = value
    if isinstance(value, str):
        try:
            time_ms = from_rfc3339(value)
        except ValueError:
            time_ms = None
    if type(time_ms) is int and 0 <= time_ms <= MAX_TIME_MS:
        return time_ms
    raise ContractError("bad_change", path, "RFC 3339 with a zone, or ms UTC", value)


def _note(path: str, value: object, *, least: int = 0, most: int = MAX_NOTE_CHARS) -> str:
    if not isinstance(value, str) or not least <= len(value) <= most or _LONE_SURROGATE.search(value):
        raise ContractError("bad_change", path, f"a Unicode text of {least} to {most} characters", value)
    return value
