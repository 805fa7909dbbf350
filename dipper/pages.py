"""The pages as a process of their own, beside a cluster's history."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from contracts.protocols import Log, Store
from dashboards.context import Context, clear_context, set_context
from dashboards.data import HistoryBackend
from dashboards.server import mount, streamlit_app
from dipper.clock import wall_clock
from dipper.customer_side import CustomerSide
from dipper.incident_operations import record_action
from dipper.live_policy import LivePolicy
from dipper.metrics import NO_LABELS, Reading
from dipper.page_sources import FollowedScores, operations, thresholds_of
from dipper.parts import Base, RegistryPart, SettingsPart, ThreadPart, WatchSettings
from dipper.people_side import PeopleSide
from dipper.settings import ProcessSettings, environment
from dipper.shell import Opening, Shell, beside
from dipper.watch import Part, Watch
from dipper.worker import Worker
from ingest.bind import Door, check_bind

DOORS = (Door("pages", False, "people elsewhere have DIPPER_PAGES"),)


class HistoryPart(Base):
    """What the pages show of history's age; late data is no fault of the pages."""

    def __init__(self, backend: HistoryBackend) -> None:
        super().__init__("history")
        self._backend = backend

    def readings(self, now: int) -> Iterator[Reading]:
        state = self._backend.pipeline(now)
        yield "dipper_freshness_seconds", NO_LABELS, state["freshness_s"]
        yield "dipper_watermark_delay_seconds", NO_LABELS, state["stream_s"]


class PagesShell(Shell):
    """Pages, what customers reach, and health on one loopback listener. `live`: the policy that detection has in force,
    for pages to count as it does."""

    def __init__(
        self,
        process: ProcessSettings,
        log: Log,
        store: Store,
        registry: Any,
        needs: Sequence[Part],
        limits: WatchSettings,
        live: LivePolicy,
    ) -> None:
        check_bind(process.local.host, DOORS)
        self._live = live
        self._log = log
        self._store = store
        self._registry = registry
        self._customers = CustomerSide(store, registry, wall_clock, process.data, environment())
        self._people = PeopleSide(process, registry, store, process.data, environment(), lambda: self.address)
        self._backend = HistoryBackend(store)
        settings = Worker("settings", live.step, wall_clock, random.Random())
        parts = [
            HistoryPart(self._backend),
            RegistryPart(registry.status, limits),
            *needs,
            SettingsPart(live.status),
            ThreadPart(settings, limits),
        ]
        watch = Watch("dashboards", parts, wall_clock, silent_after_ms=limits.silent_after_ms)
        super().__init__(process, watch, [settings])

    def listeners(self) -> list[Opening]:
        """One, and people's own where it is named."""
        doors = beside(self.watch, self._customers.beside(_nothing))
        local = mount(doors, streamlit_app(self._people.secrets), access=self._people.access)
        return [Opening(local, self.settings.local, "DIPPER_PORT"), *self._people.openings(local)]

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        """Give the pages their data."""
        scores = FollowedScores(self._log)
        following = asyncio.create_task(scores.run())
        stack.callback(following.cancel)
        context = Context(
            backend=self._backend,
            registry=self._registry,
            now=wall_clock,
            status=lambda: self._backend.pipeline(wall_clock()),
            act=partial(record_action, self._log),
            thresholds=lambda: thresholds_of(self._live.in_force()),
            **operations(scores, self._store, wall_clock),
            **self._people.fields(),
        )
        set_context(context)
        stack.callback(clear_context)


async def _nothing(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
    """What a box finds here: the gateway is elsewhere."""
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"detail":"boxes report to a gateway, not to the pages"}'})
