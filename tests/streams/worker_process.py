"""A worker in a process of its own, for tests that kill it: `python -m tests.streams.worker_process BROKERS PREFIX`.

Prints its status as a line of JSON twice a second; ends on SIGTERM, with the reason on standard error when it fails."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import time

from contracts.kafka import KafkaSettings
from ingest.log.kafka import KafkaLog
from streams.faust_app import WorkerApp
from streams.settings import QualitySettings, StreamSettings, WorkerSettings

# As little as a broker allows: tests that kill a worker wait for it.
SETTINGS = StreamSettings(QualitySettings(prior_requests=10.0), WorkerSettings(session_timeout_s=6.0))


def _now() -> int:
    return time.time_ns() // 1_000_000


async def main(brokers: str, prefix: str) -> None:
    """Run until SIGTERM."""
    kafka = KafkaSettings(tuple(brokers.split(",")))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with KafkaLog(kafka, client_id="test-worker", prefix=prefix) as log:
        app = WorkerApp(log, kafka, SETTINGS, worker_id="test", clock=_now, prefix=prefix)
        running = asyncio.ensure_future(app.run(stop))
        while not running.done():
            print(json.dumps(app.status(_now())), flush=True)
            await asyncio.wait({running}, timeout=0.5)
        running.result()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    asyncio.run(main(*sys.argv[1:]))
