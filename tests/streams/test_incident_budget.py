"""Incidents of a removal budget that is used up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from contracts.health import BudgetState, Cell
from contracts.incidents import ACKNOWLEDGE, RESOLVE, Action, Incident
from streams.incident_book import IncidentBook
from streams.incident_budget import BudgetWatch
from streams.incident_settings import IncidentSettings

T0, MINUTE = 1_767_607_200_000, 60_000
SETTINGS = IncidentSettings()


def cell(wanted: float, boxes: int = 40, **where: str) -> Cell:
    return Cell(where, boxes, min(wanted, 0.2), 0.2, wanted)


def place(customer: str, wanted: float = 0.7, region: str = "north") -> Cell:
    return cell(wanted, device_region=region, device_isp="unicom", customer=customer)


def state(minute: int, *cells: Cell) -> BudgetState:
    return BudgetState(T0 + minute * MINUTE, 400, 10, 10, 5, cells)


class Watched:
    """A book and its watch, minute by minute."""

    def __init__(self) -> None:
        self.book = IncidentBook()
        self.watch = BudgetWatch(self.book, SETTINGS)

    def minute(self, minute: int, *cells: Cell) -> None:
        self.watch.take(state(minute, *cells))
        self.watch.tick(T0 + minute * MINUTE)

    def all(self) -> list[Incident]:
        active = list(self.book.active())
        return active + list(self.book.resolved_since(0))

    def restarted(self) -> Watched:
        later = Watched()
        later.book.restore(self.all())
        later.watch = BudgetWatch(later.book, SETTINGS)
        return later


def test_one_minute_may_be_chance_two_are_an_incident() -> None:
    watched = Watched()
    watched.minute(0, place("c1"))
    assert watched.all() == []
    watched.minute(1, cell(0.1))
    watched.minute(2, place("c1"))
    assert watched.all() == []
    watched.minute(3, place("c1", 0.9))
    (incident,) = watched.all()
    assert (incident.kind, incident.state, incident.onset) == ("health.budget", "open", T0 + MINUTE)
    assert incident.where == {"device_region": "north", "device_isp": "unicom"}
    assert incident.headline.params["used"] == 0.2
    # 8% of the requests of 70% of a tenth of all boxes
    assert (incident.severity.level, incident.severity.traffic_share) == ("high", 0.1)


def test_customers_of_one_place_are_one_incident_and_wider_cells_say_nothing_new() -> None:
    watched = Watched()
    wide = (cell(0.4, device_isp="unicom", customer="c1"), cell(0.3, customer="c1"), cell(0.21))
    for minute in range(3):
        watched.minute(minute, place("c1"), place("c2"), *wide)
    watched.minute(3, place("c3"), place("c4", region="south"))
    watched.minute(4, place("c3"), place("c4", region="south"))
    found = {incident.where["device_region"]: incident.customers for incident in watched.all()}
    assert found == {"north": ("c1", "c2", "c3"), "south": ("c4",)}


def test_where_only_wide_cells_are_used_up_the_place_is_wide() -> None:
    watched = Watched()
    for minute in range(2):
        watched.minute(minute, cell(0.4, device_isp="unicom", customer="c1"), cell(0.4, customer="c2"))
    assert [incident.where for incident in watched.all()] == [{"device_isp": "unicom"}, {}]
    assert [incident.customers for incident in watched.all()] == [("c1",), ("c2",)]


def test_it_ends_when_the_budget_has_sufficed_for_a_while_and_not_for_want_of_news() -> None:
    watched = Watched()
    for minute in range(3):
        watched.minute(minute, place("c1"))
    watched.watch.tick(T0 + 60 * MINUTE)
    assert [i.state for i in watched.all()] == ["open"]
    for minute in range(3, 7):
        watched.minute(minute, place("c1", 0.1))
    assert [i.state for i in watched.all()] == ["open"]
    watched.minute(7)
    (incident,) = watched.all()
    assert (incident.state, incident.newest) == ("resolved", T0 + 2 * MINUTE)


def test_the_same_place_again_within_half_an_hour_is_the_same_incident_unless_people_closed_it() -> None:
    watched = Watched()
    plan: Mapping[int, tuple[Cell, ...]] = {
        0: (place("c1"),),
        1: (place("c1"),),
        20: (place("c1"),),
        21: (place("c1"),),
    }
    for minute in range(22):
        watched.minute(minute, *plan.get(minute, ()))
    (incident,) = watched.all()
    assert (incident.state, incident.reopened) == ("open", 1)
    watched.book.act(Action("a1", incident.id, RESOLVE, "ana", T0 + 22 * MINUTE))
    for minute in (23, 24):
        watched.minute(minute, place("c1"))
    assert len(watched.all()) == 2


def test_a_restart_tells_nothing_twice() -> None:
    watched = Watched()
    for minute in range(3):
        watched.minute(minute, place("c1"))
    (before,) = watched.all()
    watched.book.act(Action("a1", before.id, ACKNOWLEDGE, "ana", T0 + 3 * MINUTE))
    again = watched.restarted()
    for minute in range(3):
        again.minute(minute, place("c1"))
    assert again.all() == watched.all()
    for minute in range(3, 8):
        again.minute(minute)
    over = again.restarted()
    for minute in range(8):
        over.minute(minute, *(() if minute > 2 else (place("c1"),)))
    assert [i.state for i in over.all()] == ["resolved"]


def test_an_older_state_changes_nothing() -> None:
    watched = Watched()
    for minute in range(2):
        watched.minute(minute, place("c1"))
    before = watched.all()
    watched.watch.take(replace(state(1, place("c2")), computed_at=T0 + MINUTE - 1))
    assert watched.all() == before
