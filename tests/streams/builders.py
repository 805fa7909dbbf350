"""Messages of a small fleet, and what the quality job should make of them, worked out row by row in plain Python."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from contracts.arrow import batch
from contracts.columns import (
    CELL_DIMENSIONS,
    COUNT_NAMES,
    FAILURE_NAMES,
    HISTOGRAM_NAMES,
    REPORTS,
    SLICES,
)
from contracts.topics import REPORTS as REPORTS_TOPIC
from contracts.topics import SLICES as SLICES_TOPIC
from streams.window import BOX_ATTRIBUTES
from tests.streams import coverage_reference

MINUTE = 60_000
T0 = 1_700_000_040_000  # a whole minute
LATENESS, DELAY, LATE_MEMORY = 120_000, 20_000, 3_600_000

Row = dict[str, Any]


@dataclass(frozen=True)
class Message:
    """A record before it is encoded: rows of one topic in one partition at one time; no rows: a heartbeat."""

    topic: str
    partition: int
    timestamp_ms: int
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Slice:
    """A slice of a report: dimensions that differ from the default, counts, histograms {cell: count}."""

    customer: str = "alpha"
    service: str = "vod"
    counts: Mapping[str, int] = field(default_factory=lambda: {"requests": 1})
    latency: Mapping[int, int] = field(default_factory=dict)
    dimensions: Mapping[str, str] = field(default_factory=dict)


def slice_row(device: str, boot: str, seq: int, row: int, start: int, content: Slice) -> Row:
    """A row of SLICES."""
    values: Row = {"device": device, "boot": boot, "seq": seq, "row": row, "start": start, "end": start + 10_000}
    values["received_at"] = start + 10_000
    values.update(dict.fromkeys(CELL_DIMENSIONS, "x"))
    values.update(dict.fromkeys(COUNT_NAMES, 0))
    values.update(customer=content.customer, service=content.service, **content.dimensions, **content.counts)
    for name in HISTOGRAM_NAMES:
        cells = dict(content.latency) if name == "latency" else {}
        values[f"{name}_cell"] = sorted(cells)
        values[f"{name}_count"] = [cells[c] for c in sorted(cells)]
    return values


def report_row(device: str, boot: str, seq: int, start: int, **overrides: Any) -> Row:
    """A row of REPORTS."""
    values: Row = {column.name: 0 if column.dtype == "int64" else "" for column in REPORTS}
    values.update(dict.fromkeys(BOX_ATTRIBUTES, "x"))
    values.update(device=device, boot=boot, seq=seq, start=start, end=start + 10_000, received_at=start + 10_000)
    return {**values, **overrides}


def slices_batch(rows: Sequence[Row]) -> Any:
    """A record batch of SLICES."""
    return batch(SLICES, {c.name: [r[c.name] for r in rows] for c in SLICES}, pa)


def reports_batch(rows: Sequence[Row]) -> Any:
    """A record batch of REPORTS."""
    return batch(REPORTS, {c.name: [r[c.name] for r in rows] for c in REPORTS}, pa)


def batch_of(message: Message) -> Any:
    """The record batch of a message with rows."""
    return (slices_batch if message.topic == SLICES_TOPIC.name else reports_batch)(message.rows)


def partition_of(key: str, partitions: int) -> int:
    """Where a key belongs."""
    return zlib.crc32(key.encode()) % partitions


def messages_of(
    slices: Iterable[tuple[int, Row]], reports: Iterable[tuple[int, Row]], partitions: int
) -> list[Message]:
    """One message per (time, partition) from (time, row) pairs, by time, reports before slices."""
    places: dict[tuple[int, str, int], list[Row]] = {}
    for at, row in reports:
        places.setdefault((at, REPORTS_TOPIC.name, partition_of(row["device"], partitions)), []).append(row)
    for at, row in slices:
        places.setdefault((at, SLICES_TOPIC.name, partition_of(row["customer"], partitions)), []).append(row)
    return [Message(topic, p, at, tuple(rows)) for (at, topic, p), rows in sorted(places.items(), key=lambda i: i[0])]


def heartbeats(at: int, partitions: int) -> list[Message]:
    """One per partition of telemetry.slices."""
    return [Message(SLICES_TOPIC.name, p, at) for p in range(partitions)]


# Outputs


def final(
    tables: Iterable[tuple[str, Any]], topic: str, keys: Sequence[str], *, repeats: bool = False, atomic: bool = True
) -> dict[tuple[Any, ...], Row]:
    """The row of the highest revision per key from (topic, record batch), without revision and emitted_at. Checks
    that revisions of a key count up (but in the cube one by one) and that each says something new unless `repeats`."""
    newest: dict[tuple[Any, ...], tuple[int, Row]] = {}
    for name, record_batch in tables:
        if name != topic:
            continue
        for row in record_batch.to_pylist():
            revision = row.pop("revision")
            row.pop("emitted_at", None)
            row = {k: None if v != v else v for k, v in row.items()}  # noqa: PLW2901 - NaN is not equal to itself
            key = tuple(row[k] for k in keys)
            before, content = newest.get(key, (0, {}))
            if topic == "quality.cube":
                assert revision > before or (revision == before and not atomic), (key, before, revision)
            else:
                assert revision == before + 1, (key, before, revision)
            assert repeats or row != content, f"revision {revision} of {key} says nothing new"
            newest[key] = (revision, row)
    return {key: row for key, (_, row) in newest.items()}


MINUTE_KEYS = ("minute", "customer", "service")
CUBE_KEYS = ("minute", *CELL_DIMENSIONS)
EVIDENCE_KEYS = ("minute", "device", "part")


# The slow reference


@dataclass
class Expected:
    """What an operator should have said when the watermark stands at `watermark`."""

    minutes: dict[tuple[Any, ...], Row]
    cube: dict[tuple[Any, ...], Row]
    evidence: dict[tuple[Any, ...], Row]


def expected(messages: Sequence[Message], watermark: int, prior_requests: float) -> Expected:
    """Final content from messages in the order of their partitions."""
    slices, headers, late = _sort_out(messages)
    last = watermark - watermark % MINUTE - MINUTE
    touched = [r["start"] - r["start"] % MINUTE for r in slices] + list(late)
    minutes: dict[tuple[Any, ...], Row] = {}
    cube: dict[tuple[Any, ...], Row] = {}
    evidence: dict[tuple[Any, ...], Row] = {}
    for minute in range(min(touched, default=last + MINUTE), last + MINUTE, MINUTE):
        mine = [r for r in slices if r["start"] // MINUTE == minute // MINUTE]
        covered = _coverage(minute, slices, headers)
        recent = [r for r in slices if minute - 59 * MINUTE <= r["start"] < minute + MINUTE]
        services = {(r["customer"], r["service"]) for r in recent} | set(late.get(minute, {}))
        for customer, service in services:
            rows = [r for r in mine if (r["customer"], r["service"]) == (customer, service)]
            coverage = covered.get(customer, float("nan"))
            minutes[minute, customer, service] = {
                "minute": minute,
                "customer": customer,
                "service": service,
                **_sum(rows),
                "late_requests": late.get(minute, {}).get((customer, service), 0),
                "boxes": len({r["device"] for r in rows}),
                "coverage": None if coverage != coverage else coverage,
            }
        for cell in {tuple(r[d] for d in CELL_DIMENSIONS) for r in mine}:
            rows = [r for r in mine if tuple(r[d] for d in CELL_DIMENSIONS) == cell]
            cube[minute, *cell] = {"minute": minute, **dict(zip(CELL_DIMENSIONS, cell, strict=True)), **_sum(rows)}
        evidence.update(_evidence(minute, mine, prior_requests))
    return Expected(minutes, cube, evidence)


def _sort_out(messages: Sequence[Message]) -> tuple[list[Row], list[Row], dict[int, dict[tuple[str, str], int]]]:
    newest: dict[tuple[str, int], int] = {}
    slices: dict[tuple[Any, ...], Row] = {}
    headers: list[Row] = []
    late: dict[int, dict[tuple[str, str], int]] = {}
    for message in messages:
        place = (message.topic, message.partition)
        newest[place] = max(newest.get(place, 0), message.timestamp_ms)
        watermark = newest[place] - DELAY
        for row in message.rows:
            minute = row["start"] - row["start"] % MINUTE
            on_time = minute + MINUTE + LATENESS > watermark
            if message.topic == REPORTS_TOPIC.name:
                headers += [row] if on_time else []
            elif on_time:
                slices.setdefault((row["device"], row["boot"], row["seq"], row["row"], minute), row)
            elif minute + MINUTE + LATE_MEMORY > watermark:
                counts = late.setdefault(minute, {})
                key = (row["customer"], row["service"])
                counts[key] = counts.get(key, 0) + row["requests"]
    late = {m: {k: n for k, n in counts.items() if n} for m, counts in late.items()}
    return list(slices.values()), headers, {m: counts for m, counts in late.items() if counts}


def _sum(rows: Sequence[Row]) -> Row:
    summed: Row = {name: sum(r[name] for r in rows) for name in COUNT_NAMES}
    for name in HISTOGRAM_NAMES:
        cells: dict[int, int] = {}
        for r in rows:
            for cell, count in zip(r[f"{name}_cell"], r[f"{name}_count"], strict=True):
                cells[cell] = cells.get(cell, 0) + count
        cells = {c: n for c, n in cells.items() if n}
        summed[f"{name}_cell"] = sorted(cells)
        summed[f"{name}_count"] = [cells[c] for c in sorted(cells)]
    return summed


def measured_of(slices: Sequence[Row], headers: Sequence[Row]) -> list[coverage_reference.Measured]:
    """What coverage_reference.coverage takes, from rows."""
    intervals: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for h in headers:
        key = (h["device"], h["start"] - h["start"] % MINUTE)
        intervals.setdefault(key, []).append((h["start"], h["end"]))
    requests: dict[tuple[str, int], dict[str, int]] = {}
    for r in slices:
        counts = requests.setdefault((r["device"], r["start"] - r["start"] % MINUTE), {})
        counts[r["customer"]] = counts.get(r["customer"], 0) + r["requests"]
    return [
        (
            device,
            at,
            coverage_reference.covered_share(intervals.get((device, at), []), at),
            requests.get((device, at), {}),
        )
        for device, at in set(intervals) | set(requests)
    ]


def _coverage(minute: int, slices: Sequence[Row], headers: Sequence[Row]) -> dict[str, float]:
    drops = coverage_reference.declared_drops(
        (h["device"], h["boot"], h["seq"], h["start"], h["dropped_requests"] - h["spool_dropped_requests"])
        for h in headers
    )
    return coverage_reference.coverage(minute, measured_of(slices, headers), drops)


def _evidence(minute: int, rows: Sequence[Row], k: float) -> dict[tuple[Any, ...], Row]:
    def count(select: Any) -> tuple[int, int]:
        chosen = [r for r in rows if select(r)]
        return sum(r["requests"] for r in chosen), sum(r[f] for r in chosen for f in FAILURE_NAMES)

    result: dict[tuple[Any, ...], Row] = {}
    for device in {r["device"] for r in rows}:
        others_n, others_f = count(lambda r: r["device"] != device)  # noqa: B023 - used within the iteration
        total: float | None = 0.0 if others_n else None
        strata = {(r["customer"], r["client_isp"], r["client_region"]) for r in rows if r["device"] == device}
        for stratum in sorted(strata):
            if total is None:
                break
            n_c, f_c = count(lambda r: r["device"] != device and r["customer"] == stratum[0])  # noqa: B023
            same = [
                r
                for r in rows
                if r["device"] != device and (r["customer"], r["client_isp"], r["client_region"]) == stratum
            ]
            n_s, f_s = sum(r["requests"] for r in same), sum(r[f] for r in same for f in FAILURE_NAMES)
            rate = (f_s + k * (f_c + k * others_f / others_n) / (n_c + k)) / (n_s + k)
            served = [
                r
                for r in rows
                if r["device"] == device and (r["customer"], r["client_isp"], r["client_region"]) == stratum
            ]
            total += sum(r["requests"] for r in served) * rate
        newest = max((r["start"], tuple(r[name] for name in BOX_ATTRIBUTES)) for r in rows if r["device"] == device)[1]
        requests, failures = count(lambda r: r["device"] == device)  # noqa: B023
        result[minute, device, 0] = {
            "minute": minute,
            "device": device,
            "part": 0,
            **dict(zip(BOX_ATTRIBUTES, newest, strict=True)),
            "requests": requests,
            "failures": failures,
            "expected_failures": total,
        }
    return result
