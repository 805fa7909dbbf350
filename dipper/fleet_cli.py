"""`dipper fleet`: simulated boxes that report to real gateways over HTTP, for load, drills and proofs."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from contracts.times import DEFAULT_INTERVAL_MS, rfc3339
from dipper import settings
from dipper.clock import wall_clock
from dipper.fleet import Announcer, FleetError, register
from dipper.registries import opened_registry
from simulator import settings as simulation
from simulator.errors import SimulatorError
from simulator.fleet import Fleet
from simulator.sender import Endpoint, Sender, drive, endpoint, wall_ms

NOW = "now"
LEAD_MS = 5_000  # boxes are generated and registered meanwhile
LEAD_PER_BOX_MS = 2
READY_DEADLINE_S = 60.0
MOST_ILL_PER_HOUR = 120
EPILOG = """\
examples:
  dipper up --data var & dipper fleet --data var --devices 300
                                       beside a `dipper up`: registers its world in the same data directory
  DIPPER_KAFKA=k1:9092 dipper fleet --gateway http://g1:8410 --gateway http://g2:8410 \\
      --devices 5000 --minutes 10 --fault-rate 0 --truth truth.json
                                       two gateways of a cluster; a box goes to the other when its own is away

The fleet registers its boxes, customers and rules first, then reports every 10 s by the wall clock. Ctrl-C (or SIGTERM)
ends the traffic early; what boxes still hold is sent either way before the end. --truth FILE gets what was really
generated: `ledger` in the form of `dipper ledger --json`, `minutes_of_history` as history should hold them, `sent`
(answers by status, times), `unsent`. SIGUSR1 writes it as of the last interval and goes on. A --start in the past is
caught up with as fast as it goes.

Exit code 0: everything was sent and taken or refused; 1: boxes still hold reports.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `fleet`."""
    parser = subparsers.add_parser(
        "fleet",
        help="simulated boxes against real gateways",
        description="Simulated boxes that report to one or more gateways over HTTP.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    simulation.add_arguments(parser)
    parser.add_argument(
        "--ill-boxes",
        type=float,
        default=0.0,
        metavar="PER_HOUR",
        help="single boxes that fall ill an hour, beside random faults (%(default)g)",
    )
    parser.set_defaults(start=NOW)
    target = parser.add_argument_group("where to")
    target.add_argument(
        "--gateway",
        action="append",
        metavar="URL",
        help="http(s)://HOST:PORT, repeat for more (default: http://127.0.0.1:8410)",
    )
    target.add_argument("--ca", metavar="FILE", help="certificates to trust, for https")
    target.add_argument("--data", type=Path, metavar="DIR", help="data directory with the registry, or its replica")
    target.add_argument("--kafka", metavar="BROKERS", help="register through Kafka (default: $DIPPER_KAFKA)")
    target.add_argument("--no-register", action="store_true", help="this world is registered already; no changes")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="where to write what was really generated")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Register, drive, write the truth."""
    process = settings.from_environment(settings.environment(), data=arguments.data, kafka=arguments.kafka)
    urls = arguments.gateway or [f"http://127.0.0.1:{settings.DEFAULT_PORT}"]
    gateways = [endpoint(url, arguments.ca) for url in urls]
    if arguments.start == NOW:
        start = wall_clock() + LEAD_MS + LEAD_PER_BOX_MS * arguments.devices
        arguments.start = rfc3339(start // DEFAULT_INTERVAL_MS * DEFAULT_INTERVAL_MS)
    fleet = fleet_of(arguments)
    sys.setswitchinterval(0.001)  # sending goes on beside the thread that generates
    import uvloop

    if arguments.no_register:
        return uvloop.run(_drive(fleet, gateways, None, arguments))
    with opened_registry(process, "fleet") as registry:
        return uvloop.run(_drive(fleet, gateways, registry, arguments))


def fleet_of(arguments: argparse.Namespace) -> Fleet:
    """The fleet of a command line. Raises SimulatorError."""
    per_hour = arguments.ill_boxes
    if not 0 <= per_hour <= MOST_ILL_PER_HOUR:
        raise SimulatorError("ill-boxes", f"0 to {MOST_ILL_PER_HOUR} boxes an hour", per_hour)
    return simulation.build_fleet(simulation.from_arguments(arguments), ill_boxes_per_hour=per_hour)


async def _drive(fleet: Fleet, gateways: list[Endpoint], registry: Any, arguments: argparse.Namespace) -> int:
    sender = Sender(fleet, gateways)
    stop, wanted = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, wanted.set)
    announcer: Announcer | None = None
    if registry is not None:
        token = await asyncio.to_thread(register, registry, fleet.world, wall_clock())
        announcer = Announcer(registry, fleet, token, sender.post)
        print(f"fleet: {len(fleet.world.devices)} boxes registered", file=sys.stderr, flush=True)
    await _await_gateway(sender)
    print(f"fleet: reporting from {rfc3339(fleet.world.start_ms)} on", file=sys.stderr, flush=True)

    async def on_tick(now: int) -> None:
        if announcer is not None:
            await announcer.announce(now)
        if wanted.is_set():
            wanted.clear()
            write_truth(arguments.truth, fleet, sender)

    await drive(fleet, sender, arguments.minutes, on_tick=on_tick, stop=stop)
    sender.close()
    write_truth(arguments.truth, fleet, sender)
    summary, unsent = sender.summary(), fleet.unsent()
    print(f"fleet: answers {json.dumps(summary['answers'])}, {unsent} reports unsent", file=sys.stderr)
    if announcer is not None and announcer.waiting:
        print(f"fleet: {len(announcer.waiting)} changes reached no gateway", file=sys.stderr)
    return 0 if unsent == 0 else 1


async def _await_gateway(sender: Sender) -> None:
    """Wait until a gateway answers at all: a fleet that starts into nothing would only measure its own back-off."""
    deadline = time.monotonic() + READY_DEADLINE_S
    while (await sender.post("/v1/telemetry", {}, b""))[0] in (0, 503):
        if time.monotonic() > deadline:
            raise FleetError(f"fleet: no gateway answered within {READY_DEADLINE_S:.0f} s")
        await asyncio.sleep(0.5)


def write_truth(path: Path | None, fleet: Fleet, sender: Sender) -> None:
    """What was really generated, in one file that is complete whenever it is there."""
    if path is None:
        return
    minutes = [
        {"customer": customer, "service": service, "minute": minute, **counts}
        for (customer, service, minute), counts in fleet.truth.minutes(fleet.boxes).items()
    ]
    document = {
        **fleet.truth.as_json(fleet.boxes),
        "written_at": wall_ms(),
        "start_ms": fleet.world.start_ms,
        "minutes_of_history": minutes,
        "sent": sender.summary(),
        "unsent": fleet.unsent(),
    }
    whole = path.with_name(path.name + ".part")
    whole.write_text(json.dumps(document), encoding="utf-8")
    whole.replace(path)
