"""Records of the log as rows of tables; what cannot be read is named, not raised."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from contracts import topics
from contracts.arrow import KIND_HEADER, batch, from_bytes, from_messages, to_bytes
from contracts.columns import EXEMPLARS, QUALITY_MINUTES, REJECTED, REPORTS, SIGNALS, SLICES, VITALS, Column
from contracts.entities import Change, change_from_json
from contracts.errors import ContractError
from contracts.protocols import Record, StoredRecord
from history.incident_rows import action_rows, incident_rows

HEARTBEAT = "heartbeat"
MAX_KEPT_BYTES = 256 * 1024
SMALL_BYTES = 32 * 1024  # of a message: joining the rows of larger ones costs what is gained

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


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table, and the records they came from, in turn."""

    records: Sequence[StoredRecord]
    batch: pa.RecordBatch


@dataclass(slots=True)
class Decoded:
    """Rows by table, and what could not be read."""

    tables: dict[str, list[Rows]] = field(default_factory=dict)
    poison: list[Poison] = field(default_factory=list)

    def add(self, table: str, rows: Rows) -> None:
        """More rows of a table."""
        if rows.batch.num_rows:
            self.tables.setdefault(table, []).append(rows)


def decode(records: Sequence[StoredRecord]) -> Decoded:
    """Rows of records of any topic the sink reads. Heartbeats carry none. Small messages of a table are read at once;
    if that fails, one by one."""
    decoded = Decoded()
    small: dict[tuple[str, tuple[Column, ...]], list[StoredRecord]] = {}
    for record in records:
        if record.headers.get(KIND_HEADER) == HEARTBEAT:
            continue
        known = _known(record)
        if known is not None and len(record.value) <= SMALL_BYTES:
            small.setdefault(known, []).append(record)
        else:
            _decode_one(record, decoded)
    for (table, columns), some in small.items():
        try:
            rows, _ = from_messages(columns, [record.value for record in some], pa)
        except ContractError:
            for record in some:
                _decode_one(record, decoded)
        else:
            decoded.add(table, Rows(some, rows))
    return decoded


def decode_one(record: StoredRecord) -> Decoded:
    """Rows of one record."""
    decoded = Decoded()
    _decode_one(record, decoded)
    return decoded


def _decode_one(record: StoredRecord, into: Decoded) -> None:
    try:
        table, rows = _rows(record)
    except ContractError as error:
        into.poison.append(Poison(record, error.reason, str(error)))
    else:
        into.add(table, Rows([record], rows))


def joined(parts: Sequence[Rows]) -> pa.Table:
    """One table with one chunk per column and one dictionary per text column."""
    return pa.Table.from_batches([rows.batch for rows in parts]).unify_dictionaries().combine_chunks()


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


def _known(record: StoredRecord) -> tuple[str, tuple[Column, ...]] | None:
    """Table and columns of a record that is an Arrow message."""
    kind = record.headers.get(KIND_HEADER) if record.topic == topics.VITALS.name else None
    return _TABLES.get((record.topic, kind))


def _rows(record: StoredRecord) -> tuple[str, pa.RecordBatch]:
    if record.topic == topics.CHANGES.name:
        return "changes", _change_rows(_change(record), record.timestamp_ms)
    if record.topic == topics.INCIDENTS.name:
        return "incidents", incident_rows(record)
    if record.topic == topics.INCIDENT_ACTIONS.name:
        return "incident_actions", action_rows(record)
    known = _known(record)
    if known is None:
        kind = record.headers.get(KIND_HEADER)
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
