"""A thread that keeps calling one step, survives outages, and can say how it is."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from contracts.protocols import LogUnavailable, StoreUnavailable
from ingest.registry.errors import RegistryUnavailable

logger = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 30.0
OUTAGES = (LogUnavailable, StoreUnavailable, RegistryUnavailable)


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """How a worker is. `last_success_ms` None: no step has succeeded yet; `failures` counts those in a row; `busy_s`:
    how long the step under way takes already; `idle_s`: since the last success, or since the start."""

    name: str
    alive: bool
    steps: int
    failures: int
    last_success_ms: int | None
    last_error: str | None
    busy_s: float = 0.0
    idle_s: float = 0.0


class Worker:
    """Calls `step` until stopped. `step` blocks for a moment at most when there is nothing to do.

    A failing step is tried again after a back-off with full jitter (AWS Architecture Blog, "Exponential Backoff And
    Jitter"), doubling from 0.2 s to 30 s: nothing is skipped, because a step that failed has not moved its position.
    """

    def __init__(self, name: str, step: Callable[[], object], clock: Callable[[], int], chance: random.Random) -> None:
        self.name = name
        self._step = step
        self._clock = clock
        self._chance = chance
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._steps = 0
        self._failures = 0
        self._last_success_ms: int | None = None
        self._last_error: str | None = None
        self._began: float | None = None
        self._success = time.monotonic()

    def start(self) -> None:
        """Begin."""
        self._success = time.monotonic()
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Ask it to end after the step under way; whether it did within the time."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def status(self) -> WorkerStatus:
        """How it is now."""
        began, now = self._began, time.monotonic()
        return WorkerStatus(
            self.name,
            self._thread.is_alive(),
            self._steps,
            self._failures,
            self._last_success_ms,
            self._last_error,
            busy_s=0.0 if began is None else now - began,
            idle_s=now - self._success,
        )

    def _run(self) -> None:
        while not self._stop.is_set():
            self._began = time.monotonic()
            try:
                self._step()
            except Exception as error:
                self._began = None
                self._note_failure(error)
                self._stop.wait(self._backoff_s())
            else:
                if self._failures:
                    logger.info("%s: works again after %d failures", self.name, self._failures)
                self._began = None
                self._success = time.monotonic()
                self._failures = 0
                self._steps += 1
                self._last_success_ms = self._clock()

    def _note_failure(self, error: Exception) -> None:
        self._failures += 1
        self._last_error = f"{type(error).__name__}: {error}"
        if isinstance(error, OUTAGES):
            logger.warning("%s: %s (failure %d in a row, will retry)", self.name, error, self._failures)
        else:
            logger.error("%s: unexpected failure %d in a row", self.name, self._failures, exc_info=error)

    def _backoff_s(self) -> float:
        ceiling_s: float = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(self._failures - 1, 16))
        return self._chance.uniform(0, ceiling_s)
