"""The fleet of the soak: real HTTP posts over kept connections (simulator/sender.py), from a process of its own.

    python -m benchmarks.soak_load PORT OUT --devices 10000 --customers 20 --seed 1 --start-ms T --minutes 10

Every box reports every 10 s and sends its report at a random moment of the next 10 s. After the last interval the boxes
send what they still hold; then OUT gets what the fleet knows: its ledger, answers by status, times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
from pathlib import Path
from typing import Any

from simulator.sender import Endpoint, Sender, drive, wall_ms
from simulator.settings import Settings, build_fleet

__all__ = ["settings_of", "wall_ms"]


def settings_of(devices: int, customers: int, seed: int, start_ms: int, minutes: float) -> Settings:
    """A fleet without faults of the network: a steady rate. Boxes still restart, flap, send twice, err in time."""
    return Settings(
        devices=devices, customers=customers, seed=seed, minutes=minutes, faults_per_hour=0.0, start_ms=start_ms
    )


def main() -> None:
    """Drive the fleet, write what it knows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("out", type=Path)
    for name in ("devices", "customers", "seed", "start-ms"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    a = parser.parse_args()
    sys.setswitchinterval(0.001)  # sending goes on beside the thread that generates
    fleet = build_fleet(settings_of(a.devices, a.customers, a.seed, a.start_ms, a.minutes))

    async def run() -> Sender:
        sender = Sender(fleet, [Endpoint("127.0.0.1", a.port)])
        await drive(fleet, sender, a.minutes)
        sender.close()
        return sender

    sender = asyncio.run(run())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    known: dict[str, Any] = {
        "ledger": fleet.truth.ledger(fleet.boxes),
        "unsent": fleet.unsent(),
        **sender.summary(),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "rss_mib": usage.ru_maxrss // 1024,
    }
    a.out.write_text(json.dumps(known))


if __name__ == "__main__":
    main()
