"""The runner on the real embedded log: what it writes, what it refuses, and that a restart does not show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from contracts.arrow import from_bytes
from contracts.columns import TABLES
from contracts.protocols import LogUnavailable, Record
from contracts.topics import QUALITY_MINUTES, REJECTED, REPORTS, SLICES
from ingest.log.embedded import EmbeddedLog
from streams.local import OUTPUTS, LocalRunner
from streams.settings import QualitySettings, StreamSettings
from tests.streams.builders import MINUTE, T0, Slice, expected, heartbeats, messages_of, report_row, slice_row
from tests.streams.logs import PARTITIONS, append, fleet, outputs, read, tables

SETTINGS = StreamSettings(QualitySettings(prior_requests=10.0), poll_records=16)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    with EmbeddedLog(tmp_path / "log", partitions=PARTITIONS, group_commit_ms=1, min_free_bytes=0) as opened:
        yield opened


def drain(runner: LocalRunner) -> None:
    while runner.step(0.0):
        pass


def test_emitted_minutes_are_in_the_log_in_the_partition_of_their_customer(log: EmbeddedLog) -> None:
    messages = fleet(3, 4)
    append(log, [*messages, *heartbeats(T0 + 10 * MINUTE, PARTITIONS)])
    drain(LocalRunner(log, SETTINGS))
    want = expected(messages, T0 + 10 * MINUTE - 20_000, 10.0)
    got = outputs(log)
    assert set(got[0]) == set(want.minutes)
    assert {k: r["requests"] for k, r in got[0].items()} == {k: r["requests"] for k, r in want.minutes.items()}
    assert got[1] == want.cube
    for record in read(log, QUALITY_MINUTES.name):
        rows = from_bytes(TABLES["quality_minutes"], record.value, pa)
        for customer in set(rows.column("customer").to_pylist()):
            assert log_partition(log, customer) == record.partition


def log_partition(log: EmbeddedLog, key: str) -> int:
    (place,) = log.submit([Record("changes", key.encode(), b"{}", 0)]).result()
    return place[0]


def test_runners_that_die_at_any_moment_leave_what_one_that_never_stops_would(tmp_path: Path) -> None:
    # Longer than the hour that coverage looks back, so that a restart cannot rely on reading everything again.
    messages = [*heartbeats(T0, PARTITIONS), *fleet(90, 4), *heartbeats(T0 + 100 * MINUTE, PARTITIONS)]
    chunks = len(messages) // 4
    results = []
    for stops in ((), (chunks // 3, chunks * 4 // 5, chunks * 4 // 5 + 1, chunks * 9 // 10, chunks - 1)):
        folder = tmp_path / f"log{len(stops)}"
        with EmbeddedLog(folder, partitions=PARTITIONS, group_commit_ms=1, min_free_bytes=0) as log:
            runner = LocalRunner(log, SETTINGS)
            for begin in range(0, len(messages), 4):
                append(log, messages[begin : begin + 4])
                if begin // 4 in stops:
                    runner = LocalRunner(log, SETTINGS)  # the old one is dropped as kill -9 would drop it
                runner.step(0.0)
            drain(runner)
            results.append(outputs(log))
    want = expected(messages, T0 + 100 * MINUTE - 20_000, 10.0)
    assert len(want.minutes) >= 270
    assert results[0][0] == {
        key: {**row, "coverage": row["coverage"] and pytest.approx(row["coverage"], rel=1e-9)}
        for key, row in want.minutes.items()
    }
    assert {row["coverage"] for row in want.minutes.values()} - {0.0, 1.0, None}
    for straight, stopped in zip(*results, strict=True):
        assert straight == stopped


def test_a_restart_without_news_writes_nothing(log: EmbeddedLog) -> None:
    append(log, [*fleet(70, 3), *heartbeats(T0 + 75 * MINUTE, PARTITIONS)])
    drain(LocalRunner(log, SETTINGS))
    before = [log.end_offsets(topic) for topic in OUTPUTS]
    drain(LocalRunner(log, SETTINGS))
    assert [log.end_offsets(topic) for topic in OUTPUTS] == before


def test_poison_is_kept_with_its_place_and_the_job_goes_on(log: EmbeddedLog) -> None:
    row, header = slice_row("d", "b", 1, 0, T0, Slice()), report_row("d", "b", 1, T0)
    good = messages_of([(T0 + 11_000, row)], [(T0 + 11_000, header)], PARTITIONS)
    negative = messages_of([(T0 + 11_000, slice_row("d", "b", 2, 0, -5, Slice()))], [], PARTITIONS)
    log.submit([Record(SLICES.name, b"alpha", b"not arrow", T0, 1)]).result()
    append(log, [*negative, *good, *heartbeats(T0 + 5 * MINUTE, PARTITIONS)])
    for _ in range(2):  # the second runner reads them again
        runner = LocalRunner(log, SETTINGS)
        drain(runner)
        assert runner.status(T0)["poison"] == 2
    rows = [row for _, b in tables(log, REJECTED.name) for row in b.to_pylist()]
    assert {(r["id"], r["reason"], r["source"]) for r in rows} == {
        (f"{SLICES.name}:1:0", "malformed_batch", "operator"),
        (f"{SLICES.name}:{negative[0].partition}:{int(negative[0].partition == 1)}", "malformed_batch", "operator"),
    }
    assert all(f"topic {SLICES.name}, partition" in r["detail"] for r in rows)
    assert {r["body"] for r in rows} >= {b"not arrow"}
    assert outputs(log)[0][T0, "alpha", "vod"]["requests"] == 1


class Refusing:
    """A log that refuses a number of submits."""

    def __init__(self, log: EmbeddedLog, refusals: int) -> None:
        self._log = log
        self.refusals = refusals

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def submit(self, records: Sequence[Record]) -> Future[list[tuple[int, int]]]:
        if self.refusals:
            self.refusals -= 1
            raise LogUnavailable("no space for now")
        return self._log.submit(records)


def test_output_that_the_log_refuses_is_written_by_a_later_step_once(log: EmbeddedLog) -> None:
    append(log, [*fleet(3, 4), *heartbeats(T0 + 10 * MINUTE, PARTITIONS)])
    runner = LocalRunner(Refusing(log, 3), SETTINGS)
    refused = 0
    while runner.status(T0)["lag_records"] or refused < 3:
        try:
            runner.step(0.0)
        except LogUnavailable:
            refused += 1
    drain(runner)
    assert refused == 3
    assert outputs(log)[0]  # checks that revisions count up one by one


def test_status_tells_lag_and_watermark(log: EmbeddedLog) -> None:
    runner = LocalRunner(log, SETTINGS)
    assert runner.status(T0)["watermark_lag_s"] is None
    append(log, heartbeats(T0, PARTITIONS))
    assert runner.status(T0)["lag_records"] == PARTITIONS
    drain(runner)
    status = runner.status(T0 + 5_000)
    assert (status["watermark_lag_s"], status["lag_records"], status["records"]) == (25.0, 0, PARTITIONS)
    assert runner.positions()[SLICES.name, 0] == 1
    assert runner.positions()[REPORTS.name, 0] == 0
    runner.close()
