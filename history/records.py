"""Records of the log as rows of tables; what cannot be read is named, not raised."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from contracts import topics
from contracts.arrow import KIND_HEADER, batch, from_bytes, to_bytes
from contracts.columns import EXEMPLARS, QUALITY_MINUTES, REJECTED, REPORTS, SIGNALS, SLICES, VITALS, Column
from contracts.entities import Change, change_from_json
from contracts.errors import ContractError
from contracts.protocols import Record, StoredRecord
from history.incident_rows import action_rows, incident_rows

HEARTBEAT = "heartbeat"
MAX_KEPT_BYTES = 256 * 1024

_TABLES: Mapping[tuple[str, str | None], tuple[str, tuple[Column, ...]]] = {
    (topics.SLICES.name, None): ("slices", SLICES),
    (topics.REPORTS.name, None): ("reports", REPORTS),
    (topics.VITALS.name, "vitals"): ("vitals", VITALS),
    (topics.VITALS.name, "exemplars"): ("exemplars", EXEMPLARS),
    (topics.REJECTED.name, None): ("rejected", REJECTED),
    (topics.QUALITY_MINUTES.name, None): ("stream_minutes", QUALITY_MINUTES),
    (topics.SIGNALS.name, None): ("signals", SIGNALS),
}


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that no table can take, and why."""

    record: StoredRecord
    reason: str
    detail: str

    def as_rejected(self, now: int) -> Record:
        """A record of telemetry.rejected that names topic, partition, offset. The same poison always gets the same id,
        so reading it again after a crash adds nothing."""
        r = self.record
        values = {
            "id": [f"{r.topic}:{r.partition}:{r.offset}"],
            "device": [""],
            "boot": [""],
            "seq": [0],
            "received_at": [r.timestamp_ms],
            "sent_at": [0],
            "reason": [self.reason],
            "detail": [f"topic {r.topic}, partition {r.partition}, offset {r.offset}: {self.detail}"],
            "rows": ["[]"],
            "requests": [0],
            "slices": [0],
            "body": [r.value[:MAX_KEPT_BYTES]],
            "source": ["operator"],
            "state": ["kept"],
        }
        return Record(topics.REJECTED.name, r.key, to_bytes(batch(REJECTED, values, pa), pa), now)


@dataclass(slots=True)
class Decoded:
    """Rows by table with the records they came from, and what could not be read."""

    tables: dict[str, list[tuple[StoredRecord, pa.RecordBatch]]] = field(default_factory=dict)
    poison: list[Poison] = field(default_factory=list)


def decode(records: Sequence[StoredRecord]) -> Decoded:
    """Rows of records of any topic the sink reads. Heartbeats carry none."""
    decoded = Decoded()
    for record in records:
        kind = record.headers.get(KIND_HEADER)
        if kind == HEARTBEAT:
            continue
        try:
            table, rows = _rows(record, kind)
        except ContractError as error:
            decoded.poison.append(Poison(record, error.reason, str(error)))
            continue
        if rows.num_rows:
            decoded.tables.setdefault(table, []).append((record, rows))
    return decoded


def joined(parts: Sequence[tuple[StoredRecord, pa.RecordBatch]]) -> pa.Table:
    """One table with one chunk per column and one dictionary per text column."""
    return pa.Table.from_batches([rows for _, rows in parts]).unify_dictionaries().combine_chunks()


def devices_of(headers: pa.Table) -> pa.Table:
    """Rows of table `devices`: the newest header per box."""
    order = np.lexsort((headers["seq"].to_numpy(), headers["end"].to_numpy()))[::-1]
    device = headers["device"].combine_chunks().indices.to_numpy()[order]
    newest = headers.take(pa.array(order[np.unique(device, return_index=True)[1]]))
    same = ("device_isp", "device_region", "nat_type", "cohort", "model", "firmware", "agent")
    columns = {name: newest[name] for name in (*same, "seq", "received_at", "clock_offset_ms")}
    columns |= {name: newest[name] for name in ("total_requests", "total_slices")}
    columns |= {name: newest[name].cast(pa.utf8()) for name in ("device", "boot")}
    return pa.table({**columns, "last_seen": newest["end"]})


def _rows(record: StoredRecord, kind: str | None) -> tuple[str, pa.RecordBatch]:
    if record.topic == topics.CHANGES.name:
        return "changes", _change_rows(_change(record), record.timestamp_ms)
    if record.topic == topics.INCIDENTS.name:
        return "incidents", incident_rows(record)
    if record.topic == topics.INCIDENT_ACTIONS.name:
        return "incident_actions", action_rows(record)
    known = _TABLES.get((record.topic, kind if record.topic == topics.VITALS.name else None))
    if known is None:
        raise ContractError("unknown_kind", f"{record.topic} header {KIND_HEADER}", "vitals or exemplars", kind)
    return known[0], from_bytes(known[1], record.value, pa)


def _change(record: StoredRecord) -> Change:
    try:
        document = json.loads(record.value)
    except ValueError as error:
        raise ContractError("malformed", "change", "a JSON object in UTF-8", str(error)) from None
    return change_from_json(document)


def _change_rows(change: Change, received_at: int) -> pa.RecordBatch:
    values = {
        "id": pa.array([change.id]),
        "kind": pa.array([change.kind]),
        "scope": pa.array([json.dumps(dict(change.scope), sort_keys=True)]),
        "start": pa.array([change.start], pa.int64()),
        "end": pa.array([change.end], pa.int64()),
        "author": pa.array([change.author]),
        "reference": pa.array([change.reference]),
        "note": pa.array([change.note]),
        "extra": pa.array([json.dumps(dict(change.extra), sort_keys=True)]),
        "received_at": pa.array([received_at], pa.int64()),
    }
    return pa.RecordBatch.from_pydict(values)
