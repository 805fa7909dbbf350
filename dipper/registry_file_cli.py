"""`dipper registry import-file`: what one process declared becomes the registry of a cluster."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dipper.clock import wall_clock
from dipper.command import print_json, process_of
from dipper.registries import opened_registry
from ingest.registry import NotFound, SqliteRegistry

EPILOG = """\
example, on the way from `dipper up` to a cluster:
  dipper topics apply --kafka k1:9092
  dipper registry import-file var/registry.sqlite --kafka k1:9092

Devices keep their keys, tokens stay valid; all or nothing. What is declared differently in the cluster already is
refused by name, unless --replace. The file is only read.
"""


def add_parser(subparsers: Any) -> None:
    """Register `registry`."""
    parser = subparsers.add_parser(
        "registry",
        help="take a registry file over into a cluster",
        description="A cluster's registry as a whole. Single entries: dipper devices|customers|rules|tokens|users.",
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    importing = verbs.add_parser(
        "import-file",
        help="take over devices with keys, customers, rules, tokens and accounts of a registry.sqlite",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    importing.add_argument("file", type=Path, metavar="FILE", help="registry.sqlite of a data directory")
    importing.add_argument("--replace", action="store_true", help="the file wins where both declare something")
    importing.add_argument("--data", type=Path, metavar="DIR", help="where the replica goes (default: $DIPPER_DATA)")
    importing.add_argument("--kafka", metavar="BROKERS", help="a cluster's log (default: $DIPPER_KAFKA)")
    importing.add_argument("--json", action="store_true", help="print JSON")
    importing.set_defaults(run=run_import)


def run_import(arguments: argparse.Namespace) -> int:
    """Copy."""
    process = process_of(arguments)
    process.needs_kafka()
    if not arguments.file.is_file():
        raise NotFound(f"FILE: expected a registry.sqlite, got {arguments.file}")
    with (
        SqliteRegistry(arguments.file, create=False, clock=wall_clock) as source,
        opened_registry(process, "commands", wait=True) as registry,
    ):
        copied: dict[str, int] = registry.copy_from(source, replace=arguments.replace)
    if arguments.json:
        print_json(copied)
    else:
        print("taken over: " + ", ".join(f"{n} {name}" for name, n in copied.items()))
    return 0
