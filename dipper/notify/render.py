"""Messages as bytes: our own JSON, Slack's blocks, Alertmanager's alerts. Pure.

A customer's message holds what the customers' API says of the incident (history.tenant.seen_by) and nothing beside it:
no other customer, no box, no severity (which weighs everybody's traffic), nothing of who did what in the house.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from contracts.incidents import Incident, Transition
from contracts.plain import to_plain
from contracts.times import SECOND_MS, rfc3339
from dipper.incident_text import where_words, words
from dipper.notify.board import Event, Message
from dipper.notify.events import IS_MUTED, IS_RESOLVED, REPEATED
from dipper.notify.settings import ALERTMANAGER, SLACK, Receiver
from history.tenant import seen_by

SCHEMA = 1
MOST_BLOCKS = 20  # Slack takes 50
MAX_SLACK_CHARS = 2_900  # of a block's text; Slack takes 3 000
LIVES = 4  # an alert that is not repeated for so many intervals is over
_LEAST_LIFE_MS = 300 * SECOND_MS
_SIGNS = {"critical": "🔴", "high": "🟠", "medium": "🟡", "low": "⚪"}


def render(receiver: Receiver, group: str, message: Message, pages: str, now: int, *, test: bool = False) -> bytes:
    """The body for a receiver. The same message gives the same bytes at any time, but for Alertmanager, which is told
    until when an alert counts."""
    document: Any
    if receiver.customer is not None:
        document = _for_customer(receiver.customer, message)
    elif receiver.kind == SLACK:
        document = _slack(message, pages)
    elif receiver.kind == ALERTMANAGER:
        document = _alerts(receiver, message, pages, now)
    else:
        document = _webhook(receiver, group, message, pages)
    if test and isinstance(document, dict) and receiver.kind != SLACK:
        document["test"] = True
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def page_of(incident: Incident, pages: str) -> str:
    """The incident on the triage page; empty when nobody said where the pages are."""
    return f"{pages}/triage?incident={quote(incident.id, safe='')}" if pages else ""


# -- our own


def _head(message: Message) -> dict[str, Any]:
    return {"schema": SCHEMA, "id": message.key, "at": rfc3339(message.made_at)}


def _webhook(receiver: Receiver, group: str, message: Message, pages: str) -> dict[str, Any]:
    events = [{"id": e.id, "event": e.event, "incident": _whole(e.incident, pages)} for e in message.events]
    return {**_head(message), "receiver": receiver.name, "group": group, "open": message.open, "events": events}


def _for_customer(customer: str, message: Message) -> dict[str, Any]:
    events = [{"id": e.id, "event": e.event, "incident": dict(seen_by(e.incident, customer))} for e in message.events]
    return {**_head(message), "customer": customer, "events": events}


def _whole(incident: Incident, pages: str) -> dict[str, Any]:
    return {
        "id": incident.id,
        "kind": incident.kind,
        "state": incident.state,
        "version": incident.version,
        "severity": to_plain(incident.severity),
        "customers": list(incident.customers),
        "services": list(incident.services),
        "measures": list(incident.measures),
        "where": dict(incident.where),
        "onset": rfc3339(incident.onset),
        "detected_at": rfc3339(incident.detected_at),
        "resolved_at": _time(incident.resolved_at),
        "muted_until": _time(incident.muted_until),
        "reopened": incident.reopened,
        "merged_into": incident.merged_into,
        "false_alarm": incident.false_alarm,
        "headline": {
            "text": words(incident.headline),
            "key": incident.headline.key,
            "params": to_plain(incident.headline.params),
        },
        "verdict": incident.verdict,
        "causes": [
            {n: to_plain(getattr(c, n)) for n in ("where", "measure", "share", "bad", "expected", "total", "answer")}
            for c in incident.causes
        ],
        "changes": [
            {"id": c.id, "kind": c.kind, "relation": c.relation, "start": rfc3339(c.start), "scope": dict(c.scope)}
            for c in incident.changes
        ],
        "last": _last(incident),
        "url": page_of(incident, pages) or None,
    }


def _last(incident: Incident) -> Mapping[str, Any] | None:
    if not incident.history:
        return None
    line = incident.history[-1]
    return {"verb": line.verb, "author": line.author, "at": rfc3339(line.at), "text": line.text}


def _time(value: int | None) -> str | None:
    return None if value is None else rfc3339(value)


# -- Slack


def _slack(message: Message, pages: str) -> dict[str, Any]:
    shown = message.events[:MOST_BLOCKS]
    blocks = [_block("section", _slack_text(event, pages)) for event in shown]
    rest = len(message.events) - len(shown)
    more = f"and {rest} more · " if rest else ""
    blocks.append(_block("context", f"{more}{message.open} open in this group · {rfc3339(message.made_at)}"))
    return {"text": _cut(_escaped("; ".join(_title(event) for event in shown[:3]))), "blocks": blocks}


def _block(kind: str, text: str) -> dict[str, Any]:
    said = {"type": "mrkdwn", "text": _cut(text)}
    return {"type": kind, "elements": [said]} if kind == "context" else {"type": kind, "text": said}


def _slack_text(event: Event, pages: str) -> str:
    incident = event.incident
    link = page_of(incident, pages)
    said = _escaped(words(incident.headline))
    lines = [
        f"{_SIGNS[incident.severity.level]} *{_escaped(_status(event))}* · {incident.severity.level}",
        f"<{link}|{said}>" if link else said,
    ]
    answers = [c for c in incident.causes if c.answer]
    if answers:
        lines.append(_escaped(f"Cause: {where_words(answers[0].where)} ({answers[0].share:.0%} of the excess)"))
    if incident.changes:
        change = incident.changes[0]
        lines.append(_escaped(f"Before it: {change.kind} {change.id} at {rfc3339(change.start)}"))
    lines.append(f"`{incident.id}`")
    return "\n".join(lines)


def _status(event: Event) -> str:
    """What happened, in words."""
    incident = event.incident
    line: Transition | None = incident.history[-1] if incident.history else None
    if event.event == IS_MUTED and incident.muted_until is not None:
        return f"muted until {rfc3339(incident.muted_until)} by {incident.muted_by}"
    if event.event == IS_RESOLVED and incident.merged_into:
        return f"resolved: part of {incident.merged_into}"
    if event.event == IS_RESOLVED and incident.false_alarm:
        return "resolved: a false alarm"
    if event.event == IS_RESOLVED and line is not None and line.text:
        return f"resolved by {line.author}: {line.text}"
    return "still open" if event.event == REPEATED else event.event


def _title(event: Event) -> str:
    return f"{_status(event)}: {words(event.incident.headline)}"


def _escaped(text: str) -> str:
    """Slack's three characters; a line stays a line."""
    flat = " ".join(text.split())
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SLACK_CHARS else text[: MAX_SLACK_CHARS - 1] + "…"


# -- Alertmanager


def _alerts(receiver: Receiver, message: Message, pages: str, now: int) -> list[dict[str, Any]]:
    """Labels name an alert for ever: where an incident has grown, the alert of its old level ends."""
    alerts = []
    for event in message.events:
        level = event.incident.severity.level
        if event.before not in (None, level):
            alerts.append(_alert(receiver, event.incident, str(event.before), pages, now, over=True))
        over = event.incident.state not in ("open", "acknowledged")
        alerts.append(_alert(receiver, event.incident, level, pages, now, over=over))
    return alerts


def _alert(receiver: Receiver, incident: Incident, level: str, pages: str, now: int, *, over: bool) -> dict[str, Any]:
    life = max(LIVES * receiver.repeat_interval_ms, _LEAST_LIFE_MS)
    ends = min(incident.resolved_at or now, now) if over else now + life
    alert = {
        "labels": {"alertname": "DipperIncident", "incident": incident.id, "kind": incident.kind, "severity": level},
        "annotations": {
            "summary": words(incident.headline),
            "state": incident.state,
            "customers": ", ".join(incident.customers),
            "cause": "; ".join(where_words(c.where) for c in incident.causes if c.answer),
        },
        "startsAt": rfc3339(incident.onset),
        "endsAt": rfc3339(max(ends, incident.onset)),
    }
    link = page_of(incident, pages)
    return {**alert, "generatorURL": link} if link else alert
