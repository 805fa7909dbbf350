"""`dipper erase customer ID`: what history holds of one who has left goes, and a record of it stays."""

from __future__ import annotations

import argparse
import getpass

from dipper.command import add_data_arguments, ask, print_json, thousands
from dipper.settings import SettingsError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `erase`."""
    parser = subparsers.add_parser(
        "erase",
        help="erase a departed customer from history, with a record",
        description="For good. Only who has left can be erased: no slices of theirs may be kept any more (8 days). "
        "End their tokens first: dipper tokens revoke. Backups keep what they hold.",
    )
    parser.add_argument("kind", choices=("customer",))
    parser.add_argument("id", metavar="ID")
    parser.add_argument("--reason", metavar="TEXT", help="why; kept in the record")
    parser.add_argument("--yes", action="store_true", help="really")
    add_data_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Erase."""
    if not arguments.yes or not arguments.reason:
        raise SettingsError("erase: expected --reason TEXT and --yes: what is erased does not come back")
    values = {name: getattr(arguments, name) for name in ("kind", "id", "reason")}
    done = ask(arguments, "erase", {**values, "author": getpass.getuser()})
    if arguments.json:
        print_json(done)
        return 0
    rows = ", ".join(f"{table}: {thousands(n)}" for table, n in done["rows"].items())
    print(f"{done['kind']} {done['id']}: {rows or 'nothing was kept'}")
    return 0
