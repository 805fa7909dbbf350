"""`dipper erase customer|device ID`: what history holds of one who has left goes, and a record of it stays."""

from __future__ import annotations

import argparse
import getpass

from dipper.clock import wall_clock
from dipper.command import add_data_arguments, ask, print_json, process_of, thousands
from dipper.registries import opened_registry
from dipper.settings import SettingsError
from ingest.registry import NotFound


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `erase`."""
    parser = subparsers.add_parser(
        "erase",
        help="erase a departed customer or device from history, with a record",
        description="For good. Only who has left can be erased: no slices of theirs may be kept any more (8 days). "
        "End a customer's tokens first (dipper tokens revoke); keys of a device end with it, and the ledger's books of "
        "it go on under a pseudonym. Backups keep what they hold.",
    )
    parser.add_argument("kind", choices=("customer", "device"))
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
    if arguments.kind == "device":
        done["revoked"] = _revoked(arguments)
    if arguments.json:
        print_json(done)
        return 0
    rows = ", ".join(f"{table}: {thousands(n)}" for table, n in done["rows"].items())
    print(f"{done['kind']} {done['id']}: {rows or 'nothing was kept'}")
    if done.get("revoked"):
        print(f"its keys and open tokens end now; `dipper devices token {done['id']}` lifts it")
    return 0


def _revoked(arguments: argparse.Namespace) -> bool:
    """No key of the device is accepted any more, so that it cannot begin new books; whether the registry knew it."""
    try:
        with opened_registry(process_of(arguments), "commands", create=False, wait=True) as registry:
            registry.revoke(arguments.id, wall_clock())
    except NotFound:
        return False
    return True
