"""Collects arrivals and appends them together: as few calls of the log per flush as it allows, answers when all is
durable."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from contracts.protocols import Log, LogError, Record
from ingest.errors import Refusal
from ingest.metrics import Metrics
from ingest.pipeline import Arrival, Pipeline, process_each
from ingest.registry.errors import RegistryUnavailable
from ingest.settings import GatewaySettings
from ingest.stages import stages

MAX_FLUSH_BYTES = 16 * 1024 * 1024  # decoded bytes of one append

logger = logging.getLogger(__name__)


class Batcher:
    """Pending arrivals in order. `submit` waits until the arrival's fate is durable."""

    def __init__(self, log: Log, pipeline: Pipeline, settings: GatewaySettings, metrics: Metrics) -> None:
        self.healthy = True
        self._log = log
        self._pipeline = pipeline
        self._settings = settings
        self._metrics = metrics
        self._pending: list[tuple[Arrival, int, asyncio.Future[None]]] = []
        self._bytes = 0
        self._busy = asyncio.Lock()
        self._some = asyncio.Event()
        self._enough = asyncio.Event()

    async def stop(self, running: asyncio.Task[None] | None) -> None:
        """End the task of `run` between two appends, then append what is pending."""
        async with self._busy:
            if running is not None:
                running.cancel()
        await self.flush()

    async def submit(self, arrival: Arrival, size: int) -> None:
        """Wait until the arrival is stored, or refused and its refusal kept: see `arrival.refusal`. Raises Refusal 503
        when neither became durable; the same report may then come again."""
        if self._bytes + size > self._settings.max_pending_bytes:
            raise self._unavailable(f"{self._bytes} bytes wait already")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((arrival, size, future))
        self._bytes += size
        self._some.set()
        if self._bytes >= self._settings.flush_bytes:
            self._enough.set()
        await future

    async def run(self) -> None:
        """Flush whenever something waited flush_ms or enough is there; until cancelled."""
        while True:
            await self._some.wait()
            try:
                async with asyncio.timeout(self._settings.flush_ms / 1000):
                    await self._enough.wait()
            except TimeoutError:
                pass
            await self.flush()

    async def flush(self) -> int:
        """Append what is pending; returns how many arrivals. All their futures have ended afterwards."""
        async with self._busy:
            self._some.clear()
            self._enough.clear()
            pending, self._pending = self._pending, []
            done = 0
            while done < len(pending):
                end, size = done, 0
                while end < len(pending) and (end == done or size + pending[end][1] <= MAX_FLUSH_BYTES):
                    size += pending[end][1]
                    end += 1
                await self._flush_some(pending[done:end])
                self._bytes -= size
                done = end
            self._metrics.put("dipper_gateway_pending_bytes", self._bytes)
            return done

    async def _flush_some(self, pending: Sequence[tuple[Arrival, int, asyncio.Future[None]]]) -> None:
        began = time.perf_counter()
        arrivals = [arrival for arrival, _, _ in pending]
        error: Refusal | None = None
        try:
            await self.append(process_each(self._pipeline, arrivals))
        except (LogError, RegistryUnavailable) as failure:
            self._metrics.add("dipper_gateway_log_errors_total", labels=(type(failure).__name__,))
            if self.healthy:
                logger.error("reports are not stored: %s", failure)
            self.healthy = False
            error = self._unavailable(str(failure))
        else:
            self.healthy = True
            self._pipeline.learn(arrivals)
            self._count(arrivals)
        self._metrics.add("dipper_gateway_flushes_total")
        self._metrics.add("dipper_gateway_flush_seconds_total", time.perf_counter() - began)
        for _, _, future in pending:
            if future.done():
                continue  # its connection's task was cancelled
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    async def append(self, records: Sequence[Record]) -> None:
        """Append records, headers after what they speak of, and wait until they are durable. Raises LogError."""
        for part in stages(self._log, records):
            await asyncio.wrap_future(self._log.submit(part))

    def _unavailable(self, why: str) -> Refusal:
        return Refusal(503, "log_unavailable", why, retry_after_s=self._settings.retry_after_s)

    def _count(self, arrivals: Sequence[Arrival]) -> None:
        stored = [a for a in arrivals if a.refusal is None]
        slices = sum(a.report.row_count for a in stored if a.report is not None)
        refused = sum(len(a.refused_rows) for a in stored)
        self._metrics.add("dipper_gateway_reports_stored_total", len(stored))
        self._metrics.add("dipper_gateway_slices_stored_total", slices - refused)
        self._metrics.add("dipper_gateway_slices_rejected_total", refused)
