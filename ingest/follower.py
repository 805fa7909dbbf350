"""Learns from the log which reports are stored: once at start, and from then on what other gateways store."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from contracts import arrow
from contracts.columns import REPORTS as REPORT_COLUMNS
from contracts.errors import ContractError
from contracts.protocols import Log, LogError, LogReader, StoredRecord, TopicPartition
from contracts.topics import REPORTS
from ingest.heartbeats import is_heartbeat
from ingest.known import KnownReports

RETRY_S = 1.0
POLL_S = 1.0
POLL_RECORDS = 500
NAMES = ("device", "boot", "seq", "digest", "total_requests", "total_slices")
DROPPED = ("dropped_requests", "dropped_slices", "dropped_reports")

logger = logging.getLogger(__name__)


class Follower:
    """Reads telemetry.reports into `known`. Reports this gateway stored come back too and change nothing. `count`: rows
    learned so far. `error`: why it cannot learn now, empty while it can. `catch_up`, then `start` or `stop`."""

    def __init__(self, known: KnownReports) -> None:
        self.count = 0
        self.error = ""
        self._known = known
        self._log: Log | None = None
        self._reader: LogReader | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def catch_up(self, log: Log, since_ms: int) -> None:
        """Learn what the log got at or after a time, up to its present end. Raises LogError."""
        self._log = log
        self._positions = {(REPORTS.name, p): o for p, o in enumerate(log.offsets_for_time(REPORTS.name, since_ms))}
        ends = {(REPORTS.name, p): o for p, o in enumerate(log.end_offsets(REPORTS.name))}
        self._stopping.clear()
        self._reader = log.reader(self._positions)
        while any(self._reader.positions()[place] < end for place, end in ends.items()):
            self._learn(self._reader.poll(POLL_RECORDS, POLL_S))

    def start(self) -> None:
        """Go on learning in a thread of its own, through outages."""
        self._thread = threading.Thread(target=self._follow, name="gateway-follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and the reader. Harmless twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._release()

    def _release(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            self._positions = reader.positions()
            reader.close()

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._reader is None:
                    assert self._log is not None
                    self._reader = self._log.reader(self._positions)
                self._learn(self._reader.poll(POLL_RECORDS, POLL_S))
                self.error = ""
            except Exception as error:  # whatever it was: a thread that ended would be missed by nobody
                self._tell(error)
                with contextlib.suppress(Exception):
                    self._release()
                self._stopping.wait(RETRY_S * random.uniform(0.5, 1.5))

    def _tell(self, error: Exception) -> None:
        """Once per failure, however long it lasts."""
        if not self.error:
            unexpected = None if isinstance(error, LogError) else error
            logger.warning("gateway: cannot learn what other gateways store: %s", error, exc_info=unexpected)
        self.error = f"{type(error).__name__}: {error}"

    def _learn(self, records: Sequence[StoredRecord]) -> None:
        for batch in _readable([record for record in records if not is_heartbeat(record)]):
            columns = [batch.column(n).to_pylist() for n in (*NAMES, *DROPPED)]
            for device, boot, seq, digest, *totals in zip(*columns, strict=True):
                self._known.add(device, boot, seq, digest, tuple(totals))
            self.count += batch.num_rows


def _readable(records: Sequence[StoredRecord]) -> Iterator[Any]:
    """Record batches with the rows of records in turn, without those nobody can read."""
    if not records:
        return
    try:
        yield arrow.from_messages(REPORT_COLUMNS, [record.value for record in records], pa)[0]
        return
    except ContractError as error:
        logger.debug("gateway: reads %d records one by one: %s", len(records), error)
    for record in records:
        try:
            yield arrow.from_bytes(REPORT_COLUMNS, record.value, pa)
        except ContractError as error:
            place = f"partition {record.partition}, offset {record.offset}"
            logger.warning("gateway: %s, %s cannot be read and is left out: %s", record.topic, place, error)
