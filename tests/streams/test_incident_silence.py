"""Silence: which boxes, what they have in common, why, and when nobody may be called silent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pytest

from contracts.arrow import batch
from contracts.columns import VITALS
from contracts.incidents import Action, Incident
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from streams.incident_book import IncidentBook
from streams.incident_settings import IncidentSettings, SilenceSettings
from streams.incident_silence import OwnLag, Served, SilenceWatch
from tests.streams.incident_builders import T0, reports

STEP = 10_000
PLACES = [("telecom", "north"), ("telecom", "south"), ("unicom", "north"), ("unicom", "south")]


class Fleet:
    """Twenty-four boxes, six in each of four places, that report every ten seconds unless they are silent."""

    def __init__(self, boxes: int = 24, served: Served | None = None) -> None:
        self.book = IncidentBook()
        self.watch = SilenceWatch(self.book, SilenceSettings(), IncidentSettings(), served)
        self.now = T0
        self.boots = {f"box-{n:02d}": 1 for n in range(boxes)}
        self.silent: set[str] = set()

    def place(self, device: str) -> tuple[str, str]:
        return PLACES[int(device[4:]) % 4]

    def run(self, seconds: int, *, frozen: bool = False) -> None:
        for _ in range(seconds * 1_000 // STEP):
            self.now += STEP
            heard = {d: (f"boot-{b}", *self.place(d)) for d, b in self.boots.items() if d not in self.silent}
            if heard:
                self.watch.reports(reports(heard, self.now - 5_000))
            self.watch.tick(self.now, frozen=frozen)

    def back(self, devices: Iterable[str], *, new_boot: bool = False, up_since: int | None = None) -> None:
        for device in devices:
            self.silent.discard(device)
            self.boots[device] += new_boot
            if up_since is not None:
                heard = {device: (f"boot-{self.boots[device]}", *self.place(device))}
                self.watch.reports(reports(heard, self.now + 1))
                self.watch.vitals(vitals(device, f"boot-{self.boots[device]}", self.now, self.now - up_since))

    def incidents(self) -> list[Incident]:
        return [*self.book.active(), *self.book.resolved_since(0)]


def vitals(device: str, boot: str, start: int, up_ms: int) -> Any:
    values: dict[str, Any] = {c.name: [""] if c.dtype == "string" else [0] for c in VITALS}
    values |= {"device": [device], "boot": [boot], "start": [start], "uptime_s": [up_ms / 1_000]}
    return batch(VITALS, values, pa)


def test_a_healthy_fleet_is_not_silent() -> None:
    fleet = Fleet()
    fleet.run(600)
    assert fleet.incidents() == []


def test_a_silent_box_is_noticed_within_four_minutes_and_named() -> None:
    fleet = Fleet()
    fleet.run(300)
    fleet.silent = {"box-07"}
    since = fleet.now
    fleet.run(240)
    (incident,) = fleet.incidents()
    assert (incident.kind, incident.devices) == ("silence.box", ("box-07",))
    assert since - STEP <= incident.onset <= since
    assert 220_000 < incident.detected_at - since <= 240_000
    assert incident.headline.params["device"] == "box-07"
    assert incident.severity.traffic_share == pytest.approx(1 / 24, rel=0.01)


def test_a_short_loss_of_line_of_single_boxes_is_no_incident() -> None:
    fleet = Fleet()
    fleet.run(300)
    for device in ("box-03", "box-07", "box-11"):
        fleet.silent = {device}
        fleet.run(220)
        fleet.back([device])
        fleet.run(10)
    assert fleet.incidents() == []


@pytest.mark.parametrize(
    ("new_boot", "up_since", "kind"),
    [
        (False, None, "silence.uplink"),
        (True, T0 - DAY_MS, "silence.agent"),
        (True, T0 + 20 * MINUTE_MS, "silence.box"),
        (True, None, "silence.box"),
    ],
)
def test_a_box_that_comes_back_tells_why_it_was_silent(new_boot: bool, up_since: int | None, kind: str) -> None:
    fleet = Fleet()
    fleet.run(300)
    fleet.silent = {"box-07"}
    fleet.run(1_200)
    fleet.back(["box-07"], new_boot=new_boot, up_since=up_since)
    fleet.run(60)
    (incident,) = fleet.incidents()
    assert (incident.kind, incident.state) == (kind, "resolved")
    assert incident.headline.key == kind


@pytest.mark.parametrize(
    ("gone", "where"),
    [
        ({n for n in range(24) if n % 4 == 1}, {"device_isp": "telecom", "device_region": "south"}),
        ({n for n in range(24) if n % 4 < 2}, {"device_isp": "telecom"}),
        ({n for n in range(24) if n % 2 == 0}, {"device_region": "north"}),
    ],
)
def test_a_place_gone_dark_is_one_incident(gone: set[int], where: dict[str, str]) -> None:
    fleet = Fleet()
    fleet.run(300)
    fleet.silent = {f"box-{n:02d}" for n in gone}
    fleet.run(150)
    (incident,) = fleet.incidents()
    assert (incident.kind, incident.where) == ("silence.region", where)
    assert set(incident.devices) == fleet.silent
    fleet.back(set(fleet.silent))
    fleet.run(30)
    assert [i.state for i in fleet.incidents()] == ["resolved"]


def test_a_box_that_served_while_silent_had_a_dead_agent() -> None:
    fleet = Fleet()
    fleet.run(300)
    fleet.silent = {"box-07"}
    fleet.run(600)
    fleet.back(["box-07"], new_boot=True)
    told = reports({"box-07": ("boot-2", *fleet.place("box-07"))}, fleet.now + 1, start=fleet.now - 5 * MINUTE_MS)
    fleet.watch.reports(told)
    fleet.run(60)
    assert [(i.kind, i.state) for i in fleet.incidents()] == [("silence.agent", "resolved")]


def test_single_boxes_elsewhere_have_incidents_of_their_own() -> None:
    fleet = Fleet()
    fleet.run(300)
    fleet.silent = {"box-00", "box-01", "box-02"}  # three places
    fleet.run(250)
    assert sorted(i.devices for i in fleet.incidents()) == [("box-00",), ("box-01",), ("box-02",)]


def test_a_box_that_falls_silent_again_soon_brings_its_incident_back() -> None:
    fleet = Fleet()
    fleet.run(300)
    for _ in range(2):
        fleet.silent = {"box-07"}
        fleet.run(300)
        fleet.back(["box-07"])
        fleet.run(100)
    (incident,) = fleet.incidents()
    assert (incident.state, incident.reopened) == ("resolved", 1)


def test_when_nearly_all_fall_silent_it_is_we_who_do_not_hear() -> None:
    fleet = Fleet()
    own = OwnLag(fleet.book, IncidentSettings())
    fleet.run(300)
    fleet.silent = {f"box-{n:02d}" for n in range(20)}
    fleet.run(150)
    assert fleet.watch.blind
    own.look(fleet.now, fleet.now, blind=fleet.watch.blind)
    assert [i.kind for i in fleet.incidents()] == ["self.lag"]


def test_nobody_is_called_silent_while_we_lag_nor_right_after() -> None:
    fleet = Fleet()
    fleet.run(300)
    fleet.silent = {"box-07"}
    fleet.run(600, frozen=True)
    assert fleet.incidents() == []
    fleet.run(80)
    assert fleet.incidents() == []
    fleet.run(20)
    assert [i.devices for i in fleet.incidents()] == [("box-07",)]


def test_a_box_silent_for_a_day_is_gone() -> None:
    fleet = Fleet(boxes=8)
    fleet.watch = SilenceWatch(fleet.book, SilenceSettings(forget_ms=30 * MINUTE_MS), IncidentSettings())
    fleet.run(300)
    fleet.silent = {"box-07"}
    fleet.run(40 * 60)
    (incident,) = fleet.incidents()
    assert (incident.state, incident.history[-1].text) == ("resolved", "not heard for a day: taken as gone")


def test_silent_boxes_are_remembered_over_a_restart() -> None:
    fleet = Fleet()
    fleet.run(300)
    fleet.silent = {"box-07"}
    fleet.run(300)
    fleet.watch = SilenceWatch(fleet.book, SilenceSettings(), IncidentSettings())
    fleet.run(200)
    assert [(i.devices, i.state) for i in fleet.incidents()] == [(("box-07",), "open")]
    fleet.back(["box-07"])
    fleet.run(60)
    assert [i.state for i in fleet.incidents()] == ["resolved"]


def test_no_flood_of_single_boxes() -> None:
    fleet = Fleet()
    fleet.watch = SilenceWatch(fleet.book, SilenceSettings(most_single=2, region_boxes=9), IncidentSettings())
    fleet.run(300)
    fleet.silent = {"box-00", "box-01", "box-02", "box-03"}
    fleet.run(250)
    assert sorted(len(i.devices) for i in fleet.incidents()) == [1, 3]


def test_lag_opens_once_and_ends_when_up_to_date() -> None:
    book = IncidentBook()
    own = OwnLag(book, IncidentSettings(lag_limit_ms=180_000))
    own.look(T0, T0 - 180_000, blind=False)
    assert not own.late
    own.look(T0, T0 - 180_001, blind=False)
    assert own.late
    own.look(T0 + 30_000, T0 - 180_001, blind=False)
    own.look(T0 + 60_000, T0 - 40_000, blind=False)
    assert own.late  # 100 s behind: not good enough yet
    own.look(T0 + 70_000, T0 - 10_000, blind=False)
    assert not own.late
    assert [i.state for i in book.resolved_since(0)] == ["resolved"]


def test_it_names_the_customers_that_its_boxes_served() -> None:
    asked: list[tuple[tuple[str, ...], int, int]] = []

    def served(devices: Sequence[str], start: int, end: int) -> Sequence[str]:
        asked.append((tuple(devices), start, end))
        return () if len(asked) < 3 else ("bolt", "acme")

    fleet = Fleet(served=served)
    fleet.run(1_200)
    fleet.silent = {"box-07"}
    fleet.run(250)
    (incident,) = fleet.incidents()
    assert incident.customers == ()  # history does not know those minutes yet
    fleet.run(600)
    (incident,) = fleet.incidents()
    assert incident.customers == ("bolt", "acme")
    assert set(asked) == {(("box-07",), incident.onset - 15 * MINUTE_MS, incident.onset)}
    assert len(asked) == 3


def test_when_nobody_knows_the_customers_the_question_is_given_up() -> None:
    asked: list[int] = []
    fleet = Fleet(served=lambda devices, start, end: asked.append(end) or ())
    fleet.run(300)
    fleet.silent = {"box-07"}
    fleet.run(3_600)
    assert len(asked) == 5


def test_boxes_that_join_an_incident_bring_their_customers() -> None:
    fleet = Fleet(served=lambda devices, start, end: [f"of-{d}" for d in devices])
    fleet.run(300)
    south = [f"box-{n:02d}" for n in range(24) if n % 4 == 1]
    fleet.silent = set(south[:4])
    fleet.run(140)
    (incident,) = fleet.incidents()
    assert (incident.kind, incident.customers) == ("silence.region", tuple(f"of-{d}" for d in south[:4]))
    fleet.silent = set(south)
    fleet.run(140)
    (incident,) = fleet.incidents()
    assert incident.customers == tuple(f"of-{d}" for d in south)


def test_the_box_of_the_self_test_is_not_called_silent() -> None:
    book = IncidentBook()
    watch = SilenceWatch(book, SilenceSettings(), IncidentSettings())
    watch.reports(reports({"dipper-self-test-1": ("boot-1", "self-test", "self-test")}, T0))
    for n in range(1, 60):
        watch.tick(T0 + n * STEP, frozen=False)
    assert list(book.active()) == []
    assert not watch.blind


class Region:
    """A place of boxes that all report, beside four times as many elsewhere. Reports come every thirty seconds."""

    STEP = 30_000

    def __init__(self, boxes: int, settings: SilenceSettings | None = None) -> None:
        self.book = IncidentBook()
        self.watch = SilenceWatch(self.book, settings or SilenceSettings(), IncidentSettings())
        self.now = T0
        self.here = [f"a{n:04d}" for n in range(boxes)]
        self.silent: set[str] = set()
        there = [f"z{n:04d}" for n in range(4 * boxes)]
        self.places = dict.fromkeys(self.here, ("b-1", "unicom", "south"))
        self.places |= dict.fromkeys(there, ("b-1", "telecom", "north"))

    def run(self, minutes: float) -> None:
        for _ in range(round(minutes * MINUTE_MS / self.STEP)):
            self.now += self.STEP
            self.watch.reports(
                reports({d: p for d, p in self.places.items() if d not in self.silent}, self.now - 5_000)
            )
            self.watch.tick(self.now, frozen=False)

    @property
    def incident(self) -> Incident:
        (found,) = [i for i in [*self.book.active(), *self.book.resolved_since(0)] if i.kind == "silence.region"]
        return found


def test_stragglers_join_an_incident_that_names_as_many_boxes_as_it_may() -> None:
    region = Region(540)
    region.run(5)
    region.silent = set(region.here[:520])
    region.run(1.5)
    region.silent = set(region.here)
    region.run(1)
    assert (len(region.incident.devices), region.incident.headline.params["boxes"]) == (500, 520)
    at_stake = region.incident.severity.at_stake_per_minute
    region.run(2)
    assert (len(region.incident.devices), region.incident.headline.params["boxes"]) == (500, 540)
    assert region.incident.severity.at_stake_per_minute == pytest.approx(at_stake * 540 / 520, rel=0.01)
    region.silent = set()
    region.run(2)
    assert [i.state for i in (*region.book.active(), *region.book.resolved_since(0))] == ["resolved"]


def test_a_region_dark_again_ends_when_those_are_heard_that_went_dark_again() -> None:
    region = Region(40)
    region.run(5)
    region.silent = set(region.here)
    region.run(5)
    region.silent = set()
    region.run(10)
    assert region.incident.state == "resolved"
    region.silent = set(region.here[:24])
    region.run(5)
    assert (region.incident.state, region.incident.headline.params["boxes"]) == ("open", 24)
    region.silent = set()
    region.run(2)
    assert region.incident.state == "resolved"


def test_boxes_that_are_gone_for_good_do_not_stop_the_watch() -> None:
    region = Region(16, SilenceSettings(forget_ms=2 * HOUR_MS))
    region.run(5)
    region.silent = set(region.here[:10])
    region.run(2.2 * 60)
    region.silent = set(region.here)
    region.run(5)
    assert region.incident.active
    region.silent = set(region.here[:10])
    region.run(2)
    assert not region.incident.active


def test_a_silence_that_people_closed_is_another_one_the_next_time() -> None:
    fleet = Fleet()
    fleet.run(300)
    for _ in range(2):
        fleet.silent = {"box-07"}
        fleet.run(300)
        (incident,) = fleet.book.active()
        fleet.book.act(Action("a", incident.id, "resolve", "ana", fleet.now, "its owner moved house"))
        fleet.back(["box-07"])
        fleet.run(60)
    assert len(fleet.incidents()) == 2
