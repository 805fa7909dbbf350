"""`dipper ledger`: where every request is."""

from __future__ import annotations

import argparse
from typing import Any

from dipper.command import add_data_arguments, ask, print_json, print_table, thousands

LEFT = ("reported", "double_counted")
RIGHT = ("stored", "rejected", "declared_dropped", "pending", "lost")
EPILOG = """\
reported + double_counted = stored + rejected + declared_dropped + pending + lost

reported          newest cumulative totals of every box
stored            what queries return
rejected          refused with a reason: `dipper rejected list`
declared_dropped  what the boxes said they had to drop
pending           still on a box
lost              gone, and nobody declared it: the ranges are named

Exit code 0: balanced and nothing lost or double; 1 otherwise.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `ledger`."""
    parser = subparsers.add_parser(
        "ledger",
        help="prove where every request is",
        description="Prove where every request and slice is.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the ledger."""
    books = ask(arguments, "ledger")
    if arguments.json:
        print_json(books)
        return 0
    print_ledger(books)
    clean = books["balanced"] and not any(
        books[q][k] for q in ("requests", "slices") for k in ("lost", "double_counted")
    )
    return 0 if clean else 1


def print_ledger(books: dict[str, Any]) -> None:
    """The books for people: an equation, what is lost, who is silent."""
    terms = (*LEFT, *RIGHT)
    rows = [[quantity, *(thousands(books[quantity][term]) for term in terms)] for quantity in ("requests", "slices")]
    print_table(("", *(term.replace("_", " ") for term in terms)), rows, frozenset(range(1, len(terms) + 1)))
    print(f"{thousands(books['devices'])} boxes; " + ("balanced" if books["balanced"] else "NOT BALANCED"))
    for gap in books.get("lost_ranges", [])[:20]:
        print(f"lost: box {gap['device']}, boot {gap['boot']}, reports {gap['first_seq']} to {gap['last_seq']}")
    seen = books.get("last_seen", {})
    if seen:
        device, at = min(seen.items(), key=lambda item: item[1])
        print(f"longest silent: {device}, last heard {at}")
