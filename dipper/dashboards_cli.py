"""`dipper dashboards`: the pages of a cluster. Any number of them."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from dipper.cluster import (
    add_process_parser,
    add_store_argument,
    live_policy,
    opened_log,
    opened_replica,
    opened_store,
    settled,
    store_part,
)
from dipper.shell import say

EXAMPLES = """\
  DIPPER_KAFKA=k1:9092 DIPPER_STORE=clickhouse://dipper:SECRET@c1:9000/dipper dipper dashboards
  ssh -L 8410:127.0.0.1:8410 HOST    and open http://127.0.0.1:8410

--host must be a loopback address; DIPPER_PAGES opens a listener for people elsewhere, who have to log in
(docs/accounts.md). Pages read history, and customers and accounts from the registry on Kafka; what people do to
incidents they write to the topic incident.actions. Give them the policy file of `dipper triage`:
what pages call slow is then what detection calls slow.
"""


def add_parser(subparsers: Any) -> None:
    """Register `dashboards`."""
    parser = add_process_parser(
        subparsers, "dashboards", "a cluster's pages", "Serve the pages from a cluster's history.", EXAMPLES, run
    )
    add_store_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal."""
    import uvloop

    from dipper.pages import PagesShell
    from ingest.tuning import tune_malloc

    process, policy, limits = settled(arguments)
    tune_malloc()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(opened_log(process, policy, "dashboards"))
        registry = stack.enter_context(opened_replica(process, "dashboards"))
        store = stack.enter_context(opened_store(process, read_only=True))
        live = live_policy(process, policy, log, ("detector",), lambda: False)
        shell = PagesShell(process, log, store, registry, [store_part(store)], limits, live)
        lines = lambda s: [("pages", s.address), ("health", f"{s.address}/readyz")]  # noqa: E731
        uvloop.run(shell.run(ready=lambda s: say(lines(s))))
    return 0
