"""A running Dipper: servers, workers and the control socket around an engine, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import random
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

from contracts.times import MINUTE_MS
from dashboards.context import Context, set_context
from dashboards.data import HistoryBackend
from dashboards.server import ASGIApp, Receive, Scope, Send, mount, streamlit_app
from dipper import control
from dipper.clock import wall_clock
from dipper.customer_side import CustomerSide
from dipper.engine import Engine
from dipper.feed_side import FeedSide
from dipper.incident_operations import record_action
from dipper.operations import Operations, Parts
from dipper.page_sources import FeedScores, operations, thresholds_of
from dipper.parts import (
    FeedPart,
    GatewayPart,
    ScoresPart,
    SinkPart,
    StreamsPart,
    ThreadPart,
    TriagePart,
    WatchSettings,
)
from dipper.people_side import PeopleSide
from dipper.report_operations import Settler
from dipper.settings import ProcessSettings, environment, settings_of
from dipper.shell import Opening, Shell, beside
from dipper.upkeep import Upkeep
from dipper.watch import Watch
from dipper.worker import Worker
from feed.app import FeedSettings
from ingest.bind import Door, check_bind

logger = logging.getLogger(__name__)

PUBLIC_PATHS = frozenset({"/v1/telemetry", "/v1/enroll", "/v1/changes", "/healthz"})
PUBLIC_DOORS = (Door("telemetry", True), Door("enrolment", True), Door("changes", True))
LOCAL_DOORS = (
    *PUBLIC_DOORS,
    Door("pages", False, "give boxes their own listener with DIPPER_PUBLIC, people theirs with DIPPER_PAGES"),
    Door("metrics", False, "as for the pages"),
)
STEP_TIMEOUT_S = 0.25
KEEP_EVERY_MS = 10 * MINUTE_MS


class Service(Shell):
    """Serves an engine until `stop` is called or a signal comes. `background(service)` runs beside, in the loop."""

    listen_first = False  # pages and commands have nothing to show before the engine works

    def __init__(self, engine: Engine, settings: ProcessSettings, *, demo: bool = False) -> None:
        check_bind(settings.local.host, LOCAL_DOORS)
        if settings.public is not None:
            check_bind(settings.public.host, PUBLIC_DOORS)
        self.engine = engine
        self._demo = demo
        self._operations = Operations(Parts.of_engine(engine), self.status)
        self._last_kept_ms = 0
        self._pause = threading.Event()
        feed = settings_of(FeedSettings, engine.policy["feed"])
        self.feed = FeedSide(engine.log, engine.store, engine.registry, engine.clock, feed)
        self.customers = CustomerSide(engine.store, engine.registry, engine.clock, engine.paths.root, environment())
        root = engine.paths.root
        self.people = PeopleSide(settings, engine.registry, engine.store, root, environment(), lambda: self.address)
        self._settler = Settler(engine.store)
        self.upkeep = Upkeep(engine, settings, demo=demo)
        chance = random.Random()
        workers = [
            Worker("streams", lambda: engine.streams.step(STEP_TIMEOUT_S), engine.clock, chance),
            Worker("health", lambda: self.upkeep.live.health_step(STEP_TIMEOUT_S), engine.clock, chance),
            Worker("incidents", lambda: self.upkeep.live.triage_step(STEP_TIMEOUT_S), engine.clock, chance),
            Worker("sink", lambda: engine.store_step(engine.clock(), STEP_TIMEOUT_S), engine.clock, chance),
            Worker("keeper", self._keep, engine.clock, chance),
            *self.upkeep.workers(chance),
        ]
        limits: WatchSettings = settings_of(WatchSettings, engine.policy["watch"])
        parts = [
            GatewayPart(engine.gateway),
            StreamsPart("quality", lambda: engine.streams.status(engine.clock()), limits),
            ScoresPart("scores", lambda: engine.health.status(engine.clock()), limits),
            FeedPart(self.feed.status),
            TriagePart("incidents", self._triage_status, limits),
            SinkPart("history", lambda: engine.history_status(engine.clock()), limits),
            self.upkeep.part,
            *(ThreadPart(worker, limits) for worker in workers),
        ]
        watch = Watch(
            "up", parts, wall_clock, silent_after_ms=limits.silent_after_ms, extra=engine.gateway.metrics_text
        )
        super().__init__(settings, watch, workers)

    def stop(self) -> None:
        """End serving, in order; subscribers of the feed would hold it up."""
        super().stop()
        self.feed.close_streams()

    def status(self) -> dict[str, Any]:
        """How every part is: quick to ask."""
        now = self.engine.clock()
        return {
            "now": now,
            "address": self.address,
            "streams": self.engine.streams.status(now),
            "health": self.engine.health.status(now),
            "feed": self.feed.status(),
            "incidents": self._triage_status(),
            "sink": self.engine.sink.status(now),
            **self.upkeep.status(),
            "workers": [dataclasses.asdict(worker.status()) for worker in self.workers],
        }

    def _triage_status(self) -> Mapping[str, Any] | None:
        """None until its first step has learned the past."""
        triage = self.engine.triage
        return None if triage is None else triage.status(self.engine.clock())

    def listeners(self) -> list[Opening]:
        """Pages, gateway and health together; boxes on their own listener when one is named."""
        gateway = self.customers.beside(self.feed.beside(self.engine.gateway))
        people = self.people
        local: ASGIApp = mount(beside(self.watch, gateway), streamlit_app(people.secrets), access=people.access)
        openings = [Opening(local, self.settings.local, "DIPPER_PORT")]
        if self.settings.public is not None:
            openings.append(Opening(only_public(self.engine.gateway), self.settings.public, "DIPPER_PUBLIC", tls=True))
        return openings + people.openings(local)

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        """Pages have their data, commands their socket."""
        set_context(self._page_context())
        server = await control.serve(self.engine.paths.control, self.upkeep.answering(self._operations))
        stack.push_async_callback(_close, server, self.engine.paths.control)

    async def begin(self) -> None:
        """The gateway learns what the log holds."""
        await self.engine.gateway.start()
        self.feed.start()
        self.upkeep.begin()

    async def finish(self) -> None:
        """Downstream last: what the gateway accepted reaches operators and history before the end."""
        self.upkeep.end()
        await self.engine.gateway.stop()
        await self.feed.stop()
        self._pause.set()
        await self.stop_workers()
        await asyncio.to_thread(self.upkeep.close)
        await asyncio.to_thread(self._last_steps)

    def _last_steps(self) -> None:
        while self.engine.streams.step(0.0):
            pass
        while self.engine.triage_step(self.engine.clock()):
            pass
        self.engine.store_step(self.engine.clock())

    def _keep(self) -> None:
        """Retention and service levels, now and then."""
        now = self.engine.clock()
        self._settler.step(now, lambda: self.engine.sink.status(now))
        if now - self._last_kept_ms >= KEEP_EVERY_MS:
            dropped = self.engine.expire(now)
            self._last_kept_ms = now
            if any(dropped.values()):
                logger.info("retention: %s", {name: n for name, n in dropped.items() if n})
        self._pause.wait(1.0)

    def _page_context(self) -> Context:
        backend = HistoryBackend(self.engine.store)
        scores = FeedScores(self.feed.follower, self.feed.feed.book)
        return Context(
            backend=backend,
            registry=self.engine.registry,
            now=self.engine.clock,
            status=lambda: {**backend.pipeline(self.engine.clock()), "lag_s": self._lag_s()},
            demo=self._demo,
            act=partial(record_action, self.engine.log),
            thresholds=lambda: thresholds_of(self.engine.policy),
            **operations(scores, self.engine.store, self.engine.clock),
            **self.people.fields(),
        )

    def _lag_s(self) -> float:
        lag: float = self.engine.sink.status(self.engine.clock())["lag_s"]
        return lag


def only_public(app: ASGIApp) -> ASGIApp:
    """The same application, with nothing but the doors that authenticate."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http" and scope["path"] in PUBLIC_PATHS:
            await app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "websocket.close", "code": 1000})

    return dispatch


async def _close(server: Any, path: Any) -> None:
    server.close()
    path.unlink(missing_ok=True)
