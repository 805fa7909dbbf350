"""`dipper triage`: detection and incidents of a cluster. One works; further ones stand by."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import Any

from contracts.topics import SIGNALS
from dipper.clock import wall_clock
from dipper.cluster import (
    add_process_parser,
    add_store_argument,
    client_id,
    live_policy,
    log_part,
    opened_log,
    opened_replica,
    opened_store,
    settled,
    store_part,
)
from dipper.parts import RegistryPart, SettingsPart, TriagePart
from dipper.seated import STEP_TIMEOUT_S, Seated, SeatedShell
from dipper.shell import say_health

GROUP = "dipper-triage"
PART = "incidents"
STEP_EVERY_S = 1.0  # minutes and what people do come seldom: fewer, larger steps
EXAMPLES = """\
  DIPPER_KAFKA=k1:9092 DIPPER_STORE=clickhouse://dipper:SECRET@c1:9000,c2:9000/dipper dipper triage
  dipper triage --port 8417          a second one stands by and follows within ten seconds

It judges customers' minutes (quality.minutes, quality.cube), hears who is silent, and writes signals and incidents;
what people do to incidents reaches it through the topic incident.actions. It stores nothing itself: after a start it
takes up incidents and the newest judged minute from its topics, and learns its past from history.
"""


def add_parser(subparsers: Any) -> None:
    """Register `triage`."""
    parser = add_process_parser(
        subparsers, "triage", "a cluster's detection and incidents",
        "Find dips in customers' minutes, say what caused them, keep incidents.", EXAMPLES, run,
    )  # fmt: skip
    add_store_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Work until a signal."""
    from dipper.engine import open_triage
    from dipper.live_policy import TRIAGE
    from ingest.tuning import tune_gc, tune_malloc
    from streams.incident_runner import TriageRunner

    process, policy, limits = settled(arguments)
    tune_gc()
    tune_malloc()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(opened_log(process, policy, "triage"))
        registry = stack.enter_context(opened_replica(process, "triage"))
        store = stack.enter_context(opened_store(process, read_only=True))

        def speaks() -> bool:
            return seated.seat.held()

        live = live_policy(process, policy, log, TRIAGE, speaks)
        seated: Seated[TriageRunner] = Seated(
            PART,
            lambda: open_triage(log, registry, store, live.in_force(), wall_clock()),
            lambda runner, now: runner.step(now, STEP_TIMEOUT_S),
            wall_clock,
            every_s=STEP_EVERY_S,
            settings=live.part,
        )
        seat = seated.apply_for(process.needs_kafka(), GROUP, SIGNALS.name, client_id("triage"), **policy["group"])
        stack.callback(seat.close)
        parts = [
            TriagePart(PART, seated.status, limits),
            log_part(log, "triage"),
            store_part(store),
            RegistryPart(registry.status, limits),
            SettingsPart(live.status),
        ]
        more = {"settings": live.step}
        shell = SeatedShell(process, "triage", seated, parts, limits, ("dipper_active", (PART,)), more)
        asyncio.run(shell.run(ready=say_health))
    return 0
