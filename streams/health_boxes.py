"""What the health job knows of its boxes: their place in arrays, their attributes, their vital signs, their
customers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.health import SIGNS, Capacity
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

ATTRIBUTES = ("model", "device_isp", "device_region", "firmware")
SMOOTHED_OVER_MS = 2 * MINUTE_MS
_GB = 1e9
_LEAST_REQUESTS = 0.01  # a minute: a customer that a box served so little of is forgotten
_CUSTOMER_BITS = 24
_CUSTOMER = (1 << _CUSTOMER_BITS) - 1
MOST_PENDING = 500_000  # rows of slices that wait to be put together: 8 MB
_LEAST_TURN_MS = 30 * SECOND_MS  # minutes of evidence that come at once are no minutes of traffic
_AWAY = np.iinfo(np.int64).max
_SETTLED_AFTER = 2.0  # half-lives of the averages: what moved to a box that came has moved then
_IDLE_AFTER_MINUTES = 10.0  # a box that is there and serves nobody; longer than one that went dark seems to be there
_CELL = ("device_region", "device_isp", "customer")  # a wider cell leaves out the first, the first two, all


class Codes:
    """Texts numbered in the order they came."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._code: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def of(self, text: str) -> int:
        """The text's code, a new one if need be."""
        code = self._code.get(text)
        if code is None:
            code = self._code[text] = len(self.names)
            self.names.append(text)
        return code

    def column(self, array: Any) -> Ints:
        """Codes of a dictionary-encoded Arrow column."""
        known = np.array([self.of(text) for text in array.dictionary.to_pylist()], np.int64)
        result: Ints = known[array.indices.to_numpy(zero_copy_only=False)] if len(array) else known[:0]
        return result


class Boxes:
    """All boxes ever seen. Arrays have room for `len(self)` boxes after `grow`."""

    def __init__(self) -> None:
        self.devices = Codes()
        self.attributes = {name: Codes() for name in ATTRIBUTES}
        self.of_box: dict[str, Ints] = {name: np.zeros(0, np.int64) for name in ATTRIBUTES}
        self.last_ms: Ints = np.zeros(0, np.int64)  # newest sign of life

    def __len__(self) -> int:
        return len(self.devices)

    def grow(self) -> None:
        """Make room for every device that has a code."""
        more = len(self) - len(self.last_ms)
        if more > 0:
            self.last_ms = np.concatenate([self.last_ms, np.zeros(more, np.int64)])
            for name, codes in self.of_box.items():
                # What nobody stated is a value of its own, until somebody does.
                unknown = self.attributes[name].of("unknown")
                self.of_box[name] = np.concatenate([codes, np.full(more, unknown, np.int64)])

    def describe(self, record_batch: Any) -> Ints:
        """Take attributes of a batch with device and ATTRIBUTES; returns device codes."""
        device = self.devices.column(record_batch.column("device"))
        self.grow()
        for name in ATTRIBUTES:
            self.of_box[name][device] = self.attributes[name].column(record_batch.column(name))
        return device

    def groups(self) -> Ints:
        """Groups for the prior, (3, n): model; model and ISP; model, ISP and region."""
        model, isp, region = (self.of_box[name] for name in ("model", "device_isp", "device_region"))
        pair = model * (len(self.attributes["device_isp"]) + 1) + isp
        triple = pair * (len(self.attributes["device_region"]) + 1) + region
        return np.stack([np.unique(level, return_inverse=True)[1] for level in (model, pair, triple)]).astype(np.int64)

    def box(self, i: int) -> dict[str, str]:
        """Attributes of a box by name."""
        return {name: self.attributes[name].names[self.of_box[name][i]] for name in ATTRIBUTES}


class VitalSigns:
    """Smoothed vital signs per box, in the order of anomaly.health.SIGNS."""

    def __init__(self) -> None:
        self._signs: Floats = np.full((len(SIGNS), 0), np.nan)
        self._at: Ints = np.zeros(0, np.int64)
        self._starts: Floats = np.full(0, np.nan)

    def grow(self, n: int) -> None:
        """Make room for boxes up to n."""
        more = n - len(self._at)
        if more > 0:
            self._signs = np.concatenate([self._signs, np.full((len(SIGNS), more), np.nan)], axis=1)
            self._at = np.concatenate([self._at, np.zeros(more, np.int64)])
            self._starts = np.concatenate([self._starts, np.full(more, np.nan)])

    def add(self, device: Ints, columns: dict[str, Floats], start: Ints, end: Ints) -> None:
        """Measurements of intervals; of several of one box the newest counts, older ones than known are left out."""
        order = np.lexsort((end, device))
        last = order[np.flatnonzero(np.diff(device[order], append=-1))]
        last = last[end[last] > self._at[device[last]]]
        box, at = device[last], end[last]
        passed = (at - self._at[box]).astype(np.float64)
        new = {name: values[last] for name, values in columns.items()}
        lasted = np.maximum(at - start[last], SECOND_MS)
        started = np.nan_to_num(np.maximum(new["reboots"] - self._starts[box], 0.0))
        kept = np.nan_to_num(self._signs[SIGNS.index("reboots_per_hour"), box]) * np.exp(-passed / HOUR_MS)
        now = {
            "temperature_c": new["temperature_c"],
            "memory_used_ratio": new["memory_used_ratio"],
            "flash_used_ratio": new["flash_used_ratio"],
            "flash_written_gb_per_day": new["flash_written_bytes"] / _GB * DAY_MS / lasted,
            "cpu_ratio": new["cpu_ratio"],
            "reboots_per_hour": kept + started,
            "clock_offset_s": new["clock_offset_ms"] / SECOND_MS,
        }
        smooth = 1.0 - np.exp(-passed / SMOOTHED_OVER_MS)
        for i, name in enumerate(SIGNS):
            before = self._signs[i, box]
            step = np.ones(len(box)) if name == "reboots_per_hour" else smooth
            mixed = before + (now[name] - before) * step
            self._signs[i, box] = np.where(np.isnan(before), now[name], np.where(np.isnan(now[name]), before, mixed))
        self._starts[box] = np.where(np.isnan(new["reboots"]), self._starts[box], new["reboots"])
        self._at[box] = at

    def signs(self, now: int, max_age_minutes: float) -> Floats:
        """(len(SIGNS), n), NaN where nothing recent is known."""
        result = self._signs.copy()
        result[:, now - self._at > max_age_minutes * MINUTE_MS] = np.nan
        return result


class Placement:
    """Requests a minute of each box for each customer, as pairs in the order of their keys: what it serves now and what
    it usually does. The usual of a box that gets less cannot be measured: it goes as the demand for the customer goes
    over all boxes, which diverting traffic does not change. `since`: time (ms UTC) of the first rows that wait for
    `turn`; whoever adds the first ones may state it."""

    def __init__(self, memory_minutes: float) -> None:
        self.customers = Codes()
        self.since: int | None = None
        self._memory = memory_minutes
        self._key: Ints = np.zeros(0, np.int64)
        self._served: Floats = np.zeros(0)
        self._usual: Floats = np.zeros(0)
        self.pending = 0  # rows that wait for `turn`, those of a pair put together now and then
        self._new: list[tuple[Ints, Floats]] = []
        self._room = MOST_PENDING
        self._turned = False
        self._restored: Ints = np.zeros((2, 0), np.int64)  # boxes, and when what was published of them had faded
        self._waited: Floats = np.zeros(0)  # minutes of each box whose rows are not in its averages yet
        self._came: Ints = np.zeros(0, np.int64)  # since when each box is there

    def add(self, device: Ints, customer: Ints, requests: Ints) -> None:
        """Requests of rows."""
        self._new.append((device << _CUSTOMER_BITS | customer, requests.astype(np.float64)))
        self.pending += len(device)
        if self.pending > self._room:  # nothing is scored: rows come for as long as there is no evidence
            self._new = [self._take()]
            self.pending = len(self._new[0][0])
            self._room = max(MOST_PENDING, 2 * self.pending)

    def restore(self, usual: Mapping[int, Mapping[str, float]], faded: Mapping[int, int]) -> None:
        """Usual requests a minute per customer of boxes (by code), as they were published, before any rows; `faded`:
        from when on (ms UTC) what was published of each steered nobody."""
        pairs = {i << _CUSTOMER_BITS | self.customers.of(c): rate for i, of in usual.items() for c, rate in of.items()}
        self._key = np.array(sorted(pairs), np.int64)
        self._usual = np.array([pairs[key] for key in self._key.tolist()], np.float64)
        self._served = np.zeros(len(pairs))
        self._restored = np.array([sorted(usual), [faded[i] for i in sorted(usual)]], np.int64)

    def turn(self, now: int, frozen: Bools, present: Bools) -> None:
        """Take the rows until now (ms UTC) into the averages, as of the time they came in: the first ones may be those
        of many minutes, read again at a start. `frozen` (n,): boxes that get less than their usual traffic; at the
        first turn also those that were restored, because among their rows are some of when they got less. `present`
        (n,): who is there."""
        passed = MINUTE_MS if self.since is None else now - self.since
        if self._turned and passed < _LEAST_TURN_MS:
            return
        minutes = max(passed / MINUTE_MS, 1.0)
        found, requests = self._take()
        heard = np.zeros(len(present), dtype=bool)
        heard[found >> _CUSTOMER_BITS] = True
        if not self._turned:
            frozen = self._frozen_at_start(frozen, heard)
        fresh, settled = self._arrivals(now, present)
        self._turned, self.since = True, now
        self._waited = np.where(fresh, minutes, self._waited + minutes)
        # The silence of a box that serves counts when it is heard again, known to be away, or idle: demand must not
        # seem to fall while boxes go dark.
        counts = heard | frozen | ~present | (self._waited > _IDLE_AFTER_MINUTES)
        before, usual, rows = self._align(found, requests)
        box, customer = self._key >> _CUSTOMER_BITS, self._key & _CUSTOMER
        rate = rows / np.maximum(self._waited, 1.0)[box]
        keep = np.where(fresh, 0.0, np.where(counts, 0.5 ** (self._waited / self._memory), 1.0))[box]
        served = before * keep + rate * (1 - keep)
        served[served < _LEAST_REQUESTS] = 0.0
        moved = self._demand(customer, settled[box], before, served)[customer]
        measured = np.nan_to_num(usual) * keep + rate * (1 - keep)
        usual = np.where(frozen[box] & ~np.isnan(usual), usual * moved, measured)
        kept = (usual >= _LEAST_REQUESTS) | (served > 0) | (frozen[box] & (usual > 0))
        self._key, self._served, self._usual = self._key[kept], served[kept], usual[kept]
        self._waited[counts] = 0.0

    def _align(self, found: Ints, requests: Floats) -> tuple[Floats, Floats, Floats]:
        """Take in the pairs that were found; of all of them what they served, their usual, NaN if nothing is known, and
        their requests."""
        keys = np.union1d(self._key, found)
        served, usual, rows = np.zeros(len(keys)), np.full(len(keys), np.nan), np.zeros(len(keys))
        at = np.searchsorted(keys, self._key)
        served[at], usual[at] = self._served, self._usual
        rows[np.searchsorted(keys, found)] = requests
        self._key = keys
        return served, usual, rows

    def _frozen_at_start(self, frozen: Bools, heard: Bools) -> Bools:
        """Restored boxes are frozen, but for those whose scores had faded before the first rows: these got all of their
        traffic, and what was published of them is forgotten if they were heard."""
        box, faded = self._restored
        measured = heard[box] & (faded <= (self.since or 0))
        known = ~np.isin(self._key >> _CUSTOMER_BITS, box[measured])
        self._key, self._served, self._usual = self._key[known], self._served[known], self._usual[known]
        result = frozen.copy()
        result[box] = ~measured
        return result

    def _arrivals(self, now: int, present: Bools) -> tuple[Bools, Bools]:
        """Boxes that were not there a turn ago, and those that are there for long enough to tell by them how demand
        moves: a box that comes takes traffic from others, or brings its own, neither of which is a change of theirs."""
        more = len(present) - len(self._came)
        self._came = np.concatenate([self._came, np.full(more, _AWAY)])
        self._waited = np.concatenate([self._waited, np.zeros(more)])
        there = self._came != _AWAY
        settled = present & there & (now - self._came >= _SETTLED_AFTER * self._memory * MINUTE_MS)
        came = np.where(there, self._came, now if self._turned else 0)  # at the first turn all have been there for long
        self._came = np.where(present, came, _AWAY)
        return present & ~there, settled

    def _demand(self, customer: Ints, counts: Bools, before: Floats, served: Floats) -> Floats:
        """By which factor the demand for each customer moved, (customers,), by pairs that count. It never falls to 0,
        from where no factor leads back."""
        was, is_now = (
            np.maximum(np.bincount(customer[counts], values[counts], len(self.customers)), _LEAST_REQUESTS)
            for values in (before, served)
        )
        result: Floats = is_now / was
        return result

    def _take(self) -> tuple[Ints, Floats]:
        """Requests per pair of the rows that wait; none wait then."""
        keys = np.concatenate([self._key[:0], *(k for k, _ in self._new)])
        requests = np.concatenate([self._usual[:0], *(r for _, r in self._new)])
        self._new, self.pending = [], 0
        found, place = np.unique(keys, return_inverse=True)
        return found, np.bincount(place, requests, len(found)).astype(np.float64)

    def usual(self, box: int) -> dict[str, float]:
        """Requests a minute per customer that a box usually carries."""
        first, end = np.searchsorted(self._key, (box << _CUSTOMER_BITS, (box + 1) << _CUSTOMER_BITS)).tolist()
        customers = (self._key[first:end] & _CUSTOMER).tolist()
        return {self.customers.names[c]: r for c, r in zip(customers, self._usual[first:end].tolist(), strict=True)}

    def capacity(self, boxes: Boxes, present: Bools) -> tuple[Capacity, Cells]:
        """What boxes can carry, in cells of all widths; boxes that are not `present` (n,) carry nothing."""
        box, customer = self._key >> _CUSTOMER_BITS, self._key & _CUSTOMER
        columns = np.stack([boxes.of_box["device_region"][box], boxes.of_box["device_isp"][box], customer])
        sizes = [len(boxes.attributes["device_region"]), len(boxes.attributes["device_isp"]), len(self.customers)]
        places, codes, first = [], [], 0
        for width in range(len(_CELL)):
            own = columns.copy()
            own[:width] = -1  # narrower dimensions come first
            key = np.zeros(len(box), np.int64)
            for column, size in zip(own, sizes, strict=True):
                key = key * (size + 1) + column + 1
            _, at, place = np.unique(key, return_index=True, return_inverse=True)
            places.append(place + first)
            codes.append(own[:, at])
            first += len(at)
        everything = np.full(len(box), first, np.int64)
        amount = np.where(self._usual >= _LEAST_REQUESTS, self._usual, 0.0) * present[box]
        capacity = Capacity(
            np.tile(box, len(_CELL) + 1),
            np.concatenate([*places, everything]),
            np.tile(amount, len(_CELL) + 1),
            first + 1,
            np.tile(self._served * present[box], len(_CELL) + 1),
        )
        names = (boxes.attributes["device_region"], boxes.attributes["device_isp"], self.customers)
        return capacity, Cells(np.concatenate([*codes, np.full((len(_CELL), 1), -1)], axis=1), names)


class Cells:
    """What cells of the budget are called. `codes` (3, cells): region, ISP, customer, -1 where a cell has all of
    them."""

    def __init__(self, codes: Ints, names: tuple[Codes, ...]) -> None:
        self._codes = codes
        self._names = names

    def where(self, cell: int) -> dict[str, str]:
        """Dimension values of a cell."""
        codes = self._codes[:, cell].tolist()
        return {
            dimension: names.names[code]
            for dimension, names, code in zip(_CELL, self._names, codes, strict=True)
            if code >= 0
        }
