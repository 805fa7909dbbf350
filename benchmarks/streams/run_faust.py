"""Faust without our shell: an agent over messages that updates a table with a changelog, as its documentation teaches.

Its windowed tables go by a message's timestamp; a message here holds rows of one time each, so the minute is part of
the table's key instead.
"""

from __future__ import annotations

import asyncio
from typing import Any

import faust

from benchmarks.streams.steps import END_KEY, empty, fold, outcome
from benchmarks.streams.worker import Clock, Job, expander, read_job, write
from contracts.times import MINUTE_MS


async def run(job: Job, clock: Clock) -> dict[str, Any]:
    """Run the app until the heartbeat; the table's content."""
    app = faust.App(
        f"faust-{job.run}",
        broker=f"kafka://{job.brokers}",
        store="memory://",
        datadir=job.folder / f"faust-{job.run}",
        consumer_auto_offset_reset="earliest",
        topic_partitions=1,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
    )
    topic = app.topic(job.topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    minutes = app.Table("minutes", default=empty, partitions=1)
    expand = expander(job, clock)
    ended = asyncio.Event()

    async def count(stream: Any) -> None:
        async for message in stream:
            for value in expand(message or b""):
                if value[0] == END_KEY:
                    clock.stop()
                    ended.set()
                    continue
                key = f"{value[1] - value[1] % MINUTE_MS}|{value[0]}"
                minutes[key] = fold(minutes[key], value)

    app.agent(topic, name="count")(count)
    starting = asyncio.create_task(app.start())
    ending = asyncio.create_task(ended.wait())
    await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
    if not ended.is_set():
        starting.result()
        await ending
    content = dict(minutes.items())
    await app.stop()
    return content


def main() -> None:
    """Run once, timed."""
    job, clock = read_job(), Clock()
    content = asyncio.run(run(job, clock))
    windows = [(key.partition("|")[2], int(key.partition("|")[0]), state) for key, state in content.items()]
    write(job, clock, outcome(windows))


if __name__ == "__main__":
    main()
