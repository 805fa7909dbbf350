"""The stream jobs on one log in one process, without Faust: read, hand to operators, write what they emit.

Nothing is stored beside the log. After a restart, kill -9 included, the runner reads back what it had emitted, reads
the inputs again from as far back as the operator asks, and goes on. One step's output is one `submit`, which the
embedded log appends all or none, so a minute is never in the log without the cube that explains it.
"""

from __future__ import annotations

from typing import Any

from contracts.protocols import Log, Record, TopicPartition
from contracts.times import SECOND_MS
from contracts.topics import DEVICE_EVIDENCE, QUALITY_MINUTES
from streams.decoding import decode
from streams.quality import INPUTS
from streams.runner import OUTPUTS, OperatorRunner, read_between, record_of
from streams.settings import StreamSettings

__all__ = ["OUTPUTS", "LocalRunner"]


class LocalRunner(OperatorRunner):
    """Runs the operators on a log. Not thread-safe: one thread steps it. Raises LogError from any call that touches
    the log; after LogUnavailable the same call may be repeated, nothing is lost or written twice."""

    def __init__(self, log: Log, settings: StreamSettings) -> None:
        super().__init__(log, settings, part=0)
        self._unsent: list[Record] = []
        self._operator.assign((topic, p) for topic in INPUTS for p in range(log.partitions(topic)))
        since = self._restore()
        start = {}
        for topic in INPUTS:
            offsets = log.start_offsets(topic) if since is None else log.offsets_for_time(topic, since)
            start.update({(topic, p): offset for p, offset in enumerate(offsets)})
        self._reader = log.reader(start)

    def step(self, timeout_s: float) -> int:
        """Consume what is there, waiting at most timeout_s for a first record, and write what became due. Returns
        the number of records consumed. Output is durable when this returns."""
        self._send()
        records = self._reader.poll(self._settings.poll_records, timeout_s)
        for record in records:
            self._feed(decode(record), self._unsent.append)
        self._unsent += [record_of(emission) for emission in self._operator.advance()]
        self._send()
        return len(records)

    def status(self, now: int) -> dict[str, Any]:
        """What a status page shows. `watermark_lag_s` and `watermark_ms` are None until every partition has shown a
        record; `lag_records` counts input records not consumed yet."""
        watermark = self._operator.watermark
        positions = self._reader.positions()
        ends = {topic: self._log.end_offsets(topic) for topic in INPUTS}
        return {
            "watermark_ms": watermark,
            "watermark_lag_s": None if watermark is None else (now - watermark) / SECOND_MS,
            "lag_records": sum(max(0, ends[topic][p] - at) for (topic, p), at in positions.items()),
            **self._counts(),
        }

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset of every input: retention must not touch what comes after it, nor, for the sake of restarts, the
        hour and a half before."""
        return self._reader.positions()

    def close(self) -> None:
        """Release the reader. What was not emitted yet is rebuilt by the next runner."""
        self._reader.close()

    def _send(self) -> None:
        if self._unsent:
            self._log.submit(self._unsent).result()
            self._messages += len(self._unsent)
            self._unsent = []

    def _restore(self) -> int | None:
        """Give the operator what was emitted; returns from when inputs must be read, None: from the beginning."""
        topic = QUALITY_MINUTES.name
        ends = {(topic, p): end for p, end in enumerate(self._log.end_offsets(topic))}
        starts = self._log.start_offsets(topic)
        last = {place: max(starts[place[1]], end - 1) for place, end in ends.items()}
        newest = (r.timestamp_ms for records in read_between(self._log, last, ends) for r in records)
        emitted_at = max(newest, default=None)
        if emitted_at is None:
            return None
        minutes, evidence = (
            (d.batch for d in self._restored(name, self._since(name, self._operator.outputs_since(name, emitted_at))))
            for name in (QUALITY_MINUTES.name, DEVICE_EVIDENCE.name)
        )
        return self._operator.restore(minutes, evidence)
