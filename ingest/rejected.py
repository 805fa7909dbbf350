"""What was refused: list it, look at it, and try it again once its cause is mended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import pyarrow as pa

from contracts import arrow
from contracts.columns import REJECTED as REJECTED_COLUMNS
from contracts.columns import REPORTS as REPORT_COLUMNS
from contracts.columns import names
from contracts.errors import ContractError
from contracts.protocols import Log, LogError, LogReader, Record
from contracts.report import MAX_DECODED_BYTES
from contracts.topics import REJECTED, REPORTS, partition_of
from ingest.errors import IngestError
from ingest.heartbeats import is_heartbeat
from ingest.messages import Refused, rejected_messages
from ingest.pipeline import Arrival, Pipeline
from ingest.stages import stages

# Bytes that broke the contract break it again, and another report holds the name: no change of the registry helps.
HOPELESS = frozenset({"conflict", "identity_mismatch", "malformed", "too_large"})
POLL_RECORDS = 200

Row = dict[str, Any]  # columns of contracts.columns.REJECTED


class NotRejected(IngestError):
    """No refusal of this id is kept in the log."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a refusal. `state`: replayed | kept (refused again) | already_stored. `stored_rows`: rows that are
    stored now; `reason`, `detail`: why something is refused still, empty when nothing is; `remainder`: id of the new
    refusal that holds rows still refused."""

    id: str
    state: str
    stored_rows: int = 0
    reason: str = ""
    detail: str = ""
    remainder: str = ""


def list_rejected(
    log: Log, *, device: str | None = None, reason: str | None = None, state: str | None = None, limit: int = 100
) -> list[Row]:
    """Newest refusals first, without their bodies; of one id the last state. Raises LogError."""
    found: dict[str, Row] = {}
    for row in _rows(log, REJECTED.name, REJECTED_COLUMNS):
        found.pop(row["id"], None)  # a later state takes a later place
        if device in (None, row["device"]) and reason in (None, row["reason"]):
            found[row["id"]] = row
    newest = [{k: v for k, v in r.items() if k != "body"} for r in reversed(found.values())]
    return [r for r in newest if state in (None, r["state"])][:limit]


def show(log: Log, identity: str) -> Row:
    """A refusal with all columns and `document`: its JSON as text, or None when that cannot be read. Raises
    NotRejected, LogError."""
    row = None
    for candidate in _rows(log, REJECTED.name, REJECTED_COLUMNS):
        if candidate["id"] == identity:
            row = candidate
    if row is None:
        raise NotRejected(f"id: expected one of a refusal that the log keeps, got {identity!r}")
    return {**row, "document": _document(row)}


def replay(log: Log, pipeline: Pipeline, refusals: Iterable[Mapping[str, Any]], now: int) -> list[Replayed]:
    """Judge kept refusals again, as of the time they were received, without signature, window and quota, and append
    what the contract and the registry accept now. Rows that are stored are never stored again: of a report whose rows
    were refused only these are looked at, and a report that was accepted meanwhile is left alone. A refusal that is
    dealt with is appended again with state `replayed`; rows still refused get a refusal of their own. One refusal after
    the other, by `stages`, its mark last. `now`: ms UTC. Raises LogError: what came before it in the list is done, and
    replaying the one it came from again finishes it."""
    return [_replay_one(log, pipeline, row, now) for row in refusals]


def _replay_one(log: Log, pipeline: Pipeline, row: Mapping[str, Any], now: int) -> Replayed:
    missing = set(names(REJECTED_COLUMNS)) - set(row)
    if missing:
        raise IngestError(f"refusal: expected the columns of rejected, {sorted(missing)} are missing")
    identity, rows = row["id"], frozenset(json.loads(row["rows"]))
    if row["state"] == "replayed":
        return Replayed(identity, "replayed")
    if row["reason"] in HOPELESS:
        return Replayed(identity, "kept", reason=row["reason"], detail=row["detail"])
    stored = _stored_report(log, row)
    if stored is not None and (not rows or stored["rejected_slices"] != len(rows)):
        # This very body with fewer rows refused: a replay did it and broke off before its mark.
        if stored["digest"] == sha256(row["body"]).hexdigest() and (not rows or stored["rejected_slices"] < len(rows)):
            _append(log, [], _done(log, row), now)
        return Replayed(identity, "already_stored")
    arrival = Arrival(
        row["device"], row["boot"], row["seq"], row["sent_at"], row["received_at"], row["body"],
        only_rows=rows or None, source=row["source"],
    )  # fmt: skip
    arrival.read(MAX_DECODED_BYTES)
    records = pipeline.process([arrival])
    if arrival.refusal is not None:
        return Replayed(identity, "kept", reason=arrival.refusal.reason, detail=arrival.refusal.detail)
    considered = len(rows) or (arrival.report.row_count if arrival.report is not None else 0)
    accepted = considered - len(arrival.refused_rows)
    if rows and accepted == 0:
        return Replayed(identity, "kept", reason=row["reason"], detail=row["detail"])
    _append(log, records, _done(log, row), now)
    pipeline.learn([arrival])
    return Replayed(identity, "replayed", accepted, *_remainder(arrival, records))


def _done(log: Log, row: Mapping[str, Any]) -> list[Record]:
    """The mark that a refusal is dealt with."""
    done = Refused(
        **{n: row[n] for n in ("device", "boot", "seq", "sent_at", "received_at", "reason", "detail", "body")},
        rows=json.loads(row["rows"]), requests=row["requests"], source=row["source"], state="replayed", id=row["id"],
    )  # fmt: skip
    return rejected_messages([done], log.partitions(REJECTED.name))


def _append(log: Log, records: Sequence[Record], marks: Sequence[Record], now: int) -> None:
    """Appended now, whatever they tell of: timestamps of the log keep close to its order."""
    at_now = [[replace(record, timestamp_ms=now) for record in some] for some in (records, marks)]
    for part in stages(log, *at_now):
        log.submit(part).result()


def _remainder(arrival: Arrival, records: Iterable[Record]) -> tuple[str, str, str]:
    """(reason, detail, id) of the refusal that a replay made for rows still refused; empty texts: none."""
    if not arrival.refused_rows:
        return "", "", ""
    for record in records:
        if record.topic == REJECTED.name:
            for row in arrow.from_bytes(REJECTED_COLUMNS, record.value, pa).to_pylist():
                if row["state"] == "kept":
                    return row["reason"], row["detail"], row["id"]
    raise AssertionError("refused rows come with their refusal")


def _stored_report(log: Log, row: Mapping[str, Any]) -> Row | None:
    """The accepted report of a refusal's name, newest state, as far back as the log reaches."""
    partition = partition_of(row["device"].encode(), log.partitions(REPORTS.name))
    found = None
    for report in _rows(log, REPORTS.name, REPORT_COLUMNS, partition):
        if (report["device"], report["boot"], report["seq"]) == (row["device"], row["boot"], row["seq"]):
            found = report
    return found


def _rows(log: Log, topic: str, columns: Any, only: int | None = None) -> Iterator[Row]:
    """Rows of a topic (or one partition) that were durable when the reading began."""
    ends = {(topic, p): end for p, end in enumerate(log.end_offsets(topic)) if only in (None, p)}
    starts = log.start_offsets(topic)
    reader = log.reader({place: starts[place[1]] for place in ends})
    try:
        yield from _read_to(reader, ends, columns)
    finally:
        reader.close()


def _read_to(reader: LogReader, ends: Mapping[tuple[str, int], int], columns: Any) -> Iterator[Row]:
    while any(reader.positions()[place] < end for place, end in ends.items()):
        records = reader.poll(POLL_RECORDS, 5.0)
        if not records:
            raise LogError("the log has fewer records than its end offsets say")
        for record in records:
            if not is_heartbeat(record):
                yield from arrow.from_bytes(columns, record.value, pa).to_pylist()


def _document(row: Row) -> str | None:
    try:
        arrival = Arrival(row["device"], row["boot"], row["seq"], row["sent_at"], row["received_at"], row["body"])
        return arrival.decoded(MAX_DECODED_BYTES).decode()
    except (ContractError, UnicodeDecodeError):
        return None
