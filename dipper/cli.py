"""The command `dipper`: one parser, subcommands in modules of their own, errors as sentences."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from contracts.errors import ContractError
from contracts.protocols import LogError, StoreError
from dipper import library_logs
from dipper.control import ControlError
from dipper.errors import DipperError
from dipper.settings import ENVIRONMENT, SettingsError
from ingest.bind import BindRefused
from ingest.errors import IngestError
from ingest.registry.errors import RegistryError
from simulator.errors import SimulatorError
from streams.settings import StreamsError

# Modules with `add_parser(subparsers)`, in the order `--help` shows them. Imported for their parsers, so they defer
# whatever is slow to import.
COMMANDS = (
    "dipper.demo_cli",
    "dipper.up_cli",
    "dipper.gateway_cli",
    "dipper.intake_cli",
    "dipper.worker_cli",
    "dipper.sink_cli",
    "dipper.triage_cli",
    "dipper.health_cli",
    "dipper.feed_cli",
    "dipper.dashboards_cli",
    "dipper.topics_cli",
    "dipper.fleet_cli",
    "dipper.doctor",
    "dipper.ledger_cli",
    "dipper.quality_cli",
    "dipper.objectives_cli",
    "dipper.report_cli",
    "dipper.share_cli",
    "dipper.registry_cli",
    "dipper.registry_file_cli",
    "dipper.changes_cli",
    "dipper.incidents_cli",
    "dipper.replay_cli",
    "dipper.notify_cli",
    "dipper.users_cli",
    "dipper.rejected_cli",
    "dipper.history_cli",
    "dipper.settings_cli",
    "dipper.erase_cli",
    "dipper.localise_cli",
)
WRONG_INPUT = (SettingsError, ContractError, SimulatorError, BindRefused)
NOT_DONE = (ControlError, DipperError, IngestError, LogError, RegistryError, StoreError, StreamsError)


class Command(Protocol):
    """A module that registers subcommands."""

    def add_parser(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None: ...


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; parsed arguments carry `run(arguments) -> exit code`."""
    lines = "\n".join(f"  {name:<17} {meaning}" for name, meaning in ENVIRONMENT.items())
    parser = argparse.ArgumentParser(
        prog="dipper",
        description="Quality analytics for edge delivery networks: from a box's access log to a customer's minute.",
        epilog=f"environment:\n{lines}\n\nStart with `dipper demo`; for real boxes `dipper up`.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        cast("Command", importlib.import_module(name)).add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; exit code 0 done, 1 not done, 2 wrong input."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    library_logs.tame()
    parsed = build_parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except WRONG_INPUT as error:
        print(f"dipper: {error}", file=sys.stderr)
        return 2
    except NOT_DONE as error:
        print(f"dipper: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return 130
