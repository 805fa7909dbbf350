"""The fleet of `make faults`: steady reports to several gateways, and the truth to compare with. A process of its own.

    python -m benchmarks.faults.load --devices 5000 --customers 20 --seed 1 --start-ms T URL..

Takes commands on standard input and answers each with a line of JSON on standard output:

    {"do": "status"}                        what was sent so far
    {"do": "withhold", "gateway": 0}        from now on answers of that gateway do not reach the boxes
    {"do": "deliver"}                       answers arrive again; those withheld never do
    {"do": "mark"}                          remember what gateways have acknowledged by now
    {"do": "compare", "boots": FILE}        a ledger's boots against what the boxes counted, and against the mark
    {"do": "finish", "out": FILE}           no more traffic, boxes send what they hold; FILE gets the whole truth

A box's totals are cumulative, so a ledger can be compared exactly while load goes on: whatever the newest report of a
boot that history has seen is, what the box had counted by that report is known.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.soak_load import settings_of
from simulator.fleet import Fleet
from simulator.sender import NOTHING, Answer, Connection, Endpoint, Line, Sender, drive, endpoint
from simulator.settings import build_fleet

MOST_MINUTES = 24 * 60.0
MOST_DIFFERENCES = 20
MOST_HELD = 2  # reports of a box that is not behind: the newest, and one on its way
Boot = tuple[str, str]


class Withholding(Line):
    """The connections to a gateway whose answers can be kept from the boxes: the log has the report, the box does not
    know. `withheld`: acknowledgements that never arrived."""

    def __init__(self, where: Endpoint) -> None:
        super().__init__(where)
        self.withheld = 0
        self._broken: asyncio.Event | None = None

    def withhold(self) -> None:
        """Begin."""
        self._broken = asyncio.Event()

    def deliver(self) -> None:
        """End: who still waits learns that no answer will come."""
        if self._broken is not None:
            self._broken.set()
            self._broken = None

    async def _over(self, connection: Connection, request: bytes) -> Answer:
        answer = await super()._over(connection, request)
        broken = self._broken
        if broken is None or answer is NOTHING:
            return answer
        self.withheld += answer[0] == 200
        await broken.wait()
        return NOTHING


class Books:
    """What every boot of every box had counted by each of its reports: cumulative (requests, slices) by seq - 1."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._totals: defaultdict[Boot, list[tuple[int, int]]] = defaultdict(list)
        self._acknowledged: dict[Boot, int] = {}

    def note(self) -> None:
        """Take up the reports of the interval just generated."""
        for box in self._fleet.boxes:
            totals = self._totals[box.device.id, box.boot]
            if box.seq > len(totals):
                totals.append((box.requests, box.slices))
                assert box.seq == len(totals), f"{box.device.id}: expected one report an interval"

    def mark(self) -> int:
        """Remember the newest acknowledged report of every boot; returns how many boots have one."""
        boots = self._fleet.truth.boots
        self._acknowledged = {key: boot.newest_accepted_seq for key, boot in boots.items() if boot.newest_accepted_seq}
        return len(self._acknowledged)

    def compare(self, boots: list[dict[str, Any]]) -> list[str]:
        """A sentence for each difference between a ledger's boots and the truth."""
        differences = []
        found: dict[Boot, int] = {}
        for row in boots:
            key = row["device"], row["boot"]
            found[key] = row["last_seq"]
            totals = self._totals.get(key, [])
            if not 0 < row["last_seq"] <= len(totals):
                differences.append(f"{key}: {len(totals)} reports were made, the ledger's newest is {row['last_seq']}")
                continue
            for i, what in enumerate(("requests", "slices")):
                differences += self._differences(key, what, i, totals[row["last_seq"] - 1][i], row[what])
        missing = [key for key, seq in self._acknowledged.items() if found.get(key, 0) < seq]
        differences += [f"{key}: report {self._acknowledged[key]} was acknowledged, not in history" for key in missing]
        return differences

    def _differences(self, key: Boot, what: str, i: int, counted: int, account: Mapping[str, int]) -> list[str]:
        truth = self._fleet.truth.boots[key]
        expected = {"reported": counted, "declared_dropped": truth.dropped[i], "rejected": truth.refused[i]}
        expected["stored"] = counted - truth.dropped[i] - truth.refused[i]
        expected |= {"pending": 0, "lost": 0, "double_counted": 0}
        return [
            f"{key} {what}.{name}: expected {n}, the ledger says {account[name]}"
            for name, n in expected.items()
            if account[name] != n
        ]


class Load:
    """The running fleet and its commands."""

    def __init__(self, fleet: Fleet, gateways: list[Endpoint]) -> None:
        self._fleet = fleet
        self._books = Books(fleet)
        self._sender = Sender(fleet, gateways)
        self._lines = [Withholding(where) for where in gateways]
        self._sender._lines = list(self._lines)
        self._stop = asyncio.Event()
        self._intervals = 0

    async def run(self) -> None:
        """Until `finish`, or until standard input ends."""
        driving = asyncio.create_task(self._drive())
        commands = asyncio.create_task(self._commands())
        done, _ = await asyncio.wait({driving, commands}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        driving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await driving

    async def _drive(self) -> None:
        async def on_tick(_: int) -> None:
            self._books.note()
            self._intervals += 1

        await drive(self._fleet, self._sender, MOST_MINUTES, on_tick=on_tick, stop=self._stop)
        await asyncio.Event().wait()  # the truth is still asked for

    async def _commands(self) -> None:
        reader = asyncio.StreamReader(limit=1 << 20)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        doing: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "status": self._status,
            "withhold": self._withhold,
            "deliver": self._deliver,
            "mark": self._mark,
            "compare": self._compare,
            "finish": self._finish,
        }
        while line := await reader.readline():
            command = json.loads(line)
            answer = await doing[command["do"]](command)
            print(json.dumps(answer), flush=True)

    async def _at_rest(self) -> None:
        """Until no other thread works on the fleet."""
        while self._sender.hold:
            await asyncio.sleep(0.01)

    async def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        await self._at_rest()
        boots = self._fleet.truth.boots.values()
        return {
            "intervals": self._intervals,
            "slices_made": sum(boot.generated[1] for boot in boots),
            "unsent": self._fleet.unsent(),
            "boxes": len(self._fleet.boxes),
            "boxes_behind": sum(len(box.held) > MOST_HELD for box in self._fleet.boxes),
            "withheld": sum(line.withheld for line in self._lines),
            **self._sender.summary(),
        }

    async def _withhold(self, command: dict[str, Any]) -> dict[str, Any]:
        self._lines[command["gateway"]].withhold()
        return {}

    async def _deliver(self, _: dict[str, Any]) -> dict[str, Any]:
        for line in self._lines:
            line.deliver()
        return {"withheld": sum(line.withheld for line in self._lines)}

    async def _mark(self, _: dict[str, Any]) -> dict[str, Any]:
        await self._at_rest()
        return {"boots": self._books.mark()}

    async def _compare(self, command: dict[str, Any]) -> dict[str, Any]:
        await self._at_rest()
        boots = json.loads(Path(command["boots"]).read_text())
        differences = self._books.compare(boots)
        return {"differences": differences[:MOST_DIFFERENCES], "count": len(differences), "boots": len(boots)}

    async def _finish(self, command: dict[str, Any]) -> dict[str, Any]:
        """Ask again while `unsent` is not 0."""
        self._stop.set()
        await self._at_rest()
        unsent = self._fleet.unsent()
        if unsent == 0:
            truth = self._fleet.truth
            boxes = self._fleet.boxes
            minutes = [[*key, counts] for key, counts in truth.minutes(boxes).items()]
            whole = {"ledger": truth.ledger(boxes), "minutes": minutes}
            Path(command["out"]).write_text(json.dumps(whole))
        return {"unsent": unsent, "intervals": self._intervals}


def main() -> None:
    """Send until told to finish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("devices", "customers", "seed", "start-ms"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("gateways", nargs="+", metavar="URL")
    a = parser.parse_args()
    sys.setswitchinterval(0.001)  # sending goes on beside the thread that generates
    fleet = build_fleet(settings_of(a.devices, a.customers, a.seed, a.start_ms, MOST_MINUTES))

    async def run() -> None:
        await Load(fleet, [endpoint(url) for url in a.gateways]).run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
