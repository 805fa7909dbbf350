"""The fleet of the soak: real HTTP posts over kept connections, from a process of its own.

    python -m benchmarks.soak_load PORT OUT --devices 10000 --customers 20 --seed 1 --start-ms T --minutes 10

Every box reports every 10 s and sends its report at a random moment of the next 10 s. The next interval is generated
3 s ahead in a thread, so that sending never waits for it; answers that come meanwhile are handed over afterwards.
Thousands of boxes share a pool of connections, one request under way on each. After the last interval the boxes send
what they still hold; then OUT gets what the fleet knows: its ledger, answers by status, times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from array import array
from collections import Counter, deque
from pathlib import Path
from typing import Any

import numpy as np

from contracts.times import DEFAULT_INTERVAL_MS, MINUTE_MS
from simulator.box import Attempt
from simulator.drive import TELEMETRY_PATH
from simulator.fleet import Fleet
from simulator.settings import Settings, build_fleet

AHEAD_MS = 3_000
ANSWER_TIMEOUT_S = 30.0
MOST_CONNECTIONS = 4_000
SETTLE_S = 180.0
NOTHING: tuple[int, dict[str, str]] = (0, {})


def wall_ms() -> int:
    """Now, ms UTC."""
    return time.time_ns() // 1_000_000


def settings_of(devices: int, customers: int, seed: int, start_ms: int, minutes: float) -> Settings:
    """A fleet without faults of the network: a steady rate. Boxes still restart, flap, send twice, err in time."""
    return Settings(
        devices=devices, customers=customers, seed=seed, minutes=minutes, faults_per_hour=0.0, start_ms=start_ms
    )


class Connection(asyncio.Protocol):
    """One request at a time; the answer is (status, headers in lower case), (0, {}) when the connection broke."""

    def __init__(self) -> None:
        self.open = True
        self._received = b""
        self._answer: asyncio.Future[tuple[int, dict[str, str]]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False
        self._finish(NOTHING)

    async def exchange(self, request: bytes) -> tuple[int, dict[str, str]]:
        """Send and wait for the answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)  # type: ignore[attr-defined]
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self._answer
        except TimeoutError:
            self.open = False
            self._transport.close()
            return NOTHING

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
        if len(body) >= int(headers.get("content-length", 0)):
            self._received = b""
            self._finish((int(lines[0].split(" ", 2)[1]), headers))

    def _finish(self, answer: tuple[int, dict[str, str]]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)


class Sender:
    """Sends attempts of a fleet and keeps count. `late_ms`: how much later than planned each was sent."""

    def __init__(self, fleet: Fleet, port: int) -> None:
        self.fleet = fleet
        self.answers: Counter[int] = Counter()
        self.slices_stored = 0
        self.late_ms = array("f")
        self.answer_ms = array("f")
        self.connections = 0
        self.hold = False  # the fleet is busy in another thread
        self._port = port
        self._idle: deque[Connection] = deque()
        self._slots = asyncio.Semaphore(MOST_CONNECTIONS)
        self._answered: list[tuple[Attempt, int, dict[str, str], int]] = []

    async def send(self, attempt: Attempt) -> None:
        """One attempt, from signing to its answer."""
        planned = attempt.at_ms
        async with self._slots:
            now = wall_ms()
            self.late_ms.append(now - planned)
            self.fleet.sign(attempt, now)
            began = time.perf_counter()
            status, headers = await self._exchange(attempt)
            self.answer_ms.append((time.perf_counter() - began) * 1_000)
        self.answers[status] += 1
        if status == 200 and not attempt.held.accepted:
            self.slices_stored += attempt.held.body.slices
        self._answered.append((attempt, status, headers, wall_ms()))
        self.hand_over()

    def hand_over(self) -> None:
        """Give answers to the fleet, unless it is busy."""
        if not self.hold:
            for answer in self._answered:
                self.fleet.answer(*answer)
            self._answered.clear()

    async def _exchange(self, attempt: Attempt) -> tuple[int, dict[str, str]]:
        connection = await self._connection()
        if connection is None:
            return NOTHING
        lines = [f"POST {TELEMETRY_PATH} HTTP/1.1", "host: soak", f"content-length: {len(attempt.body)}"]
        lines += [f"{name}: {value}" for name, value in attempt.headers.items()]
        answer = await connection.exchange("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + attempt.body)
        if connection.open:
            self._idle.append(connection)
        return answer

    async def _connection(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        try:
            _, made = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._port)
        except OSError:
            return None
        self.connections += 1
        return made


async def drive(fleet: Fleet, sender: Sender, minutes: float) -> None:
    """Intervals on the wall clock, then what boxes still hold."""
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[None]] = set()

    def launch(attempt: Attempt) -> None:
        task = asyncio.create_task(sender.send(attempt))
        running.add(task)
        task.add_done_callback(running.discard)

    end = fleet.world.start_ms
    for _ in range(round(minutes * MINUTE_MS / DEFAULT_INTERVAL_MS)):
        end += DEFAULT_INTERVAL_MS
        await asyncio.sleep(max(0, end - AHEAD_MS - wall_ms()) / 1_000)
        sender.hold = True
        attempts = await asyncio.to_thread(fleet.step, end, DEFAULT_INTERVAL_MS)
        sender.hold = False
        sender.hand_over()
        offset = loop.time() - wall_ms() / 1_000
        for attempt in attempts:
            loop.call_at(attempt.at_ms / 1_000 + offset, launch, attempt)
    await asyncio.sleep(max(0, end + DEFAULT_INTERVAL_MS - wall_ms()) / 1_000 + 0.5)
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        if running:
            await asyncio.gather(*running)
        if not fleet.unsent():
            return
        for attempt in fleet.settle(wall_ms()):
            launch(attempt)
        await asyncio.sleep(1.0)


def quantiles(values: array[float]) -> dict[str, float]:
    """p50, p95 and maximum, rounded to 0.1."""
    if not values:
        return {}
    p50, p95 = np.quantile(np.array(values), (0.5, 0.95), method="inverted_cdf")
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1), "max": round(max(values), 1)}


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
        sender = Sender(fleet, a.port)
        await drive(fleet, sender, a.minutes)
        return sender

    sender = asyncio.run(run())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    known: dict[str, Any] = {
        "ledger": fleet.truth.ledger(fleet.boxes),
        "unsent": fleet.unsent(),
        "answers": {str(status): n for status, n in sorted(sender.answers.items())},
        "slices_stored": sender.slices_stored,
        "late_ms": quantiles(sender.late_ms),
        "answer_ms": quantiles(sender.answer_ms),
        "connections": sender.connections,
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "rss_mib": usage.ru_maxrss // 1024,
    }
    a.out.write_text(json.dumps(known))


if __name__ == "__main__":
    main()
