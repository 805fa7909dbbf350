"""What a task needs of closed minutes when it starts again, as messages of quality.memory.

A message holds what coverage remembers of one closed minute (`ClosedMinute`), and in its header a `Checkpoint`: how far
the task had told everything before it wrote the message. So whoever starts again reads an hour in sixty messages, and
slices and reports only of the minutes that were open.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.arrow import batch
from contracts.columns import QUALITY_MEMORY
from streams.kernel import Ints
from streams.reach import Start

CHECKPOINT_HEADER = "checkpoint"
_KINDS = ("box", "traffic", "boot")


@dataclass(frozen=True, slots=True)
class ClosedMinute:
    """Coverage's memory of a minute to which nothing is added any more. Texts by code in `devices`, `customers` and
    `boots`; `box` with `covered_ms`: boxes that were measured; `traffic_*`: requests of a box for a customer; `boot_*`:
    the largest drop counter in the reports of a box's boot."""

    devices: list[str]
    customers: list[str]
    boots: list[str]
    box: Ints
    covered_ms: Ints
    traffic_device: Ints
    traffic_customer: Ints
    traffic_requests: Ints
    boot_device: Ints
    boot: Ints
    boot_dropped: Ints

    def __len__(self) -> int:
        return len(self.box) + len(self.traffic_device) + len(self.boot)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A statement about the log that stays true for ever. Of quality.minutes, what lies below offset `minutes` tells
    all minutes before `first_open` as they closed, with exactly the late requests of telemetry.slices below offset
    `slices`. In quality.memory, `remembered` minutes of the 59 before `first_open` have content. `inputs`: from where
    on rows of `first_open` and later minutes are, in the own partition of telemetry.slices and in all partitions of
    telemetry.reports."""

    slices: int
    minutes: int
    first_open: int
    remembered: int
    inputs: tuple[Start, ...]

    def text(self) -> str:
        """As a record header."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str | None) -> Checkpoint | None:
        """From a record header; None when there is none, or it says something else."""
        try:
            values = json.loads(text or "")
            inputs = tuple(Start(*start) for start in values.pop("inputs"))
            found = cls(**values, inputs=inputs)
        except (ValueError, TypeError, AttributeError, KeyError):
            return None
        numbers = [found.slices, found.minutes, found.first_open, found.remembered, *chain(*inputs)]
        return found if all(type(value) is int and value >= 0 for value in numbers) else None


def memory_batch(minute: int, closed: ClosedMinute) -> Any:
    """A record batch of QUALITY_MEMORY: boxes, then traffic, then boots."""
    lengths = [len(closed.box), len(closed.traffic_device), len(closed.boot)]
    n, (boxes, traffic, boots) = sum(lengths), lengths
    columns: dict[str, Any] = {
        "minute": np.full(n, minute),
        "kind": _texts(np.repeat(np.arange(3), lengths), list(_KINDS)),
        "device": _texts(np.concatenate([closed.box, closed.traffic_device, closed.boot_device]), closed.devices),
        "customer": _texts(_between(boxes, closed.traffic_customer + 1, boots), ["", *closed.customers]),
        "boot": _texts(_between(boxes + traffic, closed.boot + 1, 0), ["", *closed.boots]),
        "covered_ms": _between(0, closed.covered_ms, traffic + boots),
        "requests": _between(boxes, closed.traffic_requests, boots),
        "dropped_requests": _between(boxes + traffic, closed.boot_dropped, 0),
    }
    return batch(QUALITY_MEMORY, columns, pa)


def read_memory(batches: Iterable[Any]) -> dict[int, ClosedMinute]:
    """Minutes with content, each as its last record batch of QUALITY_MEMORY tells it, in ascending order."""
    found: dict[int, ClosedMinute] = {}
    for record_batch in batches:
        if record_batch.num_rows:
            found[record_batch.column("minute")[0].as_py()] = _closed_minute(record_batch)
    return {minute: found[minute] for minute in sorted(found)}


def _closed_minute(record_batch: Any) -> ClosedMinute:
    kind = _codes(record_batch, "kind")
    kinds = record_batch.column("kind").dictionary.to_pylist()
    box, traffic, boot = (np.flatnonzero(kind == (kinds.index(k) if k in kinds else -1)) for k in _KINDS)
    device, customer, boots = (_codes(record_batch, name) for name in ("device", "customer", "boot"))
    numbers = [record_batch.column(name).to_numpy() for name in ("covered_ms", "requests", "dropped_requests")]
    names, customers, boot_ids = (record_batch.column(n).dictionary.to_pylist() for n in ("device", "customer", "boot"))
    return ClosedMinute(
        names,
        customers,
        boot_ids,
        device[box],
        numbers[0][box],
        device[traffic],
        customer[traffic],
        numbers[1][traffic],
        device[boot],
        boots[boot],
        numbers[2][boot],
    )


def _texts(codes: npt.NDArray[Any], values: list[str]) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(values, pa.utf8()))


def _codes(record_batch: Any, name: str) -> Ints:
    codes: Ints = record_batch.column(name).indices.to_numpy().astype(np.int64)
    return codes


def _between(before: int, values: Ints, after: int) -> Ints:
    return np.concatenate([np.zeros(before, np.int64), values, np.zeros(after, np.int64)])
