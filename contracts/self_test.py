"""The self-test: a customer that does not exist, served by boxes that do not exist, with faults made on purpose.

All of it goes through the same doors as real traffic. What is injected is announced as a Change of kind `self_test`
before it starts, so that history knows what should have been found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from contracts.entities import MEASURES, SELF_TEST_CHANGE, Change
from contracts.incidents import QUALITY, RETURN, Incident
from contracts.times import MINUTE_MS

CUSTOMER = "dipper-self-test"
"""Reserved id: no real customer may have it."""
CUSTOMER_NAME = "Self-test (synthetic)"
NOWHERE = "self-test"
"""Value of every other dimension of its traffic, so that no real cause shares a row with it."""
DEVICE_PREFIX = "dipper-self-test-"
AUTHOR = "self-test"
FOUND_WITHIN_MS = 5 * MINUTE_MS
"""After the end of a fault: what opens later has not found it."""
STARTED, STOPPED, WITHDRAWN = "started", "stopped", "withdrawn"
"""References of changes that announce no fault: the self-test began (its `end`: when the first fault is due), it was
stopped on purpose, a fault that was announced was not made after all."""


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that was made: [start, end) ms UTC, the measure it hurts."""

    id: str
    start: int
    end: int
    measure: str


def announcement(fault: Injected) -> Change:
    """The change that announces a fault."""
    note = f"Synthetic fault of the self-test: {fault.measure} of {CUSTOMER_NAME}. Nobody is affected."
    scope = {"customer": CUSTOMER}
    return Change(fault.id, SELF_TEST_CHANGE, scope, fault.start, fault.end, AUTHOR, fault.measure, note)


def withdrawal(fault: Injected) -> Change:
    """The change that takes a fault's announcement back."""
    return _notice(fault.id, WITHDRAWN, fault.start, None, "This fault was not made: the self-test ended before.")


def start_notice(change_id: str, at: int, first: int) -> Change:
    """The change that says that faults will come, the first at a time."""
    return _notice(change_id, STARTED, at, first, "The self-test was started.")


def stop_notice(change_id: str, at: int) -> Change:
    """The change that says that no more faults will come."""
    return _notice(change_id, STOPPED, at, None, "The self-test was stopped.")


def _notice(change_id: str, reference: str, start: int, end: int | None, note: str) -> Change:
    return Change(change_id, SELF_TEST_CHANGE, {"customer": CUSTOMER}, start, end, AUTHOR, reference, note)


def injected(changes: Iterable[Change]) -> list[Injected]:
    """The faults that some changes announce, by start; other changes are passed over."""
    found = [
        Injected(c.id, c.start, c.end, c.reference)
        for c in changes
        if c.kind == SELF_TEST_CHANGE and c.reference in MEASURES and c.end is not None
    ]
    return sorted(found, key=lambda fault: (fault.start, fault.id))


@dataclass(frozen=True, slots=True)
class Expected:
    """That a fault is due at a time, ms UTC; `since`: what was heard last of the self-test."""

    due: int
    since: int


def expected(changes: Iterable[Change], every_ms: int) -> Expected | None:
    """When the next fault is due; None while no self-test runs, as far as is known."""
    own = [c for c in changes if c.kind == SELF_TEST_CHANGE and c.reference != WITHDRAWN]
    last = max(own, key=lambda c: c.start, default=None)
    if last is None or last.reference == STOPPED:
        return None
    due = last.end if last.reference == STARTED and last.end is not None else last.start + every_ms
    return Expected(due, last.start)


def is_drill(customers: Iterable[str]) -> bool:
    """Whether an incident concerns nobody but the self-test."""
    return set(customers) == {CUSTOMER}


@dataclass(frozen=True, slots=True)
class Hit:
    """An injected fault, the incident that found it, and when that opened or came back, ms UTC."""

    fault: Injected
    incident: Incident
    at: int


def found_by(fault: Injected, incidents: Iterable[Incident]) -> Hit | None:
    """The first incident of quality that names the self-test's customer and opened, or came back, while the fault
    lasted or up to FOUND_WITHIN_MS later; one that only goes on has found nothing."""
    hits = [
        Hit(fault, i, at)
        for i in incidents
        if i.kind == QUALITY and CUSTOMER in i.customers
        for at in (i.detected_at, *(line.at for line in i.history if line.verb == RETURN))
        if fault.start <= at <= fault.end + FOUND_WITHIN_MS
    ]
    return min(hits, key=lambda hit: hit.at, default=None)
