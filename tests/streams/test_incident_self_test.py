"""The self-test's faults: found, missed, not made any more; and that nobody is woken for them."""

from __future__ import annotations

import pytest

from contracts.entities import Change
from contracts.incidents import Action, Incident, Sentence, Severity
from contracts.self_test import CUSTOMER, FOUND_WITHIN_MS, Injected, announcement, start_notice, stop_notice, withdrawal
from contracts.times import HOUR_MS, MINUTE_MS
from streams.incident_book import IncidentBook
from streams.incident_self_test import LATE_ANNOUNCEMENT_MS, SelfTestWatch

T0 = 1_767_607_200_000
FAULT = Injected("self-test-1", T0, T0 + 6 * MINUTE_MS, "failures")
NEXT = Injected("self-test-2", T0 + HOUR_MS, T0 + HOUR_MS + 6 * MINUTE_MS, "slow_requests")
OVER = FAULT.end + FOUND_WITHIN_MS


@pytest.fixture
def book() -> IncidentBook:
    return IncidentBook()


@pytest.fixture
def watch(book: IncidentBook) -> SelfTestWatch:
    return SelfTestWatch(book, HOUR_MS)


def open_quality(book: IncidentBook, at: int, *customers: str) -> Incident:
    said = Sentence(
        "quality.unexplained", {"customers": customers, "measures": ("failures",), "factor": 2.0, "since": at}
    )
    return book.open("quality", at, at, said, Severity("low"), customers=customers, measures=("failures",))


def look(watch: SelfTestWatch, now: int, changes: list[Change]) -> None:
    """With all minutes judged."""
    watch.keep_quiet(now)
    watch.look(now, now, changes)


def own(book: IncidentBook) -> list[tuple[str, str]]:
    return [(i.headline.key, i.state) for i in book.take() if i.kind == "self.test"]


def test_a_fault_that_nobody_found_is_an_incident_of_its_own(book: IncidentBook, watch: SelfTestWatch) -> None:
    look(watch, OVER - 1, [announcement(FAULT)])
    assert own(book) == []
    look(watch, OVER, [announcement(FAULT)])
    (missed,) = book.take()
    assert (missed.kind, missed.state, missed.onset, missed.detected_at) == ("self.test", "open", T0, OVER)
    assert dict(missed.headline.params) == {"fault": "self-test-1", "since": T0}
    assert missed.severity.level == "high"
    assert missed.customers == ()
    look(watch, OVER + MINUTE_MS, [announcement(FAULT)])
    assert book.take() == []


def test_minutes_that_are_not_judged_yet_have_missed_nothing(book: IncidentBook, watch: SelfTestWatch) -> None:
    watch.look(OVER + MINUTE_MS, OVER - 1, [announcement(FAULT)])
    assert own(book) == []


def test_it_ends_when_the_next_one_is_found(book: IncidentBook, watch: SelfTestWatch) -> None:
    look(watch, OVER, [announcement(FAULT)])
    open_quality(book, NEXT.start + 2 * MINUTE_MS, CUSTOMER)
    look(watch, NEXT.end + FOUND_WITHIN_MS, [announcement(FAULT), announcement(NEXT)])
    (missed,) = (i for i in book.take() if i.kind == "self.test")
    assert (missed.state, missed.history[-1].text) == ("resolved", "self-test-2 was found by inc-20260105-1102-1")


def test_the_next_one_missed_too_is_the_same_trouble(book: IncidentBook, watch: SelfTestWatch) -> None:
    both = [announcement(FAULT), announcement(NEXT)]
    look(watch, OVER, both)
    look(watch, NEXT.end + FOUND_WITHIN_MS, both)
    (missed,) = book.take()
    assert dict(missed.headline.params) == {"fault": "self-test-2", "since": NEXT.start}


def test_a_fault_that_was_found_says_nothing(book: IncidentBook, watch: SelfTestWatch) -> None:
    open_quality(book, T0 + 2 * MINUTE_MS, CUSTOMER)
    look(watch, OVER, [announcement(FAULT)])
    assert own(book) == []


def test_another_customers_incident_has_not_found_it(book: IncidentBook, watch: SelfTestWatch) -> None:
    open_quality(book, T0 + 2 * MINUTE_MS, "acme")
    look(watch, OVER, [announcement(FAULT)])
    assert own(book) == [("self.test", "open")]


def test_nothing_is_missed_while_we_were_late_ourselves(book: IncidentBook, watch: SelfTestWatch) -> None:
    said = Sentence("self.lag", {"lag_s": 300.0, "since": T0})
    late = book.open("self.lag", T0 + MINUTE_MS, T0, said, Severity("critical"))
    look(watch, OVER, [announcement(FAULT)])
    book.end(late.id, OVER + MINUTE_MS)
    look(watch, OVER + 2 * MINUTE_MS, [announcement(FAULT)])
    assert own(book) == []


def test_what_people_closed_is_not_said_again(book: IncidentBook, watch: SelfTestWatch) -> None:
    look(watch, OVER, [announcement(FAULT)])
    (missed,) = book.take()
    book.act(Action("a-1", missed.id, "resolve", "ana", OVER + MINUTE_MS))
    look(watch, OVER + 2 * MINUTE_MS, [announcement(FAULT)])
    assert [i.state for i in book.take()] == ["resolved"]


def test_a_self_test_that_stops_running_is_said_and_one_that_was_stopped_is_not(
    book: IncidentBook, watch: SelfTestWatch
) -> None:
    open_quality(book, T0 + 2 * MINUTE_MS, CUSTOMER)
    late = T0 + HOUR_MS + LATE_ANNOUNCEMENT_MS
    look(watch, late, [announcement(FAULT)])
    assert own(book) == []
    look(watch, late + 1, [announcement(FAULT)])
    assert own(book) == [("self.test.absent", "open")]
    look(watch, late + MINUTE_MS, [announcement(FAULT), stop_notice("self-test-stop", T0 + HOUR_MS)])
    assert own(book) == [("self.test.absent", "resolved")]


def test_one_that_never_makes_its_first_fault_is_said(book: IncidentBook, watch: SelfTestWatch) -> None:
    begun = [start_notice("self-test-start", T0, T0 + 70 * MINUTE_MS)]
    look(watch, T0 + 70 * MINUTE_MS + LATE_ANNOUNCEMENT_MS, begun)
    assert own(book) == []
    look(watch, T0 + 71 * MINUTE_MS + LATE_ANNOUNCEMENT_MS, begun)
    assert own(book) == [("self.test.absent", "open")]


def test_a_fault_that_was_taken_back_is_not_missed(book: IncidentBook, watch: SelfTestWatch) -> None:
    look(watch, OVER, [withdrawal(FAULT)])
    assert own(book) == []


def test_a_restarted_watch_says_nothing_twice(book: IncidentBook, watch: SelfTestWatch) -> None:
    look(watch, OVER, [announcement(FAULT)])
    again = IncidentBook()
    again.restore(book.take())
    look(SelfTestWatch(again, HOUR_MS), OVER + MINUTE_MS, [announcement(FAULT)])
    assert again.take() == []


def test_drills_are_muted_until_a_real_customer_joins(book: IncidentBook, watch: SelfTestWatch) -> None:
    drill, real = open_quality(book, T0, CUSTOMER), open_quality(book, T0, "acme")
    look(watch, T0 + MINUTE_MS, [])
    states = {i.id: (i.state, i.muted_by) for i in book.take()}
    assert states == {drill.id: ("muted", "dipper"), real.id: ("open", None)}
    book.change(drill.id, customers=("acme", CUSTOMER))
    look(watch, T0 + 2 * MINUTE_MS, [])
    assert [(i.state, i.history[-1].verb) for i in book.take()] == [("open", "unmute")]
    look(watch, T0 + 3 * MINUTE_MS, [])
    assert book.take() == []
