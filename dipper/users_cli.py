"""`dipper users`: people's accounts. Passwords come from a prompt or from stdin, never from the command line."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from typing import Any

from contracts.errors import ContractError
from contracts.times import rfc3339
from dipper.audit import AuditLog
from dipper.clock import wall_clock
from dipper.command import print_json, print_table, process_of
from dipper.customer_side import AUDIT_FILE
from dipper.registries import opened_registry
from ingest.registry.accounts import ROLES, Account

EPILOG = """\
examples:
  dipper users add ana --role admin             the first account; from now on pages ask everybody to log in
  dipper users add li --role operator < password.txt
  dipper users add acme-portal --role customer --customer acme
                                                sees the service levels of acme and nothing else
  dipper users passwd ana                       whoever is logged in as ana has to log in again
  dipper users disable li                       at once, in open pages too; `enable` lifts it
  dipper users remove li                        for good: the name is never given again, logs keep it

A viewer looks; an operator also acts on incidents and shares reports; an admin also sees accounts and settings.
Accounts of an identity provider (DIPPER_OIDC_..) need no entry here: docs/accounts.md.
"""
_MOST_CHARS = 1_000
Command = Callable[[Any, argparse.Namespace], str]


def add_parser(subparsers: Any) -> None:
    """Register `users`."""
    parser = subparsers.add_parser(
        "users",
        help="people's accounts: who may log in, and as what",
        description="People's accounts. Kept in DIR/registry.sqlite, or on Kafka (DIPPER_KAFKA).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = _leaf(group, "add", _add, "make an account; asks for its password")
    _role(add)
    _leaf(group, "passwd", _passwd, "another password")
    _role(_leaf(group, "role", _set_role, "another role"))
    _leaf(group, "disable", _disable, "close an account, for now")
    _leaf(group, "enable", _enable, "open it again")
    _leaf(group, "remove", _remove, "end an account for good")
    listing = group.add_parser("list", help="all accounts", description="All accounts, those that ended included.")
    _where(listing)
    listing.set_defaults(run=_list)


def _leaf(group: Any, name: str, command: Command, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    parser.add_argument("name", metavar="NAME", help="what actions are logged under")
    _where(parser)
    parser.set_defaults(run=lambda arguments: _run(command, arguments))
    return parser


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DIR", help="data directory (default: $DIPPER_DATA, else var)")
    parser.add_argument("--kafka", metavar="BROKERS", help="a cluster's log, HOST:PORT,.. (default: $DIPPER_KAFKA)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _role(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--role", required=True, choices=ROLES)
    parser.add_argument("--customer", default="", metavar="ID", help="of the role customer: whose data it sees")


def _run(command: Command, arguments: argparse.Namespace) -> int:
    """Change an account and note who did it."""
    process = process_of(arguments)
    with opened_registry(process, "commands", wait=True) as registry:
        arguments.now = wall_clock()
        done = command(registry, arguments)
        account = registry.account(arguments.name)
    audit = AuditLog(process.data / AUDIT_FILE, wall_clock)
    audit(f"command of {getpass.getuser()}", account.customer, f"account {arguments.name}: {done}", 200)
    if arguments.json:
        print_json(_document(account))
    else:
        print(f"account {arguments.name}: {done}")
    return 0


def _add(registry: Any, arguments: argparse.Namespace) -> str:
    registry.add_account(
        arguments.name, arguments.role, _password(arguments.name), arguments.now, customer=arguments.customer
    )
    return f"added, {_described(arguments.role, arguments.customer)}"


def _passwd(registry: Any, arguments: argparse.Namespace) -> str:
    registry.set_password(arguments.name, _password(arguments.name))
    return "new password"


def _set_role(registry: Any, arguments: argparse.Namespace) -> str:
    registry.set_role(arguments.name, arguments.role, customer=arguments.customer)
    return f"now {_described(arguments.role, arguments.customer)}"


def _disable(registry: Any, arguments: argparse.Namespace) -> str:
    registry.disable_account(arguments.name, arguments.now)
    return "disabled"


def _enable(registry: Any, arguments: argparse.Namespace) -> str:
    registry.enable_account(arguments.name)
    return "enabled"


def _remove(registry: Any, arguments: argparse.Namespace) -> str:
    registry.remove_account(arguments.name, arguments.now)
    return "removed"


def _list(arguments: argparse.Namespace) -> int:
    with opened_registry(process_of(arguments), "commands", create=False, wait=True) as registry:
        accounts: list[Account] = registry.accounts()
    if arguments.json:
        print_json([_document(account) for account in accounts])
        return 0
    rows = [[a.name, _described(a.role, a.customer), _state(a), rfc3339(a.created_at)] for a in accounts]
    print_table(["ACCOUNT", "ROLE", "STATE", "MADE"], rows)
    return 0


def _password(name: str) -> str:
    """From a prompt, twice; or the first line of stdin when that is no terminal."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline(_MOST_CHARS)
        if not line:
            raise ContractError("bad_password", "password", "a line on stdin, or a terminal to ask on", "nothing")
        return line.removesuffix("\n").removesuffix("\r")
    password = getpass.getpass(f"password of {name}: ")
    if getpass.getpass("once more: ") != password:
        raise ContractError("bad_password", "password", "the same twice", "two different ones")
    return password


def _described(role: str, customer: str) -> str:
    return f"{role} {customer}" if customer else role


def _state(account: Account) -> str:
    if account.removed_at is not None:
        return "removed"
    return "open" if account.disabled_at is None else "disabled"


def _document(account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "role": account.role,
        "customer": account.customer or None,
        "state": _state(account),
        "created_at": rfc3339(account.created_at),
    }
