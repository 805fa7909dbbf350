"""Faults by script or at random: reads or draws what shall happen, then fills in what was left open, from the seed."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from contracts.columns import CELL_DIMENSIONS
from contracts.entities import Change, SchedulingRule
from contracts.times import GRID_MS, MINUTE_MS
from simulator.catalogue import COHORTS, MODELS
from simulator.errors import SimulatorError
from simulator.faults import FIRMWARE_KINDS, KINDS, RULE_KINDS, Effect, Fault, effect_of
from simulator.placement import Floats
from simulator.rhythm import evening
from simulator.scope import dimension_values
from simulator.world import World

REACH = 0.5  # share of a model's boxes that a gray release reaches before it is judged
QUIET_SHARE, MOST_QUIET_MINUTES = 0.2, 15  # a run starts without faults, so that there is something to compare with
TAIL_MINUTES = 4  # no fault starts this close to the end
DURATION_MINUTES = (6.0, 20.0)
SEVERITY = (0.2, 0.9)
HARMLESS_PER_FAULT = 0.4
ILL_MINUTES = (15.0, 60.0)
ILL_FAILURE_RATIO = (0.08, 0.5)  # of the requests of an ill box
RANDOM_KINDS = (
    "isp_slow",
    "origin_failure",
    "firmware_leak",
    "bad_rule",
    "boxes_dark",
    "uplink_saturation",
    "box_off",
    "uplink_off",
    "agent_dead",
)
LEAST_CUSTOMER_RATE = 100.0  # requests a minute; a random origin failure picks nobody smaller


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """What is asked for: what is None is chosen by the seed. Times ms UTC. `boxes`: how many fall silent."""

    kind: str
    start: int
    end: int
    id: str | None = None
    ramp_ms: int = 0
    severity: float = 0.6
    scope: Mapping[str, str] | None = None
    effect: Effect | None = None
    boxes: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SimulatorError("fault.kind", f"one of {sorted(KINDS)}", self.kind)
        if not self.start < self.end:
            raise SimulatorError("fault.minutes", "a duration above 0", (self.end - self.start) / MINUTE_MS)
        if not 0.0 < self.severity <= 1.0:
            raise SimulatorError("fault.severity", "above 0, at most 1", self.severity)
        if self.ramp_ms < 0:
            raise SimulatorError("fault.ramp_minutes", "at least 0", self.ramp_ms / MINUTE_MS)
        if self.boxes < 1:
            raise SimulatorError("fault.boxes", "at least 1", self.boxes)
        if self.kind == "degradation" and (self.effect is None or self.scope is None):
            raise SimulatorError("fault", "a scope and an effect for a degradation", self.kind)


_SCRIPT_FIELDS = {"id", "kind", "start_minute", "minutes", "ramp_minutes", "severity", "scope", "effect", "boxes"}


def read_script(path: Path, start_ms: int) -> list[FaultSpec]:
    """The faults of a TOML (`[[fault]]`) or JSON (`{"fault": [..]}`) script. Raises SimulatorError."""
    try:
        text = path.read_text(encoding="utf-8")
        document: Any = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise SimulatorError("script", "a readable file", f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise SimulatorError("script", f"TOML or JSON in {path}", str(error)) from None
    faults = document.get("fault") if isinstance(document, dict) else None
    if not isinstance(faults, list):
        raise SimulatorError("script", f"a list `fault` in {path}", faults)
    return [_spec(i, fault, start_ms) for i, fault in enumerate(faults)]


def _spec(i: int, document: object, start_ms: int) -> FaultSpec:
    if not isinstance(document, dict):
        raise SimulatorError(f"fault[{i}]", "a table", document)
    unknown = sorted(set(document) - _SCRIPT_FIELDS)
    if unknown:
        raise SimulatorError(f"fault[{i}]", f"fields among {sorted(_SCRIPT_FIELDS)}", unknown[0])

    def number(name: str, default: float | None = None) -> float:
        value = document.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise SimulatorError(f"fault[{i}].{name}", "a number", value)
        return float(value)

    scope = document.get("scope")
    if scope is not None and not (isinstance(scope, dict) and all(isinstance(v, str) for v in scope.values())):
        raise SimulatorError(f"fault[{i}].scope", "a table of dimension = value", scope)
    effect = document.get("effect")
    try:
        parsed = None if effect is None else Effect(**effect)
    except TypeError:
        raise SimulatorError(f"fault[{i}].effect", f"numbers by {list(Effect.__slots__)}", effect) from None
    start = start_ms + _on_grid(number("start_minute"))
    return FaultSpec(
        kind=str(document.get("kind")),
        start=start,
        end=start + _on_grid(number("minutes")),
        id=document.get("id"),
        ramp_ms=_on_grid(number("ramp_minutes", 0.0)),
        severity=number("severity", 0.6),
        scope=scope,
        effect=parsed,
        boxes=int(number("boxes", 1)),
    )


def _on_grid(minutes: float) -> int:
    return round(minutes * MINUTE_MS / GRID_MS) * GRID_MS


def random_specs(
    seed: int, start_ms: int, minutes: float, faults_per_hour: float, quiet_minutes: float | None = None
) -> list[FaultSpec]:
    """A random schedule: faults spread over the run after a quiet start, sudden and ramped, some overlapping, and
    changes that do no harm among them. A run too short for a fault gets none."""
    rng = np.random.default_rng((seed, 3))
    quiet = min(QUIET_SHARE * minutes, MOST_QUIET_MINUTES) if quiet_minutes is None else quiet_minutes
    room = minutes - quiet - TAIL_MINUTES
    if faults_per_hour <= 0 or room < DURATION_MINUTES[0] / 2:
        return []
    n = max(1, int(faults_per_hour * minutes / 60 + rng.random()))
    kinds = _shuffled_kinds(rng, n)
    specs = []
    for k in range(n):
        start = start_ms + _on_grid(quiet + (k + rng.random()) / n * room)
        kind = kinds[k]
        if kind == "uplink_saturation" and evening(start) < 0.5:
            kind = "isp_slow"
        lasts = _on_grid(float(rng.uniform(*DURATION_MINUTES)))
        ramped = kind == "firmware_leak" or (rng.random() < 0.4 and not KINDS[kind].state)
        specs.append(
            FaultSpec(
                kind=kind,
                start=start,
                end=start + lasts,
                ramp_ms=lasts // 3 // GRID_MS * GRID_MS if ramped else 0,
                severity=float(np.exp(rng.uniform(*np.log(SEVERITY)))),
            )
        )
    run_end = start_ms + _on_grid(minutes)
    for _ in range(int(rng.poisson(HARMLESS_PER_FAULT * n))):
        start = start_ms + _on_grid(quiet + rng.random() * room)
        kind = str(rng.choice(("firmware_release", "rule_release")))
        specs.append(FaultSpec(kind=kind, start=start, end=run_end + MINUTE_MS, ramp_ms=3 * MINUTE_MS))
    return specs


def illnesses(world: World, start_ms: int, minutes: float, per_hour: float, quiet_minutes: float) -> list[FaultSpec]:
    """Single boxes that fall ill one after the other, each once, from the seed: what health scores are for."""
    rng = np.random.default_rng((world.seed, 9))
    count = min(len(world.devices), int(per_hour * max(0.0, minutes - quiet_minutes) / 60))
    specs = []
    for k, i in enumerate(rng.choice(len(world.devices), count, replace=False).tolist()):
        ratio = float(np.exp(rng.uniform(*np.log(ILL_FAILURE_RATIO))))
        begin = start_ms + _on_grid(quiet_minutes + (k + rng.random()) / count * (minutes - quiet_minutes))
        specs.append(
            FaultSpec(
                kind="degradation",
                id=f"ill-{k + 1:02d}",
                start=begin,
                end=begin + _on_grid(float(rng.uniform(*ILL_MINUTES))),
                scope={"device": world.devices[i].id},
                effect=Effect(f_reset=0.6 * ratio, f_incomplete=0.4 * ratio),
            )
        )
    return specs


def _shuffled_kinds(rng: Generator, n: int) -> list[str]:
    kinds: list[str] = []
    while len(kinds) < n:
        kinds += [RANDOM_KINDS[i] for i in rng.permutation(len(RANDOM_KINDS))]
    return kinds[:n]


def resolve(world: World, specs: Iterable[FaultSpec]) -> tuple[Fault, ...]:
    """Complete faults in order of their start: scopes chosen by traffic where left open, changes and new versions
    numbered. A random fault that finds no scope of its own left is not injected. Raises SimulatorError."""
    rng = np.random.default_rng((world.seed, 2))
    chooser = _Chooser(world, rng)
    faults: list[Fault] = []
    for i, spec in enumerate(sorted(specs, key=lambda s: (s.start, s.kind))):
        fault = chooser.complete(spec, spec.id or f"fault-{i + 1:02d}")
        if fault is not None:
            faults.append(fault)
    if len({f.id for f in faults}) < len(faults):
        raise SimulatorError("fault.id", "ids that differ", [f.id for f in faults])
    return _with_changes(faults)


class _Chooser:
    """Fills in scopes; keeps faults that overlap in time off the same scope."""

    def __init__(self, world: World, rng: Generator) -> None:
        self._world = world
        self._rng = rng
        self._taken: list[tuple[int, int, object]] = []
        self._versions = {rule.id: rule.version for rule in world.rules}
        self._firmwares = {m.name: 0 for m in MODELS}

    def complete(self, spec: FaultSpec, fault_id: str) -> Fault | None:
        kind = KINDS[spec.kind]
        fault = Fault(
            id=fault_id,
            kind=spec.kind,
            start=spec.start,
            end=spec.end,
            scope={},
            target={},
            effect=spec.effect or effect_of(spec.kind, spec.severity),
            severity=spec.severity,
            ramp_ms=spec.ramp_ms,
        )
        if kind.state and not kind.scope and not spec.scope:
            return self._silent_boxes(fault, spec.boxes)
        target = self._target(spec)
        if target is None:
            return None
        self._take(fault, target)
        fault = replace(fault, scope=target, target=target)
        if kind.state:
            return replace(fault, devices=self._devices(target))
        if spec.kind in FIRMWARE_KINDS:
            return self._release(fault)
        if spec.kind in RULE_KINDS:
            return self._new_rule(fault)
        return fault

    def _target(self, spec: FaultSpec) -> dict[str, str] | None:
        if spec.scope is not None:
            self._check_scope(spec)
            return dict(spec.scope)
        values = dimension_values(self._world)
        columns = [values[d] for d in KINDS[spec.kind].scope]
        weight: dict[tuple[str, ...], float] = {}
        for key, w in zip(zip(*columns, strict=True), self._weights(spec.kind), strict=True):
            weight[key] = weight.get(key, 0.0) + w
        names = KINDS[spec.kind].scope
        free = {
            key: w
            for key, w in sorted(weight.items())
            if w > 0 and not self._is_taken(spec, dict(zip(names, key, strict=True)))
        }
        if not free:
            return None
        p = np.array(list(free.values()))
        chosen = list(free)[int(self._rng.choice(len(free), p=p / p.sum()))]
        return dict(zip(names, chosen, strict=True))

    def _weights(self, kind: str) -> Floats:
        rows = self._world.placement
        if kind == "origin_failure":
            large = np.asarray(self._world.rates) >= LEAST_CUSTOMER_RATE
            return rows.weight**0.5 * large[rows.customer]
        return rows.weight

    def _check_scope(self, spec: FaultSpec) -> None:
        known = dimension_values(self._world)
        allowed = KINDS[spec.kind].scope
        for dimension, value in (spec.scope or {}).items():
            if dimension not in known or (spec.kind in FIRMWARE_KINDS + RULE_KINDS and dimension not in allowed):
                raise SimulatorError("fault.scope", f"dimensions among {allowed or CELL_DIMENSIONS}", dimension)
            if value not in set(known[dimension]):
                raise SimulatorError(f"fault.scope.{dimension}", f"one of {sorted(set(known[dimension]))[:20]}", value)
        if self._is_taken(spec, spec.scope or {}):
            raise SimulatorError("fault.scope", f"one {spec.kind} at a time of the same scope", dict(spec.scope or {}))

    def _key(self, kind: str, target: Mapping[str, str]) -> object:
        family = next((f for f in (FIRMWARE_KINDS, RULE_KINDS) if kind in f), (kind,))
        return family, tuple(sorted(target.items()))

    def _take(self, fault: Fault, target: Mapping[str, str]) -> None:
        self._taken.append((fault.start, fault.end, self._key(fault.kind, target)))

    def _is_taken(self, spec: FaultSpec, target: Mapping[str, str]) -> bool:
        key = self._key(spec.kind, target)
        return any(k == key and start < spec.end and spec.start < end for start, end, k in self._taken)

    def _devices(self, target: Mapping[str, str]) -> tuple[int, ...]:
        devices = self._world.devices
        chosen = [i for i, d in enumerate(devices) if all(_device_value(d, k) == v for k, v in target.items())]
        return tuple(chosen)

    def _silent_boxes(self, fault: Fault, boxes: int) -> Fault:
        n = len(self._world.devices)
        chosen = tuple(sorted(int(i) for i in self._rng.choice(n, min(boxes, n), replace=False)))
        scope = {"device": self._world.devices[chosen[0]].id} if len(chosen) == 1 else {}
        return replace(fault, scope=scope, target=scope, devices=chosen)

    def _release(self, fault: Fault) -> Fault:
        model = fault.target["model"]
        devices = self._world.devices
        own = [i for i, d in enumerate(devices) if d.model == model]
        shuffled = [own[i] for i in self._rng.permutation(len(own))]
        order = sorted(shuffled, key=lambda i: COHORTS.index(devices[i].attributes.cohort))
        reached = tuple(order[: math.ceil(REACH * len(order))])
        name = f"{next(m.next_firmware for m in MODELS if m.name == model)}.{self._firmwares[model]}"
        self._firmwares[model] += 1
        return replace(fault, scope={"firmware": name}, devices=reached)

    def _new_rule(self, fault: Fault) -> Fault:
        before = fault.target["sched_rule"]
        old = next(rule for rule in self._world.rules if rule.sched_rule == before)
        self._versions[old.id] += 1
        rule = SchedulingRule(old.id, self._versions[old.id], old.name, old.owner, fault.start)
        return replace(fault, scope={"sched_rule": rule.sched_rule}, rule=rule)


def _device_value(device: Any, dimension: str) -> str:
    if dimension in ("model", "firmware"):
        return str(getattr(device, dimension))
    return device.id if dimension == "device" else str(getattr(device.attributes, dimension))


def _with_changes(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """Number the changes in the order of time, harmful or not, so that an id tells nothing."""
    planned: list[tuple[int, int, bool]] = []
    for i, fault in enumerate(faults):
        if KINDS[fault.kind].change:
            planned += [(fault.start, i, False), (fault.end, i, True)]
    changes: dict[int, list[Change]] = {}
    for number, (time_ms, i, back) in enumerate(sorted(planned), 1):
        fault = faults[i]
        kind = KINDS[fault.kind].change
        scope = {**fault.target, **fault.scope}
        note = f"Roll-out of {next(iter(fault.scope.values()))}"
        if back:
            scope = dict(fault.target)
            note = f"Rolled back {next(iter(fault.scope.values()))}"
        change = Change(f"change-{number:04d}", kind, scope, time_ms, None, "release-team", f"REL-{number:04d}", note)
        changes.setdefault(i, []).append(change)
    return tuple(replace(f, changes=tuple(changes.get(i, ()))) for i, f in enumerate(faults))
