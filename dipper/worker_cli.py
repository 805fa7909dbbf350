"""`dipper worker`: the stream jobs of a cluster. As many as telemetry.slices has partitions."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from dipper.clock import wall_clock
from dipper.cluster import add_process_parser, log_part, opened_log, settled
from dipper.parts import StreamsPart, WatchSettings
from dipper.settings import ProcessSettings, settings_of
from dipper.shell import Shell, say_health
from dipper.watch import Part, Watch

EXAMPLES = """\
  DIPPER_KAFKA=k1:9092,k2:9092 dipper worker
  dipper worker --port 8416          a second one takes over half of the partitions

A worker computes provisional minutes (quality.minutes, quality.cube, device.evidence). It stores nothing:
what it needs after a start or a rebalance it reads again from the log, so one may be killed and added at any time.
"""


def add_parser(subparsers: Any) -> None:
    """Register `worker`."""
    add_process_parser(
        subparsers, "worker", "a cluster's stream jobs",
        "Run the stream jobs on Kafka; partitions are shared among all workers.", EXAMPLES, run,
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Work until a signal."""
    from ingest.tuning import tune_malloc
    from streams.faust_app import WorkerApp
    from streams.settings import QualitySettings, StreamSettings, WorkerSettings

    process, policy, limits = settled(arguments)
    tune_malloc()
    streams = StreamSettings(
        settings_of(QualitySettings, policy["quality"]), settings_of(WorkerSettings, policy["worker"])
    )
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(opened_log(process, policy, "worker"))
        worker_id = f"{socket.gethostname()[:64]}-{os.getpid()}"
        app = WorkerApp(log, process.needs_kafka(), streams, worker_id=worker_id, clock=wall_clock)
        shell = WorkerShell(process, app, [log_part(log, "worker")], limits)
        asyncio.run(shell.run(background=lambda s: s.follow(), ready=say_health))
    return 0


class WorkerPart(StreamsPart):
    """The worker, by what it says of itself."""

    def ready(self, now: int) -> list[str]:
        reasons = super().ready(now)
        status = self._status()
        if not status["assigned"]:
            reasons.append(f"{self.name}: waits for its partitions")
        elif not status["ready"] and not status["silent"]:
            states = {row["partition"]: row for row in status["shares"] if row["state"] != "running"}
            named = ", ".join(f"{p} is {row['state']}" for p, row in sorted(states.items())) or "not all run"
            reasons.append(f"{self.name}: partitions: {named}")
        return reasons


class WorkerShell(Shell):
    """The worker in the process's loop, its health beside."""

    def __init__(self, process: ProcessSettings, app: Any, needs: Sequence[Part], limits: WatchSettings) -> None:
        self._app = app
        self._end = asyncio.Event()
        part = WorkerPart("worker", lambda: worker_status(app.status(wall_clock())), limits)
        watch = Watch("worker", [part, *needs], wall_clock, silent_after_ms=limits.silent_after_ms)
        super().__init__(process, watch)

    async def begin(self) -> None:
        """Join the group."""
        self._running = asyncio.create_task(self._app.run(self._end))

    async def follow(self) -> None:
        """As long as the worker runs; raises what ended it."""
        await asyncio.shield(self._running)

    async def finish(self) -> None:
        """Hand the partitions over."""
        self._end.set()
        await asyncio.gather(self._running, return_exceptions=True)


def worker_status(told: Mapping[str, Any]) -> dict[str, Any]:
    """WorkerApp.status as other readers of the log tell theirs: sums on top, `shares` by partition."""
    shares = told["partitions"]
    return {
        **told["totals"],
        "late_requests": sum(row.get("late_requests") or 0 for row in shares),
        "open_minutes": sum(row.get("open_minutes") or 0 for row in shares),
        "rebuilding": sum(row["state"] == "rebuilding" for row in shares),
        "rebalances": told["rebalances"],
        "assigned": told["assigned"],
        "ready": told["ready"],
        "silent": told["silent"],
        "reason": told["silent_reason"],
        "shares": shares,
    }
