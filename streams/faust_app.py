"""The quality operator on Kafka: a Faust worker that says which partitions are ours and delivers their records.

Faust is kept to a narrow path: raw bytes, one agent without tables or output, offsets acknowledged as they come. What
it commits serves the monitoring of lag and nothing else: which records a task has taken, and which minutes were
written, is known from the log (task.py, host.py). So the known faults of Faust's acknowledgements, rebalances and
buffers (skipped, repeated, reordered records) cannot change a figure; a consumer that falls silent is told by `status`.

A rebalance is a handover. When partitions are revoked, all tasks stop writing and the log's acknowledgements are
awaited, before this worker agrees to the new distribution; so whoever gets a partition finds all that was written.
Tasks of partitions that stay go on where they were.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import tempfile
from collections.abc import Callable
from typing import Any

import faust
from faust.app.base import BootStrategy
from faust.auth import SASLCredentials
from faust.types import TP, EventT

from contracts.kafka import KafkaSettings, header_texts
from contracts.protocols import Log, StoredRecord
from contracts.topics import SLICES
from streams.host import TaskHost
from streams.settings import StreamsError, StreamSettings

logger = logging.getLogger(__name__)

GROUP = "dipper-quality"
LOOK_EVERY_S = 0.25
ROOM_EVERY_S = 0.01
STOP_WITHIN_S = 20.0
BUFFERED_EVENTS = (
    512  # in Faust, before it stops fetching; the bytes that wait for tasks are WorkerSettings.buffer_bytes
)
FETCH_BYTES = 4 * 1024 * 1024  # per partition and request


class WorkerFailed(StreamsError):
    """The worker cannot go on; the message says why. Its supervisor starts it anew."""


class _Boot(BootStrategy):
    """Without a producer: tasks write through the log."""

    enable_kafka_producer = False


class _App(faust.App):
    BootStrategy = _Boot


class WorkerApp:
    """A worker of consumer group GROUP. `log`: of the same Kafka. `worker_id`: names it in brokers' logs. `prefix`: of
    topic names on Kafka. `clock`: now in ms UTC. Raises SettingsError when topics have different partition counts,
    LogError."""

    def __init__(
        self,
        log: Log,
        kafka: KafkaSettings,
        settings: StreamSettings,
        *,
        worker_id: str,
        clock: Callable[[], int],
        prefix: str = "",
    ) -> None:
        self._kafka = kafka
        self._settings = settings
        self._worker_id = worker_id
        self._group = prefix + GROUP
        self._topic = prefix + SLICES.name
        self._host = TaskHost(log, settings, clock=clock)
        self._rebalances = 0
        self._ended = False

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Raises WorkerFailed when the process should end; call it once."""
        with tempfile.TemporaryDirectory(prefix="dipper-faust-") as folder:
            app = self._app(folder)
            self._host.start()
            try:
                await self._watch(app, stop)
            finally:
                # First the tasks: until the group knows that this worker left, nobody else writes.
                await asyncio.to_thread(self._host.close)
                await self._leave(app)
                self._ended = True

    def status(self, now: int) -> dict[str, Any]:
        """As of TaskHost.status, and `rebalances`. From any thread."""
        told = self._host.status(now)
        return {**told, "rebalances": self._rebalances, "ready": told["ready"] and not self._ended}

    async def _watch(self, app: faust.App, stop: asyncio.Event) -> None:
        starting = asyncio.ensure_future(app.start())
        while not stop.is_set():
            if self._host.failure is not None:
                raise WorkerFailed(self._host.failure)
            if starting.done():
                starting.result()
                self._require_life(app)
            try:
                await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)
            except TimeoutError:
                continue

    def _require_life(self, app: faust.App) -> None:
        """Faust lives on when the service that fetches has died; it would be silent for ever."""
        for service in (app, app._fetcher):
            reason = service.crash_reason
            if service.crashed and not isinstance(reason, asyncio.CancelledError):  # a rebalance cancels the fetcher
                told = f"{type(reason).__name__}: {reason}"
                raise WorkerFailed(f"{self._topic} is not read any more: {told}") from reason
        if app.should_stop:
            raise WorkerFailed(f"{self._topic} is not read any more: Faust stopped by itself")

    async def _leave(self, app: faust.App) -> None:
        try:
            await asyncio.wait_for(app.stop(), STOP_WITHIN_S)
        except Exception as error:
            logger.warning("leaving group %s: %s: %s", self._group, type(error).__name__, error)

    # Faust

    def _app(self, folder: str) -> faust.App:
        worker = self._settings.worker
        app = _App(
            self._group,
            broker=[f"kafka://{broker}" for broker in self._kafka.brokers],
            broker_credentials=credentials(self._kafka),
            broker_client_id=f"dipper-worker-{self._worker_id}",
            broker_session_timeout=worker.session_timeout_s,
            broker_heartbeat_interval=worker.session_timeout_s / 4,
            broker_rebalance_timeout=3 * worker.session_timeout_s,
            consumer_auto_offset_reset="latest",  # what lies before is read by the tasks themselves
            consumer_max_fetch_size=FETCH_BYTES,
            stream_buffer_maxsize=BUFFERED_EVENTS,
            stream_wait_empty=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            datadir=folder,
            autodiscover=False,
        )
        channel = app.topic(self._topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
        app.agent(channel, name="slices")(self._deliver)
        app.on_partitions_revoked.connect(self._on_revoked, weak=False)
        app.on_partitions_assigned.connect(self._on_assigned, weak=False)
        return app

    async def _deliver(self, stream: Any) -> None:
        async for event in stream.events():
            record = _stored(event)
            while not self._host.offer(record):
                await asyncio.sleep(ROOM_EVERY_S)

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        self._rebalances += 1
        self._host.hold()
        waited_s = 0.0
        while self._host.in_flight and waited_s < self._settings.worker.handover_s:
            await asyncio.sleep(ROOM_EVERY_S)
            waited_s += ROOM_EVERY_S

    async def _on_assigned(self, *told: Any, **_: Any) -> None:
        assigned: set[TP] = told[-1]
        self._host.assign({place.partition for place in assigned if place.topic == self._topic})


def credentials(kafka: KafkaSettings) -> Any:
    """What Faust takes as broker_credentials: None, a TLS context, or a name and password with one."""
    context = None
    if kafka.uses_tls:
        context = ssl.create_default_context(cafile=kafka.ca)
        if kafka.cert is not None:
            context.load_cert_chain(kafka.cert, kafka.key)
    if not kafka.uses_sasl:
        return context
    return SASLCredentials(username=kafka.user, password=kafka.password, ssl_context=context, mechanism=kafka.mechanism)


def _stored(event: EventT[Any]) -> StoredRecord:
    message = event.message
    pairs: Any = message.headers
    timestamp_ms = round((message.timestamp or 0.0) * 1000)
    return StoredRecord(
        SLICES.name, message.partition, message.offset, message.key or b"", message.value or b"", timestamp_ms,
        header_texts(pairs),
    )  # fmt: skip
