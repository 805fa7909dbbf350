"""Notifications beside the rest of a process: a notifier for the file that stands there now, in a thread of its own."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from contracts.protocols import Log
from contracts.times import SECOND_MS, rfc3339
from dipper.clock import wall_clock
from dipper.file_watch import FileWatch
from dipper.metrics import Reading
from dipper.notify.keep import FILE as STATE
from dipper.notify.notifier import Notifier
from dipper.notify.settings import NotifySettings, find_file, load
from dipper.notify.status import readings, trouble
from dipper.parts import Base
from dipper.settings import ProcessSettings, SettingsError

logger = logging.getLogger(__name__)

STEP_TIMEOUT_S = 0.25
LOOK_EVERY_MS = SECOND_MS

Audit = Callable[[str, str, str, int], None]


class NotifySide:
    """Without a file nothing is told. One that stands there at the start must be right (raises SettingsError); one that
    comes or changes later is taken when it is right, and refused whole otherwise. `step` belongs to one thread."""

    def __init__(
        self,
        log: Log,
        process: ProcessSettings,
        environment: Mapping[str, str],
        clock: Callable[[], int],
        audit: Audit,
        wall: Callable[[], int] = wall_clock,
    ) -> None:
        self._log, self._process, self._environment = log, process, environment
        self._clock, self._wall, self._audit = clock, wall, audit
        self._state = process.data / STATE
        self._pause = threading.Event()
        self._watch: FileWatch | None = None
        self._settings: NotifySettings | None = None
        self._notifier: Notifier | None = None
        self._refused: dict[str, Any] | None = None
        self._looked_at = 0
        path = find_file(process, environment)
        if path is not None:
            self._watch = FileWatch(path)
            self._settings = load(path, environment)

    def step(self) -> None:
        """See to the file, then to what is to be told."""
        now = self._wall()
        if now - self._looked_at >= LOOK_EVERY_MS:
            self._looked_at = now
            self._look(now)
        if self._notifier is None and self._settings is not None:
            self._notifier = self._opened(self._settings)
        if self._notifier is None:
            self._pause.wait(STEP_TIMEOUT_S)
        else:
            self._notifier.step(STEP_TIMEOUT_S)

    def _look(self, now: int) -> None:
        path = self._watch.path if self._watch is not None else find_file(self._process, self._environment)
        if path is None:
            return
        self._watch = self._watch or FileWatch(path)
        try:
            content = self._watch.look(now)
            if content is None:
                return
            settings = load(path, self._environment)
        except (SettingsError, OSError) as error:
            self._refuse(str(error), now)
            return
        self._refused = None
        if self._settings is None or settings.sha256 != self._settings.sha256:
            self._end()
            self._settings = settings
            self._audit(content.owner, "", f"notify.toml taken: {len(settings.receivers)} receivers", 200)

    def _opened(self, settings: NotifySettings) -> Notifier:
        notifier = Notifier(self._log, self._state, settings, self._clock, self._wall, random.Random())
        logger.info("notify: %d receivers", len(settings.receivers))
        return notifier

    def _refuse(self, why: str, now: int) -> None:
        self._refused = {"at": now, "why": why}
        logger.error("notify: refused, what was in force stays: %s", why)
        self._audit("dipper", "", f"notify.toml refused: {why}"[:500], 422)

    def _end(self) -> None:
        notifier, self._notifier = self._notifier, None
        if notifier is not None:
            notifier.close()

    def status(self) -> dict[str, Any]:
        """`file` (None: nothing is told), `refused` ({at, why} of a file that was not taken, else None), and what
        dipper.notify.status says; `trouble`: sentences for people."""
        notifier, watch = self._notifier, self._watch
        told = {} if notifier is None else dict(notifier.status())
        refused = self._refused
        said = trouble(told, self._clock())
        if refused is not None:
            said.append(f"refused {rfc3339(refused['at'])}: {refused['why']}")
        return {
            "file": None if watch is None else str(watch.path),
            "refused": refused,
            "receivers": {},
            **told,
            "trouble": said,
        }

    def close(self) -> None:
        """When its thread has ended: let attempts end, close the files."""
        self._pause.set()
        self._end()


class NotifyPart(Base):
    """Notifications in a process's watch. A receiver that is away makes nobody unready."""

    def __init__(self, side: NotifySide, clock: Callable[[], int]) -> None:
        super().__init__("receivers")
        self._side, self._clock = side, clock

    def facts(self, now: int) -> Mapping[str, Any]:  # noqa: ARG002
        """See watch.Part."""
        return {"trouble": self._side.status()["trouble"]}

    def readings(self, now: int) -> Iterator[Reading]:  # noqa: ARG002
        """See watch.Part."""
        yield from readings(self._side.status(), self._clock())
