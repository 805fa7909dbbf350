"""What holds in one interval: which rows have traffic, under which rule and firmware, and what faults do to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from simulator.faults import FAR_SHARE, FIRMWARE_KINDS, KINDS, LEAK_MS, QUALITY, RULE_KINDS, SILENCE_STATES, Fault
from simulator.placement import Floats, Ints, Placement
from simulator.scope import Bools, dimension_values, rows_in_scope
from simulator.world import World

NO_FAULT = -1
FAR_TRIES = 4  # far boxes tried per row, for the few that already serve the stratum


@dataclass(frozen=True, slots=True)
class Strength:
    """An active quality fault: its index, strength 0..1 per row, and which rows its scope in the truth holds."""

    fault: int
    intensity: NDArray[np.float32]
    in_scope: Bools


@dataclass(frozen=True, slots=True)
class Conditions:
    """`weight`: requests per minute of each row before rhythm and noise; `rule`: codes into Scenario.rule_names;
    `firmware`: codes per box into Scenario.firmware_names; `leak`: per box 0..1; the four states: masks of boxes."""

    weight: Floats
    rule: Ints
    firmware: Ints
    leak: Floats
    off: Bools
    uplink: Bools
    path: Bools
    agent: Bools
    strengths: tuple[Strength, ...]


class Scenario:
    """A world and its faults, ready to be asked about any interval. `rows`: the world's placement and, for every bad
    rule, the rows on far boxes that only it uses, sorted by box."""

    def __init__(self, world: World, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        self._n_devices = len(world.devices)
        rng = np.random.default_rng((world.seed, 4))
        placement = world.placement
        parts, owners = [placement], [np.full(len(placement), NO_FAULT)]
        rule_values = dimension_values(world)["sched_rule"]
        for k, fault in enumerate(self.faults):
            if fault.kind == "bad_rule":
                near = np.flatnonzero([v == fault.target["sched_rule"] for v in rule_values])
                far = far_rows(rng, world, placement, near)
                parts.append(far)
                owners.append(np.full(len(far), k))
        joined, owner = concatenate(parts), np.concatenate(owners)
        order = np.argsort(joined.device, kind="stable")
        self.rows = joined.take(order)
        self.far_of = owner[order]

        values = dimension_values(world, self.rows)
        self._target_rows = [rows_in_scope(values, f.target) for f in self.faults]
        self.rule_names = [r.sched_rule for r in world.rules]
        self._new_rule = [self._code(self.rule_names, f.rule.sched_rule) if f.rule else -1 for f in self.faults]
        self.firmware_names = sorted({d.firmware for d in world.devices})
        self._firmware = np.array([self.firmware_names.index(d.firmware) for d in world.devices])
        self._new_firmware = [
            self._code(self.firmware_names, f.scope["firmware"]) if f.kind in FIRMWARE_KINDS else -1
            for f in self.faults
        ]
        self._reached = [np.array([f.reached_at(j) for j in range(len(f.devices))]) for f in self.faults]

    @staticmethod
    def _code(names: list[str], name: str) -> int:
        names.append(name)
        return len(names) - 1

    def at(self, start_ms: int) -> Conditions:
        """Conditions of the interval that starts at a time."""
        weight = np.where(self.far_of == NO_FAULT, self.rows.weight, 0.0)
        rule, firmware = self.rows.rule.copy(), self._firmware.copy()
        leak = np.zeros(self._n_devices)
        states = {state: np.zeros(self._n_devices, dtype=bool) for state in SILENCE_STATES}
        strengths = []
        for k, fault in enumerate(self.faults):
            if not fault.active(start_ms):
                continue
            if KINDS[fault.kind].state:
                states[KINDS[fault.kind].state][list(fault.devices)] = True
            elif fault.kind in FIRMWARE_KINDS:
                reached = np.array(fault.devices, dtype=np.int64)[self._reached[k] <= start_ms]
                firmware[reached] = self._new_firmware[k]
                if fault.harmful:
                    strengths.append(self._leak(k, start_ms, reached, leak))
            elif fault.kind in RULE_KINDS:
                strengths += self._reroute(k, fault.intensity(start_ms), weight, rule)
            elif KINDS[fault.kind].incident == QUALITY:
                mask = self._target_rows[k]
                strengths.append(Strength(k, (mask * fault.intensity(start_ms)).astype(np.float32), mask))
        return Conditions(weight, rule, firmware, leak, **states, strengths=tuple(strengths))

    def _leak(self, k: int, start_ms: int, reached: Ints, leak: Floats) -> Strength:
        since = start_ms - self._reached[k][: reached.size]
        leak[reached] = np.clip(since / LEAK_MS, 0.05, 1.0)
        on = np.zeros(self._n_devices, dtype=bool)
        on[reached] = True
        strength = np.where(on, leak, 0.0)
        return Strength(k, strength[self.rows.device].astype(np.float32), on[self.rows.device])

    def _reroute(self, k: int, intensity: float, weight: Floats, rule: Ints) -> list[Strength]:
        """Give the rule's rows its new version and, if it is bad, a share of their traffic to far boxes."""
        far = self.far_of == k
        near = self._target_rows[k] & (self.far_of == NO_FAULT)
        rule[near | far] = self._new_rule[k]
        if not far.any():
            return []
        moved = FAR_SHARE * intensity
        weight[far] = self.rows.weight[far] * moved * weight[near].sum() / self.rows.weight[far].sum()
        weight[near] *= 1 - moved
        return [Strength(k, far.astype(np.float32), near | far)]


def far_rows(rng: Generator, world: World, placement: Placement, near: Ints) -> Placement:
    """For each near row the same stratum on a box in another region, where there is one that lacks it. The copies
    behave like the near rows; being far is the fault's effect."""
    regions = [d.attributes.device_region for d in world.devices]
    region_of = np.unique(regions, return_inverse=True)[1]
    keys = _keys(placement).tolist()
    taken = set(map(tuple, keys))
    rows, boxes = [], []
    for row in near.tolist():
        home = region_of[placement.device[row]]
        for box in rng.integers(0, len(regions), FAR_TRIES).tolist():
            key = (box, *keys[row][1:]) if region_of[box] != home else None
            if key is not None and key not in taken:
                taken.add(key)
                rows.append(row)
                boxes.append(box)
                break
    far = placement.take(np.array(rows, dtype=np.int64))
    return Placement(**{f.name: getattr(far, f.name) for f in fields(far)} | {"device": np.array(boxes, np.int64)})


def _keys(placement: Placement) -> Ints:
    columns = ("device", "customer", "service", "app", "client_isp", "client_region", "rule")
    return np.stack([getattr(placement, name) for name in columns], axis=1)


def concatenate(parts: Sequence[Placement]) -> Placement:
    """All rows of several placements."""
    return Placement(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Placement)})
