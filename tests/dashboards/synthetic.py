"""A data source made up for tests and screenshots: seeded, deterministic, no store. It is a `context.Backend`."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

from contracts.entities import Change, Customer, DeviceAttributes, Objective, SchedulingRule
from contracts.incidents import Action, Incident
from contracts.protocols import DeviceKey
from contracts.sla import Month
from contracts.times import DAY_MS, MINUTE_MS, from_rfc3339
from dashboards.context import Context
from dashboards.lens import STALE_AFTER_MS, Lens
from dashboards.messages import Words
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
from dashboards.style import LIGHT
from history.books import Account
from history.query_box import BoxStory
from history.query_cells import QUANTILES, RATES, CellAnswer, CellQuestion, statement_of
from history.query_model import Exemplar
from history.query_raw import Scan
from tests.dashboards.made_incidents import make_changes, make_exemplars, make_incidents, make_signals, onset_of
from tests.dashboards.made_operations import (
    MadeReleases,
    MadeScores,
    make_intake,
    make_rule_rows,
    make_rule_steps,
    make_story,
)
from tests.dashboards.report.documents import OCT, document

NOW = from_rfc3339("2026-03-12T12:03:20Z")
_NAMES = ("Kestrel Video", "Lark Live", "Heron Downloads", "Plover Sport", "晨星视频", "Dunlin Games", "Wren Radio")
_NAMES += ("Teal Compute", "云雀直播", "Ibis Learning")
ISPS = ("China Telecom", "China Unicom", "China Mobile", "Sunrise", "Deutsche Telekom", "Orange")
REGIONS = ("Hebei", "Guangdong", "Zürich", "Bayern", "Île-de-France", "Sichuan", "Jiangsu")


def make_lens(language: str = "en", now: int = NOW, zone: str = "UTC") -> Lens:
    return Lens(Words(language), ZoneInfo(zone), now, LIGHT)


def make_steps(
    requests: Sequence[int], failures: Sequence[int], unmeasured: Sequence[float] = (), **more: object
) -> Steps:
    n = len(requests)
    step = int(more.pop("step_ms", MINUTE_MS))  # type: ignore[call-overload]
    start = int(more.pop("start", NOW // MINUTE_MS * MINUTE_MS - n * step))  # type: ignore[call-overload]
    starts = tuple(start + i * step for i in range(n))
    return Steps(
        step, start + n * step, starts, tuple(requests), tuple(failures), tuple(unmeasured) or (0.0,) * n, **more
    )  # type: ignore[arg-type]


def make_customer(customer: str = "c1", target: float | None = 0.995, name: str | None = None) -> Customer:
    objectives = () if target is None else (Objective(customer, "video", "failures", target),)
    return Customer(customer, name or customer, "UTC", objectives)


class Registry:
    """Customers held in memory."""

    def __init__(self, customers: Sequence[Customer]) -> None:
        self._customers = {c.id: c for c in customers}

    def keys(self, device: str) -> Sequence[DeviceKey]:
        return ()

    def attributes(self, device: str, at_ms: int) -> DeviceAttributes | None:
        return None

    def customer(self, customer_id: str) -> Customer | None:
        return self._customers.get(customer_id)

    def customers(self) -> Sequence[Customer]:
        return list(self._customers.values())

    def rules(self) -> Sequence[SchedulingRule]:
        return ()

    def version(self) -> int:
        return 1


def make_registry(n: int) -> Registry:
    names = [_NAMES[i % len(_NAMES)] + (f" {i // len(_NAMES) + 1}" if i >= len(_NAMES) else "") for i in range(n)]
    targets = (0.995, 0.999, 0.99)
    return Registry([make_customer(f"c{i:03d}", targets[i % 3], names[i]) for i in range(n)])


class SyntheticBackend:
    """`age_ms`: how old the newest data is. Customer 1 fails badly of late, 3 went partly silent, 5 had a bad hour,
    7 has almost no traffic."""

    def __init__(self, customers: int = 10, age_ms: int = 20_000, *, empty: bool = False, now: int = NOW) -> None:
        self.n, self.age_ms, self.empty, self.now = customers, age_ms, empty, now

    def _newest(self) -> int | None:
        return None if self.empty else (self.now - self.age_ms) // MINUTE_MS * MINUTE_MS - MINUTE_MS

    def _steps(self, i: int, start: int, end: int, step_ms: int, *, full: bool = False) -> Steps:
        rng = random.Random(f"{i} {step_ms}")
        newest = self._newest()
        size = 30_000 / (1 + i) ** 0.9 if i % 10 != 7 else 8
        limit = 1 - (0.995, 0.999, 0.99)[i % 3]
        requests, failures, unmeasured = [], [], []
        fresh = newest is not None and end - newest <= STALE_AFTER_MS
        until = min(end, newest + MINUTE_MS) if fresh and newest is not None else end
        starts = list(range(start, until, step_ms))
        for t in starts:
            covered = max(0.0, min(1.0, ((newest or 0) + MINUTE_MS - t) / step_ms)) if newest is not None else 0.0
            age = self.now - t
            hour = t % DAY_MS / DAY_MS * 24
            rhythm = 0.6 + 0.4 * math.sin((hour - 9) / 24 * 2 * math.pi)
            expected = size * rhythm * rng.uniform(0.93, 1.07) * covered * step_ms / MINUTE_MS
            share = 1.0
            if i % 10 == 3 and 2 * 3_600_000 < age < 4 * 3_600_000:
                share = 0.62
            if i % 10 == 4 and 8 * 3_600_000 < age < 9.5 * 3_600_000:
                expected = 0.0
            ratio = limit * rng.uniform(0.25, 0.6)
            if i % 10 == 1 and age < 47 * MINUTE_MS:
                ratio = limit * rng.uniform(2.2, 3.4)
            if i % 10 == 5 and 5 * 3_600_000 < age < 6 * 3_600_000:
                ratio = limit * rng.uniform(1.2, 1.9)
            n = int(expected * share)
            requests.append(n)
            failures.append(min(n, round(n * ratio)))
            unmeasured.append(expected - n if share < 1 else 0.0)
        if not full:
            return Steps(step_ms, until, tuple(starts), tuple(requests), tuple(failures), tuple(unmeasured))
        base = 40 + 9 * (i % 10)
        wave = [1 + 0.15 * math.sin(t / 7_000_000) + rng.uniform(-0.05, 0.05) for t in starts]
        latency = {
            q: tuple(None if not n else base * k * v for n, v in zip(requests, wave, strict=True))
            for q, k in (("p50", 1.0), ("p95", 4.1), ("p99", 9.7))
        }
        status = {
            "s3xx": tuple(int(n * 0.11) for n in requests),
            "s4xx": tuple(int(n * 0.02) for n in requests),
            "s5xx": tuple(int(f * 0.7) for f in failures),
        }
        rest = zip(requests, *status.values(), strict=True)
        status["s2xx"] = tuple(n - a - b - c for n, a, b, c in rest)
        return Steps(
            step_ms, until, tuple(starts), tuple(requests), tuple(failures), tuple(unmeasured), latency, status
        )

    def _present(self, i: int) -> tuple[int, int, Sums]:
        end = (self._newest() or self.now) + MINUTE_MS
        start = end - 5 * MINUTE_MS
        total = self._steps(i, start, end, MINUTE_MS).total()
        p95 = 4.1 * (40 + 9 * (i % 10)) if total.requests else None
        return start, end, Sums(total.requests, total.failures, total.unmeasured, p95)

    def fleet(self, start: int, end: int, step_ms: int) -> Fleet:
        ids = [f"c{i:03d}" for i in range(self.n)]
        newest = self._newest()
        if newest is None:
            return Fleet(start, end, end, end, None, {}, {}, {}, None, (), ())
        present = {c: self._present(i) for i, c in enumerate(ids)}
        begin, finish = (present[ids[0]][0], present[ids[0]][1]) if ids else (start, end)
        reference = {
            c: Sums(s[2].requests, int(s[2].failures * (0.3 if i % 10 == 1 else 0.96)))
            for i, (c, s) in enumerate(present.items())
        }
        rng = random.Random(5)
        return Fleet(
            start=start,
            end=end,
            present_start=begin,
            present_end=finish,
            newest=newest,
            series={c: self._steps(i, start, end, step_ms) for i, c in enumerate(ids)},
            present={c: s[2] for c, s in present.items()},
            reference=reference,
            reference_kind="day",
            isps=tuple(_group(n, rng, n == "China Unicom") for n in ISPS),
            regions=tuple(_group(n, rng, n == "Hebei") for n in REGIONS),
        )

    def services(self, customer: str) -> tuple[str, ...]:
        return ("download", "video") if customer.endswith("2") else ("video",)

    def customer(self, customer: str, service: str | None, start: int, end: int, step_ms: int) -> CustomerSeries:
        i = int(customer[1:])
        begin, finish, present = self._present(i)
        steps = self._steps(i, start, end, step_ms, full=True)
        hour = 60 * MINUTE_MS
        markers = (
            Marker("m1", "firmware", self.now - 49 * MINUTE_MS, None, "wei", "Roll out 2.3.1", "FW-231", "cohort = b"),
            Marker("m2", "scheduling_rule", self.now - 9 * hour, None, "ana", "Prefer near boxes", "", ""),
        )
        shown = tuple(m for m in markers if start <= m.start < end)
        return CustomerSeries(start, end, self._newest(), steps, present, begin, finish, shown)

    def cells(self, question: CellQuestion) -> CellAnswer:
        """Two or three values per dimension; unicom's first value fails ten times as often as the others."""
        rng = random.Random(f"{question.measure} {question.by} {sorted(question.where)}")
        names = [self._names(d, question) for d in question.by]
        keys = [tuple(k) for k in product(*names)] if not self.empty else []
        rows = [(key, i) for key in keys for i in range(question.steps)]
        value, total = [], []
        for key, i in rows:
            n = rng.randrange(20_000, 60_000) // question.steps + 100
            late = i * 10 >= question.steps * 7 if question.step_ms else question.start >= onset_of(self.now)
            bad = ISPS[1] in key and late
            if question.measure in QUANTILES:
                value.append(90.0 * (3 if bad else 1) * rng.uniform(0.9, 1.1))
            else:
                value.append(n if question.measure in RATES else round(n * (0.04 if bad else 0.004)))
            total.append(0 if question.measure in RATES else n)
        statement = statement_of(question, {"cell_hours": [(question.start, question.end)]})
        steps = tuple(i for _, i in rows)
        return CellAnswer(
            question, tuple(key for key, _ in rows), steps, tuple(value), tuple(total), ("cell_hours",), statement
        )

    def _names(self, dimension: str, question: CellQuestion) -> tuple[str, ...]:
        if dimension in question.where:
            return question.where[dimension]
        known = {"client_isp": ISPS, "device_isp": ISPS, "client_region": REGIONS, "device_region": REGIONS}
        return known.get(dimension, tuple(f"{dimension}-{i}" for i in range(3)))

    def values(self, dimension: str, start: int, end: int) -> tuple[str, ...]:
        return self._names(dimension, CellQuestion("requests", 0, MINUTE_MS))

    def incidents(self, start: int, end: int) -> tuple[Incident, ...]:
        found = () if self.empty else make_incidents(self.now)
        return tuple(i for i in found if i.detected_at < end and (i.resolved_at is None or i.resolved_at >= start))

    def incident(self, incident_id: str) -> Incident | None:
        return next((i for i in make_incidents(self.now) if i.id == incident_id), None)

    def signals(self, customer: str, service: str, measure: str, start: int, end: int) -> Mapping[str, list[Any]]:
        return make_signals(self.now, start, end)

    def exemplars(self, start: int, end: int, customer: str | None) -> tuple[Exemplar, ...]:
        return make_exemplars(self.now, customer or "c001")

    def changes(self, start: int, end: int) -> tuple[Change, ...]:
        return tuple(c for c in make_changes(self.now) if start <= c.start < end)

    def scan(self, question: CellQuestion) -> Iterator[Scan]:
        half = (question.start + question.end) // 2
        yield Scan(half, 500, {"box-0007": 40, "box-0113": 2}, {"box-0007": 900, "box-0113": 1_100})
        yield Scan(question.start, 990, {"box-0007": 80, "box-0113": 5}, {"box-0007": 1_800, "box-0113": 2_300})

    def promised_months(self, customer: str, now: int) -> Sequence[Month]:
        return [OCT] if customer != "c002" else []

    def report(self, customer: Customer, month: Month, now: int) -> Mapping[str, Any]:
        return document(name=customer.name)

    def intake(self, start: int, end: int, step_ms: int, now: int) -> Intake:
        return make_intake(start, end, step_ms, now, empty=self.empty)

    def coverage(self, start: int, end: int, customers: tuple[str, ...] = ()) -> Sums:
        return Sums() if self.empty else Sums(980_000, 0, 20_000.0)

    def boxes_concerned(self, where: Mapping[str, tuple[str, ...]], start: int, end: int) -> tuple[int, int, int, int]:
        return 31, 24, max(start, end - 10 * MINUTE_MS), end

    def rule_places(
        self, question: CellQuestion, rule: str = "", apart: tuple[str, ...] = ()
    ) -> Mapping[str, list[Any]]:
        late = question.start >= self.now - 50 * MINUTE_MS
        return make_rule_rows(rule, empty=self.empty, worse=1.0 if rule and not late else 3.0)

    def rule_steps(self, question: CellQuestion, rule: str, apart: tuple[str, ...] = ()) -> Mapping[str, list[Any]]:
        return make_rule_steps(question.steps, empty=self.empty)

    def rule_customers(self, rule: str, start: int, end: int) -> tuple[str, ...]:
        return ("c001", "c002")

    def box(self, device: str, start: int, end: int) -> BoxStory:
        return make_story(start, end)

    def books(self, now: int) -> Books:
        if self.empty:
            return Books(Account(), Account(), (), 0, (), 0, (Refusal("bad_histogram", 2, now - 90_000),))
        devices = [
            DeviceAccount(
                "box-0007",
                2,
                Account(reported=120_431, stored=118_000, declared_dropped=431, lost=2_000),
                Account(),
                now - 15_000,
            ),
            DeviceAccount(
                "box-0113",
                1,
                Account(reported=90_112, stored=88_012, rejected=100, pending=2_000),
                Account(),
                now - 600_000,
            ),
        ]
        devices += [
            DeviceAccount(
                f"box-{200 + i:04d}",
                1,
                Account(reported=80_000 + i, stored=80_000 + i),
                Account(),
                now - 5_000 - 10 * i,
            )
            for i in range(48)
        ]
        return Books(
            requests=Account(
                reported=12_345_678, stored=12_341_147, rejected=100, declared_dropped=431, pending=2_000, lost=2_000
            ),
            slices=Account(reported=912_345, stored=911_801, rejected=12, declared_dropped=40, pending=92, lost=400),
            devices=tuple(devices),
            device_count=300,
            lost_ranges=(LostRange("box-0007", "b3f1", 812, 851, 2_000), LostRange("box-0201", "77aa", 5, 5, None)),
            lost_range_count=2,
            refusals=(Refusal("bad_histogram", 3, now - 400_000), Refusal("after_seal", 41, now - 90_000)),
        )


def _group(name: str, rng: random.Random, worst: bool) -> Group:
    requests = rng.randrange(20_000, 90_000)
    ratio = 0.031 if worst else rng.uniform(0.002, 0.004)
    return Group(name, Sums(requests, int(requests * ratio), 0.0), rng.randrange(20, 80), 4 if worst else 0)


def make_context(
    customers: int = 10, now: int = NOW, *, demo: bool = False, acts: list[Action] | None = None, **backend: object
) -> Context:
    """A context on made-up data."""
    age = int(backend.get("age_ms", 20_000))  # type: ignore[call-overload]
    empty = bool(backend.get("empty", False))
    record: list[Action] = [] if acts is None else acts
    status = {
        "freshness_s": None if empty else age / 1000,
        "stream_s": None if empty else age / 1000 + 40,
        "lag_s": 0.0 if age < 60_000 else age / 1000,
        "rejected": 3,
    }
    return Context(
        backend=SyntheticBackend(customers, now=now, **backend),  # type: ignore[arg-type]
        registry=make_registry(customers),
        now=lambda: now,
        status=lambda: status,
        demo=demo,
        act=record.append,
        releases=MadeReleases(now, empty=empty),
        scores=MadeScores(now, empty=empty),
    )
