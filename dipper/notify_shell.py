"""`dipper notify run`: notifications of a cluster, in a process of their own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Any

from contracts.topics import INCIDENTS
from dipper.audit import AuditLog
from dipper.clock import wall_clock
from dipper.cluster import add_process_parser, opened_log, settled
from dipper.customer_side import AUDIT_FILE
from dipper.notify_side import NotifyPart, NotifySide
from dipper.parts import DependencyPart, ThreadPart, WatchSettings
from dipper.paths import OwnerLock, Paths
from dipper.settings import ProcessSettings, environment
from dipper.shell import Shell, say_health
from dipper.watch import Part, Watch
from dipper.worker import Worker

EXAMPLES = """\
  DIPPER_KAFKA=k1:9092,k2:9092 DIPPER_NOTIFY=/etc/dipper/notify.toml dipper notify run --data /srv/dipper-notify

It reads the topic `incidents` and keeps what it told whom in its folder: run one, and keep the folder. Started
without it, it tells of every incident that goes on as if it were new.
"""


def add_run(verbs: Any) -> None:
    """Register `notify run`."""
    add_process_parser(
        verbs, "run", "a cluster's notifications", "Tell people and customers of a cluster's incidents.", EXAMPLES, run
    )


def run(arguments: argparse.Namespace) -> int:
    """Tell until a signal."""
    process, policy, limits = settled(arguments)
    with contextlib.ExitStack() as stack:
        stack.enter_context(OwnerLock(Paths(process.data)))
        log = stack.enter_context(opened_log(process, policy, "notify"))
        audit = AuditLog(process.data / AUDIT_FILE, wall_clock)
        side = NotifySide(log, process, environment(), wall_clock, audit)
        brokers = DependencyPart("kafka", lambda: log.end_offsets(INCIDENTS.name))
        shell = NotifyShell(process, side, [brokers], limits)
        asyncio.run(shell.run(ready=say_health))
    return 0


class NotifyShell(Shell):
    """The notifier's thread, its health beside."""

    def __init__(
        self, process: ProcessSettings, side: NotifySide, needs: Sequence[Part], limits: WatchSettings
    ) -> None:
        self._side = side
        worker = Worker("notify", side.step, wall_clock, random.Random())
        parts = [NotifyPart(side, wall_clock), ThreadPart(worker, limits), *needs]
        watch = Watch("notify", parts, wall_clock, silent_after_ms=limits.silent_after_ms)
        super().__init__(process, watch, [worker])

    async def finish(self) -> None:
        """Attempts under way end, and what became of them is noted."""
        await self.stop_workers()
        await asyncio.to_thread(self._side.close)
