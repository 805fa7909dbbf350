"""Quix Streams: expand, group by key, reduce in tumbling windows with its state store and changelog. In .venv-peers."""

from __future__ import annotations

from typing import Any

from quixstreams import Application

from benchmarks.streams.steps import State, Value, empty, fold, outcome
from benchmarks.streams.worker import Clock, Job, expander, read_job, write

_LATENESS_MS = 120_000
_QUIET_S = 10.0  # without a message: the end


def application(job: Job, clock: Clock, windows: list[tuple[str, int, State]]) -> Application:
    """Kafka to closed windows. The topic has one partition, so grouping needs no second topic."""
    expand = expander(job, clock)
    app = Application(
        broker_address=job.brokers,
        consumer_group=f"quix-{job.run}",
        auto_offset_reset="earliest",
        state_dir=job.folder / f"quix-{job.run}",
        loglevel="WARNING",
        consumer_extra_config={"fetch.message.max.bytes": 8 * 2**20},
    )
    topic = app.topic(job.topic, value_deserializer="bytes", key_deserializer="bytes")
    sdf = app.dataframe(topic)
    sdf = sdf.apply(lambda value: expand(value or b""), expand=True)
    sdf = sdf.set_timestamp(lambda value, *_: value[1])
    sdf = sdf.group_by(lambda value: value[0], name="key")
    sdf = sdf.tumbling_window(60_000, grace_ms=_LATENESS_MS).reduce(fold, _first).final(closing_strategy="partition")

    def collect(result: dict[str, Any], key: Any, *_: object) -> None:
        windows.append((_text(key), result["start"], result["value"]))
        clock.stop()

    sdf.update(collect, metadata=True)
    return app


def _first(value: Value) -> State:
    return fold(empty(), value)


def _text(key: Any) -> str:
    return key.decode() if isinstance(key, bytes) else str(key)


def main() -> None:
    """Run once, timed."""
    job, clock = read_job(), Clock()
    windows: list[tuple[str, int, State]] = []
    application(job, clock, windows).run(timeout=_QUIET_S)
    write(job, clock, outcome(windows))


if __name__ == "__main__":
    main()
