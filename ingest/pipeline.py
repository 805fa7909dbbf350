"""What becomes of authenticated reports: rules, clock, registry, and the records for the log. No I/O, no clock."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from contracts.entities import Customer, DeviceAttributes
from contracts.errors import ContractError
from contracts.protocols import Log, LogError, Record
from contracts.report import MAX_DECODED_BYTES
from contracts.times import FUTURE_LIMIT_MS, SEAL_AFTER_MS, rfc3339, shift_for_offset
from contracts.topics import REJECTED, REPORTS, SLICES, VITALS
from ingest import messages
from ingest.errors import Refusal, refusal_of
from ingest.known import KnownReports, Totals, runs_backwards, totals_of
from ingest.messages import Accepted, Refused
from ingest.registry.errors import RegistryUnavailable
from ingest.rows import Bools, Ints, Rows, doubtful, gather
from ingest.wire import WireReport, gunzip, judged, read_report

logger = logging.getLogger(__name__)
GZIP_MAGIC = b"\x1f\x8b"  # no JSON begins like this


class Lookup(Protocol):
    """The part of a registry that enriches."""

    def attributes(self, device: str, at_ms: int) -> DeviceAttributes | None:
        """As contracts.protocols.Registry."""

    def customer(self, customer_id: str) -> Customer | None:
        """As contracts.protocols.Registry."""


@dataclass(slots=True)
class Arrival:
    """An authenticated body, gzip or plain JSON. `report` is set once it was decoded, `refusal` once it is refused.
    `only_rows`: rows a replay may store, None: all. `refused_rows`: set by `process`. `place`: where it came from, for
    the words of a refusal; empty at the gateway."""

    device: str
    boot: str
    seq: int
    sent_at: int
    received_at: int
    body: bytes
    digest: str = ""
    report: WireReport | None = None
    refusal: Refusal | None = None
    only_rows: frozenset[int] | None = None
    refused_rows: list[int] = field(default_factory=list)
    source: str = "gateway"
    place: str = ""

    def __post_init__(self) -> None:
        self.digest = self.digest or hashlib.sha256(self.body).hexdigest()

    def decoded(self, limit: int) -> bytes:
        """The JSON. Raises ContractError."""
        if self.body.startswith(GZIP_MAGIC):
            return gunzip(self.body, limit)
        if len(self.body) > limit:
            raise ContractError("too_large", "body", f"at most {limit} bytes", len(self.body))
        return self.body

    def read(self, limit: int) -> int:
        """Decode; sets `report` or `refusal`; returns the decoded size."""
        try:
            data = self.decoded(limit)
            report = read_report(data)
            for name in ("device", "boot", "seq"):
                stated, signed = getattr(report, name), getattr(self, name)
                if stated != signed:
                    raise ContractError("identity_mismatch", name, f"what the headers state ({signed})", stated)
        except ContractError as error:
            self.refusal = refusal_of(error)
            return len(self.body)
        self.report = report
        return len(data)


class Pipeline:
    """Turns arrivals into records. `known` is only read here: whoever makes the records durable then calls `learn`."""

    def __init__(self, registry: Lookup, log: Log, known: KnownReports) -> None:
        self.known = known
        self._registry = registry
        self._partitions = {t.name: log.partitions(t.name) for t in (REPORTS, SLICES, VITALS, REJECTED)}

    def process(self, arrivals: Sequence[Arrival]) -> list[Record]:
        """Decide on each arrival (sets `refusal` or `refused_rows`) and return the records to append, by `stages`."""
        candidates = [a for a in arrivals if a.refusal is None]
        rows = gather([_report(a) for a in candidates])
        self._apply_row_rules(candidates, rows)
        self._apply_report_rules(candidates)
        accepted = [self._accept(a) if a.refusal is None else None for a in candidates]
        refused_rows, keep = self._apply_customers(rows, accepted)
        for arrival, entry in zip(candidates, accepted, strict=True):
            if entry is not None:
                arrival.refused_rows = entry.refused
        stored = [(i, a) for i, a in enumerate(accepted) if a is not None]
        records = self._stored_records(rows, accepted, stored, keep, refused_rows)
        refused = [_refused(a) for a in arrivals if a.refusal is not None]
        for arrival, entry in zip(candidates, accepted, strict=True):
            if entry is not None and entry.refused:
                refused.append(_refused_rows(arrival, entry))
        return records + messages.rejected_messages(refused, self._partitions[REJECTED.name])

    def learn(self, arrivals: Sequence[Arrival]) -> None:
        """Remember what has become durable."""
        for a in arrivals:
            if a.refusal is None:
                self.known.add(a.device, a.boot, a.seq, a.digest, totals_of(_report(a)))

    # --- rules ---

    def _apply_row_rules(self, candidates: Sequence[Arrival], rows: Rows) -> None:
        for i in map(int, np.flatnonzero(doubtful(rows))):
            arrival = candidates[i]
            try:
                judged(arrival.decoded(MAX_DECODED_BYTES))
            except ContractError as error:
                arrival.refusal = refusal_of(error)

    def _apply_report_rules(self, candidates: Sequence[Arrival]) -> None:
        newest: dict[tuple[str, str], tuple[int, Totals]] = {}
        for arrival in candidates:
            if arrival.refusal is not None:
                continue
            report, boot = _report(arrival), (arrival.device, arrival.boot)
            totals = totals_of(report)
            before = newest.get(boot) or self.known.newest(*boot)
            try:
                check_time(report, arrival.sent_at, arrival.received_at)
                if before is not None:
                    check_order(report.seq, totals, *before)
            except ContractError as error:
                arrival.refusal = refusal_of(error)
                continue
            if before is None or report.seq > before[0]:
                newest[boot] = (report.seq, totals)

    def _accept(self, a: Arrival) -> Accepted:
        report = _report(a)
        shift = shift_for_offset(a.received_at - a.sent_at)
        attributes = self._registry.attributes(a.device, report.start + shift)
        return Accepted(report, a.sent_at, a.received_at, shift, a.digest, attributes, rows=a.only_rows)

    def _apply_customers(self, rows: Rows, accepted: Sequence[Accepted | None]) -> tuple[Bools, Bools]:
        """(refused, kept) per row: rows of unknown customers are refused one by one."""
        names = set(rows.texts["customer"])
        unknown = {n for n in names if self._registry.customer(n) is None}
        alive = np.array([a is not None for a in accepted], np.bool_)
        live = alive[rows.report_of] if len(rows.report_of) else np.zeros(0, np.bool_)
        for i, entry in enumerate(accepted):
            if entry is not None and entry.rows is not None:
                mine = rows.report_of == i
                live[mine] = np.isin(rows.row[mine], list(entry.rows))
        if not unknown:
            return np.zeros(len(live), np.bool_), live
        refused = live & np.fromiter((c in unknown for c in rows.texts["customer"]), np.bool_, len(live))
        for row, report in zip(rows.row[refused].tolist(), rows.report_of[refused].tolist(), strict=True):
            entry = accepted[report]
            assert entry is not None
            entry.refused.append(row)
        return refused, live & ~refused

    # --- records ---

    def _stored_records(
        self,
        rows: Rows,
        accepted: Sequence[Accepted | None],
        stored: Sequence[tuple[int, Accepted]],
        keep: Bools,
        refused_rows: Bools,
    ) -> list[Record]:
        if not stored:
            return []
        at = [i for i, _ in stored]
        entries = [a for _, a in stored]
        sums = _per_report_sums(rows, refused_rows, len(accepted))
        # Rows of refused reports need no values of their own: they are not kept.
        filled = [a if a is not None else entries[0] for a in accepted]
        return [
            *messages.report_messages(entries, sums[:, at], self._partitions[REPORTS.name]),
            *messages.slice_messages(rows, filled, keep, self._partitions[SLICES.name]),
            *messages.vitals_messages(entries, self._partitions[VITALS.name]),
            *messages.exemplar_messages(entries, self._partitions[VITALS.name]),
        ]


def process_each(pipeline: Pipeline, arrivals: Sequence[Arrival]) -> list[Record]:
    """Records of arrivals. One that breaks the program is refused alone, and kept, instead of taking its neighbours
    down again and again."""
    try:
        return pipeline.process(arrivals)
    except (LogError, RegistryUnavailable):
        raise
    except Exception:
        logger.exception("a batch of %d reports failed; trying one by one", len(arrivals))
    records: list[Record] = []
    for arrival in arrivals:
        try:
            records += pipeline.process([arrival])
        except (LogError, RegistryUnavailable):
            raise
        except Exception:
            logger.exception("report %s/%s/%d cannot be processed", arrival.device, arrival.boot, arrival.seq)
            arrival.refusal = Refusal(422, "unprocessable", "report: the intake failed on it and kept it")
            records += pipeline.process([arrival])
    return records


def check_time(report: WireReport, sent_at: int, received_at: int) -> None:
    """The corrected interval ends neither in the future nor before the seal. Raises ContractError `in_future`,
    `after_seal`."""
    end = report.end + shift_for_offset(received_at - sent_at)
    if end > received_at + FUTURE_LIMIT_MS:
        latest = rfc3339(received_at + FUTURE_LIMIT_MS)
        raise ContractError("in_future", "end", f"at most {latest}, corrected by the clock offset", end)
    if end < received_at - SEAL_AFTER_MS:
        raise ContractError("after_seal", "end", f"at least {rfc3339(received_at - SEAL_AFTER_MS)}", end)


def check_order(seq: int, totals: Totals, other_seq: int, other: Totals) -> None:
    """Totals do not fall from one report of a boot to a later one. Raises ContractError `totals_backwards`."""
    name = runs_backwards(seq, totals, other_seq, other)
    if name is not None:
        relation = "at least" if seq > other_seq else "at most"
        raise ContractError(
            "totals_backwards", name, f"{relation} what seq {other_seq} of this boot stated {other}", totals
        )


def _per_report_sums(rows: Rows, refused: Bools, reports: int) -> Ints:
    """Requests, slices and refused requests per report, (3, reports) int64, exact: totals bound them."""
    requests = np.array([sum(r.slices.requests) for r in rows.reports], np.int64)  # type: ignore[attr-defined]
    refused_requests = np.zeros(reports, np.int64)
    if refused.any():
        np.add.at(refused_requests, rows.report_of[refused], rows.counts["requests"][refused])
    return np.stack((requests, np.bincount(rows.report_of, minlength=reports), refused_requests))


def _report(arrival: Arrival) -> WireReport:
    assert arrival.report is not None, "an arrival that is not refused was decoded"
    return arrival.report


def _refused(a: Arrival) -> Refused:
    assert a.refusal is not None
    detail = _at(a.refusal.detail, a)
    return Refused(a.device, a.boot, a.seq, a.sent_at, a.received_at, a.refusal.reason, detail, a.body, source=a.source)


def _at(detail: str, arrival: Arrival) -> str:
    return f"{detail} ({arrival.place})" if arrival.place else detail


def _refused_rows(a: Arrival, entry: Accepted) -> Refused:
    slices = entry.report.slices
    customers = sorted({slices.customer[row] for row in entry.refused})  # type: ignore[attr-defined]
    error = ContractError(
        "unknown_customer", f"slices.customer[{entry.refused[0]}]", "a customer of the registry", customers
    )
    requests = sum(slices.requests[row] for row in entry.refused)  # type: ignore[attr-defined]
    return Refused(
        a.device, a.boot, a.seq, a.sent_at, a.received_at, error.reason, _at(str(error), a), a.body,
        rows=tuple(entry.refused), requests=requests, source=a.source,
    )  # fmt: skip
