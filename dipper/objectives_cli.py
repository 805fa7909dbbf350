"""`dipper objectives apply|list|retire|settle`: what customers are promised per month."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path

from dipper.command import add_data_arguments, ask, print_json, print_table
from dipper.settings import SettingsError

HELP = """\
Service levels are OpenSLO documents, described in docs/sla.md. A change holds from a month that has not begun: the past
keeps what was promised for it.

  dipper objectives apply acme.yaml
  dipper objectives list --customer acme --month 2026-10
  dipper objectives retire acme acme-vod-failures 2027-01"""
COLUMNS = ("customer", "name", "service", "measure", "minute", "month", "from", "version", "zone", "")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `objectives`."""
    parser = subparsers.add_parser(
        "objectives",
        help="monthly promises to customers, in OpenSLO",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    apply = verbs.add_parser("apply", help="add objectives, or versions of them, all or none")
    apply.add_argument("file", type=Path, metavar="FILE", help="OpenSLO documents")
    listing = verbs.add_parser("list", help="every version, or what holds for a month")
    listing.add_argument("--customer", metavar="ID", help="only this one")
    listing.add_argument("--month", metavar="YYYY-MM", help="what holds for it")
    retire = verbs.add_parser(
        "retire", help="end an objective, and what was recorded for later, with the start of a month to come"
    )
    retire.add_argument("customer", metavar="CUSTOMER")
    retire.add_argument("name", metavar="NAME")
    retire.add_argument("month", metavar="YYYY-MM", help="the first month it does not hold for")
    settle = verbs.add_parser("settle", help="state ended months and seal those that can be; runs by itself as well")
    for verb, run in ((apply, run_apply), (listing, run_list), (retire, run_retire), (settle, run_settle)):
        add_data_arguments(verb)
        verb.set_defaults(run=run)


def run_apply(arguments: argparse.Namespace) -> int:
    """Record what a file says."""
    try:
        text = arguments.file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{arguments.file}: expected a readable file in UTF-8, got: {error}") from None
    added = ask(arguments, "objectives.apply", {"text": text, "author": getpass.getuser()})
    if arguments.json:
        print_json(added)
    elif not added:
        print("nothing new: all of it holds already")
    for v in [] if arguments.json else added:
        print(f"{v['customer']} {v['name']}: version {v['version']}, from {v['valid_from']} on")
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Print the table."""
    found = ask(arguments, "objectives.list", {"customer": arguments.customer, "month": arguments.month})
    if arguments.json:
        print_json(found)
        return 0
    if not found:
        print("no objectives")
        return 0
    rows = [
        [
            v["customer"],
            v["name"],
            v["service"],
            v["measure"] if v["threshold"] is None else f"{v['measure']} {v['threshold']:g}",
            f"{v['minute_target']:.6g}",
            f"{v['target']:.6g}",
            v["valid_from"],
            str(v["version"]),
            v["timezone"],
            "retired" if v["retired"] else "",
        ]
        for v in found
    ]
    print_table(COLUMNS, rows, frozenset({4, 5, 7}))
    return 0


def run_retire(arguments: argparse.Namespace) -> int:
    """End an objective."""
    values = {name: getattr(arguments, name) for name in ("customer", "name", "month")}
    ended = ask(arguments, "objectives.retire", {**values, "author": getpass.getuser()})
    if arguments.json:
        print_json(ended)
    else:
        print(f"{ended['customer']} {ended['name']}: ends with the start of {ended['valid_from']}")
    return 0


def run_settle(arguments: argparse.Namespace) -> int:
    """State and seal."""
    done = ask(arguments, "objectives.settle")
    if arguments.json:
        print_json(done)
    else:
        print(f"stated: {done['stated']}, sealed: {done['sealed']}")
    return 0
