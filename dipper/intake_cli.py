"""`dipper intake`: reports that trusted nodes wrote to Kafka themselves, judged like any other."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Any

from dipper.clock import wall_clock
from dipper.cluster import add_process_parser, log_part, opened_log, opened_replica, settled
from dipper.parts import IntakePart, RegistryPart, ThreadPart, WatchSettings
from dipper.settings import ProcessSettings, settings_of
from dipper.shell import Shell, say_health
from dipper.watch import Part, Watch
from dipper.worker import Worker
from ingest.settings import GatewaySettings

STEP_TIMEOUT_S = 0.25
EXAMPLES = """\
  DIPPER_KAFKA=k1:9092,k2:9092 dipper intake

Only for deployments whose trusted nodes write to the topic telemetry.raw instead of posting to a gateway. Reports are
signed with the box's key there too; what is refused stands in `dipper rejected list`. Several intakes share the work.
"""


def add_parser(subparsers: Any) -> None:
    """Register `intake`."""
    add_process_parser(
        subparsers, "intake", "a cluster's way in for trusted nodes that write to Kafka",
        "Judge, enrich and store what trusted nodes wrote to telemetry.raw.", EXAMPLES, run,
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Take in until a signal."""
    from ingest.raw import RawIntake
    from ingest.tuning import tune_gc, tune_malloc

    process, policy, limits = settled(arguments)
    tune_gc()
    tune_malloc()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(opened_log(process, policy, "intake"))
        registry = stack.enter_context(opened_replica(process, "intake"))
        bounds = settings_of(GatewaySettings, policy["gateway"])
        intake = RawIntake(log, registry, process.needs_kafka(), bounds, wall_clock)
        shell = IntakeShell(process, intake, [log_part(log, "intake"), RegistryPart(registry.status, limits)], limits)
        asyncio.run(shell.run(ready=say_health))
    return 0


class IntakeShell(Shell):
    """One thread that steps the intake."""

    def __init__(self, process: ProcessSettings, intake: Any, needs: Sequence[Part], limits: WatchSettings) -> None:
        self._intake = intake
        workers = [Worker("intake-steps", lambda: intake.step(STEP_TIMEOUT_S), wall_clock, random.Random())]
        parts: list[Part] = [
            IntakePart(lambda: intake.status(wall_clock()), limits),
            *(ThreadPart(worker, limits) for worker in workers),
            *needs,
        ]
        super().__init__(process, Watch("intake", parts, wall_clock, silent_after_ms=limits.silent_after_ms), workers)

    async def finish(self) -> None:
        """End the step under way, then leave the group."""
        await self.stop_workers()
        await asyncio.to_thread(self._intake.close)
