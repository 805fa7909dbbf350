"""Minutes of customers put straight into history's tables, and the same minutes judged by the definition, slowly."""

from dataclasses import dataclass
from fractions import Fraction

import pyarrow as pa

from contracts.histogram import THROUGHPUT_BASE_KB_PER_S, effective_threshold, latency_base_ms, upper_bounds
from contracts.sla import Month, ServiceLevel

MINUTE, HOUR = 60_000, 3_600_000
PER_BOX = 10.0  # requests per minute that a box usually serves
OCT = Month(2026, 10)


def level(**changes):
    values = {
        "customer": "acme", "name": "acme-vod", "service": "vod", "measure": "failures", "minute_target": 0.99,
        "target": 0.999, "timezone": "UTC", "valid_from": Month(2026, 1),
    }  # fmt: skip
    return ServiceLevel(**{**values, **changes})


@dataclass(frozen=True)
class Row:
    """A minute of one service. `heard` of `placed` boxes reported; None: nothing was expected."""

    minute: int
    requests: int = 100
    failures: int = 0
    heard: int | None = 10
    placed: int = 10
    customer: str = "acme"
    service: str = "vod"
    sessions: int = 0
    stalled: int = 0
    hits: int = 0
    latency: tuple = ()  # (cell, count)
    throughput: tuple = ()


def fill(store, rows, per_box=PER_BOX, version=1):
    """Store rows with the coverage of their minutes; the first row of a customer's minute states it."""
    measured = [r for r in rows if r.requests]
    store.insert(
        "minutes",
        pa.table(
            {
                "minute": [r.minute for r in measured],
                "customer": [r.customer for r in measured],
                "service": [r.service for r in measured],
                "requests": [r.requests for r in measured],
                "f_reset": [r.failures for r in measured],
                "sessions": [r.sessions for r in measured],
                "stalled_sessions": [r.stalled for r in measured],
                "cache_hits": [r.hits for r in measured],
                **_histogram("latency", measured),
                **_histogram("throughput", measured),
                "version": pa.array([version] * len(measured), pa.uint64()),
            }
        ),
    )
    for table, column, width in (("hours", "hour", HOUR), ("days", "day", 24 * HOUR)):
        keys = sorted({(r.minute // width * width, r.customer, r.service) for r in measured})
        at, customer, service = (list(c) for c in zip(*keys, strict=True)) if keys else ([], [], [])
        ones = pa.array([version] * len(keys), pa.uint64())
        store.insert(table, pa.table({column: at, "customer": customer, "service": service, "version": ones}))
    cover = {}
    for r in rows:
        key = r.minute, r.customer
        total = cover[key][1] + r.requests if key in cover else r.requests
        cover[key] = (cover[key][0] if key in cover else r), total
    kept = [(r, total) for r, total in cover.values()]
    share = [None if r.heard is None else r.heard / r.placed for r, _ in kept]
    placed = [0.0 if r.heard is None else r.placed * per_box for r, _ in kept]
    store.insert(
        "coverage_minutes",
        pa.table(
            {
                "minute": [r.minute for r, _ in kept],
                "customer": [r.customer for r, _ in kept],
                "coverage": pa.array(share, pa.float64()),
                "weight_placed": pa.array(placed, pa.float64()),
                "weight_measured": pa.array([p * (s or 0.0) for p, s in zip(placed, share, strict=True)], pa.float64()),
                "requests": [total for _, total in kept],
                "boxes_placed": [0 if r.heard is None else r.placed for r, _ in kept],
                "boxes_measured": [r.heard or 0 for r, _ in kept],
                "version": pa.array([version] * len(kept), pa.uint64()),
            }
        ),
    )


def _histogram(name, rows):
    cells = [[c for c, _ in sorted(getattr(r, name))] for r in rows]
    counts = [[n for _, n in sorted(getattr(r, name))] for r in rows]
    return {
        f"{name}_cell": pa.array(cells, pa.list_(pa.uint8())),
        f"{name}_count": pa.array(counts, pa.list_(pa.uint64())),
    }


def trials(row, promised):
    """(total, bad) of a row, by the meaning of the measure."""
    if promised.measure == "failures":
        return row.requests, row.failures
    if promised.measure == "stalled_sessions":
        return row.sessions, row.stalled
    if promised.measure == "cache_misses":
        return row.requests, row.requests - row.hits
    name = "latency" if promised.measure == "slow_requests" else "throughput"
    base = latency_base_ms(row.service) if name == "latency" else THROUGHPUT_BASE_KB_PER_S
    bounds = (*upper_bounds(base), float("inf"))
    acts_at = effective_threshold(promised.threshold, base)
    above = sum(n for cell, n in getattr(row, name) if bounds[cell] > acts_at * (1 + 1e-9))
    total = sum(n for _, n in getattr(row, name))
    return total, above if name == "latency" else total - above


def letter(row, promised, hour):
    """Class of a minute of one service alone, by the definition; exact. `hour`: rows of the hour up to the minute."""
    total, bad = trials(row, promised)
    if row.heard is None:
        return "u" if total else "n"
    if row.heard == 0:
        return "u" if row.requests == 0 else "?"
    missing = total * (Fraction(row.placed, row.heard) - 1)
    if not total:  # what the boxes that were not heard usually serve of it
        requests = sum(r.requests for r in hour)
        share = Fraction(sum(trials(r, promised)[0] for r in hour), requests) if requests else 0
        usual = (row.placed - row.heard) * int(PER_BOX) * share
        missing = usual if usual >= Fraction(1, 2) else 0
    target = Fraction(str(promised.minute_target))
    if total + missing == 0:
        return "n"
    if total - bad >= target * (total + missing):
        return "g"
    return "b" if total - bad + missing < target * (total + missing) else "u"
