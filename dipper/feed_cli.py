"""`dipper feed`: a cluster's answers to schedulers and customers. Any number of them."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from dipper.cluster import (
    add_process_parser,
    add_public_arguments,
    add_store_argument,
    log_part,
    opened_log,
    opened_replica,
    opened_store,
    settled,
    store_part,
)

EXAMPLES = """\
  DIPPER_KAFKA=k1:9092 DIPPER_STORE=clickhouse://dipper:SECRET@c1:9000/dipper dipper feed
  dipper feed --public 0.0.0.0:8444 --tls-cert cert.pem --tls-key key.pem

Schedulers read health scores (/v1/health/) and verdicts on roll-outs (/v1/releases/), customers their own data
(/v1/customers/) and reports behind signed links (/v1/shared/). Every door asks for a token, or for the link. Links are
signed with DIPPER_SHARE_KEY; without it each process has a key of its own in its data directory.
"""


def add_parser(subparsers: Any) -> None:
    """Register `feed`."""
    parser = add_process_parser(
        subparsers, "feed", "a cluster's answers to schedulers and customers",
        "Serve health scores, verdicts on roll-outs, and customers' own data.", EXAMPLES, run,
    )  # fmt: skip
    add_store_argument(parser)
    add_public_arguments(parser, "others")


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal."""
    import uvloop

    from dipper.feed_shell import FeedShell, announce
    from ingest.tuning import tune_gc, tune_malloc

    process, policy, limits = settled(arguments)
    tune_gc()
    tune_malloc()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(opened_log(process, policy, "feed"))
        registry = stack.enter_context(opened_replica(process, "feed"))
        store = stack.enter_context(opened_store(process, read_only=True))
        shell = FeedShell(process, policy, log, store, registry, [log_part(log, "feed"), store_part(store)], limits)
        uvloop.run(shell.run(ready=announce))
    return 0
