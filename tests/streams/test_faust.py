"""Workers on a real broker: killed, multiplied, fed poison, and still the minutes one undisturbed runner writes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiokafka.codec
import pytest

from contracts.kafka import KafkaSettings
from contracts.protocols import StoredRecord
from contracts.topics import QUALITY_MINUTES, REJECTED, SLICES
from ingest.log.kafka import KafkaLog
from ingest.log.kafka_topics import TopicPlan, apply
from streams.faust_app import WorkerApp, WorkerFailed, _stored, credentials
from tests.services.kafka.stranger import send_odd
from tests.streams.builders import MINUTE, MINUTE_KEYS, T0, Message, Slice, final, messages_of, report_row, slice_row
from tests.streams.logs import PARTITIONS, append, outputs, tables
from tests.streams.test_task import OF_ALPHA, one_report, script
from tests.streams.worker_process import SETTINGS

ROOT = Path(__file__).parents[2]
DEADLINE_S = 90


@contextmanager
def topics(kafka: Any, prefix: str) -> Iterator[KafkaLog]:
    """A log on topics of its own, which keep what happened at T0."""
    apply(kafka.settings, TopicPlan(partitions=PARTITIONS, prefix=prefix, retention_ms=10**13))
    with KafkaLog(kafka.settings, client_id="test", prefix=prefix) as log:
        yield log


class Process:
    """A worker process and the last status it printed."""

    def __init__(self, kafka: Any, prefix: str, folder: Path, name: str) -> None:
        self.last: dict[str, Any] = {}
        self._errors = (folder / f"{name}.log").open("w")
        brokers = ",".join(kafka.settings.brokers)
        command = [sys.executable, "-m", "tests.streams.worker_process", brokers, prefix]
        self.popen = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self._errors, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.last = json.loads(line)

    @property
    def running(self) -> set[int]:
        """Partitions whose tasks run."""
        return {row["partition"] for row in self.last.get("partitions", ()) if row["state"] == "running"}

    def end(self, how: signal.Signals) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.popen.send_signal(how)
        try:
            return self.popen.wait(40)
        finally:
            self._reader.join(5)
            self._errors.close()


def wait_until(condition: Callable[[], bool], what: str, within_s: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def wait_for_minutes(log: KafkaLog, want: dict[Any, Any]) -> None:
    """Until the minutes are as wanted; fails with the first that are not."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = final(tables(log, QUALITY_MINUTES.name), QUALITY_MINUTES.name, MINUTE_KEYS)
        if found == want:
            return
        if time.monotonic() > deadline:
            wrong = {key: (found.get(key), row) for key, row in want.items() if found.get(key) != row}
            assert list(wrong.items())[:3] == []
        time.sleep(0.2)


@contextmanager
def processes() -> Iterator[list[Process]]:
    """Whatever is appended is ended."""
    started: list[Process] = []
    try:
        yield started
    finally:
        for process in started:
            if process.popen.poll() is None:
                process.end(signal.SIGKILL)


def test_a_killed_worker_is_replaced_without_a_trace(kafka: Any, tmp_path: Path) -> None:
    messages, want = script()
    third = len(messages) // 3
    with topics(kafka, "kill.") as log, processes() as workers:
        workers.append(Process(kafka, "kill.", tmp_path, "first"))
        wait_until(lambda: workers[0].running == {0, 1}, "both partitions running")
        append(log, messages[:third])
        wait_until(lambda: sum(log.end_offsets(QUALITY_MINUTES.name)) > 0, "first minutes")
        assert workers[0].end(signal.SIGKILL) == -signal.SIGKILL
        append(log, messages[third : 2 * third])
        workers.append(Process(kafka, "kill.", tmp_path, "second"))
        append(log, messages[2 * third :])
        wait_for_minutes(log, want[0])
        assert workers[1].end(signal.SIGTERM) == 0
        assert outputs(log, atomic=False) == want


@pytest.mark.verify
def test_minutes_survive_one_worker_becoming_three_and_one_again(kafka: Any, tmp_path: Path) -> None:
    messages, want = script()
    parts = [messages[len(messages) * i // 4 : len(messages) * (i + 1) // 4] for i in range(4)]
    with topics(kafka, "scale.") as log, processes() as workers:
        workers.append(Process(kafka, "scale.", tmp_path, "a"))
        wait_until(lambda: workers[0].running == {0, 1}, "both partitions running")
        append(log, parts[0])
        workers += [Process(kafka, "scale.", tmp_path, name) for name in "bc"]
        append(log, parts[1])
        # Two partitions, three workers: one has nothing to do, and says that it is ready.
        wait_until(lambda: [len(w.running) for w in workers].count(1) == 2, "partitions spread")
        wait_until(lambda: all(w.last["ready"] for w in workers), "all ready")
        append(log, parts[2])
        leaving = sorted(workers, key=lambda w: len(w.running))[1:]
        assert [w.end(signal.SIGTERM) for w in leaving] == [0, 0]
        append(log, parts[3])
        wait_for_minutes(log, want[0])
        assert outputs(log, atomic=False) == want


def now() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def worker_in_thread(kafka: Any, log: KafkaLog, prefix: str) -> Iterator[tuple[WorkerApp, Future[None]]]:
    """A worker in this process, and what ends when it does."""
    app = WorkerApp(log, kafka.settings, SETTINGS, worker_id="thread", clock=now, prefix=prefix)
    stop = asyncio.Event()
    with ThreadPoolExecutor(1) as pool:
        loop = asyncio.new_event_loop()
        ended = pool.submit(lambda: loop.run_until_complete(app.run(stop)))
        try:
            yield app, ended
        finally:
            loop.call_soon_threadsafe(stop.set)
            wait([ended], 40)
            assert ended.done()
    loop.close()


def test_poison_and_an_idle_partition_hold_nothing_up(kafka: Any) -> None:
    def states(app: WorkerApp) -> list[str]:
        return [row["state"] for row in app.status(now())["partitions"]]

    row, header = slice_row("d", "b", 1, 0, T0, Slice()), report_row("d", "b", 1, T0)
    good = messages_of([(T0 + 11_000, row)], [(T0 + 11_000, header)], PARTITIONS)
    with topics(kafka, "poison.") as log, worker_in_thread(kafka, log, "poison.") as (app, _):
        wait_until(lambda: states(app) == ["running", "running"], "both partitions running")
        odd: list[tuple[str, bytes | None]] = [("kind", None), ("latin", b"caf\xe9")]  # as no writer of ours has them
        topic = f"poison.{SLICES.name}"
        send_odd(kafka.settings, topic, b"not arrow", odd, partition=OF_ALPHA, key=b"alpha", timestamp_ms=T0)
        append(log, [*good, Message(SLICES.name, OF_ALPHA, T0 + 5 * MINUTE)])  # of the other one nothing ever comes
        wait_until(lambda: sum(log.end_offsets(REJECTED.name)) > 0, "a refusal")
        wait_until(lambda: log.end_offsets(QUALITY_MINUTES.name)[OF_ALPHA] > 0, "minutes")
        (rejected,) = [row for _, b in tables(log, REJECTED.name) for row in b.to_pylist()]
        assert (rejected["id"], rejected["reason"]) == (f"{SLICES.name}:{OF_ALPHA}:0", "malformed_batch")
        assert rejected["body"] == b"not arrow"
        assert f"topic {SLICES.name}, partition {OF_ALPHA}, offset 0" in rejected["detail"]
        assert outputs(log)[0][T0, "alpha", "vod"]["requests"] == 1
        told = app.status(now())
        assert told["ready"]
        assert told["totals"]["poison"] == 1
        silent = app.status(now() + 61_000)
        assert "nothing came of partition" in silent["silent_reason"]
        assert not silent["ready"]
    assert not app.status(now())["ready"]


def test_a_consumer_that_dies_ends_the_worker_with_a_sentence(kafka: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: bytes) -> bytes:
        raise RuntimeError("cannot be decompressed")

    with topics(kafka, "dying.") as log, worker_in_thread(kafka, log, "dying.") as (app, ended):
        wait_until(lambda: len(app.status(now())["partitions"]) == PARTITIONS, "partitions")
        wait_until(lambda: app.status(now())["ready"], "readiness")
        monkeypatch.setattr(aiokafka.codec, "cramjam", SimpleNamespace(zstd=SimpleNamespace(decompress=refuse)))
        append(log, one_report())
        with pytest.raises(WorkerFailed, match=r"dying\.telemetry\.slices is not read any more: .*decompressed"):
            ended.result(DEADLINE_S)
        assert not app.status(now())["ready"]


@pytest.mark.verify
def test_a_worker_that_sleeps_through_its_session_does_no_harm(kafka: Any, tmp_path: Path) -> None:
    messages, want = script()
    third = len(messages) // 3
    with topics(kafka, "sleep.") as log, processes() as workers:
        workers.append(Process(kafka, "sleep.", tmp_path, "sleeper"))
        wait_until(lambda: workers[0].running == {0, 1}, "both partitions running")
        append(log, messages[:third])
        wait_until(lambda: sum(log.end_offsets(QUALITY_MINUTES.name)) > 0, "first minutes")
        workers[0].popen.send_signal(signal.SIGSTOP)
        workers.append(Process(kafka, "sleep.", tmp_path, "successor"))
        wait_until(lambda: workers[1].running == {0, 1}, "the successor has both partitions")
        append(log, messages[third : 2 * third])
        wait_until(lambda: workers[1].last["totals"]["slices"] > 0, "the successor works")
        workers[0].popen.send_signal(signal.SIGCONT)
        wait_until(lambda: len(workers[0].running) == 1 == len(workers[1].running), "partitions shared again")
        append(log, messages[2 * third :])
        wait_for_minutes(log, want[0])
        assert [worker.end(signal.SIGTERM) for worker in workers] == [0, 0]


@pytest.mark.parametrize(
    ("security", "kind"), [("PLAINTEXT", "NoneType"), ("SSL", "SSLContext"), ("SASL_SSL", "SASLCredentials")]
)
def test_credentials_follow_the_settings_and_show_no_password(security: str, kind: str) -> None:
    sasl = {"user": "worker", "password": "hush-hush"} if security.startswith("SASL") else {}
    made = credentials(KafkaSettings(("127.0.0.1:1",), security, **sasl))
    assert type(made).__name__ == kind
    assert "hush" not in repr(made)
    if sasl:
        assert (made.protocol.value, made.mechanism.value, made.username) == ("SASL_SSL", "SCRAM-SHA-512", "worker")


@pytest.mark.parametrize("headers", [None, [], [("kind", None), ("latin", b"caf\xe9")]])
def test_a_record_is_taken_whatever_its_writer_left_out(headers: Any) -> None:
    message = SimpleNamespace(partition=1, offset=7, key=None, value=None, timestamp=1.5, headers=headers)
    texts = {"kind": "", "latin": "caf\ufffd"} if headers else {}
    event: Any = SimpleNamespace(message=message)
    assert _stored(event) == StoredRecord(SLICES.name, 1, 7, b"", b"", 1_500, texts)
