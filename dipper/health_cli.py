"""`dipper health`: health scores of a cluster's boxes. One works; further ones stand by."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import Any

from contracts.topics import HEALTH_SCORES
from dipper.clock import wall_clock
from dipper.cluster import add_process_parser, client_id, live_policy, log_part, opened_log, settled
from dipper.parts import ScoresPart, SettingsPart
from dipper.seated import STEP_TIMEOUT_S, Seated, SeatedShell
from dipper.settings import settings_of
from dipper.shell import say_health

GROUP = "dipper-health"
PART = "scores"
EXAMPLES = """\
  DIPPER_KAFKA=k1:9092,k2:9092 dipper health
  dipper health --port 8418          a second one stands by and follows within ten seconds

It reads evidence, vital signs and who serves whom, and publishes a score per box to the topic health.scores, where
`dipper feed` reads them. One job sees all boxes, because what may be removed is one budget. It stores nothing itself:
after a start it takes up its scores from the topic and reads the last minutes again.
"""


def add_parser(subparsers: Any) -> None:
    """Register `health`."""
    add_process_parser(
        subparsers, "health", "a cluster's health scores of boxes",
        "Score every box by what it served and how it is.", EXAMPLES, run,
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Work until a signal."""
    from dipper.live_policy import HEALTH
    from ingest.tuning import tune_gc, tune_malloc
    from streams.health_local import HealthRunner
    from streams.health_settings import HealthJobSettings

    process, policy, limits = settled(arguments)
    tune_gc()
    tune_malloc()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(opened_log(process, policy, "health"))

        def speaks() -> bool:
            return seated.seat.held()

        live = live_policy(process, policy, log, HEALTH, speaks)
        seated: Seated[HealthRunner] = Seated(
            PART,
            lambda: HealthRunner(log, wall_clock(), settings_of(HealthJobSettings, live.in_force()["health"])),
            lambda runner, now: runner.step(now, STEP_TIMEOUT_S),
            wall_clock,
            settings=live.part,
        )
        seat = seated.apply_for(
            process.needs_kafka(), GROUP, HEALTH_SCORES.name, client_id("health"), **policy["group"]
        )  # fmt: skip
        stack.callback(seat.close)
        parts = [ScoresPart(PART, seated.status, limits), log_part(log, "health"), SettingsPart(live.status)]
        more = {"settings": live.step}
        shell = SeatedShell(process, "health", seated, parts, limits, ("dipper_active", (PART,)), more)
        asyncio.run(shell.run(ready=say_health))
    return 0
