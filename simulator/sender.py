"""Sends a fleet's reports over HTTP: kept connections, one request under way on each, and another gateway when one
does not answer. Who shares a machine with thousands of simulated boxes must be cheap: no HTTP library, no tasks kept.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import zlib
from array import array
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from contracts.times import DEFAULT_INTERVAL_MS, MINUTE_MS
from simulator.box import Attempt
from simulator.drive import TELEMETRY_PATH
from simulator.errors import SimulatorError
from simulator.fleet import Fleet

AHEAD_MS = 3_000  # the next interval is generated this long before it ends, so that sending never waits for it
ANSWER_TIMEOUT_S = 15.0
CONNECT_TIMEOUT_S = 3.0
REST_S = 1.0  # a gateway that did not answer is asked last for so long
MOST_CONNECTIONS = 4_000
SETTLE_S = 180.0

Answer = tuple[int, dict[str, str], bytes]
Content = tuple[Mapping[str, str], bytes]  # headers and body
Tick = Callable[[int], Awaitable[None]]
NOTHING: Answer = (0, {}, b"")
ELSEWHERE = (0, 503)  # no answer, or one that says "not now": the next gateway may do better


def wall_ms() -> int:
    """Now, ms UTC."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a gateway listens."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


def endpoint(url: str, ca: str | None = None) -> Endpoint:
    """A gateway's address, http(s)://HOST:PORT; `ca`: file of certificates to trust. Raises SimulatorError."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("http", "https") or not parts.hostname or port is None or parts.path not in ("", "/"):
        raise SimulatorError("gateway", "http://HOST:PORT or https://HOST:PORT", url)
    tls = ssl.create_default_context(cafile=ca) if parts.scheme == "https" else None
    return Endpoint(parts.hostname, port, tls)


class Connection(asyncio.Protocol):
    """One request at a time; the answer is (status, headers in lower case, body), NOTHING when the connection broke."""

    def __init__(self) -> None:
        self.open = True
        self.late = False  # an answer did not come in time
        self._received = b""
        self._answer: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False
        self._finish(NOTHING)

    async def exchange(self, request: bytes) -> Answer:
        """Send and wait for the answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)  # type: ignore[attr-defined]
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self._answer
        except TimeoutError:
            self.late = True
            self.close()
            return NOTHING

    def close(self) -> None:
        """Give it up."""
        self.open = False
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
        if len(body) >= int(headers.get("content-length", 0)):
            self._received = b""
            if headers.get("connection", "").lower() == "close":
                self.close()
            self._finish((int(lines[0].split(" ", 2)[1]), headers, body))

    def _finish(self, answer: Answer) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)


class Line:
    """The connections to one gateway."""

    def __init__(self, where: Endpoint) -> None:
        self.where = where
        self.made = 0
        self.rests_until = 0.0  # of time.monotonic
        self._idle: deque[Connection] = deque()

    async def exchange(self, request: Callable[[], bytes]) -> Answer:
        """Send over a kept connection, or a new one; one that the server had closed meanwhile is replaced once. The
        request is made when there is a connection: waiting for one must not age what was signed."""
        answer = NOTHING
        kept = self._kept()
        if kept is not None:
            answer = await self._over(kept, request())
        if answer is NOTHING and (kept is None or not kept.late):
            fresh = await self._connect()
            answer = NOTHING if fresh is None else await self._over(fresh, request())
        if answer is NOTHING:
            self.rests_until = time.monotonic() + REST_S
        return answer

    @property
    def resting(self) -> bool:
        """Whether it failed a moment ago."""
        return time.monotonic() < self.rests_until

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    async def _over(self, connection: Connection, request: bytes) -> Answer:
        answer = await connection.exchange(request)
        if connection.open:
            self._idle.append(connection)
        return answer

    async def _connect(self) -> Connection | None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                host, port, tls = self.where.host, self.where.port, self.where.tls
                _, made = await loop.create_connection(Connection, host, port, ssl=tls)
        except (OSError, TimeoutError):
            return None
        self.made += 1
        return made


class Sender:
    """Sends attempts of a fleet and keeps count. A box sends one report after the other, of those that are due the
    newest first, as the agent does. Each has a gateway of its own choice and goes to the others when that one does not
    answer, so a report may reach two. `late_ms`: how much later than planned each was sent."""

    def __init__(self, fleet: Fleet, gateways: Sequence[Endpoint]) -> None:
        self.fleet = fleet
        self.answers: Counter[int] = Counter()
        self.slices_stored = 0
        self.moved = 0  # times a request went on to another gateway
        self.late_ms = array("f")
        self.answer_ms = array("f")
        self.hold = False  # the fleet is busy in another thread
        self._lines = [Line(where) for where in gateways]
        self._slots = asyncio.Semaphore(MOST_CONNECTIONS)
        self._answered: list[tuple[Attempt, int, dict[str, str], int]] = []
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, list[Attempt]] = {}  # of boxes that are sending

    def plan(self, attempts: Iterable[Attempt]) -> None:
        """Send each at its time, or now if that has passed."""
        loop = asyncio.get_running_loop()
        offset = loop.time() - wall_ms() / 1_000
        for attempt in attempts:
            loop.call_at(attempt.at_ms / 1_000 + offset, self._launch, attempt)

    def _launch(self, attempt: Attempt) -> None:
        if (waiting := self._waiting.get(attempt.device)) is not None:
            waiting.append(attempt)
            return
        self._waiting[attempt.device] = []
        task = asyncio.create_task(self._send_in_turn(attempt))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _send_in_turn(self, attempt: Attempt) -> None:
        waiting = self._waiting[attempt.device]
        try:
            status = await self.send(attempt)
            while waiting:
                if status == 0 or status == 429 or status >= 500:  # it would not take the others either
                    self._answered += [(left, status, {}, wall_ms()) for left in waiting]
                    self.hand_over()
                    return
                newest = max(waiting, key=lambda a: a.held.body.start)
                waiting.remove(newest)
                status = await self.send(newest)
        finally:
            del self._waiting[attempt.device]

    async def idle(self) -> None:
        """Until nothing is under way. Raises what a sending raised."""
        while self._running:
            await asyncio.gather(*self._running)

    async def send(self, attempt: Attempt) -> int:
        """One attempt, from signing to its answer, whose status it returns. Signed anew each time it goes out: an old
        `sent_at` would read as a clock that is behind."""
        planned = attempt.at_ms

        def signed() -> Content:
            self.fleet.sign(attempt, wall_ms())
            return attempt.headers, attempt.body

        async with self._slots:
            self.late_ms.append(wall_ms() - planned)
            began = time.perf_counter()
            choice = zlib.crc32(attempt.device.encode())
            status, headers, _ = await self._exchange(choice, TELEMETRY_PATH, signed)
            self.answer_ms.append((time.perf_counter() - began) * 1_000)
        self.answers[status] += 1
        if status == 200 and not attempt.held.accepted:
            self.slices_stored += attempt.held.body.slices
        self._answered.append((attempt, status, headers, wall_ms()))
        self.hand_over()
        return status

    async def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Any other request, to the first gateway that answers; status 0: none did."""
        return await self._exchange(0, path, lambda: (headers, body))

    def hand_over(self) -> None:
        """Give answers to the fleet, unless it is busy; a box whose gateway is back sends what it holds."""
        if not self.hold:
            for answer in self._answered:
                self.plan(self.fleet.answer_and_go_on(*answer))
            self._answered.clear()

    def summary(self) -> dict[str, Any]:
        """What was sent: attempts by status (0: no answer), times in ms."""
        return {
            "answers": {str(status): n for status, n in sorted(self.answers.items())},
            "moved": self.moved,
            "slices_stored": self.slices_stored,
            "late_ms": quantiles(self.late_ms),
            "answer_ms": quantiles(self.answer_ms),
            "connections": sum(line.made for line in self._lines),
        }

    def close(self) -> None:
        """Close every connection."""
        for line in self._lines:
            line.close()

    async def _exchange(self, choice: int, path: str, content: Callable[[], Content]) -> Answer:
        answer = NOTHING
        for tried, line in enumerate(self._order(choice)):
            self.moved += tried > 0
            answer = await line.exchange(partial(_made, line.where.host, path, content))
            if answer[0] not in ELSEWHERE:
                break
        return answer

    def _order(self, choice: int) -> Iterator[Line]:
        """The gateways, a box's own first; one that just failed to answer comes last."""
        n = len(self._lines)
        own_first = [self._lines[(choice + i) % n] for i in range(n)]
        yield from sorted(own_first, key=lambda line: line.resting)


def _made(host: str, path: str, content: Callable[[], Content]) -> bytes:
    """The request, with what `content` says now."""
    headers, body = content()
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


async def drive(
    fleet: Fleet, sender: Sender, minutes: float, *, on_tick: Tick | None = None, stop: asyncio.Event | None = None
) -> None:
    """Intervals on the wall clock from the world's start on, sends spread over the next interval, then what boxes
    still hold. The next interval is generated ahead in a thread; answers that come meanwhile are handed over after.
    `on_tick(now_ms)` follows each generation; `stop` ends the traffic early, what is held is still sent."""
    stop = stop or asyncio.Event()
    end = fleet.world.start_ms
    for _ in range(round(minutes * MINUTE_MS / DEFAULT_INTERVAL_MS)):
        if await _stopped(stop, end + DEFAULT_INTERVAL_MS - AHEAD_MS - wall_ms()):
            break
        end += DEFAULT_INTERVAL_MS
        sender.hold = True
        attempts = await asyncio.to_thread(fleet.step, end, DEFAULT_INTERVAL_MS)
        sender.hold = False
        sender.hand_over()
        sender.plan(attempts)
        if on_tick is not None:
            await on_tick(wall_ms())
    await asyncio.sleep(max(0, end + DEFAULT_INTERVAL_MS - wall_ms()) / 1_000 + 0.5)
    await _settle(fleet, sender)


async def _settle(fleet: Fleet, sender: Sender) -> None:
    """Send until boxes hold nothing, for SETTLE_S at most."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        await sender.idle()
        if not fleet.unsent():
            return
        sender.plan(fleet.settle(wall_ms()))
        await asyncio.sleep(1.0)


async def _stopped(stop: asyncio.Event, wait_ms: int) -> bool:
    """Wait; True as soon as `stop` is set."""
    try:
        async with asyncio.timeout(max(0, wait_ms) / 1_000):
            await stop.wait()
    except TimeoutError:
        return False
    return True


def quantiles(values: array[float]) -> dict[str, float]:
    """p50, p95 and maximum, rounded to 0.1."""
    if not values:
        return {}
    p50, p95 = np.quantile(np.array(values), (0.5, 0.95), method="inverted_cdf")
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1), "max": round(max(values), 1)}
