"""Logs with the inputs of a small fleet, and what operators wrote to them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from contracts.arrow import HEARTBEAT, KIND_HEADER, from_bytes, to_bytes
from contracts.columns import TABLES
from contracts.protocols import Log, Record, StoredRecord
from contracts.topics import BY_NAME, DEVICE_EVIDENCE, QUALITY_CUBE, QUALITY_MINUTES
from streams.runner import OUTPUTS
from tests.streams.builders import (
    CUBE_KEYS,
    EVIDENCE_KEYS,
    MINUTE_KEYS,
    T0,
    Message,
    Slice,
    batch_of,
    final,
    messages_of,
    report_row,
    slice_row,
)

PARTITIONS = 2


def record_of(message: Message) -> Record:
    if not message.rows:
        headers = {KIND_HEADER: HEARTBEAT}
        return Record(message.topic, b"", b"", message.timestamp_ms, message.partition, headers)
    return Record(message.topic, b"", to_bytes(batch_of(message), pa), message.timestamp_ms, message.partition)


def append(log: Log, messages: Sequence[Message]) -> None:
    log.submit([record_of(m) for m in messages]).result()


def read(log: Log, *topics: str) -> list[StoredRecord]:
    ends = {(t, p): end for t in topics for p, end in enumerate(log.end_offsets(t))}
    reader = log.reader(dict.fromkeys(ends, 0))
    records: list[StoredRecord] = []
    deadline = time.monotonic() + 30
    while any(at < ends[place] for place, at in reader.positions().items()):
        assert time.monotonic() < deadline, "the log does not give what it has"
        records += reader.poll(1_000, 1.0)
    reader.close()
    return [r for r in records if r.offset < ends[r.topic, r.partition]]


def tables(log: Log, *topics: str) -> list[tuple[str, Any]]:
    decoded = []
    for record in read(log, *topics):
        table = BY_NAME[record.topic].table
        assert table is not None
        decoded.append((record.topic, from_bytes(TABLES[table], record.value, pa)))
    return decoded


def fleet(
    minutes: int, boxes: int, *, partitions: int = PARTITIONS, drops: bool = True, seed: int = 11
) -> list[Message]:
    """Boxes of three customers, one report per half minute, with reboots, silences, drops, backlog and repeats."""
    rng = np.random.default_rng(11)
    slices, reports = [], []
    for box in range(boxes):
        device, boot, seq, dropped = f"d{box}", "b0", 0, 0
        asleep = range(int(rng.integers(0, minutes)), int(rng.integers(0, minutes)))
        for half in range(2 * minutes):
            start = T0 + half * 30_000
            if half // 2 in asleep:
                continue
            if rng.random() < 0.01:
                boot, seq, dropped = f"b{half}", 0, 0
            seq += 1
            dropped += int(drops) * int(rng.random() < 0.05) * int(rng.integers(1, 9))
            at = start + 11_000 + int(rng.choice([0, 2_000, 60_000, 200_000], p=[0.6, 0.35, 0.03, 0.02]))
            repeats = 1 + int(rng.random() < 0.02)
            reports += [(at, report_row(device, boot, seq, start, dropped_requests=dropped))] * repeats
            for row in range(int(rng.integers(0, 3))):
                content = Slice(
                    customer=str(rng.choice(["alpha", "beta", "gamma"])),
                    counts={"requests": int(rng.integers(1, 50)), "f_reset": int(rng.integers(0, 3))},
                    latency={int(rng.integers(0, 130)): 3},
                    dimensions={"client_isp": str(rng.choice(["i1", "i2"]))},
                )
                slices += [(at, slice_row(device, boot, seq, row, start, content))] * repeats
    return messages_of(slices, reports, PARTITIONS)


def outputs(log: Log, *, atomic: bool = True) -> tuple[Any, ...]:
    """Minutes, cube and evidence by key, each at its highest revision. `atomic`: a writer that dies never leaves a
    cube without its minute, so no revision of a cell comes twice."""
    out = tables(log, *OUTPUTS)
    return (
        final(out, QUALITY_MINUTES.name, MINUTE_KEYS),
        final(out, QUALITY_CUBE.name, CUBE_KEYS, repeats=True, atomic=atomic),
        final(out, DEVICE_EVIDENCE.name, EVIDENCE_KEYS),
    )
