"""The registry of a cluster: a compacted Kafka topic that every process follows in a SQLite replica of its own.

Look-ups are those of SqliteRegistry and never touch Kafka. A write takes over as the one writer (topic.py), reads the
topic to its end, runs the same function as SqliteRegistry would inside a SQLite transaction, appends the entities it
touched (entities.py) in a Kafka transaction, commits that, then SQLite together with the offset.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from kafka.errors import KafkaError

from contracts.errors import ContractError
from contracts.kafka import KafkaSettings
from contracts.topics import REGISTRY
from ingest.registry import entities
from ingest.registry.entities import BadRecord, NewerRecord
from ingest.registry.errors import RegistryError, RegistryUnavailable
from ingest.registry.schema import connect, translated
from ingest.registry.sqlite import CHECK_EVERY_S, Body, SqliteRegistry, next_version, position, wall_clock_ms
from ingest.registry.topic import Change, Tail, TopicReplaced, Unsettled, Writer

POLL_S = 0.2  # how long the follower waits for news before it looks whether it is to end
# How long catching up waits at once: the topic's end may be a marker, which moves the position without any record.
STEP_S = 0.01
HEARD_EVERY_S = 5.0  # how often the follower asks where the topic ends, which also shows that brokers answer
CATCH_UP_S = 60.0  # how long opening may take to read what a replica lacks
ANSWER_S = 5.0  # how long brokers may take for one answer
WRITE_S = 15.0  # how long a write tries again before it is refused
MAX_PAUSE_S = 0.5  # between two tries, full jitter

T = TypeVar("T")
logger = logging.getLogger(__name__)


class KafkaRegistry(SqliteRegistry):
    """As SqliteRegistry, shared by all processes of a cluster. `replica`: this process's own file (mode 0600), made
    where it is missing. `answer_s`: how long brokers may take for an answer. `write_s`: how long a write tries while
    others write or brokers are away; then it raises RegistryUnavailable. Opening raises RegistryUnavailable when the
    topic cannot be read and the replica never was complete; one that was complete once serves look-ups without Kafka.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        replica: Path,
        *,
        clock: Callable[[], int] = wall_clock_ms,
        monotonic: Callable[[], float] = time.monotonic,
        check_every_s: float = CHECK_EVERY_S,
        topic: str = REGISTRY.name,
        answer_s: float = ANSWER_S,
        write_s: float = WRITE_S,
    ) -> None:
        self._answer_s = answer_s
        self._settings = settings
        self._topic = topic
        self._write_s = write_s
        self._ends = threading.Event()
        self._session: tuple[Writer, Tail] | None = None
        self._end: int | None = None
        self._heard_at: float | None = None
        self._error = ""
        super().__init__(replica, clock=clock, monotonic=monotonic, check_every_s=check_every_s)
        self._applier = connect(replica)
        entities.watch(self._writer)
        self._follower = threading.Thread(target=self._follow, name="registry-follower", daemon=True)
        try:
            self._catch_up_at_start()
        except BaseException:
            self.close()
            raise
        self._follower.start()

    def close(self) -> None:
        """Stop following and release file and connections."""
        self._ends.set()
        if self._follower.is_alive():
            self._follower.join()
        with self._write_lock:
            self._drop_session()
            self._applier.close()
        super().close()

    def status(self) -> dict[str, Any]:
        """`next_offset`: first record not applied; `behind`: offsets to the topic's end as last heard (markers count);
        `heard_ago_s`: since brokers last answered; both None before. `error`: empty while all is well."""
        heard = self._heard_at
        behind = None if self._end is None else max(0, self._end - self._next)
        ago_s = None if heard is None else self._monotonic() - heard
        return {"next_offset": self._next, "behind": behind, "heard_ago_s": ago_s, "error": self._error}

    def copy_from(self, source: SqliteRegistry, *, replace: bool = False) -> dict[str, int]:
        """Take over every device (with keys), customer, rule and token of another registry in one write, all or
        nothing; returns how many of each kind were new or different. Raises ContractError `exists` when an entity is
        here with other content, unless `replace`."""
        found = source._read(lambda c: [(name, entities.document(c, name)) for name in entities.everything(c)])

        def copy(c: sqlite3.Connection, version: int) -> dict[str, int]:
            counts = dict.fromkeys(("device", "customer", "rule", "token", "api-token", "account"), 0)
            for name, value in found:
                here = entities.document(c, name)
                if here == value:
                    continue
                if here is not None and not replace:
                    raise ContractError("exists", name, "nothing of this name, or the same content", "other content")
                entities.apply(c, name, value, version)
                counts[name.partition("/")[0]] += 1
            return counts

        return self._write(copy, catalog_too=True)

    # --- writing ---

    def _write(self, body: Body[T], *, catalog_too: bool = False) -> T:
        """As SqliteRegistry, on the topic. Runs the body again when another writer took over meanwhile. Raises
        RegistryUnavailable."""
        deadline = time.monotonic() + self._write_s
        unsettled: tuple[str, T] | None = None
        with self._write_lock:
            for attempt in range(1_000):
                try:
                    seen = self._take_over(deadline)
                    if unsettled is not None and unsettled[0] in seen:
                        return unsettled[1]
                    unsettled = None
                    return self._publish(body, catalog_too=catalog_too)
                except _UnsettledWrite as error:
                    unsettled, problem = (error.write, error.result), error.why
                except KafkaError as error:
                    problem = str(error) or type(error).__name__
                except (TopicReplaced, NewerRecord) as error:
                    self._drop_session()
                    raise RegistryUnavailable(f"registry: {error}") from None
                self._drop_session()
                pause_s = random.uniform(0, min(MAX_PAUSE_S, 0.02 * 2.0 ** min(attempt, 10)))
                if time.monotonic() + pause_s > deadline:
                    break
                time.sleep(pause_s)
        again = "it may have been stored, look before repeating" if unsettled else "nothing was changed, try later"
        raise RegistryUnavailable(
            f"registry: the topic could not be written within {self._write_s:g} s ({problem}); {again}"
        )

    def _take_over(self, deadline: float) -> set[str]:
        """Be the one writer and know everything that is committed; returns the ids of writes read on the way."""
        if self._session is None:
            writer = Writer(self._settings, self._topic, self._answer_s)
            try:
                self._session = writer, self._tail()
            except BaseException:
                writer.close()
                raise
        tail = self._session[1]
        seen: set[str] = set()
        end = tail.end()
        while self._next < end:
            changes, following = tail.read(self._next, STEP_S)
            seen.update(change.write for change in changes)
            self._apply(changes, following)
            if time.monotonic() > deadline:
                raise KafkaError(f"read up to offset {self._next} of {end}")
        return seen

    def _publish(self, body: Body[T], *, catalog_too: bool) -> T:
        assert self._session is not None
        writer, write = self._session[0], uuid.uuid4().hex

        def publish(c: sqlite3.Connection, result: T) -> None:
            changes = [(name, entities.document(c, name)) for name in entities.touched(c)]
            if not changes:
                return
            try:
                following = writer.write(changes, write)
            except Unsettled as error:
                raise _UnsettledWrite(write, result, str(error)) from None
            _set_position(c, following)

        result = self._transact(body, catalog_too=catalog_too, publish=publish)
        self._next = _position(self._writer)
        self._refresh_now()
        return result

    def _drop_session(self) -> None:
        if self._session is not None:
            writer, tail = self._session
            self._session = None
            writer.close()
            tail.close()

    # --- following ---

    def _tail(self) -> Tail:
        return Tail(self._settings, self._topic, self._answer_s)

    def _check_kind(self) -> None:
        if position(self._writer) is None:
            self._writer.execute("BEGIN IMMEDIATE")
            if next(entities.everything(self._writer), None) is not None:
                self._writer.execute("ROLLBACK")
                raise RegistryError(
                    f"registry {self.path}: it is a registry of its own; give the replica another path, and take its "
                    "content over with copy_from"
                )
            self._writer.execute("INSERT INTO meta VALUES ('next_offset', 0), ('complete', 0)")
            self._writer.execute("COMMIT")
        self._next = _position(self._writer)

    def _catch_up_at_start(self) -> None:
        deadline = time.monotonic() + CATCH_UP_S
        tail: Tail | None = None
        try:
            tail = self._tail()
            self._hear(tail)
            assert self._end is not None
            if self._next > self._end:  # a marker that is on its way, or another topic: then this raises TopicReplaced
                tail.read(self._next, HEARD_EVERY_S)
            while self._next < self._end:
                self._advance(*tail.read(self._next, STEP_S))
                if time.monotonic() > deadline:
                    raise KafkaError(f"read up to offset {self._next} of {self._end} within {CATCH_UP_S:g} s")
            self._writer.execute("UPDATE meta SET value = 1 WHERE name = 'complete'")
        except KafkaError as error:
            complete = self._writer.execute("SELECT value FROM meta WHERE name = 'complete'").fetchone()[0]
            problem = f"topic {self._topic}: {str(error) or type(error).__name__}"
            if not complete:
                raise RegistryUnavailable(f"registry {self.path}: the replica is not complete yet; {problem}") from None
            self._complain(f"look-ups are answered from the replica as it was; {problem}")
        finally:
            if tail is not None:
                tail.close()

    def _follow(self) -> None:
        tail: Tail | None = None
        next_hearing = 0.0
        while not self._ends.is_set():
            try:
                tail = tail or self._tail()
                if time.monotonic() >= next_hearing:
                    self._hear(tail)
                    next_hearing = time.monotonic() + HEARD_EVERY_S
                self._advance(*tail.read(self._next, POLL_S))
                if self._error:
                    logger.warning("registry: following the topic again")
                    self._error = ""
            except (KafkaError, RegistryError) as error:
                self._complain(str(error) or type(error).__name__)
                if tail is not None:
                    tail.close()
                tail = None
                self._ends.wait(random.uniform(0.5, 2.0))
        if tail is not None:
            tail.close()

    def _hear(self, tail: Tail) -> None:
        self._end = tail.end()
        self._heard_at = self._monotonic()

    def _complain(self, problem: str) -> None:
        if problem != self._error:
            logger.error("registry: %s", problem)
        self._error = problem

    def _advance(self, changes: Sequence[Change], following: int) -> None:
        if following != self._next:
            with self._write_lock:
                self._apply(changes, following)

    def _apply(self, changes: Sequence[Change], following: int) -> None:
        """Apply records from the replica's position on, and that position, in one transaction. Another process that
        uses the same file may have been here first."""
        applier = self._applier
        with translated(self.path):
            applier.execute("BEGIN IMMEDIATE")
            try:
                self._apply_each([c for c in changes if c.offset >= _position(applier)])
                _set_position(applier, max(following, _position(applier)))
                applier.execute("COMMIT")
            except BaseException:
                if applier.in_transaction:
                    applier.execute("ROLLBACK")
                raise
        self._next = _position(applier)
        if changes:
            self._refresh_now()

    def _apply_each(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        catalog_too = any(c.entity.partition("/")[0] in entities.CATALOG_KINDS for c in changes)
        version = next_version(self._applier, catalog_too=catalog_too)
        for change in changes:
            try:
                entities.apply(self._applier, change.entity, change.value, version)
            except BadRecord as error:
                logger.error("registry: skipped topic %s offset %d: %s", self._topic, change.offset, error)
            except NewerRecord as error:
                raise NewerRecord(f"topic {self._topic} offset {change.offset}: {error}") from None


class _UnsettledWrite(Exception):
    """A write whose commit was not answered, with what its body returned."""

    def __init__(self, write: str, result: Any, why: str) -> None:
        super().__init__(why)
        self.write = write
        self.result = result
        self.why = why


def _position(connection: sqlite3.Connection) -> int:
    found = position(connection)
    assert found is not None, "a replica has a position"
    return found


def _set_position(connection: sqlite3.Connection, following: int) -> None:
    connection.execute("UPDATE meta SET value = ? WHERE name = 'next_offset'", (following,))
