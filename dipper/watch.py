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
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from dipper.metrics import NO_LABELS, Reading, Readings
from dipper.silence import SILENT_AFTER_MS, Silence

logger = logging.getLogger(__name__)

PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LOOK_EVERY_S = 5.0


class Part(Protocol):
    """Something that runs in a process."""

    name: str

    def alive(self, now: int) -> list[str]:
        """Why it cannot go on by itself; empty when it can. At once, without asking anybody outside the process."""

    def ready(self, now: int) -> list[str]:
        """Why nobody should rely on it now; empty when one may."""

    def progress(self, now: int) -> tuple[Hashable, bool]:
        """What changes whenever it gets something done, and whether that is to be expected now."""

    def silent(self, now: int) -> str:
        """What it says itself of getting nothing done; empty when all is well, or when it leaves that to `progress`."""

    def facts(self, now: int) -> Mapping[str, Any]:
        """What /readyz shows of it besides reasons."""

    def readings(self, now: int) -> Iterator[Reading]:
        """Its metrics."""


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a process: sentences, empty lists when all is well; `facts` by part."""

    dead: list[str]
    unready: list[str]
    silent: list[str]
    facts: dict[str, Mapping[str, Any]]


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
        self._silent_after_ms = silent_after_ms
        self._silence = {part.name: Silence(silent_after_ms) for part in self.parts}
        self._silent: dict[str, str] = {}
        self._metrics = CollectorRegistry()
        ProcessCollector(registry=self._metrics)
        self._metrics.register(Readings(self._readings))

    def add(self, part: Part) -> None:
        """Watch another part, from before `run` on."""
        self.parts.append(part)
        self._silence[part.name] = Silence(self._silent_after_ms)

    # --- looking ---

    def look(self, now: int) -> None:
        """Look at every part's progress; says in the log when one falls silent and when it works again."""
        for part in self.parts:
            why = self._why_silent(part, now)
            before = self._silent.pop(part.name, "")
            if why:
                self._silent[part.name] = f"{part.name}: {why}"
                if not before:
                    logger.error("%s: %s", part.name, why)
            elif before:
                logger.info("%s: works again", part.name)

    def _why_silent(self, part: Part, now: int) -> str:
        try:
            said = part.silent(now)
            marker, expected = part.progress(now)
        except Exception as error:  # a part that cannot even say how far it is makes no progress
            logger.debug("%s: progress cannot be had: %s", part.name, error)
            said, marker, expected = "", None, True
        still = self._silence[part.name].look(marker, now, expected=expected)
        return said or ("" if still is None else f"alive, but got nothing done for {still // 1_000} s")

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            await asyncio.to_thread(self.look, self._clock())
            await asyncio.sleep(LOOK_EVERY_S)

    def dead(self) -> list[str]:
        """Why the process cannot go on by itself; empty when it can. Asks no dependency: quick, also in the loop."""
        now = self._clock()
        return [reason for part in self.parts for reason in _asked(part, part.alive, now)]

    def health(self) -> Health:
        """How the process is now. Parts may ask their dependencies, so this takes a moment: not for the loop."""
        now = self._clock()
        dead = self.dead()
        unready = [reason for part in self.parts for reason in _asked(part, part.ready, now)]
        facts = {part.name: _facts(part, now) for part in self.parts}
        return Health(dead, unready, list(self._silent.values()), {name: f for name, f in facts.items() if f})

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
        if path == "/healthz":
            # In the loop: a supervisor must not wait behind threads that ask dependencies, nor for these.
            return self._verdict("alive", "not alive", self.dead())
        health = await asyncio.to_thread(self.health)
        return self._verdict("ready", "not ready", health.dead + health.silent + health.unready, parts=health.facts)

    def _verdict(self, good: str, bad: str, reasons: list[str], **more: Any) -> tuple[int, str, bytes]:
        document = {"status": bad if reasons else good, "process": self.process, "reasons": reasons, **more}
        return _json(503 if reasons else 200, document)


def _json(status: int, document: dict[str, Any]) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(document, default=str).encode()


def _facts(part: Part, now: int) -> Mapping[str, Any]:
    try:
        return part.facts(now)
    except Exception as error:
        return {"error": str(error)}


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
