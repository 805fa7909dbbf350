"""`dipper topics apply|check|rights`: the log's topics on Kafka, and who may do what there, as this program declares
them."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from contracts.rights import RIGHTS, acl_commands
from dipper import settings
from dipper.command import print_json, print_table, process_of

EPILOG = """\
examples:
  DIPPER_KAFKA=k1:9092 dipper topics check
  dipper topics apply --kafka k1:9092,k2:9092,k3:9092 --replication 3
  dipper topics rights --kafka k1:9092 > acls.sh     one user per component, least rights

What topics should be stands in [topics] of the policy: partitions, replication, retention. `apply` makes what is
missing and corrects settings; it never deletes and never changes a number of partitions by itself, because a
customer's rows must stay in one partition.

Exit code: 0 as declared; 1: `check` found something that stops processes from working right.
"""


def add_parser(subparsers: Any) -> None:
    """Register `topics`."""
    parser = subparsers.add_parser(
        "topics",
        help="make or check a cluster's topics",
        description="Make or check the topics of a cluster's log.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    apply = verbs.add_parser("apply", help="make what is missing, correct settings; twice changes nothing")
    apply.add_argument(
        "--extend", action="store_true", help="more partitions as well, where no key needs its own (see --help above)"
    )
    apply.set_defaults(run=run_apply)
    check = verbs.add_parser("check", help="say what differs, change nothing")
    check.set_defaults(run=run_check)
    rights = verbs.add_parser("rights", help="say what each component may do, as lines for kafka-acls.sh")
    rights.add_argument("--kafka", metavar="BROKERS", help="HOST:PORT,.. (default: $DIPPER_KAFKA)")
    rights.add_argument("--json", action="store_true", help="print JSON")
    rights.set_defaults(run=run_rights)
    for verb in (apply, check):
        verb.add_argument("--kafka", metavar="BROKERS", help="HOST:PORT,.. (default: $DIPPER_KAFKA)")
        verb.add_argument("--partitions", type=int, metavar="N", help="instead of the policy's")
        verb.add_argument("--replication", type=int, metavar="N", help="instead of the policy's")
        verb.add_argument("--policy", type=Path, metavar="FILE", help="TOML with policy numbers that differ")
        verb.add_argument("--json", action="store_true", help="print JSON")


def _plan(arguments: argparse.Namespace) -> tuple[Any, Any]:
    from ingest.log.kafka_topics import TopicPlan

    process = process_of(arguments)
    given = {"partitions": arguments.partitions, "replication": arguments.replication}
    table = settings.load_policy(process.policy)["topics"] | {k: v for k, v in given.items() if v is not None}
    return process.needs_kafka(), settings.settings_of(TopicPlan, table)


def run_apply(arguments: argparse.Namespace) -> int:
    """Apply."""
    from ingest.log import kafka_topics

    outcomes = kafka_topics.apply(*_plan(arguments), extend=arguments.extend)
    if arguments.json:
        print_json([dataclasses.asdict(outcome) for outcome in outcomes])
    else:
        print_table(("topic", "", ""), [[o.topic, o.action, o.detail] for o in outcomes])
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """Check."""
    from ingest.log import kafka_topics

    findings = kafka_topics.check(*_plan(arguments))
    if arguments.json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    elif findings:
        rows = [[f.topic, "MEND" if f.fatal else "note", f.problem] for f in findings]
        print_table(("topic", "", "found"), rows)
    else:
        print("all topics are as declared")
    return 1 if any(finding.fatal for finding in findings) else 0


def run_rights(arguments: argparse.Namespace) -> int:
    """Rights; asks nobody."""
    if arguments.json:
        print_json({name: [dataclasses.asdict(right) for right in rights] for name, rights in RIGHTS.items()})
    else:
        brokers = arguments.kafka or settings.environment().get("DIPPER_KAFKA") or "HOST:PORT"
        print("\n".join(acl_commands(brokers)))
    return 0
