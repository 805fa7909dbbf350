"""The gateway: one ASGI application in front of the log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from typing import Protocol

from contracts.protocols import Log, LogError, LogUnavailable
from contracts.protocols import Registry as ContractRegistry
from contracts.topics import SLICES
from ingest.batcher import Batcher
from ingest.errors import Refusal
from ingest.follower import Follower
from ingest.heartbeats import heartbeat
from ingest.http import Answer, Disconnected, Receive, Scope, Send, arrived_at, problem, send_answer
from ingest.known import KnownReports
from ingest.metrics import CONTENT_TYPE, Metrics
from ingest.openapi import DOCUMENT
from ingest.operators import OperatorDoors, Tokens
from ingest.pipeline import Pipeline
from ingest.registry.errors import RegistryUnavailable
from ingest.settings import GatewaySettings
from ingest.telemetry import TelemetryDoor

__all__ = ["Gateway", "GatewayRegistry", "GatewaySettings"]

logger = logging.getLogger(__name__)
UNMATCHED = "other"  # the route that metrics name for a path that is none


class GatewayRegistry(ContractRegistry, Tokens, Protocol):
    """A registry as the gateway needs it: ingest.registry.SqliteRegistry is one."""


class Gateway:
    """Call `start` before the first request and `stop` after the last; both are harmless twice. With `settings.manual`
    nothing runs by itself: call `flush` and `heartbeat`. `clock`: ms UTC. `pipeline` serves ingest.rejected.replay."""

    def __init__(
        self, log: Log, registry: GatewayRegistry, settings: GatewaySettings, clock: Callable[[], int]
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self._log = log
        self._clock = clock
        self._newest = 0
        self._known = KnownReports(settings.max_boots, settings.digests_per_boot)
        self._follower = Follower(self._known)
        self.pipeline = Pipeline(registry, log, self._known)
        self._batcher = Batcher(log, self.pipeline, settings, self.metrics)
        self._telemetry = TelemetryDoor(registry, self._known, self._batcher, settings, self.metrics)
        operators = OperatorDoors(registry, self._batcher.append, settings)
        self._posts = {
            "/v1/telemetry": self._telemetry.answer,
            "/v1/changes": operators.change,
            "/v1/enroll": operators.enroll,
        }
        self._gets: dict[str, Callable[[], Answer]] = {
            "/openapi.json": lambda: Answer(200, json.dumps(DOCUMENT).encode()),
            "/healthz": lambda: Answer(200, b'{"status":"alive"}'),
            "/readyz": self._readiness,
            "/metrics": self._metrics_text,
        }
        self._ends: list[int] = []
        self._ready = False
        self._flushing: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None

    def now(self) -> int:
        """The gateway's clock, ms UTC; it never goes back."""
        self._newest = max(self._newest, self._clock())
        return self._newest

    async def start(self) -> None:
        """Learn the newest reports from the log, then accept."""
        if self._ready:
            return
        since = self.now() - self.settings.rebuild_ms
        await asyncio.to_thread(self._connect, since)
        logger.info("gateway: %d reports of %d boots known from the log", self._follower.count, len(self._known))
        self._ready = True
        if not self.settings.manual:
            self._flushing = asyncio.create_task(self._batcher.run())
            self._beating = asyncio.create_task(self._beat())

    def _connect(self, since: int) -> None:
        """What would hold up requests, once: read back the newest reports, connect the log's writing side."""
        self._follower.catch_up(self._log, since)
        with contextlib.suppress(LogUnavailable):  # a full or slow log takes nothing now: requests will hear so
            self._log.submit([]).result()
        self._ends = self._log.end_offsets(SLICES.name)
        if self.settings.follow:
            self._follower.start()
        else:
            self._follower.stop()

    async def stop(self) -> None:
        """Append what is pending and stop accepting."""
        if not self._ready:
            return
        self._ready = False
        await asyncio.to_thread(self._follower.stop)
        if self._beating is not None:
            self._beating.cancel()
        await self._batcher.stop(self._flushing)
        self._flushing = self._beating = None

    async def flush(self) -> int:
        """Append what is pending now and end the requests that wait for it; returns how many reports."""
        return await self._batcher.flush()

    async def heartbeat(self, now: int) -> int:
        """Append a heartbeat to each partition of telemetry.slices that got nothing since the last call; returns how
        many. Raises LogError."""
        # In a thread: brokers answer after a while, and requests must not wait for it.
        ends = await asyncio.to_thread(self._log.end_offsets, SLICES.name)
        idle = [p for p, end in enumerate(ends) if p >= len(self._ends) or end == self._ends[p]]
        if idle:
            await self._batcher.append([heartbeat(SLICES.name, p, now) for p in idle])
        self._ends = [end + (p in idle) for p, end in enumerate(ends)]
        self.metrics.add("dipper_gateway_heartbeats_total", len(idle))
        return len(idle)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.settings.heartbeat_ms / 1000)
            try:
                await self.heartbeat(self.now())
            except LogError as error:
                self.metrics.add("dipper_gateway_log_errors_total", labels=(type(error).__name__,))

    # --- ASGI ---

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; lifespan events start and stop the gateway."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        now = self.now()
        path: str = scope["path"]
        try:
            answer = await self._answer(path, scope, receive, arrived_at(scope, now))
        except Disconnected:
            return
        except Refusal as refusal:
            answer = problem(refusal)
        except RegistryUnavailable as error:
            answer = problem(
                Refusal(503, "registry_unavailable", str(error), retry_after_s=self.settings.retry_after_s)
            )
        except Exception:
            logger.exception("%s %s failed", scope["method"], path)
            answer = problem(Refusal(500, "internal", "the gateway failed on this request; its log says where"))
        route = path if path in self._posts or path in self._gets else UNMATCHED
        self.metrics.add("dipper_gateway_answers_total", labels=(route, str(answer.status), answer.reason))
        await send_answer(send, answer, now)

    async def _answer(self, path: str, scope: Scope, receive: Receive, now: int) -> Answer:
        method = scope["method"]
        post = self._posts.get(path)
        if post is not None:
            if method != "POST":
                raise _wrong_method(method, "POST")
            if not self._ready:
                raise Refusal(
                    503, "not_ready", "the gateway starts or stops", retry_after_s=self.settings.retry_after_s
                )
            return await post(dict(scope["headers"]), receive, now)
        get = self._gets.get(path)
        if get is None:
            raise Refusal(404, "not_found", f"path: expected one of {sorted((*self._posts, *self._gets))}", "path")
        if method not in ("GET", "HEAD"):
            raise _wrong_method(method, "GET, HEAD")
        answer = get()
        return answer if method == "GET" else Answer(answer.status, b"", answer.content_type)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def unready(self) -> str:
        """Why it cannot be relied on now; empty when it can."""
        if not self._ready:
            return "the gateway starts or stops"
        return "" if self._batcher.healthy else "the last append to the log failed"

    def metrics_text(self) -> str:
        """Its counters in Prometheus' text format."""
        self.metrics.put("dipper_gateway_known_boots", len(self._known))
        self.metrics.put("dipper_gateway_follow_failing", bool(self._follower.error))
        return self.metrics.text()

    def _readiness(self) -> Answer:
        why = self.unready()
        if not why:
            return Answer(200, b'{"status":"ready"}')
        return problem(Refusal(503, "not_ready", why, retry_after_s=self.settings.retry_after_s))

    def _metrics_text(self) -> Answer:
        return Answer(200, self.metrics_text().encode(), CONTENT_TYPE)


def _wrong_method(method: str, expected: str) -> Refusal:
    return Refusal(405, "method", f"method: expected {expected}, got {method}", "method")
