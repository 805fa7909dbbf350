"""`dipper demo --once`: a simulated fleet through the whole pipeline, as fast as it goes, with its books checked."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.times import DAY_MS, MINUTE_MS
from dipper import demo_incidents, demo_levels
from dipper.engine import Engine, Policy, open_engine
from dipper.fleet import Announcer, register
from dipper.paths import OwnerLock, Paths
from dipper.progress import Progress
from history.ledger import ledger
from history.query_incidents import incidents
from history.query_minutes import minute_counts
from simulator.asgi import post
from simulator.drive import RunStats, SimulatedClock, run_simulated
from simulator.fleet import Fleet
from simulator.settings import Settings, build_fleet
from simulator.truth import compare_ledger, compare_minutes

# Simulated time waits for each append, so nothing is gained by waiting for others to share an fsync.
GROUP_COMMIT_MS = 0
MOST_INCIDENTS = 10_000
SETTLING_MS = MINUTE_MS  # after the end boxes only send what they hold; then they would be called silent


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run showed. `differences`: sentences, empty when the books equal the simulator's own truth. `minutes`:
    history's counts by (customer, service, minute). `score`: of its incidents, as in score.json."""

    ledger: dict[str, Any]
    differences: list[str]
    stats: RunStats
    minutes: dict[tuple[str, str, int], dict[str, int]]
    score: dict[str, Any]

    @property
    def clean(self) -> bool:
        """Balanced, equal to the truth, nothing lost, pending or double."""
        books = (self.ledger["requests"], self.ledger["slices"])
        settled = not any(b[term] for b in books for term in ("lost", "pending", "double_counted"))
        return bool(self.ledger["balanced"]) and self.ledger["matches_truth"] and settled


def run_once(
    settings: Settings, policy: Policy, out: Path, go_on: Callable[[int], Awaitable[bool]] | None = None
) -> Outcome:
    """Run, and write `ledger.json`, `truth.json`, `incidents.json`, `score.json` and `sla.json` into `out`. Its data
    lives in a temporary folder there. `go_on`: see simulator.drive.run_simulated."""
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=out))
    fast = {**demo_incidents.for_demo(policy), "log": {**policy["log"], "group_commit_ms": GROUP_COMMIT_MS}}
    clock = SimulatedClock(settings.start_ms)
    paths = Paths(folder)
    try:
        with OwnerLock(paths):
            engine = open_engine(paths, fast, clock, manual=True, live=False)
            try:
                fleet = build_fleet(settings)
                demo_levels.promise(engine.store, fleet.world.customers, clock())
                stats = asyncio.run(_drive(engine, fleet, clock, settings, go_on))
                books, differences, minutes = _check(engine, fleet, clock())
                attained = demo_levels.sla(engine.store, settings.start_ms + int(settings.minutes * MINUTE_MS))
                found = incidents(engine.store, 0, clock() + DAY_MS, limit=MOST_INCIDENTS)
            finally:
                engine.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    fleet.truth.write(out / "truth.json", fleet.boxes)
    scored = demo_incidents.write(out, fleet.truth.as_json(fleet.boxes), found)
    (out / "ledger.json").write_text(json.dumps(books, indent=1) + "\n", encoding="utf-8")
    (out / "sla.json").write_text(json.dumps(attained, indent=1) + "\n", encoding="utf-8")
    return Outcome(books, differences, stats, minutes, scored)


async def _drive(
    engine: Engine,
    fleet: Fleet,
    clock: SimulatedClock,
    settings: Settings,
    go_on: Callable[[int], Awaitable[bool]] | None = None,
) -> RunStats:
    """Simulate. History is filled in a thread beside the next interval: it depends on what came, not on when."""
    gateway = engine.gateway
    token = register(engine.registry, fleet.world, clock())

    async def in_process(path: str, headers: Mapping[str, str], body: bytes) -> Any:
        answering = asyncio.ensure_future(post(gateway, path, headers, body))
        while not answering.done():
            await asyncio.sleep(0)
            await gateway.flush()
        return answering.result()

    announcer = Announcer(engine.registry, fleet, token, in_process)
    progress = Progress("simulated", settings.minutes)
    storing: asyncio.Future[Any] | None = None
    end = settings.start_ms + int(settings.minutes * MINUTE_MS)

    async def on_tick(now: int) -> None:
        nonlocal storing
        await announcer.announce(now)
        await gateway.heartbeat(now)
        while engine.streams.step(0.0):
            pass
        if now <= end + SETTLING_MS:
            engine.triage_step(now)
        if storing is not None:
            await storing
        storing = asyncio.ensure_future(asyncio.to_thread(engine.store_step, now))
        done = (now - settings.start_ms) / 60_000
        progress.update(min(done, settings.minutes), f"{done:.0f} of {settings.minutes:.0f} min")

    await gateway.start()
    try:
        flush = _flusher(gateway)
        return await run_simulated(fleet, gateway, clock, settings.minutes, on_tick, flush=flush, go_on=go_on)
    finally:
        if storing is not None:
            await storing
        await gateway.stop()
        progress.finish()


def _flusher(gateway: Any) -> Any:
    async def flush() -> None:
        await gateway.flush()

    return flush


def _check(engine: Engine, fleet: Fleet, now: int) -> tuple[dict[str, Any], list[str], Any]:
    """The ledger, how it and history's minutes differ from the simulator's own count, and those minutes."""
    engine.drain(now)
    books = ledger(engine.store, now).to_json()
    _, differences = compare_ledger(fleet.truth.ledger(fleet.boxes), books)
    stored = minute_counts(engine.store, 0, now + DAY_MS)
    _, unequal = compare_minutes(fleet.truth.minutes(fleet.boxes), stored)
    differences += unequal
    books["matches_truth"] = not differences
    return books, differences, stored
