"""`dipper demo`: pages of a simulated fleet. First some past as fast as it goes, then on with the wall clock."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import sys
from collections.abc import Mapping
from typing import Any

import uvloop

from contracts.times import DEFAULT_INTERVAL_MS, MINUTE_MS
from dipper import demo_levels
from dipper.clock import SettableClock, wall_clock
from dipper.demo_incidents import for_demo
from dipper.demo_scheduler import LiveScheduler, give_token
from dipper.engine import open_engine
from dipper.fleet import ILL_BOXES_PER_HOUR, Announcer, register
from dipper.paths import DEMO_MARKER as MARKER
from dipper.paths import OwnerLock, Paths
from dipper.progress import Progress
from dipper.service import Service
from dipper.settings import ProcessSettings, SettingsError, load_policy
from dipper.up_cli import announce
from simulator.asgi import post
from simulator.drive import TELEMETRY_PATH
from simulator.drive import run_live as drive_live
from simulator.fleet import Fleet
from simulator.settings import Settings, build_fleet

PLANNED_MINUTES = 24 * 60.0  # random faults are laid out this far ahead
QUIET_MINUTES = 12.0  # before the first fault, so that there is a normal to compare with
CONCURRENCY = 256
ASSIGNMENTS = "assignments.jsonl"  # what the scheduler gave boxes it steered, and with what probability


def run_live(process: ProcessSettings, settings: Settings, history_minutes: float) -> int:
    """Serve the demo until a signal."""
    paths = Paths(process.data)
    now = wall_clock() // DEFAULT_INTERVAL_MS * DEFAULT_INTERVAL_MS
    start = now - round(history_minutes * MINUTE_MS) // DEFAULT_INTERVAL_MS * DEFAULT_INTERVAL_MS
    settings = dataclasses.replace(
        settings, start_ms=start, minutes=max(settings.minutes, PLANNED_MINUTES), quiet_minutes=QUIET_MINUTES
    )
    _begin_anew(paths)
    clock = SettableClock(start)
    with OwnerLock(paths):
        (paths.root / MARKER).touch()
        engine = open_engine(paths, for_demo(load_policy(process.policy)), clock)
        try:
            fleet = build_fleet(settings, ill_boxes_per_hour=ILL_BOXES_PER_HOUR)
            token = register(engine.registry, fleet.world, start)
            demo_levels.promise(engine.store, fleet.world.customers, start)
            service = Service(engine, process, demo=True)
            uvloop.run(service.run(lambda s: _simulate(s, fleet, clock, token), announce))
        finally:
            engine.close()
    return 0


def _begin_anew(paths: Paths) -> None:
    """Remove an earlier demo's data; never anything else."""
    if not paths.root.exists() or not any(paths.root.iterdir()):
        return
    if not (paths.root / MARKER).exists():
        raise SettingsError(f"--data: expected a new folder or one of an earlier demo, got {paths.root}")
    with OwnerLock(paths):
        for path in paths.root.iterdir():
            if path.name not in (MARKER, paths.lock.name):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


async def _simulate(service: Service, fleet: Fleet, clock: SettableClock, token: str) -> None:
    """The fleet and its people, until the service stops."""

    async def send(path: str, headers: Mapping[str, str], body: bytes) -> Any:
        return await post(service.engine.gateway, path, headers, body)

    announcer = Announcer(service.engine.registry, fleet, token, send)
    await _catch_up(fleet, clock, send, announcer)
    clock.follow_wall()
    print("  the fleet is live now", file=sys.stderr, flush=True)
    engine = service.engine
    feed_token = give_token(engine.registry, clock())
    scheduler = LiveScheduler(fleet, service.address, feed_token, clock, engine.paths.root / ASSIGNMENTS)

    async def on_tick(now: int) -> None:
        await announcer.announce(now)
        await scheduler.follow()

    scheduler.start()
    try:
        await drive_live(fleet, send, clock, asyncio.Event(), on_tick=on_tick)
    finally:
        await scheduler.stop()


async def _catch_up(fleet: Fleet, clock: SettableClock, send: Any, announcer: Announcer) -> None:
    """Simulate interval by interval until the present."""
    began = clock()
    progress = Progress("simulating the past", max(1, wall_clock() - began))
    slots = asyncio.Semaphore(CONCURRENCY)

    async def exchange(attempt: Any) -> None:
        async with slots:
            status, headers, _ = await send(TELEMETRY_PATH, attempt.headers, attempt.body)
            fleet.answer(attempt, status, headers, clock())

    while clock() + DEFAULT_INTERVAL_MS <= wall_clock():
        clock.set(clock() + DEFAULT_INTERVAL_MS)
        await asyncio.gather(*(exchange(attempt) for attempt in fleet.step(clock())))
        await announcer.announce(clock())
        progress.update(clock() - began)
    progress.finish()
