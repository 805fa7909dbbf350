"""Quality incidents: one per cause, whatever overlaps, joins, ends and comes back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from contracts.columns import QUALITY_CUBE
from contracts.incidents import Action, Cause, Incident, Sentence, SeriesEvidence, Severity
from contracts.times import MINUTE_MS
from streams.detect import DetectOperator, read_minutes
from streams.detect_measures import Promises
from streams.incident_book import IncidentBook
from streams.incident_causes import Scene, began, customer_cause
from streams.incident_cells import CellMemory
from streams.incident_settings import DetectorSettings, IncidentSettings
from streams.incidents import QualityIncidents
from tests.streams.incident_builders import OBJECTIVES, Network, Worse, inside, minute, nothing, rows_of

CALM = 15
UNICOM_NORTH = {"client_isp": "unicom", "client_region": "north"}
OVER = [nothing] * 8


class Desk:
    """Detection and incidents without a log."""

    def __init__(self, seed: int = 1) -> None:
        settings = DetectorSettings(warm_up_minutes=10)
        self.book = IncidentBook()
        self._promises = Promises(OBJECTIVES, settings)
        self._detect = DetectOperator(settings)
        self._cells = CellMemory(IncidentSettings().memory_minutes)
        self._incidents = QualityIncidents(self.book, IncidentSettings())
        self._network = Network(seed)
        self.n = 0
        self.run([nothing] * CALM)

    def run(self, plan: Sequence[Worse], coverage: float = 1.0) -> list[Incident]:
        for worse in plan:
            minutes, cube = self._network.minute(self.n, worse, coverage)
            self._cells.add(cube, self._promises)
            services = {s: content for _, s, content in read_minutes(minutes, self._promises)}
            signals = self._detect.judge(minute(self.n), services, self._promises)
            self._incidents.minute(minute(self.n), signals, self._cells, ())
            self.n += 1
        return [*self.book.active(), *self.book.resolved_since(0)]


def both(one: Worse, other: Worse) -> Worse:
    return lambda cell: one(cell) + other(cell)


def lead(incident: Incident) -> dict[str, str]:
    return dict(incident.causes[0].where) if incident.causes and incident.causes[0].answer else {}


@pytest.mark.parametrize("where", [UNICOM_NORTH, {"firmware": "1.1"}, {"client_region": "south"}])
def test_a_cause_across_customers_is_one_incident(where: dict[str, str]) -> None:
    (incident,) = Desk().run([inside(where, 0.12)] * 6)
    assert (lead(incident), incident.verdict) == (where, "localised")
    assert incident.customers == ("acme", "bolt", "core")
    assert incident.onset == minute(CALM)


def test_a_customer_whose_whole_traffic_suffers_is_the_cause() -> None:
    (incident,) = Desk().run([inside({"customer": "bolt"}, 0.2)] * 5)
    assert (lead(incident), incident.customers) == ({"customer": "bolt"}, ("bolt",))


def test_the_customer_as_cause_names_what_selects_the_same_rows() -> None:
    cells = CellMemory(45)
    keys = [
        {"customer": c, "service": s, "client_isp": i}
        for c, s in (("acme", "video"), ("acme", "download"), ("bolt", "live"))
        for i in ("telecom", "unicom")
    ]
    cells.add(rows_of(QUALITY_CUBE, 0, keys, np.full(6, 1_000), np.full(6, 50)), Promises((), DetectorSettings()))
    scene = Scene(cells, minute(0), minute(0), IncidentSettings())
    found = {c: customer_cause(scene, "failures", {"customer": c}).equivalents for c in ("acme", "bolt", "core")}
    assert [dict(e.where) for e in found["bolt"]] == [{"service": "live"}, {"customer": "bolt", "service": "live"}]
    assert (found["acme"], found["core"]) == ((), ())  # two services; no traffic


def test_two_causes_at_a_time_are_two_incidents() -> None:
    desk = Desk()
    desk.run([inside(UNICOM_NORTH, 0.2)] * 4)
    found = desk.run([both(inside(UNICOM_NORTH, 0.2), inside({"customer": "core"}, 0.4))] * 4)
    assert sorted(sorted(lead(i).items()) for i in found) == [sorted(UNICOM_NORTH.items()), [("customer", "core")]]
    assert [i.split_from for i in found] == [None, None]  # it began when the first had been found
    found = desk.run([inside({"customer": "core"}, 0.4)] * 8)
    assert {tuple(lead(i)): i.state for i in found} == {
        ("client_isp", "client_region"): "resolved",
        ("customer",): "open",
    }


def test_two_causes_of_what_one_incident_was_opened_for_are_split() -> None:
    desk = Desk()
    telecom_of_core = {"client_isp": "telecom", "customer": "core"}
    found = desk.run([both(inside(UNICOM_NORTH, 0.25), inside(telecom_of_core, 0.12))] * 6)
    whole = next(i for i in found if lead(i) == UNICOM_NORTH)
    part = next(i for i in found if i.id != whole.id)
    assert dict(lead(part)).items() >= {"client_isp": "telecom"}.items()
    assert (part.split_from, part.customers) == (whole.id, ("core",))
    assert [(line.verb, line.other, line.after) for line in whole.history] == [("split", part.id, "open")]
    assert whole.customers == ("acme", "bolt", "core")  # all of them suffer from the first cause, too
    assert {i.state for i in desk.run(OVER)} == {"resolved"}


def evidence_of(customer: str) -> SeriesEvidence:
    return SeriesEvidence(
        customer, "video", "failures", minute(CALM), minute(CALM), 100.0, 1_000.0, 10.0, 20.0, 1e-9, 1e-6
    )


def opened(desk: Desk, customers: Sequence[str], causes: Sequence[Cause], at: int) -> Incident:
    said = {"customers": tuple(customers), "measures": ("failures",), "factor": 2.0, "since": minute(CALM)}
    return desk.book.open(
        "quality", at, minute(CALM), Sentence("quality.unexplained", said), Severity("low"),
        customers=tuple(customers), measures=("failures",), services=("video",), causes=tuple(causes),
        series=tuple(evidence_of(customer) for customer in customers), verdict="localised", newest=minute(CALM),
    )  # fmt: skip


def test_a_split_takes_along_what_the_first_cause_does_not_raise() -> None:
    desk = Desk()
    cause = Cause({"customer": "acme"}, 1.0, 900.0, 30.0, 3_000.0, True, "failures")
    whole = opened(desk, ("acme", "core"), [cause], minute(CALM + 3))
    found = desk.run([both(inside({"customer": "acme"}, 0.3), inside({"customer": "core"}, 0.3))] * 4)
    assert {i.id: (i.customers, i.split_from) for i in found}.pop(whole.id) == (("acme",), None)
    (part,) = [i for i in found if i.id != whole.id]
    assert (part.customers, part.split_from, lead(part)) == (("core",), whole.id, {"customer": "core"})
    first = desk.book.get(whole.id)
    assert first is not None
    assert first.history[-1].text == "another cause: customer=core"


def test_incidents_whose_causes_become_one_are_merged_into_the_earlier() -> None:
    desk = Desk()
    (first,) = desk.run([inside(UNICOM_NORTH, 0.2)] * 4)
    desk.book.act(Action("a-1", first.id, "acknowledge", "ana", minute(desk.n)))
    second = opened(desk, ("dune",), first.causes, minute(desk.n))
    desk.run([inside(UNICOM_NORTH, 0.2)])
    merged, kept = desk.book.get(second.id), desk.book.get(first.id)
    assert merged is not None
    assert kept is not None
    assert (merged.state, merged.merged_into) == ("resolved", first.id)
    assert [(line.verb, line.other, line.text) for line in merged.history] == [("merge", first.id, "the same cause")]
    assert (kept.state, kept.customers) == ("acknowledged", ("acme", "bolt", "core", "dune"))


def test_it_ends_five_minutes_after_its_rows_are_usual_again() -> None:
    desk = Desk()
    desk.run([inside(UNICOM_NORTH, 0.12)] * 6)
    (incident,) = desk.run(OVER)
    assert incident.state == "resolved"
    assert minute(CALM + 5) <= incident.newest <= minute(CALM + 6)
    assert incident.resolved_at is not None
    assert incident.resolved_at - incident.newest == 6 * MINUTE_MS
    assert desk.run([nothing] * 10) == [incident]


def test_the_onset_is_not_moved_by_how_a_cause_fades() -> None:
    cells = CellMemory(45)
    promises = Promises(OBJECTIVES, DetectorSettings())
    where = {"customer": "acme", "service": "video"}
    failed = [10, 10, 12, 12, 12, 100, 110, 13]  # expected: 10 of 1,000
    for n, bad in enumerate(failed):
        cells.add(rows_of(QUALITY_CUBE, n, [where], np.array([1_000]), np.array([bad])), promises)
    cause = Cause(where, 1.0, 210.0, 20.0, 2_000.0, True, "failures")
    for newest in (6, 7):
        span = began(cells, cause, minute(0), minute(newest))
        assert span is not None
        assert span.onset_ms == minute(5)


def test_the_same_cause_again_soon_is_the_same_incident() -> None:
    desk = Desk()
    for added in (0.2, 0.5):  # a series that has just been restless needs more evidence
        desk.run([inside(UNICOM_NORTH, added)] * 5)
        desk.run([nothing] * 14)
    (incident,) = desk.run([])
    assert (incident.state, incident.reopened) == ("resolved", 1)
    assert [line.verb for line in incident.history] == ["end", "return", "end"]


def test_what_people_closed_does_not_come_back_by_itself() -> None:
    desk = Desk()
    (incident,) = desk.run([inside(UNICOM_NORTH, 0.12)] * 4)
    desk.book.act(Action("a-1", incident.id, "false_alarm", "ana", minute(desk.n), "we did this"))
    desk.run([inside(UNICOM_NORTH, 0.12)] * 3)
    after = desk.book.get(incident.id)
    assert after is not None
    assert (after.state, after.reopened) == ("resolved", 0)


def test_frozen_minutes_neither_end_nor_open() -> None:
    desk = Desk()
    desk.run([inside(UNICOM_NORTH, 0.12)] * 5)
    (incident,) = desk.run([nothing] * 12, coverage=0.3)
    assert incident.state == "open"
    assert len(desk.run([inside({"customer": "core"}, 0.5)] * 4, coverage=0.3)) == 1
    assert [i.state for i in desk.run(OVER)] == ["resolved"]


def test_severity_grows_with_its_arithmetic() -> None:
    desk = Desk()
    (early,) = desk.run([inside(UNICOM_NORTH, 0.12)] * 3)
    (late,) = desk.run([inside(UNICOM_NORTH, 0.12)] * 4)
    assert late.severity.customer_minutes == early.severity.customer_minutes + 4 * 3
    assert late.severity.excess_bad > early.severity.excess_bad
    assert late.severity.at_stake_per_minute == pytest.approx(6 * 250, rel=0.1)  # three customers, two firmwares
    assert late.severity.traffic_share == pytest.approx(1 / 6, rel=0.1)
    assert late.severity.excess_ratio == pytest.approx(0.12, rel=0.25)
    assert late.version > early.version
