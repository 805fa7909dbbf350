"""The board on disk: SQLite, one transaction a step, together with the place in the log. What a step has told is stored
before anything is sent, so a kill repeats an attempt at most, under the same key."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from contracts.errors import ContractError
from contracts.incidents import incident_from_json, incident_to_json
from contracts.protocols import TopicPartition
from contracts.times import DAY_MS
from dipper.errors import DipperError
from dipper.notify.board import Board, Entry, Event, Group, Key, Message, Tally
from dipper.notify.events import Told

FILE = "notify.sqlite"
VERSION = 1
STRANGERS_MS = 30 * DAY_MS  # what a receiver was told is kept for so long after the file ceased to name it
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS place (topic TEXT, part INTEGER, next INTEGER NOT NULL,
    PRIMARY KEY (topic, part)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS incident (id TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS grp (receiver TEXT, name TEXT, seen_at INTEGER NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (receiver, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tally (receiver TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
"""


class KeepError(DipperError):
    """The file cannot be used; the message names it."""


class Keep:
    """The file. One writer, one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._named():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_TABLES)
        stored = int(self.meta("version") or VERSION)
        if stored != VERSION:
            raise KeepError(f"{path}: expected version {VERSION} or older, got {stored}: a newer Dipper wrote it")

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise KeepError(f"{self._path}: {error}") from None

    def meta(self, name: str) -> str | None:
        """A value, or None."""
        with self._named():
            row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def places(self) -> dict[TopicPartition, int]:
        """Next offsets to read."""
        with self._named():
            return {(topic, part): at for topic, part, at in self._db.execute("SELECT topic, part, next FROM place")}

    def load(self, board: Board) -> None:
        """Fill a new board. Raises KeepError for what cannot be read."""
        with self._named():
            incidents = [row[0] for row in self._db.execute("SELECT document FROM incident")]
            groups = self._db.execute("SELECT receiver, name, document FROM grp").fetchall()
            tallies = self._db.execute("SELECT receiver, document FROM tally").fetchall()
        try:
            board.restore(
                [incident_from_json(json.loads(text)) for text in incidents],
                {(receiver, name): _group_from(json.loads(text)) for receiver, name, text in groups},
                {receiver: Tally(**json.loads(text)) for receiver, text in tallies},
            )
        except (ContractError, ValueError, KeyError, TypeError) as error:
            raise KeepError(f"{self._path}: {error}; move it away to begin anew") from None

    def save(self, board: Board, places: Mapping[TopicPartition, int], now: int, **meta: str) -> None:
        """Store what changed and how far the log was read, all or nothing."""
        with self._named(), self._transaction():
            run = self._db.execute
            for incident_id in board.changed_incidents:
                incident = board.incidents.get(incident_id)
                if incident is None:
                    run("DELETE FROM incident WHERE id = ?", (incident_id,))
                else:
                    run("REPLACE INTO incident VALUES (?, ?)", (incident_id, _text(incident_to_json(incident))))
            for key in board.changed_groups:
                group = board.groups.get(key)
                if group is None:
                    run("DELETE FROM grp WHERE receiver = ? AND name = ?", key)
                else:
                    run("REPLACE INTO grp VALUES (?, ?, ?, ?)", (*key, group.seen_at, _text(_group_to(group))))
            for name in board.changed_tallies:
                run("REPLACE INTO tally VALUES (?, ?)", (name, _text(dataclasses.asdict(board.tallies[name]))))
            for (topic, part), at in places.items():
                run("REPLACE INTO place VALUES (?, ?, ?)", (topic, part, at))
            for name, value in {"version": str(VERSION), **meta}.items():
                run("REPLACE INTO meta VALUES (?, ?)", (name, value))
            if meta:
                self._forget_strangers(board, now)
        board.changed_incidents.clear()
        board.changed_groups.clear()
        board.changed_tallies.clear()

    def _forget_strangers(self, board: Board, now: int) -> None:
        """What receivers were told that the file has not named for long."""
        old = self._db.execute("SELECT DISTINCT receiver FROM grp WHERE seen_at < ?", (now - STRANGERS_MS,)).fetchall()
        for (receiver,) in old:
            if receiver not in board.tallies:
                self._db.execute("DELETE FROM grp WHERE receiver = ?", (receiver,))
                self._db.execute("DELETE FROM tally WHERE receiver = ?", (receiver,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _text(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"))


def _group_to(group: Group) -> dict[str, Any]:
    entries = {
        incident_id: [None if e.told is None else dataclasses.astuple(e.told), e.pending_since]
        for incident_id, e in group.entries.items()
    }
    return {
        "entries": entries,
        "sent_at": group.sent_at,
        "seen_at": group.seen_at,
        "message": _message_to(group.message),
    }


def _group_from(document: Mapping[str, Any]) -> Group:
    entries = {
        incident_id: Entry(None if told is None else Told(*told), pending_since)
        for incident_id, (told, pending_since) in document["entries"].items()
    }
    return Group(entries, document["sent_at"], document["seen_at"], _message_from(document["message"]))


def _message_to(message: Message | None) -> dict[str, Any] | None:
    if message is None:
        return None
    events = [[e.event, incident_to_json(e.incident), e.before] for e in message.events]
    plain = {f.name: getattr(message, f.name) for f in dataclasses.fields(Message)}
    return {**plain, "events": events}


def _message_from(document: Mapping[str, Any] | None) -> Message | None:
    if document is None:
        return None
    events = tuple(Event(event, incident_from_json(incident), before) for event, incident, before in document["events"])
    return Message(**{**document, "events": events})


def stored(path: Path) -> Board | None:
    """What a file says, read without a lock and without settings; None when there is none. For status commands."""
    if not path.is_file():
        return None
    from dipper.notify.settings import NotifySettings

    board = Board(NotifySettings(()))
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            for receiver, name, text in db.execute("SELECT receiver, name, document FROM grp"):
                key: Key = receiver, name
                board.groups[key] = _group_from(json.loads(text))
            for receiver, text in db.execute("SELECT receiver, document FROM tally"):
                board.tallies[receiver] = Tally(**json.loads(text))
    except (sqlite3.Error, ContractError, ValueError, KeyError, TypeError) as error:
        raise KeepError(f"{path}: {error}") from None
    return board
