"""What happens to an incident as far as a receiver is concerned: what it was told, and what it should hear next. Pure.

Not every version of an incident is told: of what happened between two messages only the difference counts. What was
never told as open is never told as resolved; what was told as open is told as resolved exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.incidents import LEVELS, MUTED, RESOLVED, Incident

OPENED, GROWN, IS_MUTED, UNMUTED = "opened", "grown", "muted", "unmuted"
REOPENED, IS_RESOLVED, REPEATED = "reopened", "resolved", "repeated"
EVENTS = (OPENED, GROWN, IS_MUTED, UNMUTED, REOPENED, IS_RESOLVED)
OF_CUSTOMERS = (OPENED, REOPENED, IS_RESOLVED)
"""What customers' own receivers hear of: severity and mutes are the house's affair."""
_ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class Told:
    """What a receiver was told last of an incident: `status` active, muted or resolved, `level` and when (ms UTC)."""

    status: str
    level: str
    at: int


def status_of(incident: Incident) -> str:
    """active | muted | resolved."""
    return incident.state if incident.state in (MUTED, RESOLVED) else _ACTIVE


def told_now(incident: Incident, before: Told | None, at: int) -> Told:
    """What a receiver knows once it has heard of an incident as it is. A mute does not lower what it heard before."""
    level = incident.severity.level
    if before is not None and before.status != RESOLVED:
        level = max(level, before.level, key=LEVELS.index)
    return Told(status_of(incident), level, at)


def is_told_active(told: Told | None) -> bool:
    """Whether a receiver takes the incident for going on and not muted."""
    return told is not None and told.status == _ACTIVE


def next_event(incident: Incident, told: Told | None) -> str | None:
    """What the receiver should hear now; None: nothing."""
    status = status_of(incident)
    if told is None:
        return OPENED if status == _ACTIVE else None
    if told.status == RESOLVED:
        return REOPENED if status == _ACTIVE else None
    if status == RESOLVED:
        return IS_RESOLVED
    if status == MUTED:
        return IS_MUTED if told.status == _ACTIVE else None
    if told.status == MUTED:
        return UNMUTED
    grown = LEVELS.index(incident.severity.level) > LEVELS.index(told.level)
    return GROWN if grown else None
