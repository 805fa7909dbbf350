"""The notifier: follows the topic of incidents, decides what is told, and tells it, apart from everything else.

One thread steps it; attempts run in threads of their own, one per receiver at a time, so that a receiver that is slow
holds up itself only. Nobody waits for the notifier: it reads the log like any other reader.
"""

from __future__ import annotations

import concurrent.futures
import logging
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import ContractError
from contracts.protocols import Log, StoredRecord, TopicPartition
from contracts.topics import INCIDENTS
from dipper.notify.board import Board, Failure, Key, Message
from dipper.notify.keep import Keep
from dipper.notify.render import render
from dipper.notify.send import Attempt, deliver
from dipper.notify.settings import NotifySettings, Receiver
from dipper.notify.status import status_of
from history.feeds import Feed
from streams.incident_runner import read_incident

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 8
LOOK_EVERY_MS = 1_000  # how often what waits is looked through while nothing happens
_RECORDS = 256
_MOST_POLLS = 200
_SETTINGS = "settings"

Deliver = Callable[[Attempt], Failure | None]


@dataclass(frozen=True, slots=True)
class _UnderWay:
    key: Key
    message: str
    future: concurrent.futures.Future[Failure | None]


class Notifier:
    """Not thread-safe but for `status`. Raises LogError, KeepError; a step that raised may be repeated. `clock`: ms UTC
    of incidents; `wall`: ms UTC of this machine, which signatures state."""

    def __init__(
        self,
        log: Log,
        path: Path,
        settings: NotifySettings,
        clock: Callable[[], int],
        wall: Callable[[], int],
        chance: random.Random,
        send: Deliver = deliver,
    ) -> None:
        self.settings = settings
        self._clock, self._wall, self._chance, self._send = clock, wall, chance, send
        self._keep = Keep(path)
        self._board = Board(settings)
        self._keep.load(self._board)
        same = self._keep.meta(_SETTINGS) == settings.sha256
        # Other receivers want to know what goes on already: incidents are read from the first again.
        self._feed = Feed(log, INCIDENTS.name, self._keep.places() if same else {})
        self._told_settings = same
        self._saved: dict[TopicPartition, int] = {}
        self._pool = concurrent.futures.ThreadPoolExecutor(MOST_AT_ONCE, "notify")
        self._under_way: dict[str, _UnderWay] = {}
        self._poison = self._looked_at = 0
        self._lock = threading.Lock()
        self._status: dict[str, Any] = {}
        self._publish()

    def step(self, timeout_s: float = 0.0) -> int:
        """Read what there is, waiting at most so long for a first record; make, store and send what is due. Returns the
        number of records read."""
        drained, count = self._read(timeout_s)
        answered = self._answered(0.0 if count else timeout_s)
        now = self._clock()
        if not count and not answered and 0 <= now - self._looked_at < LOOK_EVERY_MS:
            return 0
        self._looked_at = now
        for attempt in answered:
            self._note(attempt, now)
        if drained:
            self._board.flush(now)
        self._save(now)
        self._start(now)
        self._publish()
        return count

    def _read(self, timeout_s: float) -> tuple[bool, int]:
        """Nothing is told before all that is there was read: what was opened and is over needs no message."""
        count = 0
        for _ in range(_MOST_POLLS):
            records = self._feed.poll(_RECORDS, timeout_s if not count and not self._under_way else 0.0)
            for record in records:
                self._take(record)
            count += len(records)
            if not records:
                return True, count
        return False, count

    def _take(self, record: StoredRecord) -> None:
        if not record.value:
            return
        try:
            self._board.take(read_incident(record), self._clock())
        except ContractError as error:
            self._poison += 1
            logger.warning("notify: a record of %s cannot be read: %s", INCIDENTS.name, error)

    def _answered(self, timeout_s: float) -> list[_UnderWay]:
        """Attempts that have ended, waiting at most so long for the first while some are under way."""
        futures = [attempt.future for attempt in self._under_way.values()]
        if futures:
            concurrent.futures.wait(futures, timeout_s, concurrent.futures.FIRST_COMPLETED)
        ended = [name for name, attempt in self._under_way.items() if attempt.future.done()]
        return [self._under_way.pop(name) for name in ended]

    def _note(self, attempt: _UnderWay, now: int) -> None:
        error = attempt.future.exception()
        failure = Failure(f"{type(error).__name__}: {error}") if error is not None else attempt.future.result()
        if error is not None:
            logger.error("notify: %s: unexpected failure", attempt.key[0], exc_info=error)
        before = self._board.tallies[attempt.key[0]].given_up
        if failure is None:
            self._board.delivered(attempt.key, attempt.message, now)
            return
        self._board.failed(attempt.key, attempt.message, failure, now, self._chance)
        if self._board.tallies[attempt.key[0]].given_up > before:
            logger.error("notify: %s: message %s is let go: %s", attempt.key[0], attempt.message, failure.error)
        else:
            logger.warning("notify: %s: %s (will retry)", attempt.key[0], failure.error)

    def _save(self, now: int) -> None:
        meta = {} if self._told_settings else {_SETTINGS: self.settings.sha256}
        board = self._board
        moved = {place: at for place, at in self._feed.positions().items() if self._saved.get(place) != at}
        if moved or meta or board.changed_groups or board.changed_incidents or board.changed_tallies:
            self._keep.save(board, moved, now, **meta)
            self._saved.update(moved)
            self._told_settings = True

    def _start(self, now: int) -> None:
        """Begin an attempt for every receiver that has none under way. A message was stored before."""
        for receiver, group, message in list(self._board.due(now, self._under_way)):
            if len(self._under_way) >= MOST_AT_ONCE:
                return
            attempt = self._attempt(receiver, group, message, now)
            future = self._pool.submit(self._send, attempt)
            self._under_way[receiver.name] = _UnderWay((receiver.name, group), message.key, future)

    def _attempt(self, receiver: Receiver, group: str, message: Message, now: int) -> Attempt:
        body = render(receiver, group, message, self.settings.pages, now)
        return Attempt(receiver, message.key, body, self._wall(), self.settings.timeout_s)

    def _publish(self) -> None:
        status = {**status_of(self._board), "poison": self._poison, "lag_records": self._feed.lag_records()}
        with self._lock:
            self._status = status

    def status(self) -> Mapping[str, Any]:
        """How it is: see dipper.notify.status. From any thread."""
        with self._lock:
            return self._status

    def close(self) -> None:
        """Wait for attempts under way, note what became of them, close the file."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        now = self._clock()
        for attempt in self._under_way.values():
            if not attempt.future.cancelled():
                self._note(attempt, now)
        self._under_way.clear()
        self._save(now)
        self._feed.close()
        self._keep.close()
