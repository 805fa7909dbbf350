"""Runs a fleet against a gateway: as fast as possible on a simulated clock, or on the wall clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from contracts.times import ALLOWED_LATENESS_MS, DEFAULT_INTERVAL_MS, MINUTE_MS, WATERMARK_DELAY_MS
from simulator.asgi import Answer, App
from simulator.asgi import post as asgi_post
from simulator.box import Attempt
from simulator.fleet import Fleet

TELEMETRY_PATH = "/v1/telemetry"
CLOSE_MS = WATERMARK_DELAY_MS + ALLOWED_LATENESS_MS + 2 * MINUTE_MS  # after this every minute of the run is closed
MOST_SETTLE_MINUTES = 120
LIVE_SPREAD_MS = 9_000
LIVE_TIMEOUT_S = 20.0

Post = Callable[[str, Mapping[str, str], bytes], Awaitable[Answer]]
Hook = Callable[[int], Awaitable[None]]


class SimulatedClock:
    """A clock that only the driver advances; call it for the time in ms UTC."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


@dataclass(slots=True)
class RunStats:
    """What a run sent. `answers`: attempts by status, 0 for none; `unsent`: reports left on boxes."""

    answers: Counter[int] = field(default_factory=Counter)
    intervals: int = 0
    settle_intervals: int = 0
    unsent: int = 0


async def run_simulated(
    fleet: Fleet,
    app: App,
    clock: SimulatedClock,
    minutes: float,
    on_tick: Hook,
    *,
    flush: Callable[[], Awaitable[None]] | None = None,
    concurrency: int = 1_000,
    substeps: int = 1,
    path: str = TELEMETRY_PATH,
    go_on: Callable[[int], Awaitable[bool]] | None = None,
) -> RunStats:
    """Run `minutes` from the clock's time, let every box send what it holds, then close the last minutes.
    `go_on(intervals so far)`: awaited before each interval; False ends the traffic early.

    Per interval: the clock advances 10 s, all reports of the interval are sent (at most `concurrency` at once), then
    `on_tick(now_ms)` is awaited. With `substeps` > 1 sends are spread over as many moments of the interval, the clock
    moving between them when all answers of the moment are in. `flush`: called again and again while answers are
    awaited, for a gateway that answers only when somebody flushes it. What the app or the hooks raise ends the run.
    """
    stats = RunStats()

    async def post(to: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return await asgi_post(app, to, headers, body)

    async def send(attempts: Sequence[Attempt]) -> None:
        for a in range(0, len(attempts), concurrency):
            tasks = [
                asyncio.ensure_future(_exchange(fleet, attempt, post, clock, path, stats))
                for attempt in attempts[a : a + concurrency]
            ]
            try:
                await _finish(tasks, flush)
            finally:
                for task in tasks:
                    task.cancel()

    grain_ms = DEFAULT_INTERVAL_MS // substeps
    for interval in range(round(minutes * MINUTE_MS / DEFAULT_INTERVAL_MS)):
        if go_on is not None and not await go_on(interval):
            break
        end = clock.now_ms - clock.now_ms % DEFAULT_INTERVAL_MS + DEFAULT_INTERVAL_MS
        clock.now_ms = end
        attempts = fleet.step(end, grain_ms * substeps if substeps > 1 else 0, grain_ms)
        for moment, sent_together in _by_moment(attempts):
            clock.now_ms = moment
            await send(sent_together)
        stats.intervals += 1
        await on_tick(clock.now_ms)
    for _ in range(MOST_SETTLE_MINUTES * MINUTE_MS // DEFAULT_INTERVAL_MS):
        clock.now_ms += DEFAULT_INTERVAL_MS
        attempts = fleet.settle(clock.now_ms)
        if not attempts:
            break
        await send(attempts)
        stats.settle_intervals += 1
        await on_tick(clock.now_ms)
    for _ in range(CLOSE_MS // DEFAULT_INTERVAL_MS):
        clock.now_ms += DEFAULT_INTERVAL_MS
        await on_tick(clock.now_ms)
    stats.unsent = fleet.unsent()
    return stats


def _by_moment(attempts: Sequence[Attempt]) -> list[tuple[int, list[Attempt]]]:
    moments: dict[int, list[Attempt]] = {}
    for attempt in attempts:
        moments.setdefault(attempt.at_ms, []).append(attempt)
    return sorted(moments.items())


async def _finish(tasks: Sequence[asyncio.Future[None]], flush: Callable[[], Awaitable[None]] | None) -> None:
    if flush is not None:
        pending: set[asyncio.Future[None]] = set(tasks)
        while pending:
            await asyncio.sleep(0)
            await flush()
            _, pending = await asyncio.wait(pending, timeout=0.001)
    await asyncio.gather(*tasks)


async def _exchange(
    fleet: Fleet, attempt: Attempt, post: Post, now: Callable[[], int], path: str, stats: RunStats
) -> None:
    status, headers, _ = await post(path, attempt.headers, attempt.body)
    stats.answers[status] += 1
    fleet.answer(attempt, status, headers, now())


async def run_live(
    fleet: Fleet,
    post: Post,
    now_fn: Callable[[], int],
    stop: asyncio.Event,
    *,
    on_tick: Hook | None = None,
    concurrency: int = 64,
    spread_ms: int = LIVE_SPREAD_MS,
    path: str = TELEMETRY_PATH,
    timeout_s: float = LIVE_TIMEOUT_S,
) -> RunStats:
    """Run on the clock `now_fn` (ms UTC) until `stop` is set, sends spread over `spread_ms`. `post` that raises
    OSError or takes longer than `timeout_s` is no answer. `on_tick(now_ms)` follows every interval's generation."""
    stats = RunStats()
    slots = asyncio.Semaphore(concurrency)
    running: set[asyncio.Task[None]] = set()

    async def guarded(to: str, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            return await asyncio.wait_for(post(to, headers, body), timeout_s)
        except (OSError, TimeoutError):
            return 0, {}, b""

    async def send(attempt: Attempt) -> None:
        try:
            fleet.sign(attempt, now_fn())
            await _exchange(fleet, attempt, guarded, now_fn, path, stats)
        finally:
            slots.release()

    end = now_fn() // DEFAULT_INTERVAL_MS * DEFAULT_INTERVAL_MS
    while not stop.is_set():
        end += DEFAULT_INTERVAL_MS
        if await _stopped(stop, end - now_fn()):
            break
        attempts = fleet.step(end, spread_ms)
        stats.intervals += 1
        if on_tick is not None:
            await on_tick(now_fn())
        for attempt in attempts:
            if await _stopped(stop, attempt.at_ms - now_fn()):
                break
            await slots.acquire()
            task = asyncio.create_task(send(attempt))
            running.add(task)
            task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    stats.unsent = fleet.unsent()
    return stats


async def _stopped(stop: asyncio.Event, wait_ms: int) -> bool:
    """Wait; True as soon as `stop` is set."""
    if wait_ms > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), wait_ms / 1000)
    return stop.is_set()
