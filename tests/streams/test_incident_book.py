"""The book: ids once, no transition beside the table, the same calls give the same incidents."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from contracts.incidents import (
    RESOLVED,
    SYSTEM,
    TRANSITIONS,
    VERBS_OF_PEOPLE,
    Action,
    IllegalTransition,
    Incident,
    Sentence,
    Severity,
    incident_from_json,
    incident_to_json,
    permitted,
)
from contracts.times import DAY_MS, MINUTE_MS
from streams.incident_book import KEEP_RESOLVED_MS, IncidentBook

T0 = 1_767_607_380_000  # 2026-01-05T10:03:00Z
SAID = Sentence("silence.box", {"boxes": 1, "device": "b-1", "since": T0})


def opened(book: IncidentBook, at: int = T0) -> Incident:
    return book.open("silence.box", at, at - MINUTE_MS, SAID, Severity("low"))


def test_ids_tell_when_and_are_given_once() -> None:
    book = IncidentBook()
    assert [opened(book).id, opened(book).id, opened(book, T0 + MINUTE_MS).id] == [
        "inc-20260105-1003-1",
        "inc-20260105-1003-2",
        "inc-20260105-1004-1",
    ]


def test_a_restored_book_goes_on_without_using_an_id_again() -> None:
    book = IncidentBook()
    opened(book)
    again = IncidentBook()
    again.restore(book.take())
    assert opened(again).id == "inc-20260105-1003-2"
    assert [i.id for i in again.active()] == ["inc-20260105-1003-1", "inc-20260105-1003-2"]


def test_of_two_versions_the_higher_counts_whichever_comes_last() -> None:
    book = IncidentBook()
    first = opened(book)
    second = book.end(first.id, T0 + MINUTE_MS)
    again = IncidentBook()
    again.restore([second, first])
    assert again.get(first.id) == second


def test_only_what_changed_is_taken_and_only_once() -> None:
    book = IncidentBook()
    first, second = opened(book), opened(book)
    assert book.take() == [first, second]
    assert book.take() == []
    assert book.change(first.id, severity=first.severity) == first
    assert book.take() == []
    changed = book.change(second.id, newest=T0 + MINUTE_MS)
    assert (changed.version, book.take()) == (2, [changed])


def test_a_mute_ends_when_its_time_is_over() -> None:
    book = IncidentBook()
    muted = opened(book)
    book.act(Action("a-1", muted.id, "mute", "ana", T0, "night", until=T0 + 10 * MINUTE_MS))
    book.tick(T0 + 9 * MINUTE_MS)
    assert [i.state for i in book.active()] == ["muted"]
    book.tick(T0 + 10 * MINUTE_MS)
    (after,) = book.active()
    assert (after.state, after.history[-1].verb, after.history[-1].author) == ("open", "unmute", SYSTEM)


def test_what_was_resolved_long_ago_is_forgotten_once_it_is_written() -> None:
    book = IncidentBook()
    old = opened(book)
    book.end(old.id, T0)
    book.tick(T0 + KEEP_RESOLVED_MS + DAY_MS)
    assert book.get(old.id) is not None  # nobody has written it yet
    book.take()
    book.tick(T0 + KEEP_RESOLVED_MS + DAY_MS)
    assert book.get(old.id) is None


def test_an_action_on_nothing_known_changes_nothing() -> None:
    book = IncidentBook()
    assert book.act(Action("a-1", "inc-1", "note", "ana", T0, "hello")) is None
    assert book.take() == []


def test_merge_and_split_are_told_on_both_sides() -> None:
    book = IncidentBook()
    first, second = opened(book), opened(book)
    assert book.merge(second.id, first.id, T0, "the same cause").merged_into == first.id
    third = opened(book)
    parent = book.split(first.id, third.id, T0)
    assert (parent.history[-1].other, parent.state) == (third.id, "open")
    child = book.get(third.id)
    assert child is not None
    assert child.split_from == first.id


class Lifecycle(RuleBasedStateMachine):
    """Any order of what people and the system do, written down and restored now and then."""

    @initialize()
    def begin(self) -> None:
        self.book = IncidentBook()
        self.now = T0
        self.ids: list[str] = []
        self.written: dict[str, dict[str, Any]] = {}
        self.actions = 0

    def write(self) -> None:
        for incident in self.book.take():
            before = self.written.get(incident.id)
            assert before is None or incident.version > before["version"]
            self.written[incident.id] = json.loads(json.dumps(incident_to_json(incident)))

    @rule()
    def open(self) -> None:
        incident = opened(self.book, self.now)
        assert incident.id not in self.ids
        self.ids.append(incident.id)

    @rule(minutes=st.integers(1, 90))
    def wait(self, minutes: int) -> None:
        self.now += minutes * MINUTE_MS
        self.book.tick(self.now)
        assert not [i for i in self.book.active() if i.state == "muted" and (i.muted_until or 0) <= self.now]

    @rule(n=st.integers(0, 5), verb=st.sampled_from(VERBS_OF_PEOPLE), minutes=st.integers(1, 60))
    def people(self, n: int, verb: str, minutes: int) -> None:
        if n >= len(self.ids):
            return
        self.actions += 1
        before = self.book.get(self.ids[n])
        action = Action(
            f"a-{self.actions}", self.ids[n], verb, "ana", self.now, "why",
            until=self.now + minutes * MINUTE_MS if verb == "mute" else None,
            cause={"model": "m1"} if verb == "real_cause" else None,
        )  # fmt: skip
        assert before is not None
        try:
            after = self.book.act(action)
        except IllegalTransition:
            assert not permitted(before, verb)
            assert self.book.get(self.ids[n]) == before
            return
        assert after is not None
        assert after.state == TRANSITIONS[verb, before.state]
        assert self.book.act(action) == after

    @rule(n=st.integers(0, 5), m=st.integers(0, 5), what=st.sampled_from(["end", "return", "merge"]))
    def system(self, n: int, m: int, what: str) -> None:
        if n >= len(self.ids):
            return
        incident = self.book.get(self.ids[n])
        assert incident is not None
        if what == "end" and incident.active:
            self.book.end(incident.id, self.now)
        elif what == "return" and permitted(incident, "return"):
            self.book.come_back(incident.id, self.now)
        elif what == "merge" and m < len(self.ids) and m != n and permitted(incident, "merge"):
            self.book.merge(incident.id, self.ids[m], self.now)

    @rule()
    def restart(self) -> None:
        self.write()
        self.book = IncidentBook()
        self.book.restore(incident_from_json(document) for document in self.written.values())

    @invariant()
    def every_history_is_a_path_through_the_table(self) -> None:
        for incident_id in self.ids:
            incident = self.book.get(incident_id)
            assert incident is not None
            state = "open"
            for line in incident.history:
                assert line.before == state
                returned_muted = line.verb == "return" and line.after == "muted"
                assert line.after == TRANSITIONS[line.verb, state] or returned_muted
                state = line.after
            assert state == incident.state
            assert (incident.state == RESOLVED) == (incident.resolved_at is not None)


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
