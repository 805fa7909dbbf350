"""Kafka -> sink -> engine, and what the parts cost alone.

    python -m benchmarks.sink --seed 1 [--boxes 6000] [--slices 20] [--minutes 3] [--log kafka|embedded]

A log is filled with encoded slices and headers of a fleet first. Then, each on an empty store: the same blocks inserted
into the embedded engine (`chdb`), sent to the native-protocol test server (`server`, which costs what a real server
would not: it passes every block on to the embedded engine in a process of its own), and the real sink reading the log
into that server (`sink`). The sink is timed twice over: until everything is stored, and until all minutes are
recomputed as well. Before a figure counts, rows and requests in the store must equal those of the log; for the sink the
minutes' requests as well. CPU seconds are those of this process and of the server. Writes results/sink.json.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.common import write_result
from benchmarks.streams.backlog import CLOSES_AFTER_MS, START, Fleet, Message, Size
from contracts.protocols import Log, Record, Store, StoredRecord
from contracts.times import DAY_MS, MINUTE_MS
from history.chdb_store import MIB, ChdbStore
from history.clickhouse_store import ClickHouseStore
from history.records import decode, joined
from history.sink import Sink, SinkSettings
from tests.services.clickhouse import NativeServer

GOAL_SLICES_PER_S = 250_000
PARTITIONS = 4
SETTINGS = SinkSettings(flush_every_ms=0, live_refresh_ms=None)
_STORED = "SELECT count() AS n, sum(requests) AS requests FROM slices FINAL"
_MINUTES = "SELECT sum(requests) AS requests FROM minutes FINAL"


class Backlog:
    """A log and what it holds. `blocks`: its slices as tables of the sink's block size."""

    def __init__(self, log: Log, size: Size, seed: int) -> None:
        self.rows = size.rows
        self.end = START + size.minutes * MINUTE_MS + CLOSES_AFTER_MS  # every minute has ended by then
        self.requests = 0
        self.blocks: list[pa.Table] = []
        waiting: list[Any] = []
        for group in Fleet(size, seed).messages():
            log.submit([_record(message) for message in group]).result(60)
            for table, parts in decode([_stored(message) for message in group]).tables.items():
                waiting += parts if table == "slices" else []
            if sum(rows.batch.num_rows for rows in waiting) >= SETTINGS.block_rows:
                self._keep(waiting)
                waiting = []
        if waiting:
            self._keep(waiting)

    def _keep(self, parts: list[Any]) -> None:
        block = joined(parts)
        self.requests += int(pc.sum(block["requests"]).as_py())
        self.blocks.append(block)

    def prove(self, store: Store, *, minutes: bool) -> None:
        """Stop the run unless the store holds exactly the log's rows."""
        got = store.query(_STORED)
        if (got["n"], got["requests"]) != ([self.rows], [self.requests]):
            raise SystemExit(f"sink: expected {self.rows} rows, {self.requests} requests in the store, got {got}")
        if minutes and store.query(_MINUTES)["requests"] != [self.requests]:
            raise SystemExit(f"sink: expected {self.requests} requests in minutes, got {store.query(_MINUTES)}")


def _record(message: Message) -> Record:
    return Record(message.topic, b"", message.value, message.timestamp_ms, message.partition, dict(message.headers))


def _stored(message: Message) -> StoredRecord:
    return StoredRecord(message.topic, message.partition, 0, b"", message.value, message.timestamp_ms, message.headers)


@contextmanager
def opened_log(kind: str, folder: Path) -> Iterator[Log]:
    """An empty log: on a broker of its own, or embedded."""
    if kind == "embedded":
        from ingest.log.embedded import EmbeddedLog

        log = EmbeddedLog(folder / "log", partitions=PARTITIONS, min_free_bytes=0)
        try:
            yield log
        finally:
            log.close()
        return
    from ingest.log.kafka import KafkaLog
    from ingest.log.kafka_topics import TopicPlan, apply
    from tests.services.kafka import Broker

    with Broker(folder / "kafka") as broker:
        # The backlog's times are long past: by the usual retention the broker would let it go at once.
        apply(broker.settings, TopicPlan(partitions=PARTITIONS, retention_ms=100 * 365 * DAY_MS))
        with KafkaLog(broker.settings, client_id="benchmark") as log:
            yield log


@contextmanager
def served(folder: Path) -> Iterator[tuple[ClickHouseStore, int]]:
    """A store on a test server of its own, and the server's process."""
    with NativeServer(folder) as server, ClickHouseStore(server.url) as store:
        assert server.pid is not None
        yield store, server.pid


def cpu_s(pid: int | None) -> float:
    """CPU seconds of this process and of another."""
    total = time.process_time()
    if pid is not None:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def timed(rows: int, work: Callable[[], object], pid: int | None = None) -> dict[str, float]:
    """Rows per second and CPU seconds per million rows of something."""
    begin, cpu = time.perf_counter(), cpu_s(pid)
    work()
    seconds, used = time.perf_counter() - begin, cpu_s(pid) - cpu
    return {
        "slices_per_s": round(rows / seconds),
        "seconds": round(seconds, 2),
        "cpu_s_per_million": round(used / rows * 1e6, 2),
    }


def insert_alone(store: Store, backlog: Backlog, pid: int | None = None) -> dict[str, float]:
    """All blocks, one after the other."""

    def work() -> None:
        for block in backlog.blocks:
            store.insert("slices", block)

    figures = timed(backlog.rows, work, pid)
    backlog.prove(store, minutes=False)
    return figures


def sink_alone(log: Log, store: Store, backlog: Backlog, pid: int) -> dict[str, Any]:
    """The real sink over the whole log: storing, then recomputing."""
    sink = Sink(log, store, SETTINGS)

    def catch_up() -> None:
        while not sink.step(START).caught_up:  # no minute ends at START
            pass

    storing = timed(backlog.rows, catch_up, pid)
    recomputing = timed(backlog.rows, lambda: sink.drain(backlog.end), pid)
    sink.close()
    backlog.prove(store, minutes=True)
    both = storing["seconds"] + recomputing["seconds"]
    return {
        "storing": storing,
        "recomputing": recomputing,
        "slices_per_s": round(backlog.rows / both),
        "goal_slices_per_s": GOAL_SLICES_PER_S,
    }


def main() -> None:
    """Fill, run the three, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sink", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--boxes", type=int, default=6_000)
    parser.add_argument("--slices", type=int, default=20, help="per box and report")
    parser.add_argument("--minutes", type=int, default=3)
    parser.add_argument("--log", choices=("kafka", "embedded"), default="kafka")
    given = parser.parse_args()
    size = Size(given.boxes, given.slices, given.minutes, partitions=PARTITIONS)
    with tempfile.TemporaryDirectory(prefix="dipper-sink-") as name:
        folder = Path(name)
        with opened_log(given.log, folder) as log:
            backlog = Backlog(log, size, given.seed)
            figures: dict[str, Any] = {"seed": given.seed, "slices": backlog.rows, "log": given.log}
            with ChdbStore(folder / "chdb", memory_limit_bytes=900 * MIB, min_free_bytes=0) as store:
                figures["chdb"] = insert_alone(store, backlog)
            with served(folder / "server") as (remote, pid):
                figures["server"] = insert_alone(remote, backlog, pid)
            with served(folder / "sink") as (remote, pid):
                figures["sink"] = sink_alone(log, remote, backlog, pid)
    write_result("sink", figures, ("clickhouse-driver", "chdb", "kafka-python", "numpy", "pyarrow"))


if __name__ == "__main__":
    main()
