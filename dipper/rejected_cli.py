"""`dipper rejected list|show|replay`: what was refused, why, and taking it in after the cause is mended."""

from __future__ import annotations

import argparse
import base64
import json
import sys

from contracts.times import rfc3339
from dipper.command import add_data_arguments, add_span_arguments, ask, print_json, print_table, span, thousands

EPILOG = """\
examples:
  dipper rejected list --from 6h
  dipper rejected show ID --body > refused.json.gz     the bytes as they came
  dipper customers add acme --name Acme && dipper rejected replay ID
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `rejected`."""
    parser = subparsers.add_parser(
        "rejected",
        help="what was refused, and why",
        description="Reports and rows that were refused: each is kept with its reason until retention.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="refusals in a span, newest first")
    add_span_arguments(listing)
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="at most (default: %(default)s)")
    listing.set_defaults(run=run_list)
    show = verbs.add_parser("show", help="one refusal")
    show.add_argument("id", metavar="ID")
    show.add_argument("--body", action="store_true", help="write the refused bytes to standard output")
    show.set_defaults(run=run_show)
    again = verbs.add_parser("replay", help="take in what has become acceptable; nothing is stored twice")
    again.add_argument("ids", metavar="ID", nargs="+")
    again.set_defaults(run=run_replay)
    for verb in (listing, show, again):
        add_data_arguments(verb)


def run_list(arguments: argparse.Namespace) -> int:
    """Print refusals."""
    rows = ask(arguments, "rejected.list", {**span(arguments), "limit": arguments.limit})
    if arguments.json:
        print_json(rows)
        return 0
    if not rows:
        print("nothing was refused in this span")
        return 0
    columns = ("received", "reason", "device", "seq", "rows", "requests", "state", "id", "detail")
    print_table(
        columns,
        [
            [
                rfc3339(row["received_at"]),
                row["reason"],
                row["device"],
                str(row["seq"]),
                str(len(json.loads(row["rows"]))) if row["slices"] else "all",
                thousands(row["requests"]) if row["slices"] else "–",
                row["state"],
                row["id"],
                row["detail"],
            ]
            for row in rows
        ],
        frozenset({3, 4, 5}),
    )
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Print one refusal, or its bytes."""
    row = ask(arguments, "rejected.show", {"id": arguments.id})
    body = base64.b64decode(row.get("body") or "")
    if arguments.body:
        sys.stdout.buffer.write(body)
        return 0
    if arguments.json:
        print_json(row)
        return 0
    for name, value in row.items():
        text = f"{len(body)} bytes (--body writes them)" if name == "body" else value
        print(f"{name:12} {rfc3339(value) if name == 'received_at' else text}")
    return 0


def run_replay(arguments: argparse.Namespace) -> int:
    """Replay; 1 when something is still refused."""
    outcomes = ask(arguments, "rejected.replay", {"ids": arguments.ids})
    if arguments.json:
        print_json(outcomes)
    else:
        for outcome in outcomes:
            print("  ".join(f"{name} {value}" for name, value in outcome.items()))
    return 0 if all(outcome["state"] == "replayed" for outcome in outcomes) else 1
