"""`dipper up`: gateway, operators, history and pages for real boxes, in one process."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dipper import settings
from dipper.clock import wall_clock
from dipper.command import process_of
from dipper.paths import OwnerLock, Paths

if TYPE_CHECKING:
    from dipper.service import Service

EPILOG = """\
examples:
  dipper up                                     pages and gateway on http://127.0.0.1:8410, data in ./var
  dipper up --data /srv/dipper --port 9000
  dipper up --self-test                         with a synthetic customer whose faults must be found
  dipper users add ana --role admin             from now on the pages ask everybody to log in (docs/accounts.md)
  dipper up --public 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem
                                                boxes come through their own listener: telemetry, enrolment, changes

Then register a box (`dipper devices add --help`) and a customer (`dipper customers add --help`). --host must be a
loopback address. DIPPER_PAGES opens a listener for people elsewhere, who have to log in.
"""


def add_server_arguments(parser: argparse._ActionsContainer) -> None:
    """Arguments that every serving command shares; each has an environment variable."""
    parser.add_argument("--data", type=Path, metavar="DIR", help="data directory (default: $DIPPER_DATA, else var)")
    parser.add_argument("--host", help="loopback address of pages and local doors (default: 127.0.0.1)")
    parser.add_argument("--port", help="their port, 0 for any free one (default: 8410)")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="TOML with policy numbers that differ")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `up`."""
    parser = subparsers.add_parser(
        "up",
        help="serve real boxes: gateway, operators, history, pages",
        description="Serve real boxes: gateway, operators, history and pages in one process, until Ctrl-C.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_server_arguments(parser)
    parser.add_argument("--public", metavar="HOST:PORT", help="a second listener for boxes (default: none)")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="its certificate")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key")
    parser.add_argument(
        "--self-test",
        action="store_true",
        help="a synthetic customer with scheduled faults, to prove that they are found (docs/self-test.md)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal."""
    import uvloop

    from dipper.engine import open_engine
    from dipper.service import Service

    process = process_of(arguments)
    paths = Paths(process.data)
    with OwnerLock(paths):
        engine = open_engine(paths, settings.load_policy(process.policy), wall_clock)
        try:
            service = Service(engine, process)
            uvloop.run(service.run(_self_test(service) if arguments.self_test else None, announce))
        finally:
            engine.close()
    return 0


def _self_test(service: Service) -> Callable[[Service], Awaitable[None]]:
    """What runs beside: a customer that does not exist, with faults that must be found."""
    from dipper.self_test_run import SelfTest

    part = SelfTest(service.engine, wall_clock)
    service.watch.add(part)
    return lambda running: part.run(running.address)


def announce(service: Service) -> None:
    """Say where everything is."""
    public = service.settings.public
    lines = [f"pages     {service.address}", f"gateway   {service.address}/v1/telemetry"]
    if public is not None:
        scheme = "https" if service.settings.tls_cert else "http"
        lines.append(f"boxes     {scheme}://{public.host}:{public.port}/v1/telemetry")
    lines.append(f"data      {service.settings.data.absolute()}")
    lines.append("stop with Ctrl-C")
    print("\n".join(f"  {line}" for line in lines), file=sys.stderr, flush=True)
