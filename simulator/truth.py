"""What really happened: counted where it was generated. Only the simulator and the scoring read it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from contracts.columns import COUNT_NAMES, FAILURE_NAMES
from contracts.times import DEFAULT_INTERVAL_MS, MINUTE_MS, minute_of, rfc3339
from simulator.box import Box, Held
from simulator.catalogue import SERVICES
from simulator.encode import Body
from simulator.faults import KINDS, Fault
from simulator.placement import Ints, Placement
from simulator.traffic import MEASURES, Interval
from simulator.world import World

MOST_DIFFERENCES = 50
Minute = tuple[str, str, int]  # customer, service, start of the minute in ms UTC


@dataclass(slots=True)
class BootTruth:
    """One boot of a box's agent: [requests, slices] of what it reported, and what became of it."""

    generated: list[int] = field(default_factory=lambda: [0, 0])
    accepted: list[int] = field(default_factory=lambda: [0, 0])
    refused: list[int] = field(default_factory=lambda: [0, 0])
    dropped: list[int] = field(default_factory=lambda: [0, 0])
    newest_accepted_seq: int = 0


def _add(pair: list[int], body: Body) -> None:
    pair[0] += body.requests
    pair[1] += body.slices


class Truth:
    """Counts as they are generated. `boots` by (device, boot)."""

    def __init__(self, world: World, faults: Sequence[Fault]) -> None:
        self._world = world
        self._faults = tuple(faults)
        self._customers = [c.id for c in world.customers]
        self._size = len(self._customers) * len(SERVICES)
        self._minutes: dict[int, Ints] = {}  # (customer x service, column) by minute
        self._withheld: list[Body] = []  # dropped or refused: generated, never stored
        self.boots: dict[tuple[str, str], BootTruth] = {}
        self._first_start: int | None = None
        self._end = 0
        shape = (len(faults), len(self._customers))
        self._bad_added = np.zeros((*shape, len(MEASURES)), dtype=np.int64)
        self._in_scope = np.zeros(shape, dtype=np.int64)
        self._during = np.zeros(shape, dtype=np.int64)  # requests of each customer while the fault was active

    def count(self, interval: Interval, placement: Placement) -> None:
        """Take an interval of the fleet into account."""
        customer = placement.customer[interval.rows]
        key = customer * len(SERVICES) + placement.service[interval.rows]
        minute = self._minutes.setdefault(minute_of(interval.start), self._no_counts())
        for k in range(len(COUNT_NAMES)):
            minute[:, k] += np.bincount(key, interval.counts[k], self._size).astype(np.int64)
        requests = np.bincount(customer, interval.counts[0], len(self._customers)).astype(np.int64)
        for k, fault in enumerate(self._faults):
            if fault.active(interval.start):
                self._during[k] += requests
        for harm in interval.harms:
            self._bad_added[harm.fault] += harm.bad_added
            self._in_scope[harm.fault] += harm.in_scope
        if self._first_start is None:
            self._first_start = interval.start
        self._end = max(self._end, interval.start + DEFAULT_INTERVAL_MS)

    def _no_counts(self) -> Ints:
        return np.zeros((self._size, len(COUNT_NAMES)), dtype=np.int64)

    def _boot(self, device: str, boot: str) -> BootTruth:
        return self.boots.setdefault((device, boot), BootTruth())

    def reported(self, device: str, held: Held) -> None:
        """A box wrote a report."""
        _add(self._boot(device, held.boot).generated, held.body)

    def accepted(self, device: str, held: Held) -> None:
        """The gateway answered 2xx for the first time."""
        boot = self._boot(device, held.boot)
        _add(boot.accepted, held.body)
        boot.newest_accepted_seq = max(boot.newest_accepted_seq, held.head.seq)

    def refused(self, device: str, held: Held) -> None:
        """The gateway refused a report for good."""
        _add(self._boot(device, held.boot).refused, held.body)
        self._withheld.append(held.body)

    def dropped(self, device: str, held: Held) -> None:
        """A full spool dropped a report. One that had been taken (its answer was lost) is not missing."""
        if not held.accepted:
            _add(self._boot(device, held.boot).dropped, held.body)
            self._withheld.append(held.body)

    def ledger(self, boxes: Iterable[Box]) -> dict[str, Any]:
        """What a correct ledger says now, in the form of ledger.json; exact once every box has sent what it holds."""
        beyond, pending = [0, 0], [0, 0]
        for box in boxes:
            for held in box.held.values():
                if not held.accepted:
                    newest = self._boot(box.device.id, held.boot).newest_accepted_seq
                    _add(pending if held.head.seq < newest else beyond, held.body)
        result: dict[str, Any] = {}
        for i, what in enumerate(("requests", "slices")):
            result[what] = {
                "reported": sum(b.generated[i] for b in self.boots.values()) - beyond[i],
                "stored": sum(b.accepted[i] for b in self.boots.values()),
                "rejected": sum(b.refused[i] for b in self.boots.values()),
                "declared_dropped": sum(b.dropped[i] for b in self.boots.values()),
                "pending": pending[i],
                "lost": 0,
                "double_counted": 0,
            }
        result["devices"] = len({device for (device, _), b in self.boots.items() if b.newest_accepted_seq})
        return result

    def minutes(self, boxes: Iterable[Box] = ()) -> dict[Minute, dict[str, int]]:
        """What history should hold: counts by (customer, service, minute), without what was dropped, refused, or is
        still on the given boxes. Minutes without traffic are left out."""
        expected = {minute: counts.copy() for minute, counts in self._minutes.items()}
        unsent = [h.body for box in boxes for h in box.held.values() if not h.accepted]
        unread = [body for box in boxes for body in box.log]
        for body in self._withheld + unsent + unread:
            expected[minute_of(body.start)] -= self._counts_of(body)
        result: dict[Minute, dict[str, int]] = {}
        for minute in sorted(expected):
            for key in np.flatnonzero(expected[minute].any(axis=1)).tolist():
                c, s = divmod(key, len(SERVICES))
                counts = expected[minute][key].tolist()
                result[self._customers[c], SERVICES[s], minute] = dict(zip(COUNT_NAMES, counts, strict=True))
        return result

    def _counts_of(self, body: Body) -> Ints:
        counts = self._no_counts()
        slices = json.loads(body.slices_json)
        for row, (customer, service) in enumerate(zip(slices["customer"], slices["service"], strict=True)):
            key = self._customers.index(customer) * len(SERVICES) + SERVICES.index(service)
            counts[key] += [slices[name][row] for name in COUNT_NAMES]
        return counts

    def as_json(self, boxes: Iterable[Box] = ()) -> dict[str, Any]:
        """truth.json: what CONTRACTS names, and the totals. A fault that had not begun by the end is left out."""
        started = [k for k, f in enumerate(self._faults) if f.start < self._end]
        total = sum(self._minutes.values(), start=self._no_counts())
        by_customer = total.reshape(len(self._customers), len(SERVICES), -1).sum(axis=1)
        first = self._first_start if self._first_start is not None else self._world.start_ms
        return {
            "seed": self._world.seed,
            "minutes": (self._end - first) / MINUTE_MS if self._end else 0,
            "devices": len(self._world.devices),
            "start": rfc3339(first),
            "faults": [self._fault_json(k) for k in started if self._faults[k].harmful],
            "harmless_changes": [
                {"change_id": f.changes[0].id, "kind": f.kind, "start": rfc3339(f.start), "scope": dict(f.scope)}
                for f in (self._faults[k] for k in started)
                if not f.harmful
            ],
            "counts": {
                customer: {
                    "requests": int(row[COUNT_NAMES.index("requests")]),
                    "failures": int(sum(row[COUNT_NAMES.index(name)] for name in FAILURE_NAMES)),
                }
                for customer, row in zip(self._customers, by_customer, strict=True)
            },
            "ledger": self.ledger(boxes),
        }

    def _fault_json(self, k: int) -> dict[str, Any]:
        """`measure` is the one the fault hurt most; `bad_added` is of it, and `share_of_requests` is bad_added of the
        requests of its customers while it lasted; of silence, the share of all traffic placed on the silent boxes."""
        fault, bad = self._faults[k], self._bad_added[k]
        best = int(bad.sum(axis=0).argmax())
        silent = bool(KINDS[fault.kind].state)
        placement = self._world.placement
        if silent:
            on_them = np.isin(placement.device, fault.devices)
            hit = np.unique(placement.customer[on_them])
            share = float(placement.weight[on_them].sum() / placement.weight.sum())
        else:
            hit = np.flatnonzero(bad[:, best] > 0)
            hit = hit[np.argsort(-bad[hit, best], kind="stable")]
        requests, added = int(self._during[k][hit].sum()), int(bad[hit, best].sum())
        if not silent:
            share = added / requests if requests else 0.0
        return {
            "id": fault.id,
            "kind": fault.kind,
            "incident_kind": KINDS[fault.kind].incident,
            "start": rfc3339(fault.start),
            "end": rfc3339(min(fault.end, self._end)),
            "ramp_s": fault.ramp_ms / 1000,
            "severity": round(fault.severity, 3),
            "scope": dict(fault.scope),
            "devices": [self._world.devices[i].id for i in fault.devices] if silent else [],
            "customers": [self._customers[c] for c in hit.tolist()],
            "measure": None if silent else MEASURES[best],
            "share_of_requests": round(share, 6),
            "bad_added": added,
            "requests_of_customers": requests,
            "requests_in_scope": int(self._in_scope[k].sum()),
            "by_customer": {
                self._customers[c]: {
                    "requests": int(self._during[k][c]),
                    "in_scope": int(self._in_scope[k][c]),
                    "bad_added": dict(zip(MEASURES, bad[c].tolist(), strict=True)),
                }
                for c in hit.tolist()
                if not silent
            },
            "change_id": fault.changes[0].id if fault.changes else None,
        }

    def write(self, path: Path, boxes: Iterable[Box] = ()) -> None:
        """Write truth.json."""
        path.write_text(json.dumps(self.as_json(boxes), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def compare_ledger(truth: Mapping[str, Any], ledger: Mapping[str, Any]) -> tuple[bool, list[str]]:
    """Whether a ledger agrees with `Truth.ledger`, and a sentence for every figure that differs."""
    differences = []
    for what in ("requests", "slices"):
        for name, expected in truth[what].items():
            got = ledger.get(what, {}).get(name)
            if got != expected:
                differences.append(f"{what}.{name}: generated {expected}, the ledger says {got}")
    if ledger.get("devices") != truth["devices"]:
        differences.append(f"devices: {truth['devices']} sent reports, the ledger says {ledger.get('devices')}")
    return not differences, differences


def compare_minutes(
    truth: Mapping[Minute, Mapping[str, int]], history: Mapping[Minute, Mapping[str, int]]
) -> tuple[bool, list[str]]:
    """Whether history's minutes equal `Truth.minutes`, in the count columns that history states, and the first
    differences in words. Minutes of zeros may be missing on either side."""
    differences = []
    for key in sorted(truth.keys() | history.keys()):
        expected, got = truth.get(key, {}), history.get(key, {})
        names = [n for n in COUNT_NAMES if n in got] if got else list(COUNT_NAMES)
        wrong = [n for n in names if expected.get(n, 0) != got.get(n, 0)]
        if wrong:
            customer, service, minute = key
            detail = ", ".join(f"{n} {expected.get(n, 0)} generated, {got.get(n, 0)} in history" for n in wrong[:4])
            differences.append(f"{customer} {service} {rfc3339(minute)}: {detail}")
    if len(differences) > MOST_DIFFERENCES:
        more = len(differences) - MOST_DIFFERENCES
        differences = [*differences[:MOST_DIFFERENCES], f"and {more} more"]
    return not differences, differences
