"""`dipper sink`: from Kafka into history. One works; further ones stand by."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import Any

from contracts.topics import SLICES
from dipper.clock import wall_clock
from dipper.cluster import (
    add_process_parser,
    add_store_argument,
    client_id,
    log_part,
    opened_log,
    opened_store,
    settled,
    store_part,
)
from dipper.settings import settings_of
from dipper.shell import say_health

EXAMPLES = """\
  DIPPER_KAFKA=k1:9092 DIPPER_STORE=clickhouse://dipper:SECRET@c1:9000,c2:9000/dipper dipper sink
  dipper sink --port 8415            a second one stands by and follows within ten seconds

Which one works is decided by the consumer group `dipper-sink`; /readyz says `active` or `standby`. Its place in the log
is kept in history itself, beside the rows; the group's offsets show it to Kafka's own tools. The active one also
lets go of history that is older than the retention.
"""


def add_parser(subparsers: Any) -> None:
    """Register `sink`."""
    parser = add_process_parser(
        subparsers, "sink", "a cluster's way from Kafka into history",
        "Store what Kafka holds in ClickHouse, once each, and keep the minutes right.", EXAMPLES, run,
    )  # fmt: skip
    add_store_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Store until a signal."""
    from dipper.history_writer import GROUP, HistoryWriter, WriterShell
    from history.maintenance import Retention
    from history.sink import SinkSettings
    from ingest.tuning import tune_malloc

    process, policy, limits = settled(arguments)
    tune_malloc()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(opened_log(process, policy, "sink"))
        store = stack.enter_context(opened_store(process))
        writer = HistoryWriter(
            log,
            store,
            settings_of(SinkSettings, policy["sink"]),
            settings_of(Retention, policy["retention"]),
            wall_clock,
        )
        seat = writer.apply_for(process.needs_kafka(), GROUP, SLICES.name, client_id("sink"), **policy["group"])
        stack.callback(seat.close)
        shell = WriterShell(process, writer, [log_part(log, "sink"), store_part(store)], limits)
        asyncio.run(shell.run(ready=say_health))
    return 0
