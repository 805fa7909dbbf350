"""The backlog every engine of the comparison works through: a fleet's reports as a loaded gateway writes them.

Every box reports every 10 s with the same set of slices (what it serves changes slowly) and new counts, boxes in a
new order each time. A message holds up to `rows_per_message` rows of many boxes and customers, with dictionaries of
only the values it uses. Headers of reports precede their slices, as the gateway appends them together. The last
record is a heartbeat of five minutes later, which closes all minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from contracts.arrow import HEARTBEAT, KIND_HEADER, to_bytes
from contracts.arrow import batch as make_batch
from contracts.columns import COUNT_NAMES, HISTOGRAM_NAMES, REGISTRY_DIMENSIONS, REPORT_DIMENSIONS, REPORTS, SLICES
from contracts.times import MINUTE_MS
from contracts.topics import REPORTS as REPORTS_TOPIC
from contracts.topics import SLICES as SLICES_TOPIC
from contracts.topics import partition_of

START = 1_700_000_040_000  # a whole minute
CLOSES_AFTER_MS = 5 * MINUTE_MS  # the last heartbeat, after the last minute: watermark delay, lateness, and some
INTERVAL_MS = 10_000
INTERVALS_PER_MINUTE = MINUTE_MS // INTERVAL_MS
_ENTRIES = 3  # per histogram and row

Columns = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """How large a backlog is. `slices`: per box and report."""

    boxes: int = 6_000
    slices: int = 20
    minutes: int = 5
    customers: int = 40
    partitions: int = 1
    rows_per_message: int = 8_000

    @property
    def rows(self) -> int:
        """Slices of all minutes."""
        return self.boxes * self.slices * self.minutes * INTERVALS_PER_MINUTE


@dataclass(frozen=True, slots=True)
class Message:
    """A record of the log to be."""

    topic: str
    partition: int
    timestamp_ms: int
    value: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Fleet:
    """Boxes with fixed attributes and a fixed set of what they serve; counts vary from report to report."""

    def __init__(self, size: Size, seed: int) -> None:
        self.size = size
        self._rng = np.random.default_rng(seed)
        self._names = pa.array([f"box-{i:05d}" for i in range(size.boxes)])
        self._boots = pa.array([f"{i * 0x9E3779B97F4A7C15 & (1 << 64) - 1:016x}" for i in range(size.boxes)])
        self._header_place = self._places(self._names)
        attributes = zip(REGISTRY_DIMENSIONS + REPORT_DIMENSIONS, (4, 30, 4, 3, 4, 5), strict=True)
        self._attributes = {name: self._draw(name, size.boxes, n) for name, n in attributes}
        rows = size.boxes * size.slices
        homes = self._rng.integers(0, size.customers, (size.boxes, 3))  # a box serves about three customers
        customer = homes[np.arange(size.boxes).repeat(size.slices), self._rng.integers(0, 3, rows)]
        customers = pa.array([f"customer-{i:02d}" for i in range(size.customers)])
        # A box's clients are of its own region and ISP, mostly.
        near = self._rng.random(rows) < 0.8
        region = np.where(
            near, self._attributes["device_region"][0].repeat(size.slices), self._rng.integers(0, 30, rows)
        )
        self._dimensions = {
            "customer": (customer, customers),
            "service": (customer % 2, pa.array(["vod", "live"])),
            "app": (customer % 3, pa.array(["cdn", "hls", "dl"])),
            "client_isp": self._draw("client_isp", rows, 4),
            "client_region": (region, pa.array([f"region-{i}" for i in range(30)])),
            "sched_rule": self._draw("sched_rule", rows, 12),
        }
        self._slice_place = self._places(customers)[customer]

    def messages(self) -> Iterator[list[Message]]:
        """Messages of one interval after the other, in the order they are appended."""
        for number in range(self.size.minutes * INTERVALS_PER_MINUTE):
            start = START + number * INTERVAL_MS
            boxes = self._rng.permutation(self.size.boxes)
            rows = (boxes[:, None] * self.size.slices + np.arange(self.size.slices)).ravel()
            headers = make_batch(REPORTS, self._headers(boxes, start, number + 1), pa)
            slices = make_batch(SLICES, self._slices(boxes, rows, start, number + 1), pa)
            at = start + 2 * INTERVAL_MS
            yield [
                *self._split(REPORTS_TOPIC.name, headers, self._header_place[boxes], at),
                *self._split(SLICES_TOPIC.name, slices, self._slice_place[rows], at),
            ]
        end = START + self.size.minutes * MINUTE_MS + CLOSES_AFTER_MS
        for topic in (REPORTS_TOPIC.name, SLICES_TOPIC.name):
            yield [Message(topic, p, end, b"", {KIND_HEADER: HEARTBEAT}) for p in range(self.size.partitions)]

    def _headers(self, boxes: Any, start: int, seq: int) -> Columns:
        n = len(boxes)
        values: Columns = {c.name: np.zeros(n, np.int64) for c in REPORTS if c.dtype == "int64"}
        values.update({c.name: [""] * n for c in REPORTS if c.dtype in ("string", "text")})
        return values | self._who(boxes, start, seq)

    def _slices(self, boxes: Any, rows: Any, start: int, seq: int) -> Columns:
        size, rng, n = self.size, self._rng, len(rows)
        values = self._who(boxes.repeat(size.slices), start, seq)
        values["row"] = np.tile(np.arange(size.slices), size.boxes)
        values.update({name: _coded(codes[rows], texts) for name, (codes, texts) in self._dimensions.items()})
        values.update({name: np.zeros(n, np.int64) for name in COUNT_NAMES})
        requests = rng.integers(1, 40, n)
        failed = (rng.random(n) < 0.05).astype(np.int64)
        values.update(requests=requests, s2xx=requests - failed, s5xx=failed, f_server=failed)
        values.update(bytes=requests * rng.integers(200_000, 4_000_000, n), cache_hits=requests - failed)
        values.update(sessions=requests // 8 + 1, play_ms=requests * 9_000, stall_ms=failed * rng.integers(0, 5_000, n))
        for name in HISTOGRAM_NAMES:
            offsets = pa.array(np.arange(n + 1, dtype=np.int32) * _ENTRIES)
            cells = (rng.integers(30, 90, n)[:, None] + np.array([0, 3, 9])).astype(np.uint8)
            counts = np.stack([requests - requests // 2, requests // 3, requests // 2 - requests // 3], 1)
            values[f"{name}_cell"] = pa.ListArray.from_arrays(offsets, pa.array(cells.ravel()))
            values[f"{name}_count"] = pa.ListArray.from_arrays(offsets, pa.array(counts.ravel().astype(np.uint32)))
        return values

    def _who(self, boxes: Any, start: int, seq: int) -> Columns:
        n = len(boxes)
        values: Columns = {name: _coded(codes[boxes], texts) for name, (codes, texts) in self._attributes.items()}
        values.update(device=_coded(boxes, self._names), boot=_coded(boxes, self._boots))
        values.update(seq=np.full(n, seq), start=np.full(n, start), end=np.full(n, start + INTERVAL_MS))
        values["received_at"] = np.full(n, start + INTERVAL_MS)
        return values

    def _split(self, topic: str, whole: Any, place: Any, at: int) -> Iterator[Message]:
        for partition in range(self.size.partitions):
            rows = np.flatnonzero(place == partition)
            for begin in range(0, len(rows), self.size.rows_per_message):
                part = whole.take(pa.array(rows[begin : begin + self.size.rows_per_message]))
                yield Message(topic, partition, at, to_bytes(_compact(part), pa))

    def _places(self, texts: Any) -> Any:
        return np.array([partition_of(text.encode(), self.size.partitions) for text in texts.to_pylist()])

    def _draw(self, name: str, rows: int, distinct: int) -> tuple[Any, Any]:
        return self._rng.integers(0, distinct, rows), pa.array([f"{name}-{i}" for i in range(distinct)])


def _coded(codes: Any, texts: Any) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), texts)


def _compact(part: Any) -> Any:
    """The batch with dictionaries of only the values used, as a gateway writes them."""
    columns = []
    for column in part.columns:
        if pa.types.is_dictionary(column.type):
            used, local = np.unique(column.indices.to_numpy(), return_inverse=True)
            texts = column.dictionary.take(pa.array(used))
            column = pa.DictionaryArray.from_arrays(pa.array(local.astype(np.int32)), texts)  # noqa: PLW2901
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=part.schema)
