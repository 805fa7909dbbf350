"""The report a box sends, version 1: its types, its limits, and its bytes (columnar JSON). `decode` reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.columns import COUNT_NAMES, HISTOGRAM_NAMES, SLICE_DIMENSIONS

VERSION = 1
SUPPORTED_VERSIONS = (1,)

MAX_BODY_BYTES = 256 * 1024  # compressed, on the wire
MAX_DECODED_BYTES = 2 * 1024 * 1024
MAX_SLICES = 2_000
MAX_EXEMPLARS = 64
MAX_EARLIER_BOOTS = 8
MAX_DROP_CAUSES = 16
MAX_TEXT = 64  # characters of a dimension value
MAX_COUNT = 2**53 - 1  # exact in every JSON reader
MAX_CELL_COUNT = 2**32 - 1

# Causes a box may declare a drop with. The first two lose whole reports, the others lose requests inside a report
# that arrives.
DROP_SPOOL_FULL = "spool_full"
DROP_SPOOL_CORRUPT = "spool_corrupt"
DROP_LINE_MALFORMED = "line_malformed"
DROP_SLICE_LIMIT = "slice_limit"
SPOOL_CAUSES = (DROP_SPOOL_FULL, DROP_SPOOL_CORRUPT)


@dataclass(frozen=True, slots=True)
class Totals:
    """Cumulative since boot, this report's interval included. `requests` counts everything seen, dropped included.

    The three `dropped_*` map cause -> count. `dropped_requests[c]` of a cause in SPOOL_CAUSES are requests of whole
    reports that will never arrive; of other causes, requests that were seen but are in no slice.
    """

    requests: int = 0
    slices: int = 0
    dropped_requests: Mapping[str, int] = field(default_factory=dict)
    dropped_slices: Mapping[str, int] = field(default_factory=dict)
    dropped_reports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EarlierBoot:
    """What the box still knows of an earlier boot of its agent: the oldest seq still spooled (None: none left) and
    what it dropped of that boot after that boot's last report, cumulative."""

    boot: str
    oldest_spooled_seq: int | None
    dropped_reports: int = 0
    dropped_requests: int = 0
    dropped_slices: int = 0


@dataclass(frozen=True, slots=True)
class Histograms:
    """Sparse histograms of all rows: row r owns the next `lengths[r]` entries of `cells` (ascending) and `counts`."""

    lengths: Sequence[int]
    cells: Sequence[int]
    counts: Sequence[int]


@dataclass(frozen=True, slots=True)
class Slices:
    """Columns, all of one length: `dimensions` name -> text, `counts` name -> int, `histograms` by name."""

    dimensions: Mapping[str, Sequence[str]]
    counts: Mapping[str, Sequence[int]]
    histograms: Mapping[str, Histograms]

    def __len__(self) -> int:
        return len(self.dimensions["customer"])


def no_slices() -> Slices:
    """The slices of an idle interval."""
    return Slices(
        {n: [] for n in SLICE_DIMENSIONS},
        {n: [] for n in COUNT_NAMES},
        {n: Histograms([], [], []) for n in HISTOGRAM_NAMES},
    )


@dataclass(frozen=True, slots=True)
class Report:
    """One interval of one box. Times in ms UTC by the box's clock. `vitals` name -> number; absent: not measurable
    on this box. `exemplars`: columns of EXEMPLARS_MEASURES, all of one length."""

    device: str
    boot: str
    seq: int
    start: int
    end: int
    oldest_spooled_seq: int
    model: str
    firmware: str
    agent: str
    totals: Totals
    earlier_boots: Sequence[EarlierBoot] = ()
    vitals: Mapping[str, float] = field(default_factory=dict)
    slices: Slices = field(default_factory=no_slices)
    exemplars: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def encode(report: Report) -> bytes:
    """Compact JSON of a report, UTF-8, not compressed. The caller states valid data; `decode` checks it."""
    slices: dict[str, Any] = {n: list(report.slices.dimensions[n]) for n in SLICE_DIMENSIONS}
    slices.update((n, list(report.slices.counts[n])) for n in COUNT_NAMES)
    for name in HISTOGRAM_NAMES:
        h = report.slices.histograms[name]
        slices[name] = {"lengths": list(h.lengths), "cells": list(h.cells), "counts": list(h.counts)}
    totals = report.totals
    document = {
        "v": VERSION,
        "device": report.device,
        "boot": report.boot,
        "seq": report.seq,
        "start": report.start,
        "end": report.end,
        "oldest_spooled_seq": report.oldest_spooled_seq,
        "model": report.model,
        "firmware": report.firmware,
        "agent": report.agent,
        "totals": {
            "requests": totals.requests,
            "slices": totals.slices,
            "dropped_requests": dict(totals.dropped_requests),
            "dropped_slices": dict(totals.dropped_slices),
            "dropped_reports": dict(totals.dropped_reports),
        },
        "earlier_boots": [
            {
                "boot": b.boot,
                "oldest_spooled_seq": b.oldest_spooled_seq,
                "dropped_reports": b.dropped_reports,
                "dropped_requests": b.dropped_requests,
                "dropped_slices": b.dropped_slices,
            }
            for b in report.earlier_boots
        ],
        "vitals": dict(report.vitals),
        "slices": slices,
        "exemplars": {name: list(values) for name, values in report.exemplars.items()},
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
