"""Coverage of a customer's minute: how much of the traffic that was to be expected has been measured.

Definition. The stream applies it to what came in time, history to everything it stores; both are tested against
tests/streams/coverage_reference.py. m is a minute aligned to the epoch; reports and slices belong to the minute that
holds their corrected `start` (intervals never cross a minute). c is a customer, box a device.

    f(box, m)       length of the union of the box's report intervals [start, end) of m, over 60 s: 0..1. Idle
                    reports count.
    req(box, c, m)  requests in the box's distinct slices of m for c.
    M(box, m)       the newest WEIGHT_MINUTES (15) minutes with f > 0 among the PLACEMENT_TTL_MINUTES (60) minutes
                    m-59 .. m.
    w(box, c, m)    sum of req(box, c, .) over M / sum of f(box, .) over M, in requests per minute; 0 if M is empty.
                    The box is placed for c exactly while w > 0.
    drop(box, m)    sum over the box's boots of max(0, top - base), where D of a report is its cumulative
                    dropped_requests - spool_dropped_requests, top = largest D of the boot's reports of m, and base =
                    top of the newest earlier minute among m-59 .. m-1 with a report of that boot; if there is none,
                    0 if the boot's report of m with the lowest seq has seq 1, else that report's D.
    dropped(c, m)   sum over boxes of drop(box, m) * w(box, c, m) / (sum over all c' of w(box, c', m)). A box without
                    weights has nobody to charge its drops to; they count nowhere.
    measured(c, m)  sum over all boxes of req(box, c, m), also of boxes with f = 0.

    coverage(c, m) = sum of w*f / sum of w over boxes  *  measured / (measured + dropped)

The second factor is 1 when measured + dropped is 0. Coverage is NaN when the sum of w is 0: nothing was expected.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from contracts.times import MINUTE_MS, PLACEMENT_TTL_MINUTES, WEIGHT_MINUTES
from streams.kernel import Ints, aggregate
from streams.memory import ClosedMinute
from streams.rows import ReportRows, recode

_TTL_MS = (PLACEMENT_TTL_MINUTES - 1) * MINUTE_MS  # from the oldest minute that counts to the one in question
_SPARE_CODES = 1_024  # codes and boots of departed boxes tolerated before they are given up


def _none() -> Ints:
    return np.zeros(0, np.int64)


@dataclass(slots=True)
class _Minute:
    """What one minute contributes. `device`, `covered_ms`: boxes with f > 0. `traffic_*`: distinct (box, customer)
    with their requests. `intervals`: (3, n) device, start, end, kept while the minute is open. `boots`: (device,
    boot) -> [lowest seq, its D, largest D]."""

    intervals: list[Ints] = field(default_factory=list)
    device: Ints = field(default_factory=_none)
    covered_ms: Ints = field(default_factory=_none)
    traffic_device: Ints = field(default_factory=_none)
    traffic_customer: Ints = field(default_factory=_none)
    traffic_requests: Ints = field(default_factory=_none)
    boots: dict[tuple[str, str], list[int]] = field(default_factory=dict)


class CoverageMemory:
    """The last 60 minutes of who reported and who served whom. Minutes are starts of minutes in ms UTC.

    Memory: per minute about 24 bytes for each box that reported and 24 for each (box, customer) with traffic; 10,000
    boxes with five customers each hold about 90 MB.
    """

    def __init__(self) -> None:
        self._minutes: dict[int, _Minute] = {}
        self._devices: dict[str, int] = {}
        self._customers: dict[str, int] = {}
        self._tops: dict[tuple[str, str], tuple[int, int]] = {}  # of closed minutes: boot -> newest minute, largest D
        self._most_tops = _SPARE_CODES

    def __len__(self) -> int:
        return len(self._minutes)

    def add_reports(self, rows: ReportRows, minutes: Ints) -> None:
        """Reports and the minute each belongs to. Adding a report again changes nothing."""
        device = recode(rows.device, self._devices)
        for minute in np.unique(minutes).tolist():
            index = np.flatnonzero(minutes == minute)
            held = self._minutes.setdefault(minute, _Minute())
            held.intervals.append(np.stack([device[index], rows.start[index], rows.end[index]]))
            held.device, held.covered_ms = _covered(held, minute)
            names = zip(
                [rows.device.values[i] for i in rows.device.codes[index].tolist()],
                [rows.boot.values[i] for i in rows.boot.codes[index].tolist()],
                strict=True,
            )
            for name, seq, dropped in zip(names, rows.seq[index].tolist(), rows.dropped[index].tolist(), strict=True):
                boot = held.boots.setdefault(name, [seq, dropped, dropped])
                if seq < boot[0]:
                    boot[0], boot[1] = seq, dropped
                boot[2] = max(boot[2], dropped)

    def set_traffic(
        self, minute: int, devices: list[str], customers: list[str], codes: tuple[Ints, Ints], requests: Ints
    ) -> None:
        """All traffic of a minute so far: distinct pairs of codes into `devices` and `customers`, and their sums."""
        held = self._minutes.setdefault(minute, _Minute())
        held.traffic_device = _codes(devices, self._devices)[codes[0]]
        held.traffic_customer = _codes(customers, self._customers)[codes[1]]
        held.traffic_requests = requests

    def remembered(self, minute: int) -> ClosedMinute:
        """What later minutes need of one that is about to close."""
        held = self._minutes.get(minute, _Minute())
        names = list(self._devices)
        boots = [(self._devices[device], boot, top) for (device, boot), (_, _, top) in held.boots.items()]
        boot_device, boot_dropped = (np.array([b[i] for b in boots], np.int64) for i in (0, 2))
        codes = [held.device, held.traffic_device, boot_device]
        used, device = np.unique(np.concatenate(codes), return_inverse=True)
        box, traffic, of_boots = np.split(device, np.cumsum([len(part) for part in codes[:-1]]))
        served, customer = np.unique(held.traffic_customer, return_inverse=True)
        customers = list(self._customers)
        return ClosedMinute(
            [names[code] for code in used.tolist()],
            [customers[code] for code in served.tolist()],
            [boot for _, boot, _ in boots],
            box,
            held.covered_ms,
            traffic,
            customer,
            held.traffic_requests,
            of_boots,
            np.arange(len(boots)),
            boot_dropped,
        )

    def recall(self, minute: int, closed: ClosedMinute) -> None:
        """Take back a closed minute, as `remembered` told it; minutes in ascending order, before anything else."""
        devices = _codes(closed.devices, self._devices)
        held = self._minutes[minute] = _Minute()
        held.device, held.covered_ms = devices[closed.box], closed.covered_ms
        held.traffic_device = devices[closed.traffic_device]
        held.traffic_customer = _codes(closed.customers, self._customers)[closed.traffic_customer]
        held.traffic_requests = closed.traffic_requests
        names = map(closed.devices.__getitem__, closed.boot_device.tolist())
        boots = zip(names, map(closed.boots.__getitem__, closed.boot.tolist()), strict=True)
        self._tops.update(zip(boots, zip(repeat(minute), closed.boot_dropped.tolist())))  # noqa: B905 - one is endless

    def count(self, begin: int, end: int) -> int:
        """Minutes from `begin` up to, and without, `end` of which anything is remembered."""
        return sum(begin <= minute < end for minute in self._minutes)

    def evaluate(self, minute: int) -> dict[str, float]:
        """Coverage per customer that has weight or requests in the minute; NaN: nothing expected."""
        device, customer, weight = self._weights(minute)
        held = self._minutes.get(minute, _Minute())
        f = np.zeros(len(self._devices))
        f[held.device] = held.covered_ms / MINUTE_MS
        n = len(self._customers)
        expected = np.bincount(customer, weight, n)
        reached = np.bincount(customer, weight * f[device], n)
        measured = np.bincount(held.traffic_customer, held.traffic_requests, n)
        per_box = np.bincount(device, weight, len(self._devices))
        dropped = np.bincount(customer, self._drops(minute)[device] * weight / per_box[device], n)
        seen = measured + dropped
        kept = np.divide(measured, seen, out=np.ones(n), where=seen > 0)
        share = np.divide(reached, expected, out=np.full(n, np.nan), where=expected > 0)
        names = list(self._customers)
        return {names[c]: float(share[c] * kept[c]) for c in np.flatnonzero((expected > 0) | (measured > 0)).tolist()}

    def close(self, minute: int) -> None:
        """Nothing more will be added to this minute or an earlier one; forget what no later minute needs."""
        held = self._minutes.get(minute)
        if held is not None:
            held.intervals = []
            self._tops.update((boot, (minute, top)) for boot, (_, _, top) in held.boots.items())
            held.boots = {}
        oldest = minute + MINUTE_MS - _TTL_MS
        for old in [m for m in self._minutes if m < oldest]:
            del self._minutes[old]
        if len(self._tops) > self._most_tops:  # those too old count nowhere, they only take room
            self._tops = {boot: top for boot, top in self._tops.items() if top[0] >= oldest}
            self._most_tops = 2 * len(self._tops) + _SPARE_CODES
        self._give_up_codes()

    def _weights(self, minute: int) -> tuple[Ints, Ints, np.typing.NDArray[np.float64]]:
        """Device and customer codes and w of all placements, ordered by names so that sums do not depend on the
        order of arrival."""
        n = len(self._devices)
        left = np.full(n, WEIGHT_MINUTES)
        covered_ms = np.zeros(n, np.int64)
        devices, customers, requests = [_none()], [_none()], [_none()]
        for at in range(minute, minute - _TTL_MS - MINUTE_MS, -MINUTE_MS):
            held = self._minutes.get(at)
            if held is None or not len(held.device):
                continue
            counts = left[held.device] > 0
            boxes = held.device[counts]
            left[boxes] -= 1
            covered_ms[boxes] += held.covered_ms[counts]
            measured = np.zeros(n, bool)
            measured[boxes] = True
            index = np.flatnonzero(measured[held.traffic_device])
            devices.append(held.traffic_device[index])
            customers.append(held.traffic_customer[index])
            requests.append(held.traffic_requests[index])
        pairs = aggregate([np.concatenate(devices), np.concatenate(customers)], [np.concatenate(requests)], [])
        placed = pairs.take(np.flatnonzero(pairs.counts[0] > 0))
        order = np.lexsort((ranks(self._devices)[placed.keys[0]], ranks(self._customers)[placed.keys[1]]))
        device, customer = placed.keys[0][order], placed.keys[1][order]
        return device, customer, placed.counts[0][order] / (covered_ms[device] / MINUTE_MS)

    def _drops(self, minute: int) -> Ints:
        """(n_devices,) requests declared dropped in the minute."""
        drops = np.zeros(len(self._devices), np.int64)
        held = self._minutes.get(minute)
        if held is None:
            return drops
        earlier = [
            self._minutes[m].boots for m in sorted(self._minutes, reverse=True) if minute - _TTL_MS <= m < minute
        ]
        for boot, (seq, first, top) in held.boots.items():
            if top == 0:
                continue
            bases = (boots[boot][2] for boots in earlier if boot in boots)
            base = next(bases, None)
            if base is None:
                closed = self._tops.get(boot, (-1, 0))
                base = closed[1] if closed[0] >= minute - _TTL_MS else (0 if seq == 1 else first)
            drops[self._devices[boot[0]]] += max(0, top - base)
        return drops

    def _give_up_codes(self) -> None:
        live = [np.concatenate([m.device, m.traffic_device]) for m in self._minutes.values()]
        live += [held.intervals[i][0] for held in self._minutes.values() for i in range(len(held.intervals))]
        used = np.unique(np.concatenate(live)) if live else _none()
        if len(self._devices) <= 2 * len(used) + _SPARE_CODES:
            return
        names = list(self._devices)
        self._devices = {names[old]: new for new, old in enumerate(used.tolist())}
        moved = np.zeros(len(names), np.int64)
        moved[used] = np.arange(len(used))
        for held in self._minutes.values():
            held.device, held.traffic_device = moved[held.device], moved[held.traffic_device]
            for interval in held.intervals:
                interval[0] = moved[interval[0]]


def ranks(codes: dict[str, int]) -> Ints:
    """(n,) rank of each code's text among all, sorted: an order that does not depend on who came first."""
    order = sorted(range(len(codes)), key=list(codes).__getitem__)
    result = np.empty(len(codes), np.int64)
    result[order] = np.arange(len(codes))
    return result


def _codes(values: list[str], codes: dict[str, int]) -> Ints:
    return np.array([codes.setdefault(value, len(codes)) for value in values], np.int64)


def _covered(held: _Minute, minute: int) -> tuple[Ints, Ints]:
    """Devices and the ms of the minute that the union of their intervals covers, where above 0."""
    device, start, end = np.concatenate(held.intervals, axis=1)
    distinct, box = np.unique(device, return_inverse=True)
    order = np.lexsort((start, box))
    # Each box gets a stretch of its own on one axis, so that a running maximum never reaches into the next box.
    origin = box[order] * (2 * MINUTE_MS)
    begin = origin + np.clip(start[order] - minute, 0, MINUTE_MS)
    finish = origin + np.clip(end[order] - minute, 0, MINUTE_MS)
    reached = np.maximum(np.concatenate([origin[:1], np.maximum.accumulate(finish)[:-1]]), origin)
    gained = np.maximum(finish - np.maximum(begin, reached), 0)
    covered = np.zeros(len(distinct), np.int64)
    np.add.at(covered, box[order], gained)
    above = np.flatnonzero(covered)
    return distinct[above], covered[above]
