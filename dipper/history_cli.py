"""`dipper history backup|restore|expire|import|policies`: care for what is stored, and for who may read it."""

from __future__ import annotations

import argparse
from pathlib import Path

from dipper import past_import_cli, settings
from dipper.command import add_data_arguments, ask, print_json
from dipper.paths import OwnerLock, Paths
from dipper.settings import SettingsError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `history`."""
    parser = subparsers.add_parser(
        "history", help="back up, restore, let go of old history", description="Care for what is stored."
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    backup = verbs.add_parser("backup", help="copy history, as of one moment, into a new folder")
    backup.add_argument("destination", type=Path, metavar="FOLDER")
    backup.set_defaults(run=run_backup)
    restore = verbs.add_parser("restore", help="make history from a backup; Dipper must be stopped, history empty")
    restore.add_argument("source", type=Path, metavar="FOLDER")
    restore.set_defaults(run=run_restore)
    expire = verbs.add_parser("expire", help="let go of what is older than the retention; runs by itself as well")
    expire.set_defaults(run=run_expire)
    past_import_cli.add_verb(verbs)
    policies = verbs.add_parser(
        "policies",
        help="SQL that lets a customer's programs read their own rows on a ClickHouse server",
        description="Prints what an administrator of the server runs: an account, row policies, grants (docs/sla.md).",
    )
    policies.add_argument("customer", metavar="CUSTOMER")
    policies.add_argument("--password-sha256", required=True, metavar="HEX", help="of the account's password")
    policies.set_defaults(run=run_policies)
    for verb in (backup, restore, expire, policies):
        add_data_arguments(verb)


def run_backup(arguments: argparse.Namespace) -> int:
    """Back up."""
    result = ask(arguments, "history.backup", {"destination": str(arguments.destination.absolute())})
    print_json(result) if arguments.json else print(f"history is saved in {result['backup']}")
    return 0


def run_restore(arguments: argparse.Namespace) -> int:
    """Restore; the ledger of the result must equal the backup's."""
    from history.maintenance import restore

    process = settings.from_environment(settings.environment(), data=arguments.data, policy=arguments.policy)
    paths = Paths(process.data)
    with OwnerLock(paths):
        restore(arguments.source, paths.history, **settings.load_policy(process.policy)["history"]).close()
    result = {"restored": str(paths.history)}
    print_json(result) if arguments.json else print(f"history is restored in {paths.history}; its ledger agrees")
    return 0


def run_expire(arguments: argparse.Namespace) -> int:
    """Expire."""
    dropped = ask(arguments, "history.expire")
    if arguments.json:
        print_json(dropped)
    else:
        print(", ".join(f"{table}: {n}" for table, n in dropped.items() if n) or "nothing is older than the retention")
    return 0


def run_policies(arguments: argparse.Namespace) -> int:
    """Print the statements."""
    from history.clickhouse_url import servers
    from history.row_policies import statements

    where = settings.from_environment(settings.environment(), store=arguments.store).needs_store()
    if not where.startswith("clickhouse:"):
        raise SettingsError("DIPPER_STORE: expected clickhouse://.., for only a server has accounts, got another store")
    at = servers(where)
    found = statements(arguments.customer, arguments.password_sha256, at.database, at.user, at.cluster)
    print_json(found) if arguments.json else print("".join(f"{statement};\n" for statement in found), end="")
    return 0
