"""Cost of the quality operator at a steady 10,000 slices/s: decoding, windows, coverage, cube, evidence, encoding.

    python -m benchmarks.quality_operator --seed 1 [--boxes 10000] [--minutes 6]

Every box reports every 10 s with 10 slices, as messages of 100 ms per partition, in four partitions; simulated time,
as fast as one core can. The cost is process CPU time per second of simulated time once the first minutes are past,
decoding of messages and encoding of output included, the log itself not. Writes results/quality_operator.json.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.common import write_result
from contracts.arrow import batch as make_batch
from contracts.arrow import from_bytes, to_bytes
from contracts.columns import COUNT_NAMES, HISTOGRAM_NAMES, REGISTRY_DIMENSIONS, REPORT_DIMENSIONS, REPORTS, SLICES
from contracts.times import MINUTE_MS
from contracts.topics import DEVICE_EVIDENCE, QUALITY_CUBE, QUALITY_MINUTES, partition_of
from contracts.topics import REPORTS as REPORTS_TOPIC
from contracts.topics import SLICES as SLICES_TOPIC
from streams.quality import QualityOperator
from streams.settings import QualitySettings

PARTITIONS = 4
FLUSH_MS = 100
INTERVAL_MS = 10_000
SLICES_PER_REPORT = 10
START = 1_700_000_040_000
GOAL_CORE_SHARE = 0.10

Columns = dict[str, Any]


class Fleet:
    """Boxes with fixed attributes and a fixed set of what they serve; counts vary from report to report."""

    def __init__(self, rng: np.random.Generator, boxes: int) -> None:
        self.rng = rng
        self.boxes = boxes
        self.names = pa.array([f"box-{i:05d}" for i in range(boxes)])
        self.boots = pa.array([f"{i:016x}" for i in range(boxes)])
        self.place = np.array([partition_of(name.encode(), PARTITIONS) for name in self.names.to_pylist()])
        self.box = {name: _column(rng, name, boxes, n) for name, n in zip(BOX, (4, 30, 4, 3, 4, 5), strict=True)}
        rows = boxes * SLICES_PER_REPORT
        homes = rng.integers(0, 40, (boxes, 3))  # a box serves about three customers
        customer = homes[np.arange(boxes).repeat(SLICES_PER_REPORT), rng.integers(0, 3, rows)]
        self.customers = [f"customer-{i:02d}" for i in range(40)]
        self.customer_place = np.array([partition_of(c.encode(), PARTITIONS) for c in self.customers])
        self.customer = customer
        self.dimensions = {
            "customer": (customer, pa.array(self.customers)),
            "service": (customer % 2, pa.array(["vod", "live"])),
            "app": (customer % 3, pa.array(["cdn", "hls", "dl"])),
            "client_isp": _column(rng, "client_isp", rows, 5),
            "client_region": _column(rng, "client_region", rows, 30),
            "sched_rule": _column(rng, "sched_rule", rows, 12),
        }

    def reports(self, boxes: Any, start: int, seq: int) -> Columns:
        """Columns of REPORTS for boxes."""
        n = len(boxes)
        values: Columns = {c.name: np.zeros(n, np.int64) for c in REPORTS if c.dtype == "int64"}
        values.update({c.name: [""] * n for c in REPORTS if c.dtype in ("string", "text")})
        values.update(self._who(boxes, start, seq))
        return values

    def slices(self, boxes: Any, start: int, seq: int) -> tuple[Columns, Any]:
        """Columns of SLICES for boxes, and the partition of each row."""
        rows = (boxes[:, None] * SLICES_PER_REPORT + np.arange(SLICES_PER_REPORT)).ravel()
        n = len(rows)
        values = self._who(boxes.repeat(SLICES_PER_REPORT), start, seq)
        values["row"] = np.tile(np.arange(SLICES_PER_REPORT), len(boxes))
        values.update({name: _coded(codes[rows], texts) for name, (codes, texts) in self.dimensions.items()})
        values.update({name: self.rng.poisson(3.0, n) for name in COUNT_NAMES})
        for name in HISTOGRAM_NAMES:
            offsets = pa.array(np.arange(n + 1, dtype=np.int32) * 3)
            cells = (self.rng.integers(30, 90, n)[:, None] + np.array([0, 3, 9])).ravel().astype(np.uint8)
            counts = self.rng.integers(1, 9, 3 * n).astype(np.uint32)
            values[f"{name}_cell"] = pa.ListArray.from_arrays(offsets, pa.array(cells))
            values[f"{name}_count"] = pa.ListArray.from_arrays(offsets, pa.array(counts))
        return values, self.customer_place[self.customer[rows]]

    def _who(self, boxes: Any, start: int, seq: int) -> Columns:
        n = len(boxes)
        values: Columns = {name: _coded(codes[boxes], texts) for name, (codes, texts) in self.box.items()}
        values.update(device=_coded(boxes, self.names), boot=_coded(boxes, self.boots))
        values.update(seq=np.full(n, seq), start=np.full(n, start), end=np.full(n, start + INTERVAL_MS))
        values["received_at"] = np.full(n, start + INTERVAL_MS)
        return values


BOX = REGISTRY_DIMENSIONS + REPORT_DIMENSIONS


def _column(rng: np.random.Generator, name: str, rows: int, distinct: int) -> tuple[Any, Any]:
    return rng.integers(0, distinct, rows), pa.array([f"{name}-{i}" for i in range(distinct)])


def _coded(codes: Any, texts: Any) -> Any:
    """A dictionary of only the values used, as a gateway writes it."""
    used, local = np.unique(codes, return_inverse=True)
    return pa.DictionaryArray.from_arrays(pa.array(local.astype(np.int32)), texts.take(pa.array(used)))


def interval(fleet: Fleet, number: int) -> list[tuple[int, str, int, bytes]]:
    """(time, topic, partition, message) of all boxes' reports of one interval, sent over the following one."""
    start = START + number * INTERVAL_MS
    flushes = INTERVAL_MS // FLUSH_MS
    messages = []
    for flush in range(flushes):
        boxes = np.arange(flush, fleet.boxes, flushes)
        at = start + INTERVAL_MS + (flush + 1) * FLUSH_MS
        headers, place = fleet.reports(boxes, start, number + 1), fleet.place[boxes]
        messages += _split(REPORTS, REPORTS_TOPIC.name, headers, place, at)
        rows, place = fleet.slices(boxes, start, number + 1)
        messages += _split(SLICES, SLICES_TOPIC.name, rows, place, at)
    return messages


def _split(columns: Any, topic: str, values: Columns, place: Any, at: int) -> list[tuple[int, str, int, bytes]]:
    whole = make_batch(columns, values, pa)
    parts = [(p, whole.take(pa.array(np.flatnonzero(place == p)))) for p in range(PARTITIONS)]
    return [(at, topic, p, to_bytes(part, pa)) for p, part in parts if part.num_rows]


def main() -> int:
    """Generate interval by interval, time only the operator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--boxes", type=int, default=10_000)
    parser.add_argument("--minutes", type=int, default=6)
    args = parser.parse_args()
    pa.set_cpu_count(1)
    fleet = Fleet(np.random.default_rng(args.seed), args.boxes)
    outputs = dict.fromkeys((QUALITY_MINUTES.name, QUALITY_CUBE.name, DEVICE_EVIDENCE.name), PARTITIONS)
    operator = QualityOperator(QualitySettings(), outputs)
    operator.assign((t, p) for t in (SLICES_TOPIC.name, REPORTS_TOPIC.name) for p in range(PARTITIONS))
    tables = {SLICES_TOPIC.name: SLICES, REPORTS_TOPIC.name: REPORTS}
    per_minute = MINUTE_MS // INTERVAL_MS
    cpu, rows, written, longest = 0.0, 0, dict.fromkeys(outputs, 0), 0.0
    for number in range(args.minutes * per_minute):
        messages = interval(fleet, number)
        settled = number >= 4 * per_minute  # windows open and close from here
        for at, topic, partition, message in messages:
            begin = time.process_time()
            batch = from_bytes(tables[topic], message, pa)
            operator.process(topic, partition, batch, at)
            emissions = operator.advance()
            sizes = [(e.topic, len(to_bytes(e.batch, pa))) for e in emissions]
            used = time.process_time() - begin
            if settled:
                cpu += used
                longest = max(longest, used)
                rows += batch.num_rows if topic == SLICES_TOPIC.name else 0
                for name, size in sizes:
                    written[name] += size
    seconds = rows / (args.boxes * SLICES_PER_REPORT / (INTERVAL_MS / 1000))
    share = cpu / seconds
    write_result(
        "quality_operator",
        {
            "seed": args.seed,
            "boxes": args.boxes,
            "slices_per_s": round(rows / seconds),
            "simulated_s": round(seconds),
            "cpu_s_per_s": round(share, 4),
            "goal_cpu_s_per_s": GOAL_CORE_SHARE,
            "goal_met": share <= GOAL_CORE_SHARE,
            "slices_per_cpu_s": round(rows / cpu),
            "longest_call_s": round(longest, 3),
            "output_bytes_per_minute": {t: round(n / seconds * 60) for t, n in written.items()},
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        },
        ("numpy", "pyarrow"),
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
