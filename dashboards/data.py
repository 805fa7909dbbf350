"""The pages' data from history: thin calls of history.queries and history.ledger, shared among viewers for seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from contracts.columns import FAILURE_NAMES, STATUS_NAMES
from contracts.entities import Change, Customer
from contracts.histogram import COMPUTE_SERVICE
from contracts.incidents import Incident
from contracts.protocols import Store
from contracts.sla import Month
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from dashboards.lens import STALE_AFTER_MS
from dashboards.model import (
    Books,
    CustomerSeries,
    DeviceAccount,
    Fleet,
    Group,
    Intake,
    LostRange,
    Marker,
    Refusal,
    Steps,
    Sums,
)
from dashboards.shared import Shared
from history import queries, query_box, query_incidents, query_intake, query_rules
from history.books import Account
from history.ledger import BootBooks, Ledger, ledger
from history.query_box import BoxStory
from history.query_cells import CellAnswer, CellQuestion, cells, values_of
from history.query_fleet import SILENT_AFTER_MS
from history.query_model import CustomerOverview, Exemplar, GroupBoxes, RejectedReason, Series
from history.query_pipeline import PipelineState, pipeline_state
from history.query_raw import Scan, scan
from history.sla_causes import IncidentCauses
from history.sla_report import Asked, promised_months, report

REPORT_SHARE_S = 30.0
RULES_SHARE_S = 30.0
REFERENCE_SHARE_S = 60.0  # the past changes little
PRESENT_MS = 5 * MINUTE_MS  # what the pages call now
REFERENCES = (("week", 7 * DAY_MS), ("day", DAY_MS), ("hour", HOUR_MS))
DEVICES_SHOWN = 60
RANGES_KEPT = 200


class HistoryBackend:
    """context.Backend on a store. `share_s`: for how long viewers get one answer; `books_share_s` the same for the
    ledger, which reads everything. `monotonic`: seconds, only paces."""

    def __init__(
        self,
        store: Store,
        *,
        share_s: float = 4.0,
        books_share_s: float = 15.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._share_s, self._books_share_s = share_s, books_share_s
        self._answers = Shared(monotonic)

    def fleet(self, start: int, end: int, step_ms: int) -> Fleet:
        """All customers over a range, their present and its reference, ISPs and regions."""
        return self._answers.get(
            ("fleet", start, end, step_ms), self._share_s, lambda: self._fleet(start, end, step_ms)
        )

    def _fleet(self, start: int, end: int, step_ms: int) -> Fleet:
        store = self._store
        newest = queries.freshness(store).closed_through
        if newest is None or newest < start:
            return Fleet(start, end, end, end, None, {}, {}, {}, None, (), ())
        until = known_until(newest, end)
        begin, finish = newest + MINUTE_MS - PRESENT_MS, newest + MINUTE_MS
        present = queries.fleet_overview(store, begin, finish, PRESENT_MS)
        kind, reference = self._answers.get(
            ("reference", begin), REFERENCE_SHARE_S, lambda: _reference(store, begin, finish)
        )
        series = queries.fleet_overview(store, start, until, step_ms)
        return Fleet(
            start=start,
            end=until,
            present_start=begin,
            present_end=finish,
            newest=newest,
            series={row.customer: spark_of(row, until) for row in series},
            present={row.customer: sums_of(row) for row in present},
            reference=reference,
            reference_kind=kind,
            isps=groups_of(queries.boxes_by(store, "device_isp", begin, finish)),
            regions=groups_of(queries.boxes_by(store, "device_region", begin, finish)),
        )

    def services(self, customer: str) -> tuple[str, ...]:
        """Services a customer has had traffic for, by name."""
        return self._answers.get(("services", customer), self._share_s, lambda: queries.services(self._store, customer))

    def customer(self, customer: str, service: str | None, start: int, end: int, step_ms: int) -> CustomerSeries:
        """One customer over a range; service None: all its services."""
        if service is None and self.services(customer) == (COMPUTE_SERVICE,):
            service = COMPUTE_SERVICE  # else its durations would be left out beside deliveries' latency
        key = ("customer", customer, service, start, end, step_ms)
        make = lambda: _customer(self._store, customer, service, start, end, step_ms)  # noqa: E731
        return self._answers.get(key, self._share_s, make)

    def pipeline(self, now: int) -> dict[str, float | None]:
        """context.PIPELINE_KEYS that history itself can tell, the same in one process and in a cluster."""
        found, refused = self._answers.get(("pipeline",), self._share_s, lambda: self._pipeline(now))
        newest, stream = found.newest_end, found.stream_through
        return {
            "freshness_s": None if newest is None else max(0.0, (now - newest) / 1_000),
            "stream_s": None if stream is None else max(0.0, (now - stream) / 1_000),
            "rejected": refused,
        }

    def _pipeline(self, now: int) -> tuple[PipelineState, int]:
        reasons = queries.rejected_by_reason(self._store, now - HOUR_MS, now + MINUTE_MS)
        return pipeline_state(self._store, now), sum(reason.refusals for reason in reasons)

    def cells(self, question: CellQuestion) -> CellAnswer:
        """Any measure by any dimensions."""
        return self._answers.get(("cells", repr(question)), self._share_s, lambda: cells(self._store, question))

    def promised_months(self, customer: str, now: int) -> Sequence[Month]:
        """Months up to now for which a customer has a service level, newest first."""
        return self._answers.get(
            ("promised", customer, now // MINUTE_MS), self._share_s, lambda: promised_months(self._store, customer, now)
        )

    def report(self, customer: Customer, month: Month, now: int) -> Mapping[str, Any]:
        """A customer's month against its objectives."""
        asked = Asked(customer.id, customer.name, month)
        return self._answers.get(
            ("report", asked),
            REPORT_SHARE_S,
            lambda: report(self._store, asked, now, IncidentCauses(self._store)),
        )

    def values(self, dimension: str, start: int, end: int) -> tuple[str, ...]:
        """Values of a dimension in [start, end), most traffic first."""
        key = ("values", dimension, start - start % HOUR_MS, end - start)
        make = lambda: tuple(values_of(self._store, dimension, start, end))  # noqa: E731
        return self._answers.get(key, REFERENCE_SHARE_S, make)

    def incidents(self, start: int, end: int) -> tuple[Incident, ...]:
        """Incidents that were not over before `start`, newest first."""
        key = ("incidents", start, end - end % MINUTE_MS)
        return self._answers.get(key, self._share_s, lambda: query_incidents.incidents(self._store, start, end))

    def incident(self, incident_id: str) -> Incident | None:
        """One by its id, or None."""
        return query_incidents.incident(self._store, incident_id)

    def signals(self, customer: str, service: str, measure: str, start: int, end: int) -> Mapping[str, list[Any]]:
        """Columns of contracts.columns.SIGNALS of one series by minute."""
        return query_incidents.signals(self._store, customer, service, measure, start, end)

    def exemplars(self, start: int, end: int, customer: str | None) -> tuple[Exemplar, ...]:
        """Single requests, failed ones first."""
        return tuple(queries.exemplars(self._store, start, end, customer))

    def changes(self, start: int, end: int) -> tuple[Change, ...]:
        """What people changed."""
        key = ("changes", start, end)
        return self._answers.get(key, self._share_s, lambda: tuple(queries.changes(self._store, start, end)))

    def scan(self, question: CellQuestion) -> Iterator[Scan]:
        """Sums by box, read from slices piece by piece."""
        return scan(self._store, question)

    def intake(self, start: int, end: int, step_ms: int, now: int) -> Intake:
        """How well what boxes report comes in."""
        make = partial(_intake, self._store, start, end, step_ms, now)
        return self._answers.get(("intake", start, end, step_ms), self._share_s, make)

    def coverage(self, start: int, end: int, customers: tuple[str, ...] = ()) -> Sums:
        """Requests of some customers (or all) in [start, end), measured and not; failures are left out."""
        make = partial(query_intake.coverage_of, self._store, start, end, customers)
        found = self._answers.get(("coverage", start, end, customers), self._share_s, make)
        return Sums(sum(c.measured for c in found), 0, sum(c.unmeasured for c in found))

    def boxes_concerned(self, where: Mapping[str, tuple[str, ...]], start: int, end: int) -> tuple[int, int, int, int]:
        """(boxes, those with failures, start, end) of a combination: history.query_intake.boxes_concerned."""
        make = partial(query_intake.boxes_concerned, self._store, where, start, end)
        return self._answers.get(("concerned", repr(where), start, end), REFERENCE_SHARE_S, make)

    def rule_places(
        self, question: CellQuestion, rule: str = "", apart: tuple[str, ...] = ()
    ) -> Mapping[str, list[Any]]:
        """Sums of rules against the others, per place: history.query_rules.by_place."""
        make = partial(query_rules.by_place, self._store, question, rule, apart)
        return self._answers.get(("rules", repr(question), rule, apart), RULES_SHARE_S, make)

    def rule_steps(self, question: CellQuestion, rule: str, apart: tuple[str, ...] = ()) -> Mapping[str, list[Any]]:
        """The same of one rule over time: history.query_rules.by_step."""
        make = partial(query_rules.by_step, self._store, question, rule, apart)
        return self._answers.get(("rule", repr(question), rule, apart), RULES_SHARE_S, make)

    def rule_customers(self, rule: str, start: int, end: int) -> tuple[str, ...]:
        """Customers that a rule served in [start, end)."""
        make = partial(query_rules.customers_of, self._store, rule, start, end)
        return self._answers.get(("rule-customers", rule, start, end), RULES_SHARE_S, make)

    def box(self, device: str, start: int, end: int) -> BoxStory:
        """What a box reported in [start, end)."""
        return query_box.story(self._store, device, start, end)

    def books(self, now: int) -> Books:
        """The ledger and what was refused."""
        return self._answers.get(
            ("books",),
            self._books_share_s,
            lambda: books_of(ledger(self._store, now), queries.rejected_by_reason(self._store, 0, now + MINUTE_MS)),
        )


def _reference(store: Store, begin: int, finish: int) -> tuple[str | None, dict[str, Sums]]:
    """The same minutes last week, else yesterday, else an hour ago: the first of them with data."""
    for kind, back_ms in REFERENCES:
        totals = queries.customer_totals(store, begin - back_ms, finish - back_ms)
        if any(counts["requests"] for counts in totals.values()):
            return kind, {name: Sums(c["requests"], sum(c[f] for f in FAILURE_NAMES)) for name, c in totals.items()}
    return None, {}


def _customer(store: Store, customer: str, service: str | None, start: int, end: int, step_ms: int) -> CustomerSeries:
    newest = queries.freshness(store).closed_through
    if newest is None or newest < start:
        return CustomerSeries(start, end, None, Steps(step_ms, end, (), (), (), ()), Sums(), end, end, ())
    until = known_until(newest, end)
    begin, finish = newest + MINUTE_MS - PRESENT_MS, newest + MINUTE_MS
    now = queries.customer_series(store, customer, service, begin, finish, PRESENT_MS)
    series = queries.customer_series(store, customer, service, start, until, step_ms)
    present = Sums(now.requests[0], now.failures[0], now.unmeasured[0], now.latency_ms["p95"][0])
    changes = queries.changes(store, start, until)
    return CustomerSeries(
        start=start,
        end=until,
        newest=newest,
        steps=steps_of(series, until),
        present=present,
        present_start=begin,
        present_end=finish,
        markers=tuple(
            Marker(c.id, c.kind, c.start, c.end, c.author, c.note, c.reference, _scope(c.scope))
            for c in changes
            if c.scope.get("customer", customer) == customer and c.start >= start
        ),
    )


def _intake(store: Store, start: int, end: int, step_ms: int, now: int) -> Intake:
    steps = range(-(-(end - start) // step_ms))
    found = query_intake.coverage_steps(store, start, end, step_ms)
    measured = dict(zip(found["i"], found["measured"], strict=True))
    unmeasured = dict(zip(found["i"], found["unmeasured"], strict=True))
    late, in_time = query_intake.late_requests(store, start, end)
    return Intake(
        start=start,
        end=end,
        step_ms=step_ms,
        measured=tuple(measured.get(i, 0) for i in steps),
        unmeasured=tuple(float(unmeasured.get(i, 0.0)) for i in steps),
        customers=tuple(query_intake.coverage_of(store, start, end)),
        arrivals=query_intake.arrivals(store, now),
        stages=query_intake.stages(store, now),
        late_requests=late,
        stream_requests=in_time,
        reasons=tuple(queries.rejected_by_reason(store, start, now + MINUTE_MS)),
        examples=tuple(query_intake.refusal_examples(store, start, now + MINUTE_MS)),
        hearing=query_intake.hearing(store, now, SILENT_AFTER_MS),
    )


def known_until(newest: int, end: int) -> int:
    """End of a range's data: the newest complete minute's end while data is fresh, so that a minute still on its way
    is not drawn as missing; the range's own end when data has stopped, so that the silence shows."""
    return min(end, newest + MINUTE_MS) if end - newest <= STALE_AFTER_MS else end


def sums_of(row: CustomerOverview) -> Sums:
    """A customer's sums; p95 of delivery or of compute, whichever has more requests: they never mix."""
    latencies = [latency for latency in (row.delivery, row.compute) if latency is not None]
    p95 = max(latencies, key=lambda latency: latency.count).p95_ms if latencies else None
    return Sums(row.total.requests, row.total.failures, row.total.unmeasured, p95)


def spark_of(row: CustomerOverview, until: int) -> Steps:
    """A customer's small series."""
    starts = tuple(row.spark_start + i * row.spark_step_ms for i in range(len(row.spark_requests)))
    return Steps(row.spark_step_ms, until, starts, row.spark_requests, row.spark_failures, row.spark_unmeasured)


def steps_of(series: Series, until: int) -> Steps:
    """A customer's full series."""
    return Steps(
        series.step_ms,
        until,
        series.start,
        series.requests,
        series.failures,
        series.unmeasured,
        series.latency_ms,
        {name: series.counts[name] for name in STATUS_NAMES},
    )


def groups_of(rows: list[GroupBoxes]) -> tuple[Group, ...]:
    """Traffic and boxes by ISP or region."""
    return tuple(Group(r.value, Sums(r.requests, r.failures), r.seen, r.silent) for r in rows)


def books_of(found: Ledger, reasons: list[RejectedReason]) -> Books:
    """The ledger page's data: boots summed per box, the most troubled boxes and gaps first."""
    boots: dict[str, list[BootBooks]] = {}
    for boot in found.boots:
        boots.setdefault(boot.device, []).append(boot)
    accounts = [
        DeviceAccount(
            device,
            len(mine),
            sum((b.requests for b in mine), Account()),
            sum((b.slices for b in mine), Account()),
            max(b.last_seen for b in mine),
        )
        for device, mine in boots.items()
    ]
    silent_before = max((a.last_seen or 0 for a in accounts), default=0) - STALE_AFTER_MS
    lost = [
        LostRange(boot.device, boot.boot, part.first, part.last, part.requests)
        for boot in found.boots
        for part in boot.lost
    ]
    lost.sort(key=lambda r: (-(r.requests or 0), r.device, r.boot, r.first))
    return Books(
        requests=found.requests,
        slices=found.slices,
        devices=tuple(sorted(accounts, key=partial(_trouble, silent_before=silent_before))[:DEVICES_SHOWN]),
        device_count=len(accounts),
        lost_ranges=tuple(lost[:RANGES_KEPT]),
        lost_range_count=len(lost),
        refusals=tuple(Refusal(r.reason, r.refusals, r.newest) for r in reasons),
        dirty_minutes=found.dirty_minutes,
        disagreeing_minutes=found.disagreeing_minutes,
        unheaded_requests=found.unheaded[0],
    )


def _trouble(box: DeviceAccount, silent_before: int) -> tuple[Any, ...]:
    """Sort key: faults of the books, then silence, then what is merely explained."""
    r, s = box.requests, box.slices
    grave = -(abs(r.difference) + abs(s.difference)), -(r.lost + s.lost), -(r.double_counted + s.double_counted)
    return (*grave, (box.last_seen or 0) >= silent_before, -r.pending, -r.declared_dropped, -r.rejected, box.device)


def _scope(scope: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in sorted(scope.items()))
