"""How a process is: /healthz (alive), /readyz (fit to be relied on, with reasons) and /metrics, for one process.

A process is made of parts; each says whether it lives, why it is not ready, what marks its progress, and its readings.
Alive and ready are different questions: a process that is not alive wants to be started anew, one that is not ready
(a dependency is away, it is behind, it gets nothing done) wants somebody to look at the reason.
"""

from __future__ import annotations

import asyncio
import json
import logging
import platform
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from dipper.metrics import NO_LABELS, Reading, Readings
from dipper.silence import SILENT_AFTER_MS, Silence

logger = logging.getLogger(__name__)

PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LOOK_EVERY_S = 1.0


class Part(Protocol):
    """Something that runs in a process."""

    name: str

    def alive(self, now: int) -> list[str]:
        """Why it cannot go on by itself; empty when it can."""

    def ready(self, now: int) -> list[str]:
        """Why nobody should rely on it now; empty when one may."""

    def progress(self, now: int) -> tuple[Hashable, bool]:
        """What changes whenever it gets something done, and whether that is to be expected now."""

    def readings(self, now: int) -> Iterator[Reading]:
        """Its metrics."""


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a process: sentences, empty lists when all is well."""

    dead: list[str]
    unready: list[str]
    silent: list[str]


def build_version() -> str:
    """The installed version of this package."""
    try:
        return version("dipper")
    except PackageNotFoundError:
        return "unknown"


class Watch:
    """Watches the parts of one process and answers for it. `extra`: more text for /metrics; `clock`: ms UTC."""

    def __init__(
        self,
        process: str,
        parts: Sequence[Part],
        clock: Callable[[], int],
        *,
        silent_after_ms: int = SILENT_AFTER_MS,
        extra: Callable[[], str] = str,
    ) -> None:
        self.process = process
        self.parts = list(parts)
        self._clock = clock
        self._extra = extra
        self._silence = {part.name: Silence(silent_after_ms) for part in self.parts}
        self._silent: dict[str, str] = {}
        self._metrics = CollectorRegistry()
        ProcessCollector(registry=self._metrics)
        self._metrics.register(Readings(self._readings))

    # --- looking ---

    def look(self, now: int) -> None:
        """Look at every part's progress; says in the log when one falls silent and when it works again."""
        for part in self.parts:
            try:
                marker, expected = part.progress(now)
            except Exception as error:  # a part that cannot even say how far it is makes no progress
                logger.warning("%s: progress cannot be had: %s", part.name, error)
                marker, expected = ("unknown",), True
            still = self._silence[part.name].look(marker, now, expected=expected)
            if still is not None:
                if part.name not in self._silent:
                    logger.error("%s: alive, but got nothing done for %d s", part.name, still // 1_000)
                self._silent[part.name] = f"{part.name}: alive, but got nothing done for {still // 1_000} s"
            elif self._silent.pop(part.name, None) is not None:
                logger.info("%s: works again", part.name)

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            await asyncio.to_thread(self.look, self._clock())
            await asyncio.sleep(LOOK_EVERY_S)

    def health(self) -> Health:
        """How the process is now. Parts may ask their dependencies, so this takes a moment: not for the loop."""
        now = self._clock()
        dead = [reason for part in self.parts for reason in _asked(part, part.alive, now)]
        unready = [reason for part in self.parts for reason in _asked(part, part.ready, now)]
        return Health(dead, unready, list(self._silent.values()))

    def metrics_text(self) -> str:
        """Prometheus' text exposition format."""
        return generate_latest(self._metrics).decode() + self._extra()

    def _readings(self) -> Iterator[Reading]:
        now = self._clock()
        health = self.health()
        yield "dipper_build_info", (self.process, build_version(), platform.python_version()), 1
        yield "dipper_ready", NO_LABELS, float(not (health.dead or health.unready or health.silent))
        yield "dipper_silent", NO_LABELS, float(bool(health.silent))
        for part in self.parts:
            try:
                yield from list(part.readings(now))
            except Exception as error:  # one part's trouble must not hide the others' figures
                logger.warning("%s: metrics cannot be had: %s", part.name, error)

    # --- ASGI ---

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """GET /healthz, /readyz, /metrics."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        status, kind, body = await self._answer(scope["method"], scope["path"])
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        if path not in PATHS:
            return _json(404, {"detail": f"path: expected one of {sorted(PATHS)}"})
        if method not in ("GET", "HEAD"):
            return _json(405, {"detail": f"method: expected GET, got {method}"})
        if path == "/metrics":
            return 200, CONTENT_TYPE, (await asyncio.to_thread(self.metrics_text)).encode()
        health = await asyncio.to_thread(self.health)
        if path == "/healthz":
            return _verdict("alive", "not alive", health.dead, self.process)
        return _verdict("ready", "not ready", health.dead + health.silent + health.unready, self.process)


def _verdict(good: str, bad: str, reasons: list[str], process: str) -> tuple[int, str, bytes]:
    return _json(503 if reasons else 200, {"status": bad if reasons else good, "process": process, "reasons": reasons})


def _json(status: int, document: dict[str, Any]) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(document).encode()


def _asked(part: Part, question: Callable[[int], list[str]], now: int) -> list[str]:
    try:
        return question(now)
    except Exception as error:
        return [f"{part.name}: {type(error).__name__}: {error}"]


async def _live(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
