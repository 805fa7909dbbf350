"""The self-test's faults against what was found: a missed one is an incident about ourselves, and so is a self-test
that does not run any more. Pure: changes and the book's incidents in, incidents in the book.

Incidents that concern nobody but the self-test are muted as they open, so that nobody is woken for a drill; one that a
real customer joins is unmuted.
"""

from __future__ import annotations

from collections.abc import Iterable

from contracts.entities import Change
from contracts.incidents import (
    MUTE,
    MUTED,
    OPEN,
    QUALITY,
    SELF_LAG,
    SELF_TEST,
    SYSTEM,
    UNMUTE,
    Action,
    Incident,
    Sentence,
    Severity,
)
from contracts.self_test import FOUND_WITHIN_MS, Expected, Injected, expected, found_by, injected, is_drill
from contracts.times import DAY_MS, MINUTE_MS, rfc3339
from streams.incident_book import IncidentBook

MISSED, ABSENT = "self.test", "self.test.absent"
LATE_ANNOUNCEMENT_MS = 15 * MINUTE_MS
"""How much later than planned the next fault may be announced."""
_LOOK_BACK_MS = DAY_MS


class SelfTestWatch:
    """Works on the book's incidents of kind self.test. `every_ms`: from one fault to the next, as planned."""

    def __init__(self, book: IncidentBook, every_ms: int) -> None:
        self._book = book
        self._every_ms = every_ms

    def look(self, now: int, judged_until: int, changes: Iterable[Change]) -> None:
        """Time has come to `now`, minutes have been judged up to `judged_until`; `changes`: those of the last day."""
        known = [c for c in changes if c.start <= now]
        due = expected(known, self._every_ms)
        over = [f for f in injected(known) if f.end + FOUND_WITHIN_MS <= judged_until]
        if over:
            self._missed(over[-1], now, stopped=due is None)
        self._absent(due, now)

    def keep_quiet(self, now: int) -> None:
        """Mute what concerns nobody but the self-test; call it before incidents are written."""
        for incident in self._book.active(QUALITY):
            drill = is_drill(incident.customers)
            if drill and incident.state == OPEN:
                until = now + DAY_MS
                self._act(incident, MUTE, now, "a fault of the self-test: nobody is to be woken", until)
            elif not drill and incident.state == MUTED and incident.muted_by == SYSTEM:
                self._act(incident, UNMUTE, now, "it is not the self-test alone any more")

    def _act(self, incident: Incident, verb: str, now: int, text: str, until: int | None = None) -> None:
        action = Action(f"{verb}-{incident.version}", incident.id, verb, SYSTEM, now, text, until=until)
        self._book.act(action)

    def _missed(self, last: Injected, now: int, *, stopped: bool) -> None:
        since = last.start
        candidates = [*self._book.active(QUALITY), *self._book.resolved_since(since, QUALITY)]
        hit = found_by(last, candidates)
        open_now = self._open_now(MISSED)
        if hit is not None or stopped:
            if open_now is not None:
                why = "the self-test was stopped" if hit is None else f"{last.id} was found by {hit.incident.id}"
                self._book.end(open_now.id, now, why)
        elif not self._were_late(last, now):
            said = Sentence(MISSED, {"fault": last.id, "since": since})
            reason = f"{last.measure} of the self-test's customer were raised and no incident opened"
            self._say(open_now, said, since, now, reason)

    def _absent(self, due: Expected | None, now: int) -> None:
        open_now = self._open_now(ABSENT)
        if due is None or now <= due.due + LATE_ANNOUNCEMENT_MS:
            if open_now is not None:
                self._book.end(open_now.id, now, "the self-test was stopped" if due is None else "it runs again")
            return
        said = Sentence(ABSENT, {"since": due.since})
        self._say(open_now, said, due.since, now, f"a fault was due at {rfc3339(due.due)}, and none was announced")

    def _say(self, open_now: Incident | None, said: Sentence, onset: int, now: int, reason: str) -> None:
        if open_now is not None:
            if open_now.headline != said:
                self._book.change(open_now.id, headline=said, reason=reason, newest=now)
            return
        closed = self._book.resolved_since(now - _LOOK_BACK_MS, SELF_TEST)
        if not any(incident.headline == said for incident in closed):  # people closed it: said once is enough
            self._book.open(SELF_TEST, now, onset, said, Severity("high"), reason=reason, newest=now)

    def _open_now(self, key: str) -> Incident | None:
        return next((i for i in self._book.active(SELF_TEST) if i.headline.key == key), None)

    def _were_late(self, fault: Injected, now: int) -> bool:
        """Whether our own pipeline was late then: verdicts were frozen, and an incident of its own says so."""
        own = [*self._book.active(SELF_LAG), *self._book.resolved_since(fault.start, SELF_LAG)]
        return any(i.detected_at <= fault.end + FOUND_WITHIN_MS and (i.resolved_at or now) >= fault.start for i in own)
