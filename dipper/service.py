"""A running Dipper: servers, workers and the control socket around an engine, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import random
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from contracts.times import MINUTE_MS
from dashboards.context import Context, set_context
from dashboards.data import HistoryBackend
from dashboards.server import ASGIApp, Receive, Scope, Send, mount, streamlit_app
from dipper import control
from dipper.engine import Engine
from dipper.operations import Operations
from dipper.servers import Server, bind, server_for, started
from dipper.settings import Listener, ProcessSettings
from dipper.worker import Worker
from history import queries
from ingest.bind import Door, check_bind

logger = logging.getLogger(__name__)

PUBLIC_PATHS = frozenset({"/v1/telemetry", "/v1/enroll", "/v1/changes", "/healthz"})
PUBLIC_DOORS = (Door("telemetry", True), Door("enrolment", True), Door("changes", True))
LOCAL_DOORS = (
    *PUBLIC_DOORS,
    Door("pages", False, "give boxes their own listener with DIPPER_PUBLIC, and reach the pages through a tunnel"),
    Door("metrics", False, "as for the pages"),
)
STEP_TIMEOUT_S = 0.25
KEEP_EVERY_MS = 10 * MINUTE_MS
STOP_WORKER_S = 60.0
REJECTED_SPAN_MS = 60 * MINUTE_MS
REJECTED_EVERY_MS = 10_000


class Service:
    """Serves an engine until `stop` is called or a signal comes. `background(service)` runs beside, in the loop."""

    def __init__(self, engine: Engine, settings: ProcessSettings, *, demo: bool = False) -> None:
        check_bind(settings.local.host, LOCAL_DOORS)
        if settings.public is not None:
            check_bind(settings.public.host, PUBLIC_DOORS)
        self.engine = engine
        self.settings = settings
        self.address = ""
        self._demo = demo
        self._operations = Operations(engine, self.status)
        self._stopping = asyncio.Event()
        self._last_kept_ms = 0
        self._pause = threading.Event()
        self._rejected: tuple[int, int | None] = (0, None)
        chance = random.Random()
        self._workers = [
            Worker("streams", lambda: engine.streams.step(STEP_TIMEOUT_S), engine.clock, chance),
            Worker("sink", lambda: engine.store_step(engine.clock(), STEP_TIMEOUT_S), engine.clock, chance),
            Worker("keeper", self._keep, engine.clock, chance),
        ]

    def stop(self) -> None:
        """End serving; everything accepted is stored first."""
        self._stopping.set()

    def status(self) -> dict[str, Any]:
        """How every part is: quick to ask."""
        now = self.engine.clock()
        return {
            "now": now,
            "address": self.address,
            "streams": self.engine.streams.status(now),
            "sink": self.engine.sink.status(now),
            "workers": [dataclasses.asdict(worker.status()) for worker in self._workers],
        }

    async def run(
        self,
        background: Callable[[Service], Awaitable[None]] | None = None,
        ready: Callable[[Service], None] | None = None,
    ) -> None:
        """Serve. `ready` is called once the listeners accept. What `background` raises ends the service."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        set_context(self._page_context())
        await self.engine.gateway.start()
        for worker in self._workers:
            worker.start()
        try:
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(self._finish)
                server = await control.serve(self.engine.paths.control, self._operations)
                stack.push_async_callback(_close, server, self.engine.paths.control)
                for app, listener, name in self._listeners():
                    await self._listen(stack, app, listener, name)
                if ready is not None:
                    ready(self)
                await self._until_stopped(background)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _listeners(self) -> list[tuple[ASGIApp, Listener, str]]:
        local: ASGIApp = mount(self.engine.gateway, streamlit_app())
        listeners = [(local, self.settings.local, "DIPPER_PORT")]
        if self.settings.public is not None:
            listeners.append((only_public(self.engine.gateway), self.settings.public, "DIPPER_PUBLIC"))
        return listeners

    async def _listen(self, stack: contextlib.AsyncExitStack, app: ASGIApp, listener: Listener, name: str) -> None:
        sock = bind(listener, name)
        public = name == "DIPPER_PUBLIC"
        tls = {"tls_cert": self.settings.tls_cert, "tls_key": self.settings.tls_key} if public else {}
        server = server_for(app, **tls)
        serving = asyncio.create_task(server.serve(sockets=[sock]))
        stack.push_async_callback(_stop_server, server, serving)
        await started(server, serving)
        if not public:
            self.address = f"http://{listener.host}:{sock.getsockname()[1]}"

    async def _until_stopped(self, background: Callable[[Service], Awaitable[None]] | None) -> None:
        waiting = asyncio.create_task(self._stopping.wait())
        tasks: set[asyncio.Task[Any]] = {waiting}
        if background is not None:
            tasks.add(asyncio.ensure_future(background(self)))
        while not waiting.done():
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _finish(self) -> None:
        """Downstream last: what the gateway accepted reaches operators and history before the end."""
        await self.engine.gateway.stop()
        self._pause.set()
        for worker in self._workers:
            if not await asyncio.to_thread(worker.stop, STOP_WORKER_S):
                logger.error(
                    "%s: still busy after %.0f s; what it leaves is done at the next start", worker.name, STOP_WORKER_S
                )
        await asyncio.to_thread(self._last_steps)

    def _last_steps(self) -> None:
        while self.engine.streams.step(0.0):
            pass
        self.engine.store_step(self.engine.clock())

    def _keep(self) -> None:
        """Retention, now and then."""
        now = self.engine.clock()
        if now - self._last_kept_ms >= KEEP_EVERY_MS:
            dropped = self.engine.expire(now)
            self._last_kept_ms = now
            if any(dropped.values()):
                logger.info("retention: %s", {name: n for name, n in dropped.items() if n})
        self._pause.wait(1.0)

    def _page_context(self) -> Context:
        return Context(
            backend=HistoryBackend(self.engine.store),
            registry=self.engine.registry,
            now=self.engine.clock,
            status=self._page_status,
            demo=self._demo,
        )

    def _page_status(self) -> dict[str, float | None]:
        sink = self.engine.sink.status(self.engine.clock())
        return {"freshness_s": sink["freshness_s"], "lag_s": sink["lag_s"], "rejected": self._rejected_lately()}

    def _rejected_lately(self) -> int | None:
        now = self.engine.clock()
        if now - self._rejected[0] >= REJECTED_EVERY_MS:
            reasons = queries.rejected_by_reason(self.engine.store, now - REJECTED_SPAN_MS, now)
            self._rejected = (now, sum(reason.refusals for reason in reasons))
        return self._rejected[1]


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


async def _stop_server(server: Server, serving: asyncio.Task[None]) -> None:
    server.should_exit = True
    await serving


async def _close(server: asyncio.Server, path: Any) -> None:
    server.close()
    path.unlink(missing_ok=True)
