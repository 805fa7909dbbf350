"""Bytewax: expand, key, fold into tumbling windows, collect. Runs in .venv-peers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, run_main

from benchmarks.streams.steps import END_KEY, State, Value, add, empty, fold, outcome
from benchmarks.streams.worker import Clock, Job, expander, read_job, write

_ALIGN = datetime(2023, 1, 1, tzinfo=UTC)


def dataflow(job: Job, clock: Clock, out: list[Any]) -> Dataflow:
    """Kafka to windows; ends at the end of the topic."""
    expand = expander(job, clock)
    flow = Dataflow("minutes")
    messages = op.input("kafka", flow, KafkaSource([job.brokers], [job.topic], tail=False, batch_size=16))
    values = op.flat_map("expand", messages, lambda message: expand(message.value or b""))
    traffic = op.filter("heartbeats", values, lambda value: value[0] != END_KEY)  # the end of the topic closes windows
    keyed = op.key_on("key", traffic, lambda value: value[0])
    event_time = win.EventClock(_time_of, wait_for_system_duration=timedelta(minutes=2))
    windower = win.TumblingWindower(length=timedelta(minutes=1), align_to=_ALIGN)
    folded = win.fold_window("minute", keyed, event_time, windower, empty, fold, add)
    op.output("out", folded.down, TestingSink(out))
    return flow


def _time_of(value: Value) -> datetime:
    return datetime.fromtimestamp(value[1] / 1000, UTC)


def _minute_of(window: int) -> int:
    return round((_ALIGN.timestamp() + 60 * window) * 1000)


def main() -> None:
    """Run once, timed."""
    job, clock = read_job(), Clock()
    out: list[tuple[str, tuple[int, State]]] = []
    flow = dataflow(job, clock, out)
    run_main(flow)
    clock.stop()
    write(job, clock, outcome((key, _minute_of(window), state) for key, (window, state) in out))


if __name__ == "__main__":
    main()
