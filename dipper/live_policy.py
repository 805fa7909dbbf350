"""Policy numbers that change while a process runs: looked at, checked whole, taken at the next minute or refused. Each
change is a change event, so that what happens after it can be told from what happens by itself. An event that cannot be
recorded waits and is tried again; the numbers come into force at their minute all the same, as they do in the processes
beside this one that read the same file and record nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.entities import Change
from contracts.protocols import Log, LogError, Record
from contracts.times import MINUTE_MS, rfc3339
from contracts.topics import CHANGES
from dipper.clock import wall_clock
from dipper.file_watch import Content, FileWatch
from dipper.policy_check import LIVE, Load, Policy, checked, differences, in_words
from dipper.settings import SettingsError
from ingest.operators import change_to_json

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
RECORD_TIMEOUT_S = 10.0
FIRST_RETRY_MS, LONGEST_RETRY_MS = 5_000, 10 * MINUTE_MS  # a refused record costs others their connection
MAX_NOTE_CHARS = 1_900
MAX_AUTHOR_CHARS = 64
TRIAGE = ("detector", "silence", "incident")
HEALTH = ("health",)

Audit = Callable[[str, str, str, int], None]


@dataclass(frozen=True, slots=True)
class Pending:
    """A policy that was taken and is not in force yet. `at`: the clock of the log, ms UTC."""

    policy: Policy
    at: int
    changes: list[str]


class Unrecorded:
    """Change events on their way into the log, oldest first. Not shared between threads without a lock."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._why = ""
        self._tries = 0
        self._next = 0

    def send(self, log: Log, now: int) -> None:
        """Append what waits, unless the last failure was only just: the pause doubles with every failure."""
        if not self.records or now < self._next:
            return
        sent = list(self.records)
        try:
            log.submit(sent).result(RECORD_TIMEOUT_S)
        except (LogError, TimeoutError) as error:
            self._why = str(error) or f"{CHANGES.name}: no answer within {RECORD_TIMEOUT_S:g} s"
            self._next = now + min(FIRST_RETRY_MS << min(self._tries, 10), LONGEST_RETRY_MS)
            self._tries += 1
            logger.warning("settings: %d changes cannot be recorded and wait: %s", len(sent), self._why)
        else:
            del self.records[: len(sent)]
            self._why, self._tries, self._next = "", 0, 0

    def status(self) -> dict[str, Any] | None:
        """`changes`: how many wait; `tries`, `why`: of the failures. None: nothing waits."""
        if not self._why:
            return None
        return {"changes": len(self.records), "tries": self._tries, "why": self._why}


class LivePolicy:
    """`policy`: what the process started with. `load`: reads a policy file. `clock`: of the log, `wall`: this
    machine's, for the file; both ms UTC. `tables`: those that change while this process runs. `speaks`: whether this
    process records changes, of several that read the same file. `step` belongs to a thread of its own."""

    def __init__(
        self,
        policy: Policy,
        path: Path | None,
        load: Load,
        log: Log,
        clock: Callable[[], int],
        audit: Audit,
        wall: Callable[[], int] = wall_clock,
        *,
        tables: tuple[str, ...] = LIVE,
        speaks: Callable[[], bool] = lambda: True,
    ) -> None:
        self._path, self._load, self._log, self._clock, self._audit, self._wall = path, load, log, clock, audit, wall
        self._tables, self._speaks = tables, speaks
        self._watch = None if path is None else FileWatch(path)
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._asked = False
        self._again: Content | None = None
        self._pending: Pending | None = None
        self._refused: dict[str, Any] | None = None
        self._since: int | None = None
        self._at_next_start: list[str] = []
        self._started_with = self._now = policy
        self._unrecorded = Unrecorded()
        self._recording = threading.Lock()  # apart from the other: whoever asks what is in force waits for no broker

    # -- looking at the file

    def step(self) -> None:
        """Look at the file, and wait for a moment."""
        with self._lock:
            at_once, self._asked = self._asked, False
            try:
                self._look(self._wall(), at_once=at_once)
            except SettingsError as error:
                self._refuse(str(error))
        self._record_waiting()
        self._wake.wait(LOOK_EVERY_S)
        self._wake.clear()

    def ask(self) -> None:
        """Look at the file at once, whether it seems changed or not: SIGHUP."""
        self._asked = True
        self._wake.set()

    def reload(self, author: str) -> dict[str, Any]:
        """Take the file now. Returns `changes` that wait for their minute, `at`, from when they are in force, and
        `unrecorded` as of `status`. Raises SettingsError when it is refused."""
        if self._watch is None:
            raise SettingsError("policy: expected a file that --policy or DIPPER_POLICY names, got none")
        with self._lock:
            try:
                self._look(self._wall(), at_once=True, author=author)
            except SettingsError as error:
                self._refuse(str(error), author)
                raise
            pending = self._pending
            changes, at = ([], None) if pending is None else (pending.changes, pending.at)
            at_next_start = list(self._at_next_start)
        self._record_waiting()
        unrecorded = self._unrecorded.status()
        return {"changes": changes, "at": at, "at_next_start": at_next_start, "unrecorded": unrecorded}

    def _record_waiting(self) -> None:
        with self._recording:
            self._unrecorded.send(self._log, self._wall())

    def _look(self, now: int, *, at_once: bool, author: str = "") -> list[str]:
        if self._watch is None:
            return []
        try:
            content = self._watch.look(now, at_once=at_once) or self._again
        except OSError as error:
            raise SettingsError(f"{self._path}: expected a readable file, got: {error.strerror or error}") from None
        if content is None:
            return []
        self._again = content
        policy = checked(self._watch.path, self._load)
        changes = self._take(policy, (author or content.owner)[:MAX_AUTHOR_CHARS], content.sha256)
        self._again = self._refused = None
        return changes

    def _take(self, policy: Policy, author: str, sha256: str) -> list[str]:
        """What is new of a policy that is right: in force from the next minute on, or from the next start."""
        present = self._now if self._pending is None else self._pending.policy
        self._at_next_start = [
            line for line in in_words(differences(self._started_with, policy)) if line.partition(".")[0] not in LIVE
        ]
        wanted = {table: policy[table] if table in self._tables else values for table, values in present.items()}
        changes = in_words(differences(present, wanted))
        if not changes:
            return []
        clock = self._clock()
        at = clock - clock % MINUTE_MS + MINUTE_MS
        if self._speaks():
            self._unrecorded.records.append(self._event(changes, at, author, sha256))
        self._pending = Pending(wanted, at, in_words(differences(self._now, wanted)))
        self._audit(author, "", f"settings taken from {rfc3339(at)}: {'; '.join(changes)}"[:2_000], 200)
        logger.info("settings: from %s: %s", rfc3339(at), "; ".join(changes))
        return changes

    def _event(self, changes: list[str], at: int, author: str, sha256: str) -> Record:
        note = "\n".join(changes)
        if len(note) > MAX_NOTE_CHARS:
            note = f"{note[:MAX_NOTE_CHARS]}…"
        # Processes of a cluster read the same file at the same minute; what each of them takes is a change of its own.
        digest = hashlib.sha256("\n".join([sha256, *changes]).encode()).hexdigest()
        name = f"settings-{digest[:12]}-{at}"
        change = Change(name, "configuration", {}, at, None, author, self._file_name(), f"Dipper: {note}")
        return Record(CHANGES.name, json.dumps({}).encode(), change_to_json(change), self._clock())

    def _file_name(self) -> str:
        return "" if self._path is None else self._path.name

    def _refuse(self, why: str, author: str = "dipper") -> None:
        self._again = None
        self._refused = {"at": self._wall(), "why": why}
        self._audit(author, "", f"settings refused: {why}"[:500], 422)
        logger.error("settings: refused, what was in force stays: %s", why)

    # -- taking effect

    def in_force(self) -> Policy:
        """What is in force now."""
        with self._lock:
            pending = self._pending
            if pending is not None and self._clock() >= pending.at:
                self._now = pending.policy
                self._since, self._pending = pending.at, None
            return self._now

    def part(self) -> dict[str, Mapping[str, Any]]:
        """Of what is in force the tables that may change."""
        policy = self.in_force()
        return {table: policy[table] for table in self._tables}

    # -- what it says of itself

    def status(self) -> dict[str, Any]:
        """`file` (None: defaults), `in_force_since` (ms UTC; None: since the start), `pending` ({at, changes} or None),
        `refused` ({at, why} or None), `at_next_start`: what waits for a start, `unrecorded` ({changes, tries, why} or
        None): change events that could not be recorded yet."""
        with self._lock:
            pending = self._pending
            return {
                "file": None if self._path is None else str(self._path),
                "in_force_since": self._since,
                "pending": None if pending is None else {"at": pending.at, "changes": pending.changes},
                "refused": self._refused,
                "at_next_start": list(self._at_next_start),
                "unrecorded": self._unrecorded.status(),
            }
