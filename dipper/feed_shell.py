"""The feed of a cluster on its listeners: schedulers and customers reach the doors that authenticate, and no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts.protocols import Store
from dipper.clock import wall_clock
from dipper.cluster import Policy
from dipper.customer_side import CustomerSide
from dipper.feed_side import FeedSide
from dipper.parts import FeedPart, RegistryPart, WatchSettings
from dipper.settings import ProcessSettings, environment, settings_of
from dipper.shell import Opening, Shell, beside, say
from dipper.watch import Part, Watch
from feed.app import FeedSettings
from ingest.bind import Door, check_bind

DOORS = (Door("feed", True), Door("customers' data", True), Door("shared reports", True))


class FeedShell(Shell):
    """Both sides and health on the local listener, both sides alone on the public one."""

    def __init__(
        self,
        process: ProcessSettings,
        policy: Policy,
        log: Any,
        store: Store,
        registry: Any,
        needs: Sequence[Part],
        limits: WatchSettings,
    ) -> None:
        if process.public is not None:
            check_bind(process.public.host, DOORS)
        self._feed = FeedSide(log, store, registry, wall_clock, settings_of(FeedSettings, policy["feed"]))
        customers = CustomerSide(store, registry, wall_clock, process.data, environment())
        self._app = customers.beside(self._feed.beside(nothing))
        parts = [FeedPart(self._feed.status), RegistryPart(registry.status, limits), *needs]
        super().__init__(process, Watch("feed", parts, wall_clock, silent_after_ms=limits.silent_after_ms))

    def stop(self) -> None:
        """End serving; subscribers would hold it up."""
        super().stop()
        self._feed.close_streams()

    def listeners(self) -> list[Opening]:
        """The local one, and the public one when it is named."""
        openings = [Opening(beside(self.watch, self._app), self.settings.local, "DIPPER_PORT")]
        if self.settings.public is not None:
            openings.append(Opening(self._app, self.settings.public, "DIPPER_PUBLIC", tls=True))
        return openings

    async def begin(self) -> None:
        """Follow the scores."""
        self._feed.start()

    async def finish(self) -> None:
        """Stop following."""
        await self._feed.stop()


def announce(shell: FeedShell) -> None:
    """Say where everything is."""
    lines = [("health", f"{shell.address}/readyz"), ("feed", f"{shell.address}/v1/health/devices")]
    public = shell.settings.public
    if public is not None:
        scheme = "https" if shell.settings.tls_cert else "http"
        lines.append(("public", f"{scheme}://{public.host}:{public.port}/v1/health/devices"))
    say(lines)


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """What everything else finds here."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http":
        body = b'{"detail":"path: expected /v1/health/, /v1/releases/, /v1/customers/ or /v1/shared/"}'
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    else:
        await send({"type": "websocket.close", "code": 1000})
