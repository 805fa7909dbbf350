"""How notifications are: for status commands, pages and metrics. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from contracts.times import SECOND_MS
from dipper.metrics import Reading
from dipper.notify.board import Board
from dipper.notify.events import is_told_active

TROUBLED_MS = 5 * 60 * SECOND_MS
"""A message that waits for so long after its first attempt is trouble somebody should look at."""


def status_of(board: Board) -> dict[str, Any]:
    """`receivers`: by name: `sent`, `failed` (attempts), `given_up`, `crowded` (times an incident found no room),
    `waiting` messages, `waiting_since` of the oldest (ms UTC), `open` incidents it was told of, `last_sent_at`,
    `last_error`, `last_error_at`."""
    rows: dict[str, dict[str, Any]] = {}
    for name, tally in sorted(board.tallies.items()):
        rows[name] = {
            "sent": tally.sent,
            "failed": tally.failed,
            "given_up": tally.given_up,
            "crowded": tally.crowded,
            "waiting": 0,
            "waiting_since": None,
            "open": 0,
            "last_sent_at": tally.last_sent_at,
            "last_error": tally.last_error,
            "last_error_at": tally.last_error_at,
        }
    for (name, _), group in board.groups.items():
        if name not in rows:
            continue
        row = rows[name]
        row["open"] += sum(is_told_active(entry.told) for entry in group.entries.values())
        if group.message is not None:
            row["waiting"] += 1
            since = row["waiting_since"]
            row["waiting_since"] = group.message.made_at if since is None else min(since, group.message.made_at)
    return {"receivers": rows}


def trouble(status: Mapping[str, Any], now: int) -> list[str]:
    """What an operator should look at, a sentence per receiver."""
    said = []
    for name, row in status.get("receivers", {}).items():
        since = row["waiting_since"]
        if since is not None and now - since >= TROUBLED_MS:
            minutes = (now - since) // (60 * SECOND_MS)
            said.append(f"{name}: {row['waiting']} messages wait, the oldest for {minutes} min: {row['last_error']}")
        if row["crowded"]:
            said.append(f"{name}: incidents found no room {row['crowded']} times (network.most_incidents)")
    return said


def readings(status: Mapping[str, Any], now: int) -> Iterator[Reading]:
    """Metrics."""
    for name, row in status.get("receivers", {}).items():
        yield "dipper_notify_sent_total", (name,), row["sent"]
        yield "dipper_notify_failed_total", (name,), row["failed"]
        yield "dipper_notify_given_up_total", (name,), row["given_up"]
        yield "dipper_notify_waiting", (name,), row["waiting"]
        since = row["waiting_since"]
        yield "dipper_notify_waiting_seconds", (name,), 0.0 if since is None else max(0, now - since) / SECOND_MS
