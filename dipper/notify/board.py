"""Who was told what, and what is on its way: a machine per receiver and group of incidents. Pure; time is an argument.

A group has at most one message under way. It is made when something new has waited `group_wait`, at the earliest
`group_interval` after the one before, and is what the receiver gets however often it must be tried; what happens
meanwhile waits in the group and becomes one message more. So nothing piles up behind a receiver that is away, messages
of a group keep their order, and a resolved message follows an opened one exactly once.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from contracts.incidents import LEVELS, OPEN, RESOLVED, Incident
from contracts.times import DAY_MS, HOUR_MS, SECOND_MS
from dipper.notify.events import REPEATED, Told, is_told_active, next_event, status_of, told_now
from dipper.notify.settings import ALERTMANAGER, BY_INCIDENT, BY_KIND, NotifySettings, Receiver

KEEP_RESOLVED_MS = 8 * DAY_MS  # an incident may be reopened for seven
FIRST_BACKOFF_MS, LONGEST_BACKOFF_MS = SECOND_MS, 300 * SECOND_MS
LONGEST_ASKED_MS = HOUR_MS  # a receiver may ask for so much patience
REFUSED_MS = HOUR_MS  # for so long a message that is refused for good is tried again: somebody may mend the address
MOST_EVENTS = 200  # of a message; the rest becomes the next
_KEPT_CAUSES, _KEPT_DEVICES = 3, 3

Key = tuple[str, str]
"""Receiver and group."""


@dataclass(frozen=True, slots=True)
class Event:
    """A line of a message: what happened to an incident, as it was then. `before`: the level the receiver knew."""

    event: str
    incident: Incident
    before: str | None = None

    @property
    def id(self) -> str:
        """The same however often it is told, so that receivers can know it again."""
        text = f"{self.incident.id}\n{self.event}\n{self.incident.version}"
        return "ev-" + hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Message:
    """A message under way. `key` names it for ever: every attempt carries it. `open`: incidents of its group that the
    receiver takes for going on, with it."""

    key: str
    made_at: int
    events: tuple[Event, ...]
    open: int
    tries: int = 0
    next_try_at: int = 0
    error: str = ""


@dataclass(slots=True)
class Entry:
    """An incident in a group. `pending_since`: since when there is something new to say."""

    told: Told | None = None
    pending_since: int | None = None


@dataclass(slots=True)
class Group:
    """Incidents that are told together. `sent_at`: when the last message was made; `seen_at`: last change."""

    entries: dict[str, Entry] = field(default_factory=dict)
    sent_at: int | None = None
    seen_at: int = 0
    message: Message | None = None


@dataclass(slots=True)
class Tally:
    """Of a receiver: messages delivered, attempts that failed, messages let go, incidents that found no room."""

    sent: int = 0
    failed: int = 0
    given_up: int = 0
    crowded: int = 0
    last_sent_at: int | None = None
    last_error: str = ""
    last_error_at: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. `refused`: the receiver answered that it does not want it; `wait_ms`: it asked for so much
    patience."""

    error: str
    refused: bool = False
    wait_ms: int | None = None


class Board:
    """See the module's text. Not thread-safe. `changed_*`: what is not stored yet; the storer clears them."""

    def __init__(self, settings: NotifySettings) -> None:
        self.settings = settings
        self._receivers = {r.name: r for r in settings.receivers}
        self.incidents: dict[str, Incident] = {}
        self.groups: dict[Key, Group] = {}
        self.tallies: dict[str, Tally] = {name: Tally() for name in self._receivers}
        self.changed_incidents: set[str] = set()
        self.changed_groups: set[Key] = set()
        self.changed_tallies: set[str] = set()
        self._sizes: dict[str, int] = dict.fromkeys(self._receivers, 0)
        self._elsewhere: set[str] = set()  # incidents that a receiver was told of which the file names no longer
        self._swept_at = 0

    def restore(self, incidents: Iterable[Incident], groups: Mapping[Key, Group], tallies: Mapping[str, Tally]) -> None:
        """Take back what was stored. An incident moves when its receiver's grouping was changed meanwhile."""
        self.incidents = {i.id: i for i in incidents}
        self.tallies.update({name: tally for name, tally in tallies.items() if name in self._receivers})
        for key, group in groups.items():
            receiver = self._receivers.get(key[0])
            if receiver is None:
                self._elsewhere |= set(group.entries)
                continue
            for incident_id, entry in group.entries.items():
                incident = self.incidents.get(incident_id)
                if incident is not None:
                    home = (receiver.name, group_of(receiver, incident))
                    into = self.groups.setdefault(home, Group(sent_at=group.sent_at, seen_at=group.seen_at))
                    into.entries[incident_id] = entry
                    self._sizes[receiver.name] += 1
                    if home != key:
                        self.changed_groups |= {home, key}
            if group.message is not None:
                self.groups.setdefault(key, Group(sent_at=group.sent_at, seen_at=group.seen_at)).message = group.message

    # -- what happens

    def take(self, incident: Incident, now: int) -> None:
        """A version of an incident; an old one changes nothing."""
        known = self.incidents.get(incident.id)
        newer = known is None or incident.version > known.version
        current = slim(incident) if newer else known
        assert current is not None
        wanted = [self._look(receiver, current, now) for receiver in self._receivers.values()]
        if any(wanted) or current.id in self._elsewhere:
            self.incidents[current.id] = current
            if newer:
                self.changed_incidents.add(current.id)
        elif known is not None:
            del self.incidents[current.id]
            self.changed_incidents.add(current.id)

    def _look(self, receiver: Receiver, incident: Incident, now: int) -> bool:
        """What an incident means to a receiver; whether the receiver has anything to do with it."""
        key = receiver.name, group_of(receiver, incident)
        group = self.groups.get(key)
        entry = None if group is None else group.entries.get(incident.id)
        if entry is None:
            if not concerns(receiver, incident) or not self._room(receiver.name):
                return False
            group = self.groups.setdefault(key, Group(seen_at=now))
            entry = group.entries[incident.id] = Entry()
            self._sizes[receiver.name] += 1
            self.changed_groups.add(key)
        assert group is not None
        if self._reconsider(receiver, incident, entry, now):
            group.seen_at = now
            self.changed_groups.add(key)
        if entry.told is None and incident.state == RESOLVED:
            self._leave(key, incident.id)
            return False
        return True

    def _reconsider(self, receiver: Receiver, incident: Incident, entry: Entry, now: int) -> bool:
        """Whether there is something new to say; what the receiver does not want to hear of is taken as told."""
        before = entry.told, entry.pending_since
        event = next_event(incident, entry.told)
        while event is not None and event not in receiver.events:
            entry.told = told_now(incident, entry.told, now)
            event = next_event(incident, entry.told)
        if event is None:
            entry.pending_since = None
        elif entry.pending_since is None:
            entry.pending_since = now
        return before != (entry.told, entry.pending_since)

    def _room(self, receiver: str) -> bool:
        """Whether a receiver can remember one more: what is over makes room for what goes on."""
        if self._sizes[receiver] >= self.settings.most_incidents:
            self._forget_resolved(receiver)
        if self._sizes[receiver] < self.settings.most_incidents:
            return True
        self.tallies[receiver].crowded += 1
        self.changed_tallies.add(receiver)
        return False

    # -- messages

    def flush(self, now: int) -> None:
        """Make every message that is due."""
        for key, group in list(self.groups.items()):
            if group.message is None and self._is_due(self._receivers[key[0]], group, now):
                self._make(key, group, now)
        if now - self._swept_at >= HOUR_MS:
            self._sweep(now)

    def _is_due(self, receiver: Receiver, group: Group, now: int) -> bool:
        if group.sent_at is not None and now < group.sent_at + receiver.group_interval_ms:
            return False
        waits = [e.pending_since for e in group.entries.values() if e.pending_since is not None]
        if waits and now >= min(waits) + receiver.group_wait_ms:
            return True
        return any(self._repeats(receiver, i, e, now) for i, e in group.entries.items())

    def _repeats(self, receiver: Receiver, incident_id: str, entry: Entry, now: int) -> bool:
        """Whether an incident that goes on is to be said again: people who acknowledged one know of it, machines that
        forget do not."""
        if not receiver.repeat_interval_ms or entry.pending_since is not None or not is_told_active(entry.told):
            return False
        assert entry.told is not None
        if now < entry.told.at + receiver.repeat_interval_ms:
            return False
        incident = self.incidents[incident_id]
        return incident.state == OPEN or (receiver.kind == ALERTMANAGER and incident.active)

    def _make(self, key: Key, group: Group, now: int) -> None:
        receiver = self._receivers[key[0]]
        events: list[Event] = []
        for incident_id, entry in sorted(group.entries.items(), key=lambda item: _rank(self.incidents[item[0]])):
            incident = self.incidents[incident_id]
            event = next_event(incident, entry.told) if entry.pending_since is not None else None
            if event is None and self._repeats(receiver, incident_id, entry, now):
                event = REPEATED
            if event is not None and len(events) < MOST_EVENTS:
                events.append(Event(event, incident, None if entry.told is None else entry.told.level))
                entry.told, entry.pending_since = told_now(incident, entry.told, now), None
        going_on = sum(is_told_active(entry.told) for entry in group.entries.values())
        text = "\n".join([*key, str(now), *(event.id for event in events)])
        name = "msg-" + hashlib.sha256(text.encode()).hexdigest()[:32]
        group.message = Message(name, now, tuple(events), going_on, next_try_at=now)
        group.sent_at = group.seen_at = now
        self.changed_groups.add(key)

    def due(self, now: int, busy: Iterable[str] = ()) -> Iterator[tuple[Receiver, str, Message]]:
        """Of each receiver that is not busy the oldest message whose time has come, with its group."""
        first: dict[str, tuple[int, str, str, Message]] = {}
        occupied = set(busy)
        for (name, group_name), group in self.groups.items():
            message = group.message
            if message is None or name in occupied or message.next_try_at > now:
                continue
            rank = message.next_try_at, message.key, group_name, message
            if name not in first or rank[:2] < first[name][:2]:
                first[name] = rank
        for name, (_, _, group_name, message) in first.items():
            yield self._receivers[name], group_name, message

    def delivered(self, key: Key, message: str, now: int) -> None:
        """A message has arrived."""
        group = self.groups.get(key)
        if group is None or group.message is None or group.message.key != message:
            return
        group.message = None
        tally = self.tallies[key[0]]
        tally.sent += 1
        tally.last_sent_at = now
        self._noted(key)

    def failed(self, key: Key, message: str, failure: Failure, now: int, chance: random.Random) -> None:
        """An attempt failed: again after a back-off with full jitter, or never when it has been tried for too long."""
        group = self.groups.get(key)
        if group is None or group.message is None or group.message.key != message:
            return
        tally, under_way = self.tallies[key[0]], group.message
        tally.failed += 1
        tally.last_error, tally.last_error_at = failure.error, now
        patience = min(REFUSED_MS, self.settings.give_up_ms) if failure.refused else self.settings.give_up_ms
        if now - under_way.made_at >= patience:
            tally.given_up += 1
            group.message = None
        else:
            ceiling = min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** min(under_way.tries, 16))
            wait = round(chance.uniform(0, ceiling)) + min(failure.wait_ms or 0, LONGEST_ASKED_MS)
            group.message = replace(under_way, tries=under_way.tries + 1, next_try_at=now + wait, error=failure.error)
        self._noted(key)

    def _noted(self, key: Key) -> None:
        self.changed_groups.add(key)
        self.changed_tallies.add(key[0])

    # -- forgetting

    def _leave(self, key: Key, incident_id: str) -> None:
        del self.groups[key].entries[incident_id]
        self._sizes[key[0]] -= 1
        self.changed_groups.add(key)

    def _forget_resolved(self, receiver: str) -> None:
        for key, group in self.groups.items():
            for incident_id, entry in list(group.entries.items()) if key[0] == receiver else ():
                if self.incidents[incident_id].state == RESOLVED and entry.pending_since is None:
                    self._leave(key, incident_id)

    def _sweep(self, now: int) -> None:
        """Forget what was resolved long ago, and groups that hold nothing."""
        self._swept_at = now
        for key, group in list(self.groups.items()):
            for incident_id in list(group.entries):
                resolved_at = self.incidents[incident_id].resolved_at
                pending = group.entries[incident_id].pending_since is not None
                if resolved_at is not None and resolved_at < now - KEEP_RESOLVED_MS and not pending:
                    self._leave(key, incident_id)
            if not group.entries and group.message is None and now - group.seen_at > DAY_MS:
                del self.groups[key]
                self.changed_groups.add(key)
        held = {incident_id for group in self.groups.values() for incident_id in group.entries}
        for incident_id in [i for i in self.incidents if i not in held | self._elsewhere]:
            del self.incidents[incident_id]
            self.changed_incidents.add(incident_id)


def concerns(receiver: Receiver, incident: Incident) -> bool:
    """Whether a receiver begins to hear of an incident. It goes on hearing of one until it is resolved."""
    if status_of(incident) == RESOLVED:
        return False
    if LEVELS.index(incident.severity.level) < LEVELS.index(receiver.severity):
        return False
    if receiver.kinds and incident.kind not in receiver.kinds:
        return False
    return not receiver.customers or bool(set(receiver.customers) & set(incident.customers))


def group_of(receiver: Receiver, incident: Incident) -> str:
    """The group that an incident belongs to, as long as it lives."""
    if receiver.group_by == BY_INCIDENT:
        return incident.id
    return incident.kind if receiver.group_by == BY_KIND else "all"


def slim(incident: Incident) -> Incident:
    """What messages need of an incident: they are kept and stored."""
    return replace(
        incident,
        history=incident.history[-1:],
        causes=tuple(replace(c, equivalents=()) for c in incident.causes[:_KEPT_CAUSES]),
        changes=incident.changes[:_KEPT_CAUSES],
        devices=incident.devices[:_KEPT_DEVICES],
    )


def _rank(incident: Incident) -> tuple[bool, int, int, str]:
    """Those that go on first, the worst first."""
    level = LEVELS.index(incident.severity.level)
    return (incident.state == RESOLVED, -level, incident.onset, incident.id)
