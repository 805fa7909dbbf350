"""Slow, plain reference of coverage: the definition of streams/coverage.py word by word. Standard library only.

The stream's and history's coverage are both tested against it. Minutes are starts of minutes in ms UTC.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

MINUTE_MS = 60_000
WEIGHT_MINUTES = 15
PLACEMENT_TTL_MINUTES = 60

Measured = tuple[str, int, float, Mapping[str, int]]  # device, minute, f (0..1), {customer: requests}
Drop = tuple[str, int, int]  # device, minute, declared dropped requests


def covered_share(intervals: Iterable[tuple[int, int]], minute: int) -> float:
    """f: share of a minute that lies in the union of report intervals [start, end)."""
    covered = 0
    reached, last = minute, minute + MINUTE_MS
    for start, end in sorted(intervals):
        covered += max(0, min(end, last) - max(start, reached))
        reached = max(reached, min(end, last))
    return covered / MINUTE_MS


def declared_drops(reports: Iterable[tuple[str, str, int, int, int]]) -> list[Drop]:
    """Dropped requests per device and minute from reports (device, boot, seq, start, D), where D is the cumulative
    dropped_requests - spool_dropped_requests."""
    by_boot: dict[tuple[str, str], dict[int, list[tuple[int, int]]]] = {}
    for device, boot, seq, start, dropped in reports:
        minute = start - start % MINUTE_MS
        by_boot.setdefault((device, boot), {}).setdefault(minute, []).append((seq, dropped))
    drops: dict[tuple[str, int], int] = {}
    for (device, _), minutes in by_boot.items():
        for minute, held in minutes.items():
            first_seq, first_dropped = min(held)
            top = max(dropped for _, dropped in held)
            oldest = minute - (PLACEMENT_TTL_MINUTES - 1) * MINUTE_MS
            earlier = [m for m in minutes if oldest <= m < minute]
            if earlier:
                base = max(dropped for _, dropped in minutes[max(earlier)])
            else:
                base = 0 if first_seq == 1 else first_dropped
            drops[device, minute] = drops.get((device, minute), 0) + max(0, top - base)
    return [(device, minute, dropped) for (device, minute), dropped in drops.items()]


def weights(minute: int, measured: Sequence[Measured]) -> dict[tuple[str, str], float]:
    """w(box, customer) at a minute, where above 0: the boxes placed for each customer."""
    by_device: dict[str, dict[int, tuple[float, Mapping[str, int]]]] = {}
    for device, at, f, requests in measured:
        by_device.setdefault(device, {})[at] = (f, requests)
    oldest = minute - (PLACEMENT_TTL_MINUTES - 1) * MINUTE_MS
    result: dict[tuple[str, str], float] = {}
    for device, minutes in by_device.items():
        counted = sorted(m for m, (f, _) in minutes.items() if oldest <= m <= minute and f > 0)[-WEIGHT_MINUTES:]
        share = math.fsum(minutes[m][0] for m in counted)
        for customer in {c for m in counted for c in minutes[m][1]}:
            requests = sum(minutes[m][1].get(customer, 0) for m in counted)
            if requests > 0:
                result[device, customer] = requests / share
    return result


def coverage(minute: int, measured: Sequence[Measured], drops: Sequence[Drop] = ()) -> dict[str, float]:
    """Coverage of a minute per customer. One entry of `measured` per device and minute with a report or a slice
    (f = 0: slices without a report), one entry of `drops` at most per device and minute. Customers with neither
    weight nor requests in the minute are absent; NaN: no weight, so nothing was expected."""
    w = weights(minute, measured)
    f_now = {device: f for device, at, f, _ in measured if at == minute}
    dropped_now = {device: dropped for device, at, dropped in drops if at == minute}
    requests_now: dict[str, int] = {}
    for _, at, _, requests in measured:
        if at == minute:
            for customer, n in requests.items():
                requests_now[customer] = requests_now.get(customer, 0) + n
    result: dict[str, float] = {}
    for customer in {c for _, c in w} | {c for c, n in requests_now.items() if n > 0}:
        boxes = {device: weight for (device, c), weight in w.items() if c == customer}
        total = math.fsum(boxes.values())
        if total == 0:
            result[customer] = math.nan
            continue
        reached = math.fsum(weight * f_now.get(device, 0.0) for device, weight in boxes.items())
        lost = math.fsum(
            dropped_now.get(device, 0) * weight / math.fsum(x for (d, _), x in w.items() if d == device)
            for device, weight in boxes.items()
        )
        had = requests_now.get(customer, 0)
        kept = had / (had + lost) if had + lost > 0 else 1.0
        result[customer] = reached / total * kept
    return result
