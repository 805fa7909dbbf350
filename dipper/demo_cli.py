"""`dipper demo`: a simulated fleet with known faults through the whole pipeline; live pages, or a checked run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dipper import settings
from dipper.command import print_json, process_of
from dipper.ledger_cli import print_ledger
from dipper.up_cli import add_server_arguments
from simulator import settings as simulation

EPILOG = """\
examples:
  dipper demo                                  live pages of a simulated fleet; stop with Ctrl-C
  dipper demo --devices 50 --history 0         a small fleet, from now on only
  dipper demo --once --minutes 60 --devices 300 --seed 7 --out out
                                               as fast as it goes, no pages; writes ledger.json, truth.json, sla.json

--once exits with 0 when the ledger is balanced, equals the simulator's own count, and nothing is lost, pending or
double; with 1 otherwise.
"""
LIVE_DATA = Path("var/demo")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `demo`."""
    parser = subparsers.add_parser(
        "demo",
        help="a simulated fleet through the whole pipeline",
        description="Run a simulated fleet, with faults that are known, through the gateway's own door.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    simulation.add_arguments(parser)
    live = parser.add_argument_group("live pages")
    live.add_argument(
        "--history", type=float, default=45, metavar="MINUTES", help="simulate this much past first (%(default)s)"
    )
    add_server_arguments(live)
    once = parser.add_argument_group("checked run")
    once.add_argument("--once", action="store_true", help="run --minutes as fast as possible, check the books, exit")
    once.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="where files go (%(default)s)")
    once.add_argument("--json", action="store_true", help="print the ledger as JSON")
    once.add_argument("--no-loop", action="store_true", help="leave out the closed loop with and without health scores")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo."""
    return run_checked(arguments) if arguments.once else run_live(arguments)


def run_checked(arguments: argparse.Namespace) -> int:
    """--once."""
    from dipper import loop
    from dipper.demo_once import run_once
    from dipper.score import in_words

    process = process_of(arguments)
    outcome = run_once(simulation.from_arguments(arguments), settings.load_policy(process.policy), arguments.out)
    if arguments.json:
        print_json(outcome.ledger)
    else:
        print_ledger(outcome.ledger)
        print(f"equal to the simulator's own count: {'yes' if outcome.ledger['matches_truth'] else 'NO'}")
        print(in_words(outcome.score))
    if not arguments.no_loop:
        looped = loop.write(simulation.from_arguments(arguments), arguments.out)
        if not arguments.json:
            print(loop.in_words(looped))
    for difference in outcome.differences:
        print(f"dipper: {difference}", file=sys.stderr)
    return 0 if outcome.clean else 1


def run_live(arguments: argparse.Namespace) -> int:
    """Live pages; data of an earlier demo is not kept, because each starts its own world."""
    from dipper.demo_live import run_live as live

    if arguments.data is None:
        arguments.data = LIVE_DATA
    return live(process_of(arguments), simulation.from_arguments(arguments), arguments.history)
