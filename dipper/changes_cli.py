"""`dipper changes`: what people did to the network, as history knows it."""

from __future__ import annotations

import argparse
from typing import Any

from contracts.times import rfc3339
from dipper.command import add_data_arguments, add_span_arguments, ask, print_json, print_table, span

EPILOG = """\
Changes come through the gateway (POST /v1/changes, a token with scope changes:write: `dipper tokens add --help`).
"""


def add_parser(subparsers: Any) -> None:
    """Register `changes`."""
    parser = subparsers.add_parser(
        "changes",
        help="what people did to the network",
        description="Firmware roll-outs, rule changes, maintenance in a span, by start.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_span_arguments(parser)
    add_data_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print them."""
    rows = ask(arguments, "changes", span(arguments))
    if arguments.json:
        print_json(rows)
        return 0
    if not rows:
        print("no changes in this span")
        return 0
    columns = ("start", "end", "kind", "scope", "author", "reference", "note")
    print_table(
        columns,
        [
            [
                rfc3339(row["start"]),
                "–" if row["end"] is None else rfc3339(row["end"]),
                row["kind"],
                ", ".join(f"{name}={value}" for name, value in sorted(row["scope"].items())),
                *(row[name] or "" for name in columns[4:]),
            ]
            for row in rows
        ],
    )
    return 0
