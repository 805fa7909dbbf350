"""Our side: `worker` is the task a worker runs for a partition, from the log to acknowledged output (minutes, cube and
evidence); `loop` the peers' step in a plain loop over our reader, without an engine; `kernel` the kernel alone on rows
that were decoded before: cells of all dimensions with all counts and histograms, the ceiling of one core."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future

import numpy as np
import pyarrow as pa

from benchmarks.streams.steps import END_KEY, State, empty, fold, outcome, partials_of
from benchmarks.streams.worker import Clock, Job, read_job, write
from contracts.arrow import from_bytes
from contracts.columns import CELL_DIMENSIONS, COUNT_NAMES, FAILURE_NAMES, SLICES
from contracts.histogram import CELLS
from contracts.kafka import KafkaSettings
from contracts.protocols import LogReader, Record, StoredRecord, TopicPartition
from contracts.times import MINUTE_MS
from contracts.topics import QUALITY_MINUTES, REPORTS
from contracts.topics import SLICES as SLICES_TOPIC
from ingest.log.kafka import KafkaLog
from streams.decoding import decode
from streams.kernel import Groups, aggregate
from streams.rows import SliceRows, join, slice_rows
from streams.runner import read_between
from streams.settings import StreamSettings
from streams.task import PartitionTask

_INPUTS = (SLICES_TOPIC.name, REPORTS.name)
_KERNEL_ROWS = 500_000  # joined before they are grouped


class InAndOut:
    """A log whose inputs and outputs are different topics on Kafka, so that a run finds no output of the run before."""

    atomic = False

    def __init__(self, inputs: KafkaLog, outputs: KafkaLog) -> None:
        self._inputs, self._outputs = inputs, outputs

    def _of(self, topic: str) -> KafkaLog:
        return self._inputs if topic in _INPUTS else self._outputs

    def partitions(self, topic: str) -> int:
        """As of Log."""
        return self._of(topic).partitions(topic)

    def submit(self, records: Sequence[Record]) -> Future[list[tuple[int, int]]]:
        """As of Log: to the outputs."""
        return self._outputs.submit(records)

    def reader(self, start: Mapping[TopicPartition, int]) -> LogReader:
        """As of Log: of inputs or of outputs."""
        return self._of(next(iter(start))[0]).reader(start)

    def start_offsets(self, topic: str) -> list[int]:
        """As of Log."""
        return self._of(topic).start_offsets(topic)

    def end_offsets(self, topic: str) -> list[int]:
        """As of Log."""
        return self._of(topic).end_offsets(topic)

    def offsets_for_time(self, topic: str, time_ms: int) -> list[int]:
        """As of Log."""
        return self._of(topic).offsets_for_time(topic, time_ms)

    def close(self) -> None:
        """As of Log."""
        self._inputs.close()
        self._outputs.close()


def worker(job: Job, clock: Clock) -> dict[str, State]:
    """The backlog of a partition, as after a start without output."""
    kafka = KafkaSettings((job.brokers,))
    inputs = KafkaLog(kafka, client_id="bench", prefix=job.prefix)
    outputs = KafkaLog(kafka, client_id="bench-out", prefix=f"{job.prefix}{job.run}.")
    log = InAndOut(inputs, outputs)
    try:
        task = PartitionTask(log, StreamSettings(), 0)
        outputs.submit([]).result()
        clock.start()
        task.rebuild()
        while not task.step():
            time.sleep(0.001)
        clock.stop()
        return _minutes(outputs)
    finally:
        log.close()


def _minutes(outputs: KafkaLog) -> dict[str, State]:
    """What stands in quality.minutes: the highest revision of each, without minutes of no traffic."""
    name = QUALITY_MINUTES.name
    newest: dict[tuple[str, int], tuple[int, State]] = {}
    for record in _records(outputs, name):
        for row in decode(record).batch.to_pylist():
            histogram = [0] * CELLS
            for cell, count in zip(row["latency_cell"], row["latency_count"], strict=True):
                histogram[cell] = count
            key = (f"{row['customer']}|{row['service']}", row["minute"])
            state = [row["requests"], sum(row[f] for f in FAILURE_NAMES), row["bytes"], histogram]
            newest[key] = max(newest.get(key, (0, state)), (row["revision"], state), key=lambda held: held[0])
    return outcome((key, minute, state) for (key, minute), (_, state) in newest.items() if state[0])


def loop(job: Job, clock: Clock) -> dict[str, State]:
    """The peers' step without an engine."""
    windows: dict[tuple[str, int], State] = {}
    with KafkaLog(KafkaSettings((job.brokers,)), client_id="bench", prefix=job.prefix) as log:
        clock.start()
        for record in _records(log, SLICES_TOPIC.name):
            for value in partials_of(record.value):
                fold(windows.setdefault((value[0], value[1]), empty()), value)
        clock.stop()
    return outcome((key, minute, state) for (key, minute), state in windows.items() if key != END_KEY)


def kernel(job: Job, clock: Clock) -> dict[str, State]:
    """Rows in memory to cells."""
    with KafkaLog(KafkaSettings((job.brokers,)), client_id="bench", prefix=job.prefix) as log:
        batches = [from_bytes(SLICES, r.value, pa) for r in _records(log, SLICES_TOPIC.name) if r.value]
    per_part = max(1, _KERNEL_ROWS // batches[0].num_rows)
    parts = [slice_rows(join(batches[i : i + per_part])) for i in range(0, len(batches), per_part)]
    clock.start()
    cells = [_cells(rows) for rows in parts]
    clock.stop()
    windows: dict[tuple[str, int], State] = {}
    for rows, groups in zip(parts, cells, strict=True):
        _add_cells(rows, groups, windows)
    return outcome((key, minute, state) for (key, minute), state in windows.items())


def _cells(rows: SliceRows) -> Groups:
    keys = [rows.start // MINUTE_MS, *(rows.text[name].codes for name in CELL_DIMENSIONS)]
    return aggregate(keys, rows.counts, rows.histograms)


def _add_cells(rows: SliceRows, groups: Groups, windows: dict[tuple[str, int], State]) -> None:
    minute, customer, service = (groups.keys[i] for i in (0, 1, 2))
    minutes = aggregate([minute, customer, service], list(groups.counts), groups.histograms)
    dense = minutes.histograms[0].dense()
    failures = np.sum([minutes.counts[COUNT_NAMES.index(name)] for name in FAILURE_NAMES], axis=0)
    requests, size = (minutes.counts[COUNT_NAMES.index(name)] for name in ("requests", "bytes"))
    for i, (m, c, s) in enumerate(minutes.keys.T.tolist()):
        key = f"{rows.text['customer'].values[c]}|{rows.text['service'].values[s]}"
        state = windows.setdefault((key, m * MINUTE_MS), empty())
        state[0] += int(requests[i])
        state[1] += int(failures[i])
        state[2] += int(size[i])
        state[3] = (np.array(state[3]) + dense[i]).tolist()


def _records(log: KafkaLog, topic: str) -> Iterator[StoredRecord]:
    start, end = log.start_offsets(topic)[0], log.end_offsets(topic)[0]
    for records in read_between(log, {(topic, 0): start}, {(topic, 0): end}):
        yield from records


MODES = {"worker": worker, "loop": loop, "kernel": kernel}


def main() -> None:
    """Run once, timed."""
    pa.set_cpu_count(1)
    job, clock = read_job(), Clock()
    write(job, clock, MODES[job.mode](job, clock))


if __name__ == "__main__":
    main()
