"""Pages count the requests as bad that detection counts as bad: triage, Explore, rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from contracts.arrow import batch
from contracts.columns import CELL_DIMENSIONS, COUNT_NAMES, HISTOGRAM_NAMES, QUALITY_MINUTES
from contracts.entities import MEASURES, Customer, Objective
from contracts.incidents import Incident, SeriesEvidence
from contracts.protocols import Store
from contracts.thresholds import Thresholds
from contracts.times import MINUTE_MS
from dashboards.context import Context, set_context
from history.chdb_store import ChdbStore
from history.query_cells import CellAnswer, CellQuestion, cells
from history.sink import Sink, SinkSettings
from streams.detect_measures import Promises, measures_of
from streams.incident_settings import DetectorSettings
from tests.dashboards.made_incidents import make_incident, make_signals
from tests.dashboards.synthetic import NOW, Registry, SyntheticBackend, make_context
from tests.dashboards.test_script import markup, open_page
from tests.history.builders import T0, Box, MemoryLog, make_slice, send

# Cells are an eighth of a doubling wide, from 1 ms, 1 s of compute tasks and 1 kB/s on.
VIDEO = {  # 30 at 100 kB/s, 20 at 400 kB/s, 50 at 4.9 MB/s; 35 at 0.5 s, 25 at 1.2 s, 40 at 5.2 s
    "requests": 100,
    "throughput": {53: 30, 69: 20, 98: 50},
    "latency": {71: 35, 82: 25, 99: 40},
}
TASKS = {"requests": 50, "throughput": {}, "latency": {18: 40, 79: 10}}  # 40 of 5 s, 10 of 970 s
PROMISED = (Objective("acme", "video", "slow_requests", 0.95, 400.0),)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A minute of one box: acme's video and compute tasks."""
    made = ChdbStore(tmp_path_factory.mktemp("thresholds"), min_free_bytes=0)
    log = MemoryLog()
    sink = Sink(log, made, SinkSettings())
    send(log, Box().report(T0, [make_slice(**VIDEO), make_slice(service="compute", **TASKS)]))
    sink.drain(T0 + 2 * MINUTE_MS)
    sink.close()
    yield made
    made.close()


def detected(service: str, measure: str, objectives: tuple[Objective, ...], settings: DetectorSettings) -> int:
    """What the detector counts as bad of the same minute."""
    counted = VIDEO if service == "video" else TASKS
    values: dict[str, Any] = {c.name: [0] for c in QUALITY_MINUTES}
    values |= {name: [0] for name in COUNT_NAMES} | {"requests": [counted["requests"]]}
    for name in HISTOGRAM_NAMES:
        held: Mapping[int, int] = counted[name]  # type: ignore[assignment]
        values |= {f"{name}_cell": [list(held)], f"{name}_count": [list(held.values())]}
    values |= {name: ["x"] for name in CELL_DIMENSIONS} | {"customer": ["acme"], "service": [service]}
    rows = batch(QUALITY_MINUTES, {c.name: values[c.name] for c in QUALITY_MINUTES}, pa)
    return int(measures_of(rows, Promises(objectives, settings)).bad[MEASURES.index(measure), 0])


@pytest.mark.parametrize(
    ("service", "measure", "objectives", "bad"),
    [
        ("video", "low_throughput", (), 30),
        ("video", "slow_requests", (), 65),
        ("compute", "slow_requests", (), 10),
        ("video", "slow_requests", PROMISED, 100),
    ],
)
def test_cells_are_counted_as_the_detector_counts(
    store: Store, service: str, measure: str, objectives: tuple[Objective, ...], bad: int
) -> None:
    context = replace(make_context(), registry=Registry([Customer("acme", "Acme", "UTC", objectives)]))
    where = {"customer": ("acme",), "service": (service,)}
    threshold = context.threshold("acme", service, measure)
    answer = cells(store, CellQuestion(measure, T0, T0 + MINUTE_MS, where=where, threshold=threshold))
    assert answer.value == (bad,)
    assert detected(service, measure, objectives, DetectorSettings()) == bad


class Recording(SyntheticBackend):
    """Keeps what was asked for."""

    def __init__(self, *incidents: Incident) -> None:
        super().__init__()
        self.asked: list[CellQuestion] = []
        self._incidents = incidents

    def incidents(self, start: int, end: int) -> tuple[Incident, ...]:
        return self._incidents

    def signals(self, customer: str, service: str, measure: str, start: int, end: int) -> Mapping[str, list[Any]]:
        return make_signals(NOW, start, start)

    def cells(self, question: CellQuestion) -> CellAnswer:
        self.asked.append(question)
        return super().cells(question)

    def rule_places(
        self, question: CellQuestion, rule: str = "", apart: tuple[str, ...] = ()
    ) -> Mapping[str, list[Any]]:
        self.asked.append(question)
        return super().rule_places(question, rule, apart)


def context_of(backend: Recording) -> Context:
    """A policy of its own, and one customer who was promised something."""
    policy = Thresholds(slow_ms=900.0, slow_task_ms=300_000.0, low_kb_per_s=125.0)
    customers = Registry([Customer("acme", "Acme", "UTC", PROMISED), Customer("beta", "Beta")])
    return replace(make_context(), backend=backend, registry=customers, thresholds=lambda: policy)


def incident_of(customer: str, service: str, measure: str) -> Incident:
    plain = make_incident(NOW)
    series = SeriesEvidence(
        customer, service, measure, plain.onset, plain.newest, 100.0, 1_000.0, 20.0, 9.0, 1e-9, 1e-4
    )
    causes = (replace(plain.causes[0], measure=measure),)
    return replace(
        plain, customers=(customer,), services=(service,), measures=(measure,), series=(series,), causes=causes
    )


@pytest.mark.parametrize(
    ("customer", "service", "measure", "threshold"),
    [
        ("acme", "video", "slow_requests", 400.0),
        ("beta", "video", "slow_requests", 900.0),
        ("beta", "compute", "slow_requests", 300_000.0),
        ("beta", "video", "low_throughput", 125.0),
    ],
)
def test_the_triage_page_and_its_links_ask_by_the_threshold_in_force(
    customer: str, service: str, measure: str, threshold: float
) -> None:
    backend = Recording(incident_of(customer, service, measure))
    set_context(context_of(backend))
    shown = markup(open_page("triage", incident="inc-1"))
    assert {q.threshold for q in backend.asked} == {threshold}
    assert len(backend.asked) >= 3  # chart, now and before of the heat map
    assert f"threshold={threshold:g}" in shown


@pytest.mark.parametrize(
    ("query", "threshold"),
    [
        ({"m": "slow_requests"}, 900.0),
        ({"m": "low_throughput"}, 125.0),
        ({"m": "slow_requests", "where": "customer:acme;service:video"}, 400.0),
        ({"m": "slow_requests", "where": "customer:acme"}, 900.0),
        ({"m": "slow_requests", "where": "service:compute"}, 300_000.0),
        ({"m": "slow_requests", "where": "customer:acme;service:video", "threshold": "700"}, 700.0),
        ({"m": "failures"}, None),
    ],
)
def test_explore_counts_by_the_threshold_in_force_where_none_is_asked_for(
    query: dict[str, str], threshold: float | None
) -> None:
    backend = Recording()
    set_context(context_of(backend))
    open_page("explore", **query)
    assert {q.threshold for q in backend.asked} == {threshold}


def test_rules_are_compared_by_what_counts_without_a_promise() -> None:
    backend = Recording()
    set_context(context_of(backend))
    open_page("rules", m="low_throughput")
    assert {q.threshold for q in backend.asked} == {125.0}
