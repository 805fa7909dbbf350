"""What the processes of a cluster share: opening the log, the store and the registry, and their command lines."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.protocols import Log, Store
from contracts.rights import READ, RIGHTS, TOPIC
from dipper import settings
from dipper.clock import wall_clock
from dipper.command import process_of
from dipper.parts import DependencyPart, WatchSettings
from dipper.registries import opened_registry
from dipper.settings import ProcessSettings, settings_of
from dipper.shell import opened

if TYPE_CHECKING:
    from dipper.live_policy import LivePolicy
    from ingest.log.kafka import KafkaLog

Policy = dict[str, dict[str, Any]]
Run = Callable[[argparse.Namespace], int]
HEALTH = """\
GET /healthz, /readyz and /metrics answer on DIPPER_HOST:DIPPER_PORT (a loopback address: they ask nobody who they are).
SIGTERM or Ctrl-C ends it in order: what was accepted is handed on first.
"""


def add_process_parser(
    subparsers: Any, name: str, summary: str, description: str, examples: str, run: Run
) -> argparse.ArgumentParser:
    """Register the command of a cluster's process."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}\n{HEALTH}\nEvery setting also has an environment variable: `dipper --help`.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kafka", metavar="BROKERS", help="brokers of the log, HOST:PORT,.. (default: $DIPPER_KAFKA)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="its own folder (default: $DIPPER_DATA, else var)")
    parser.add_argument("--host", help="loopback address of health and metrics (default: 127.0.0.1)")
    parser.add_argument("--port", help="their port, 0 for any free one (default: 8410)")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="TOML with policy numbers that differ")
    parser.set_defaults(run=run)
    return parser


def add_store_argument(parser: argparse.ArgumentParser) -> None:
    """--store."""
    parser.add_argument("--store", metavar="URL", help="history (default: $DIPPER_STORE)")


def add_public_arguments(parser: argparse.ArgumentParser, whom: str) -> None:
    """--public and its certificate: a listener for `whom`."""
    parser.add_argument("--public", metavar="HOST:PORT", help=f"a listener for {whom} (default: $DIPPER_PUBLIC, none)")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="its certificate")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key")


def settled(arguments: argparse.Namespace) -> tuple[ProcessSettings, Policy, WatchSettings]:
    """Settings, policy and the watch's limits of a process."""
    process = process_of(arguments)
    policy = settings.load_policy(process.policy)
    limits: WatchSettings = settings_of(WatchSettings, policy["watch"])
    return process, policy, limits


def live_policy(
    process: ProcessSettings, policy: Policy, log: Log, tables: tuple[str, ...], speaks: Callable[[], bool]
) -> LivePolicy:
    """Tables of the policy file that may change while a process runs. `speaks`: whether it is this one that records a
    change, and not one that stands by. What is taken and refused stands in the process's log."""
    from dipper.live_policy import LivePolicy

    return LivePolicy(
        policy, process.policy, settings.load_policy, log, wall_clock, lambda *_: None, tables=tables, speaks=speaks
    )


def client_id(process: str) -> str:
    """A name for brokers' logs: what runs, where, which process."""
    return f"dipper-{process}-{socket.gethostname()[:64]}-{os.getpid()}"


@contextlib.contextmanager
def opened_log(process: ProcessSettings, policy: Policy, name: str) -> Iterator[KafkaLog]:
    """The log on Kafka; waits a minute for brokers that still start. Closed at the end."""
    from ingest.log.kafka import KafkaLog

    kafka = process.needs_kafka()
    log = opened("kafka", lambda: KafkaLog(kafka, client_id=client_id(name), **policy["kafka"]), random.Random())
    try:
        yield log
    finally:
        log.close()


@contextlib.contextmanager
def opened_store(process: ProcessSettings, *, read_only: bool = False) -> Iterator[Store]:
    """History; waits a minute for a server that still starts, and a reader for tables that are still being made.
    Closed at the end."""
    from history import open_store

    url = process.needs_store()
    store = opened("store", lambda: open_store(url, read_only=read_only), random.Random())
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def opened_replica(process: ProcessSettings, name: str) -> Iterator[Any]:
    """The registry on Kafka, followed in a replica of this process; waits a minute for brokers. Closed at the end."""
    process.needs_kafka()
    with contextlib.ExitStack() as stack:
        yield opened("registry", lambda: stack.enter_context(opened_registry(process, name)), random.Random())


def log_part(log: Log, component: str) -> DependencyPart:
    """Whether brokers answer; they are asked about a topic that the component of contracts.rights may read."""
    topic = next(right.name for right in RIGHTS[component] if (right.operation, right.resource) == (READ, TOPIC))
    return DependencyPart("kafka", lambda: log.end_offsets(topic))


def store_part(store: Store) -> DependencyPart:
    """Whether history answers."""
    return DependencyPart("store", lambda: store.query("SELECT 1 AS one"))
