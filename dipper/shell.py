"""What every serving process shares: threads, listeners, health, signals, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from dipper.guarded import Guarded
from dipper.servers import Server, bind, server_for, started
from dipper.settings import Listener, ProcessSettings
from dipper.watch import PATHS, Watch
from dipper.worker import FIRST_BACKOFF_S, LONGEST_BACKOFF_S, OUTAGES, Worker
from ingest.bind import Door, check_bind

logger = logging.getLogger(__name__)

STOP_WORKER_S = 60.0
OPEN_DEADLINE_S = 60.0
HEALTH_DOORS = (Door("metrics", False, "give scrapers DIPPER_METRICS, which asks for a token"),)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Opening:
    """Where an application listens. `name`: the setting that says so; `tls`: with the certificate of the settings."""

    app: Any
    listener: Listener
    name: str
    tls: bool = False


class Shell:
    """Runs until `stop` is called or a signal comes. Subclasses say what: `listeners`, `begin`, `finish`."""

    listen_first = True  # health answers while `begin` still works

    def __init__(self, settings: ProcessSettings, watch: Watch, workers: Sequence[Worker] = ()) -> None:
        check_bind(settings.local.host, HEALTH_DOORS)
        self.settings = settings
        self.watch = watch
        self.workers = list(workers)
        self.address = ""
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End serving, in order."""
        self._stopping.set()

    # --- what subclasses say ---

    def listeners(self) -> list[Opening]:
        """Applications and where they listen; health on the local listener at least."""
        return [Opening(self.watch, self.settings.local, "DIPPER_PORT")]

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        """What is there before anything else and goes last."""

    async def begin(self) -> None:
        """Start what is not a thread."""

    async def finish(self) -> None:
        """Listeners are closed: upstream first, downstream last. Threads are stopped here."""
        await self.stop_workers()

    # --- life ---

    async def run(
        self,
        background: Callable[[Self], Awaitable[None]] | None = None,
        ready: Callable[[Self], None] | None = None,
    ) -> None:
        """Serve. `ready` is called once everything runs. What `background` raises ends the process."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        try:
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(self.finish)
                await self.open(stack)
                if self.listen_first:
                    await self._listen(stack)
                    await self._begin()
                else:
                    await self._begin()
                    await self._listen(stack)
                watching = asyncio.create_task(self.watch.run())
                stack.push_async_callback(_cancel, watching)
                if ready is not None:
                    ready(self)
                await self._until_stopped(background)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def stop_workers(self) -> None:
        """Let every thread end its step."""
        for worker in self.workers:
            if not await asyncio.to_thread(worker.stop, STOP_WORKER_S):
                logger.error(
                    "%s: still busy after %.0f s; what it leaves is done at the next start", worker.name, STOP_WORKER_S
                )

    async def _begin(self) -> None:
        await self.begin()
        for worker in self.workers:
            worker.start()

    async def _listen(self, stack: contextlib.AsyncExitStack) -> None:
        for door in [*self.listeners(), *self._scraped()]:
            sock = bind(door.listener, door.name)
            tls = {"tls_cert": self.settings.tls_cert, "tls_key": self.settings.tls_key} if door.tls else {}
            server = server_for(door.app, **tls)
            serving = asyncio.create_task(server.serve(sockets=[sock]))
            stack.push_async_callback(_stop_server, server, serving)
            await started(server, serving)
            if door.name == "DIPPER_PORT":
                self.address = f"http://{door.listener.host}:{sock.getsockname()[1]}"

    def _scraped(self) -> list[Opening]:
        """Metrics and health for who shows a token, on an address the network may reach."""
        listener, token = self.settings.metrics, self.settings.metrics_token
        if listener is None or token is None:
            return []
        return [Opening(Guarded(self.watch, token), listener, "DIPPER_METRICS")]

    async def _until_stopped(self, background: Callable[[Self], Awaitable[None]] | None) -> None:
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


def beside(watch: Watch, app: Any) -> Any:
    """An application whose /healthz, /readyz and /metrics the process's watch answers."""

    async def dispatch(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] in PATHS:
            await watch(scope, receive, send)
        else:
            await app(scope, receive, send)

    return dispatch


def opened(what: str, make: Callable[[], T], chance: random.Random, deadline_s: float = OPEN_DEADLINE_S) -> T:
    """Open something another process may still be starting: outages are tried again with full jitter until the
    deadline, then raised."""
    deadline = time.monotonic() + deadline_s
    for failures in range(64):
        try:
            return make()
        except OUTAGES as error:
            if time.monotonic() > deadline:
                raise
            logger.warning("%s: %s (will retry)", what, error)
            time.sleep(chance.uniform(0, min(LONGEST_BACKOFF_S / 10, FIRST_BACKOFF_S * 2**failures)))
    raise AssertionError("the deadline comes first")


def say(lines: Sequence[tuple[str, str]]) -> None:
    """Tell people where things are, on stderr."""
    text = "\n".join(f"  {name:<9} {value}" for name, value in lines)
    print(f"{text}\n  stop with Ctrl-C", file=sys.stderr, flush=True)


def say_health(shell: Shell) -> None:
    """Tell people where a process without doors of its own says how it is."""
    say([("health", f"{shell.address}/readyz")])


async def _stop_server(server: Server, serving: asyncio.Task[None]) -> None:
    server.should_exit = True
    await serving


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
