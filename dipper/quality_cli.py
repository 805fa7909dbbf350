"""`dipper quality`: what each customer got, with both counts behind every ratio."""

from __future__ import annotations

import argparse

from dipper.command import add_data_arguments, add_span_arguments, ask, print_json, print_table, span, thousands
from dipper.settings import SettingsError

COLUMNS = ("customer", "requests", "failures", "failure ratio", "p50 ms", "p95 ms", "p99 ms", "services")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `quality`."""
    parser = subparsers.add_parser(
        "quality",
        help="requests, failures and latency per customer",
        description="Requests, failures and delivery latency per customer, from history. Latency quantiles are "
        "within 4.5%% of the exact ones.",
    )
    add_span_arguments(parser)
    parser.add_argument("--all", action="store_true", help="everything that is stored")
    parser.add_argument("--customer", metavar="ID", help="only this one")
    add_data_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the table."""
    if arguments.all and (arguments.start or arguments.end):
        raise SettingsError("--all: expected without --from and --to")
    result = ask(arguments, "quality", {"start": 0, "end": None} if arguments.all else span(arguments))
    if arguments.customer:
        result["customers"] = [row for row in result["customers"] if row["customer"] == arguments.customer]
    if arguments.json:
        print_json(result)
        return 0
    if not result["customers"]:
        print("no data in this span")
        return 0
    rows = []
    for row in result["customers"]:
        requests, failures = row["requests"], row["failures"]
        ratio = f"{failures / requests:.3%}" if requests else "no data"
        latency = [thousands(row[f"latency_{p}_ms"]) for p in ("p50", "p95", "p99")]
        rows.append(
            [row["customer"], thousands(requests), thousands(failures), ratio, *latency, ", ".join(row["services"])]
        )
    print_table(COLUMNS, rows, frozenset(range(1, 7)))
    return 0
