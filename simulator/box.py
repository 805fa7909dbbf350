"""A box as the gateway sees it: boots, cumulative totals, a spool that drops its oldest, a clock that may be wrong.

The agent's rules are those of the contracts: a report stays in the spool until the gateway has taken or refused it;
401 teaches the clock; no answer, 429 and 5xx back off; live data goes first, the backlog a few reports at a time.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from contracts.auth import SERVER_TIME_HEADER, headers_for
from contracts.report import DROP_SPOOL_FULL, MAX_EARLIER_BOOTS, EarlierBoot
from contracts.times import AUTH_WINDOW_MS, DEFAULT_INTERVAL_MS, shift_for_offset
from simulator.catalogue import AGENT_VERSION
from simulator.encode import Body, earlier_boots_json, exemplars_json, head_json, totals_json
from simulator.world import Device

GZIP_LEVEL = 1
REFUSALS = (400, 409, 413, 422)  # the gateway will never take it: let go
MOST_BACKOFF_MS = 60_000  # the agent's backoff_max_s
BACKLOG_EVERY_MS = 250  # the agent's backlog_reports_per_s
_CONTENT_HEADERS = {"content-type": "application/json", "content-encoding": "gzip"}


@dataclass(frozen=True, slots=True)
class Head:
    """What a report says about its box; with a Body it makes the report."""

    seq: int
    oldest_spooled_seq: int
    model: str
    firmware: str
    totals_json: str
    earlier: tuple[EarlierBoot, ...]


@dataclass(slots=True)
class Held:
    """A report in the spool. `data`: as sent, compressed; `clock_ms`: what the box's clock was off by when it was
    stamped, as far as the box did not know."""

    boot: str
    head: Head
    body: Body
    data: bytes
    clock_ms: int
    in_flight: bool = False
    accepted: bool = False


@dataclass(slots=True)
class Earlier:
    """An earlier boot of the agent: what was dropped of it since its last report."""

    boot: str
    reports: int = 0
    requests: int = 0
    slices: int = 0


@dataclass(slots=True)
class Attempt:
    """One sending of a report. `at_ms`: when, true time; `answer_lost`: the gateway's answer will not reach the box."""

    box: Box
    held: Held
    body: bytes
    headers: dict[str, str]
    at_ms: int
    sent_at: int
    learned_ms: int = 0  # what the box had learned of its clock when it signed
    answer_lost: bool = False

    @property
    def device(self) -> str:
        """Device id."""
        return self.box.device.id


@dataclass(slots=True)
class Box:
    """The agent of one box and the machine under it."""

    device: Device
    seed: int
    spool_reports: int
    power_on_ms: int
    boot: str = ""
    boots: int = 0
    seq: int = 0
    requests: int = 0
    slices: int = 0
    dropped: list[int] = field(default_factory=lambda: [0, 0, 0])  # of this boot: requests, slices, reports
    held: dict[tuple[str, int], Held] = field(default_factory=dict)
    earlier: list[Earlier] = field(default_factory=list)
    log: list[Body] = field(default_factory=list)  # served while the agent was dead, still to be read
    learned_ms: int = 0
    clock_offset_ms: int | None = None
    reboots: int = 0
    failures: int = 0
    retry_at_ms: int = 0

    def __post_init__(self) -> None:
        self.start_agent()

    @property
    def clock_ms(self) -> int:
        """What the agent's idea of the time is off by, after what it has learned."""
        return self.device.clock_error_ms + self.learned_ms

    def start_agent(self) -> None:
        """A new boot of the agent: totals and seq begin anew, the spool stays."""
        if self.boots:
            self.earlier.append(Earlier(self.boot))
        self.boots += 1
        name = f"{self.seed}:{self.device.id}:{self.boots}".encode()
        self.boot = hashlib.blake2b(name, digest_size=8).hexdigest()
        self.seq = self.requests = self.slices = 0
        self.dropped = [0, 0, 0]
        self.failures = self.retry_at_ms = 0

    def power_on(self, now_ms: int) -> None:
        """The machine starts, and its agent with it."""
        self.power_on_ms = now_ms
        self.reboots += 1
        self.start_agent()

    def report(self, body: Body, model: str, firmware: str) -> tuple[Held, list[Held]]:
        """Spool the report of an interval; returns it and what had to be dropped for it."""
        dropped = [self._drop_oldest() for _ in range(len(self.held) + 1 - self.spool_reports)]
        self.seq += 1
        self.requests += body.requests
        self.slices += body.slices
        oldest = next((seq for boot, seq in self.held if boot == self.boot), self.seq)
        causes = {DROP_SPOOL_FULL: (self.dropped[0], self.dropped[1], self.dropped[2])} if self.dropped[2] else {}
        totals = totals_json(self.requests, self.slices, causes)
        head = Head(self.seq, oldest, model, firmware, totals, tuple(self._earlier_boots()))
        held = Held(self.boot, head, body, b"", self.clock_ms)
        self._stamp(held)
        self.held[self.boot, self.seq] = held
        return held, dropped

    def _drop_oldest(self) -> Held:
        oldest = next(iter(self.held))
        held = self.held.pop(next((key for key, h in self.held.items() if not h.in_flight), oldest))
        if held.boot == self.boot:
            self.dropped[0] += held.body.requests
            self.dropped[1] += held.body.slices
            self.dropped[2] += 1
            return held
        earlier = next(e for e in self.earlier if e.boot == held.boot)
        earlier.reports += 1
        earlier.requests += held.body.requests
        earlier.slices += held.body.slices
        return held

    def _earlier_boots(self) -> Iterator[EarlierBoot]:
        for e in self.earlier[:MAX_EARLIER_BOOTS]:
            oldest = next((seq for boot, seq in self.held if boot == e.boot), None)
            yield EarlierBoot(e.boot, oldest, e.reports, e.requests, e.slices)

    def _stamp(self, held: Held) -> None:
        """Write the report with the interval as the box's clock has it."""
        start = held.body.start - shift_for_offset(-held.clock_ms)
        head = held.head
        text = (
            head_json(
                self.device.id,
                held.boot,
                head.seq,
                start,
                start + DEFAULT_INTERVAL_MS,
                head.oldest_spooled_seq,
                head.model,
                head.firmware,
                AGENT_VERSION,
                head.totals_json,
                earlier_boots_json(head.earlier),
            )
            + f'"vitals":{held.body.vitals_json},"slices":{held.body.slices_json},'
            + f'"exemplars":{exemplars_json(held.body.exemplars, start)}}}'
        )
        held.data = gzip.compress(text.encode(), GZIP_LEVEL, mtime=0)

    def due(self, now_ms: int, backlog: int) -> list[Held]:
        """What to send now: the newest report, then up to `backlog` of the oldest; after a failure the newest alone
        finds out whether the gateway is back."""
        if now_ms < self.retry_at_ms or not self.held:
            return []
        waiting = [h for h in self.held.values() if not h.in_flight]
        if self.failures:
            return waiting[-1:]
        return waiting[-1:] + waiting[:-1][:backlog]

    def backlog(self, at_ms: int, most: int) -> list[Attempt]:
        """Attempts of up to `most` waiting reports, the oldest first, at the agent's pace from a time on."""
        waiting = [h for h in self.held.values() if not h.in_flight][:most]
        return [self.attempt(held, at_ms + i * BACKLOG_EVERY_MS) for i, held in enumerate(waiting)]

    def attempt(self, held: Held, at_ms: int) -> Attempt:
        """An attempt to send a report at a time."""
        held.in_flight = True
        attempt = Attempt(self, held, held.data, {}, at_ms, 0)
        self.sign(attempt, at_ms)
        return attempt

    def sign(self, attempt: Attempt, at_ms: int) -> None:
        """Stamp and sign an attempt for the moment it is sent; what was learned of the clock since it was planned has
        stamped the report anew."""
        held = attempt.held
        attempt.body = held.data
        attempt.at_ms = at_ms
        attempt.sent_at = at_ms + self.clock_ms
        attempt.learned_ms = self.learned_ms
        attempt.headers = headers_for(
            self.device.key, self.device.id, held.boot, held.head.seq, attempt.sent_at, attempt.body
        )
        attempt.headers |= _CONTENT_HEADERS

    def answer(self, attempt: Attempt, status: int, headers: Mapping[str, str], now_ms: int) -> bool:
        """Act on the gateway's answer (status 0: none came). Returns whether the box lets the report go refused."""
        held = attempt.held
        held.in_flight = False
        server_time = headers.get(SERVER_TIME_HEADER, "")
        offset = int(server_time) - attempt.sent_at if server_time.isdigit() else None
        if offset is not None:
            self.clock_offset_ms = offset + attempt.learned_ms
        if 200 <= status < 300:
            self.failures = self.retry_at_ms = 0
            if self.held.pop((held.boot, held.head.seq), None) is not None:
                self._settle(held)
            return False
        if status in REFUSALS:
            return self.held.pop((held.boot, held.head.seq), None) is not None
        if status == 401 and offset is not None and abs(offset) >= AUTH_WINDOW_MS - DEFAULT_INTERVAL_MS:
            self._learn(offset + attempt.learned_ms)
        else:
            self._back_off(now_ms)
        return False

    def _settle(self, held: Held) -> None:
        """The gateway now knows what this report said of earlier boots: forget those that have nothing left."""
        for told in held.head.earlier:
            if told.oldest_spooled_seq is None:
                self.earlier = [e for e in self.earlier if (e.boot, e.reports) != (told.boot, told.dropped_reports)]

    def _learn(self, offset_ms: int) -> None:
        """Correct the clock by its offset to the server's in whole steps of the grid, and the stamps of what no
        gateway has taken."""
        self.learned_ms = shift_for_offset(offset_ms)
        for held in self.held.values():
            if held.clock_ms != self.clock_ms and not held.accepted:
                held.clock_ms = self.clock_ms
                self._stamp(held)

    def _back_off(self, now_ms: int) -> None:
        """Wait longer after each failure. What was sent together fails together: that counts once."""
        if now_ms < self.retry_at_ms:
            return
        most_ms = min(2**self.failures * DEFAULT_INTERVAL_MS, MOST_BACKOFF_MS)
        self.failures = min(self.failures + 1, 16)
        jitter = hashlib.blake2b(f"{self.boot}:{now_ms}".encode(), digest_size=1).digest()[0] / 256
        self.retry_at_ms = now_ms + int(most_ms * (0.5 + jitter / 2))
