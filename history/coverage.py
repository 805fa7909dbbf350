"""Coverage per customer and minute over everything stored, as streams/coverage.py defines it: pure arithmetic.

w(box, customer) = requests / covered share over the box's newest WEIGHT_MINUTES minutes with cover among the
PLACEMENT_TTL_MINUTES minutes up to the target; coverage = sum(w f) / sum(w) * measured / (measured + dropped).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.times import MINUTE_MS, PLACEMENT_TTL_MINUTES, WEIGHT_MINUTES

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """What is stored, as columns. Boxes: (box_minute, box_device, share), one row per box and minute with a report or
    a slice; share 0..1. Traffic: (minute, device, customer, requests), sorted by minute. Drops: (drop_minute,
    drop_device, dropped). Minutes are starts in ms UTC; devices and customers are codes below `devices`, `customers`.
    """

    devices: int
    customers: int
    box_minute: Ints
    box_device: Ints
    share: Floats
    minute: Ints
    device: Ints
    customer: Ints
    requests: Ints
    drop_minute: Ints
    drop_device: Ints
    dropped: Ints


@dataclass(frozen=True, slots=True)
class Coverage:
    """One minute, dense per customer code, shape (customers,): weights in requests per minute (`measured` is already
    lowered by drops), counts, and which customers have weight or requests. coverage = measured / placed."""

    minute: int
    placed: Floats
    measured: Floats
    requests: Ints
    dropped: Floats
    boxes_placed: Ints
    boxes_measured: Ints
    present: NDArray[np.bool_]

    @property
    def coverage(self) -> Floats:
        """NaN where nothing was expected."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.placed > 0, self.measured / self.placed, np.nan)


def coverage(data: Measured, targets: Sequence[int]) -> list[Coverage]:
    """Coverage of each target minute. O(targets x rows of an hour)."""
    pairs, pair_of_row = np.unique(data.device * max(data.customers, 1) + data.customer, return_inverse=True)
    pair_device, pair_customer = np.divmod(pairs, max(data.customers, 1))
    return [_one(data, int(target), pair_device, pair_customer, pair_of_row) for target in targets]


def _one(data: Measured, target: int, pair_device: Ints, pair_customer: Ints, pair_of_row: Ints) -> Coverage:
    first = target - (PLACEMENT_TTL_MINUTES - 1) * MINUTE_MS
    share = _shares(data, first, target)
    counted = _newest_measured(share)
    cover = (share * counted).sum(axis=1)
    rows = slice(*np.searchsorted(data.minute, [first, target + 1]))
    column = (data.minute[rows] - first) // MINUTE_MS
    used = counted[data.device[rows], column]
    requests = np.bincount(pair_of_row[rows][used], data.requests[rows][used], len(pair_device))
    placed = requests > 0
    weight = np.zeros(len(pair_device))
    weight[placed] = requests[placed] / cover[pair_device[placed]]

    share_now = share[:, -1]
    now = data.minute[rows] == target
    requests_now = np.bincount(data.customer[rows][now], data.requests[rows][now], data.customers)
    dropped = _dropped(data, target, weight, pair_device, pair_customer)
    total: Floats = np.bincount(pair_customer, weight, data.customers).astype(np.float64)
    reached = np.bincount(pair_customer, weight * share_now[pair_device], data.customers)
    kept = np.ones(data.customers)
    some = requests_now + dropped > 0
    kept[some] = requests_now[some] / (requests_now[some] + dropped[some])
    heard = placed & (share_now[pair_device] > 0)
    return Coverage(
        minute=target,
        placed=total,
        measured=reached * kept,
        requests=requests_now.astype(np.int64),
        dropped=dropped,
        boxes_placed=np.bincount(pair_customer[placed], minlength=data.customers),
        boxes_measured=np.bincount(pair_customer[heard], minlength=data.customers),
        present=(total > 0) | (requests_now > 0),
    )


def _shares(data: Measured, first: int, target: int) -> Floats:
    """Covered share, shape (devices, PLACEMENT_TTL_MINUTES), the target in the last column."""
    share = np.zeros((data.devices, PLACEMENT_TTL_MINUTES))
    inside = (data.box_minute >= first) & (data.box_minute <= target)
    share[data.box_device[inside], (data.box_minute[inside] - first) // MINUTE_MS] = data.share[inside]
    return share


def _newest_measured(share: Floats) -> NDArray[np.bool_]:
    measured = share > 0
    newer = np.cumsum(measured[:, ::-1], axis=1)[:, ::-1]
    chosen: NDArray[np.bool_] = measured & (newer <= WEIGHT_MINUTES)
    return chosen


def _dropped(data: Measured, target: int, weight: Floats, pair_device: Ints, pair_customer: Ints) -> Floats:
    """Declared drops of the minute per customer, each box's spread over its customers by weight."""
    now = data.drop_minute == target
    if not now.any():
        return np.zeros(data.customers)
    by_device = np.bincount(data.drop_device[now], data.dropped[now], data.devices)
    total = np.bincount(pair_device, weight, data.devices)
    charged = np.divide(by_device, total, out=np.zeros(data.devices), where=total > 0)
    spread: Floats = np.bincount(pair_customer, weight * charged[pair_device], data.customers).astype(np.float64)
    return spread
