"""All incidents that still matter: ids given once, every change through the table of states, and what is to be written.

The book is a function of what it was told: the same calls give the same incidents, ids included. After a restart it is
restored from the newest version of each incident.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from contracts.incidents import (
    END,
    MERGE,
    MUTED,
    OPEN,
    RESOLVED,
    RETURN,
    SPLIT,
    SYSTEM,
    UNMUTE,
    Action,
    Incident,
    Sentence,
    Severity,
    apply,
)
from contracts.times import DAY_MS, SECOND_MS, rfc3339

KEEP_RESOLVED_MS = 7 * DAY_MS
"""How long people may still act on what is resolved without asking history first."""


class IncidentBook:
    """Incidents by id."""

    def __init__(self) -> None:
        self._incidents: dict[str, Incident] = {}
        self._changed: dict[str, None] = {}

    def restore(self, incidents: Iterable[Incident]) -> None:
        """Take over what was written; of two versions of an incident the higher counts."""
        for incident in incidents:
            known = self._incidents.get(incident.id)
            if known is None or incident.version > known.version:
                self._incidents[incident.id] = incident

    def get(self, incident_id: str) -> Incident | None:
        """An incident, or None."""
        return self._incidents.get(incident_id)

    def active(self, *kinds: str) -> Iterator[Incident]:
        """Those that are not resolved, oldest first; of some kinds, or of all."""
        for incident in list(self._incidents.values()):
            if incident.active and (not kinds or incident.kind in kinds):
                yield incident

    def resolved_since(self, time_ms: int, *kinds: str) -> Iterator[Incident]:
        """Those resolved at or after a time, newest first, without what was merged."""
        found = [
            i for i in self._incidents.values()
            if i.resolved_at is not None and i.resolved_at >= time_ms and i.merged_into is None
            and (not kinds or i.kind in kinds)
        ]  # fmt: skip
        yield from sorted(found, key=lambda i: (-(i.resolved_at or 0), i.id))

    def open(
        self, kind: str, detected_at: int, onset: int, headline: Sentence, severity: Severity, **fields: Any
    ) -> Incident:
        """A new incident with an id of its own."""
        fields.setdefault("newest", onset)
        incident = Incident(
            id=self._new_id(detected_at),
            kind=kind,
            state=OPEN,
            onset=min(onset, detected_at),
            detected_at=detected_at,
            headline=headline,
            severity=severity,
            **fields,
        )
        return self._put(incident)

    def change(self, incident_id: str, **fields: Any) -> Incident:
        """New evidence of an incident; nothing happens when nothing differs. States change by actions only."""
        before = self._incidents[incident_id]
        after = replace(before, **fields)
        if after == before:
            return before
        return self._put(replace(after, version=before.version + 1))

    def act(self, action: Action) -> Incident | None:
        """What people did; None for an incident nobody knows. Raises IllegalTransition."""
        incident = self._incidents.get(action.incident)
        if incident is None:
            return None
        after = apply(incident, action)
        return incident if after is incident else self._put(after)

    def end(self, incident_id: str, at: int, text: str = "") -> Incident:
        """It is over."""
        return self._do(incident_id, END, at, text)

    def come_back(self, incident_id: str, at: int, text: str = "") -> Incident:
        """The same cause again."""
        return self._do(incident_id, RETURN, at, text)

    def merge(self, incident_id: str, into: str, at: int, text: str = "") -> Incident:
        """It is the same cause as another incident, which goes on."""
        return self._do(incident_id, MERGE, at, text, other=into)

    def split(self, incident_id: str, child: str, at: int, text: str = "") -> Incident:
        """Another cause left it and has an incident of its own."""
        self.change(child, split_from=incident_id)
        return self._do(incident_id, SPLIT, at, text, other=child)

    def tick(self, now: int) -> None:
        """Mutes whose time is over end; what was resolved long ago is forgotten."""
        for incident in list(self._incidents.values()):
            if incident.state == MUTED and incident.muted_until is not None and incident.muted_until <= now:
                self._do(incident.id, UNMUTE, now, f"muted until {rfc3339(incident.muted_until)}")
            old = incident.resolved_at is not None and incident.resolved_at < now - KEEP_RESOLVED_MS
            if old and incident.state == RESOLVED and incident.id not in self._changed:
                del self._incidents[incident.id]

    def take(self) -> list[Incident]:
        """What changed since the last call, in its newest version."""
        changed = [self._incidents[incident_id] for incident_id in self._changed]
        self._changed = {}
        return changed

    def _do(self, incident_id: str, verb: str, at: int, text: str, other: str | None = None) -> Incident:
        incident = self._incidents[incident_id]
        action = Action(f"{verb}-{incident.version}", incident_id, verb, SYSTEM, at, text, other=other)
        return self._put(apply(incident, action))

    def _put(self, incident: Incident) -> Incident:
        self._incidents[incident.id] = incident
        self._changed[incident.id] = None
        return incident

    def _new_id(self, detected_at: int) -> str:
        stem = datetime.fromtimestamp(detected_at // SECOND_MS, UTC).strftime("inc-%Y%m%d-%H%M")
        n = 1
        while f"{stem}-{n}" in self._incidents:
            n += 1
        return f"{stem}-{n}"
