"""Arrow messages of the telemetry topics from accepted reports and refusals: one per topic and partition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from contracts import arrow
from contracts.columns import (
    COUNT_NAMES,
    EXEMPLARS,
    EXEMPLARS_MEASURES,
    HISTOGRAM_NAMES,
    REGISTRY_DIMENSIONS,
    REJECTED,
    REPORT_DIMENSIONS,
    REPORTS,
    SLICE_DIMENSIONS,
    SLICES,
    UNKNOWN,
    VITALS,
    VITALS_MEASURES,
    Column,
)
from contracts.entities import DeviceAttributes
from contracts.protocols import Record
from contracts.report import SPOOL_CAUSES
from contracts.topics import REJECTED as REJECTED_TOPIC
from contracts.topics import REPORTS as REPORTS_TOPIC
from contracts.topics import SLICES as SLICES_TOPIC
from contracts.topics import VITALS as VITALS_TOPIC
from contracts.topics import Topic, partition_of
from ingest.rows import Bools, Ints, Rows
from ingest.wire import WireReport

_DROPS = (
    ("requests", "dropped_requests"),
    ("slices", "dropped_slices"),
    ("reports", "dropped_reports"),
)


@dataclass(slots=True)
class Accepted:
    """A report that will be stored. Times in ms UTC; `shift_ms` is added to the box's times; `refused`: rows that are
    not stored. `rows`: the only rows to store (a replay), None: all."""

    report: WireReport
    sent_at: int
    received_at: int
    shift_ms: int
    digest: str
    attributes: DeviceAttributes | None
    refused: list[int] = field(default_factory=list)
    rows: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal as telemetry.rejected keeps it. `rows` empty: the whole report."""

    device: str
    boot: str
    seq: int
    sent_at: int
    received_at: int
    reason: str
    detail: str
    body: bytes
    rows: Sequence[int] = ()
    requests: int = 0
    source: str = "gateway"
    state: str = "kept"
    id: str = ""

    def identity(self) -> str:
        """Given, or made of what was refused and why: the same refusal again has the same id."""
        if self.id:
            return self.id
        text = "\n".join((self.device, self.boot, str(self.seq), self.reason, json.dumps(list(self.rows))))
        return hashlib.sha256(text.encode() + b"\n" + self.body).hexdigest()[:32]


def slice_messages(rows: Rows, accepted: Sequence[Accepted], keep: Bools, partitions: int) -> list[Record]:
    """Rows where `keep` holds, of reports in the order of `accepted`. A report that is not accepted has None there and
    no kept row."""
    if not keep.any():
        return []
    at = rows.report_of
    values: dict[str, Any] = {name: spread(column, at) for name, column in _per_report(accepted).items()}
    values["row"] = rows.row
    values.update((n, texts(rows.texts[n])) for n in SLICE_DIMENSIONS)
    values.update((n, rows.counts[n]) for n in COUNT_NAMES)
    for name in HISTOGRAM_NAMES:
        sparse = rows.histograms[name]
        offsets = pa.array(np.concatenate(([0], np.cumsum(sparse.lengths))).astype(np.int32))
        values[f"{name}_cell"] = pa.ListArray.from_arrays(offsets, pa.array(sparse.cells))
        values[f"{name}_count"] = pa.ListArray.from_arrays(offsets, pa.array(sparse.counts.astype(np.uint32)))
    return messages(SLICES_TOPIC, SLICES, values, "customer", partitions, accepted, keep=keep)


def report_messages(accepted: Sequence[Accepted], sums: Ints, partitions: int) -> list[Record]:
    """Headers of accepted reports; `sums`: requests, slices, refused requests per report, (3, reports)."""
    reports = [a.report for a in accepted]
    totals = [r.totals for r in reports]
    dropped = {f"dropped_{n}": [sum(getattr(t, f).values()) for t in totals] for n, f in _DROPS}
    spooled = {
        f"spool_{f}": [sum(getattr(t, f).get(c, 0) for c in SPOOL_CAUSES) for t in totals] for _, f in _DROPS[:2]
    }
    values: dict[str, Any] = {
        **_per_report(accepted),
        "v": [r.v for r in reports],
        "sent_at": [a.sent_at for a in accepted],
        "clock_offset_ms": [a.received_at - a.sent_at for a in accepted],
        "shift_ms": [a.shift_ms for a in accepted],
        "oldest_spooled_seq": [r.oldest_spooled_seq for r in reports],
        "agent": texts([r.agent for r in reports]),
        "requests": sums[0],
        "slices": sums[1],
        "rejected_requests": sums[2],
        "rejected_slices": [len(a.refused) for a in accepted],
        "total_requests": [t.requests for t in totals],
        "total_slices": [t.slices for t in totals],
        **dropped,
        **spooled,
        "dropped_by_cause": [_by_cause(t) for t in totals],
        "earlier_boots": [_earlier(r) for r in reports],
        "digest": texts([a.digest for a in accepted]),
    }
    return messages(REPORTS_TOPIC, REPORTS, values, "device", partitions, accepted)


def vitals_messages(accepted: Sequence[Accepted], partitions: int) -> list[Record]:
    """Vitals of the reports that carry any."""
    having = [a for a in accepted if a.report.vitals]
    if not having:
        return []
    values = dict(_per_report(having))
    for column in VITALS_MEASURES:
        values[column.name] = pa.array([a.report.vitals.get(column.name) for a in having], pa.float64())
    return messages(VITALS_TOPIC, VITALS, values, "device", partitions, having, kind="vitals")


def exemplar_messages(accepted: Sequence[Accepted], partitions: int) -> list[Record]:
    """Exemplars of the reports that carry any, their times corrected like the interval's."""
    having = [a for a in accepted if a.report.exemplars and a.report.exemplars["at"]]
    if not having:
        return []
    at = np.repeat(np.arange(len(having)), [len(a.report.exemplars["at"]) for a in having])
    values = {name: spread(column, at) for name, column in _per_report(having).items()}
    for column in EXEMPLARS_MEASURES:
        found: list[Any] = [v for a in having for v in a.report.exemplars[column.name]]
        values[column.name] = texts(found) if column.dtype == "string" else np.array(found, np.int64)
    values["at"] = values["at"] + np.array([a.shift_ms for a in having], np.int64)[at]
    return messages(VITALS_TOPIC, EXEMPLARS, values, "device", partitions, having, kind="exemplars")


def rejected_messages(refused: Sequence[Refused], partitions: int) -> list[Record]:
    """Refusals with their bytes."""
    if not refused:
        return []
    values: dict[str, Any] = {
        c.name: [getattr(r, c.name) for r in refused] for c in REJECTED if c.name not in ("id", "rows", "slices")
    }
    values["id"] = [r.identity() for r in refused]
    values["rows"] = [json.dumps(list(r.rows), separators=(",", ":")) for r in refused]
    values["slices"] = [len(r.rows) for r in refused]
    return messages(REJECTED_TOPIC, REJECTED, values, "device", partitions, refused)


def messages(
    topic: Topic,
    columns: tuple[Column, ...],
    values: Mapping[str, Any],
    key: str,
    partitions: int,
    sources: Sequence[Any],
    *,
    keep: Bools | None = None,
    kind: str | None = None,
) -> list[Record]:
    """One record per partition that has rows, in the order of the rows. `sources` say when the newest was received."""
    batch = arrow.batch(columns, values, pa)
    keys = batch.column(key)
    place_of = np.array([partition_of(k.encode(), partitions) for k in keys.dictionary.to_pylist()], np.int64)
    places = place_of[keys.indices.to_numpy()]
    now = max(s.received_at for s in sources if s is not None)
    headers = {} if kind is None else {arrow.KIND_HEADER: kind}
    records = []
    for partition in range(partitions):
        chosen = places == partition
        if keep is not None:
            chosen &= keep
        indices = np.flatnonzero(chosen)
        if len(indices):
            part = batch if len(indices) == batch.num_rows else batch.take(pa.array(indices))
            records.append(Record(topic.name, b"", arrow.to_bytes(part, pa), now, partition, headers))
    return records


def texts(values: Sequence[str]) -> Any:
    """Dictionary-encoded pyarrow array of texts."""
    return pa.array(values, pa.utf8()).dictionary_encode()


def spread(column: Any, at: Ints) -> Any:
    """A per-report column repeated for each row; dictionaries stay small."""
    if isinstance(column, pa.DictionaryArray):
        codes = column.indices.to_numpy()[at]
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), column.dictionary)
    return np.asarray(column, np.int64)[at]


def _per_report(accepted: Sequence[Accepted]) -> dict[str, Any]:
    """Identity, times and the box's dimensions, one value per report; tables take what they declare."""
    reports = [a.report for a in accepted]
    shift = np.array([a.shift_ms for a in accepted], np.int64)
    values: dict[str, Any] = {
        "device": texts([r.device for r in reports]),
        "boot": texts([r.boot for r in reports]),
        "seq": np.array([r.seq for r in reports], np.int64),
        "start": np.array([r.start for r in reports], np.int64) + shift,
        "end": np.array([r.end for r in reports], np.int64) + shift,
        "received_at": np.array([a.received_at for a in accepted], np.int64),
    }
    values.update((n, texts([getattr(r, n) for r in reports])) for n in REPORT_DIMENSIONS)
    for name in REGISTRY_DIMENSIONS:
        values[name] = texts([getattr(a.attributes, name) or UNKNOWN if a.attributes else UNKNOWN for a in accepted])
    return values


def _by_cause(totals: Any) -> str:
    found = {name: dict(getattr(totals, field_name)) for name, field_name in _DROPS if getattr(totals, field_name)}
    return json.dumps(found, separators=(",", ":"), sort_keys=True) if found else "{}"


def _earlier(report: WireReport) -> str:
    if not report.earlier_boots:
        return "[]"
    return json.dumps(
        [
            {
                "boot": b.boot,
                "oldest_spooled_seq": b.oldest_spooled_seq,
                "dropped_reports": b.dropped_reports,
                "dropped_requests": b.dropped_requests,
                "dropped_slices": b.dropped_slices,
            }
            for b in report.earlier_boots
        ],
        separators=(",", ":"),
    )
