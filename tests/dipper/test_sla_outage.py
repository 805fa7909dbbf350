"""A gateway is away for six hours, boxes send their reports late: the sealed month is the same as without."""

import asyncio
from dataclasses import dataclass

import pytest

from contracts.sla import Month
from contracts.times import HOUR_MS, SEAL_AFTER_MS
from dipper import demo_levels
from dipper.engine import open_engine
from dipper.fleet import register
from dipper.paths import Paths
from dipper.settings import load_policy
from history.objectives import in_force, versions
from history.sla_account import account
from history.sla_minutes import known_through
from history.sla_seal import seal
from simulator.drive import SimulatedClock, run_simulated
from simulator.fleet import Habits
from simulator.settings import Settings, build_fleet

HOURS = 8
OUTAGE = (1, 7)  # hours after the start
JANUARY = Month(2026, 1)
KEEP_ALL = Habits(spool_reports=4_000, backlog_per_interval=60)


@dataclass
class Seen:
    """What a run showed: accounts while the gateway was away (just before it came back), and sealed ones."""

    during: dict
    sealed: dict


def run(folder, outage):
    """Simulate the last hours of January and seal it; the gateway answers 503 in the hours of `outage`."""
    settings = Settings(devices=5, customers=2, seed=11, minutes=HOURS * 60, faults_per_hour=1.0)
    fleet = build_fleet(settings)
    zone = fleet.world.customers[0].timezone
    start = JANUARY.span(demo_levels.zone_of("timezone", zone))[1] - HOURS * HOUR_MS
    fleet = build_fleet(Settings(**{**fields(settings), "start_ms": start}), KEEP_ALL)
    clock = SimulatedClock(start)
    policy = load_policy()
    engine = open_engine(
        Paths(folder), {**policy, "log": {**policy["log"], "group_commit_ms": 0}}, clock, manual=True, live=False
    )
    during = {}
    away = range(start + outage[0] * HOUR_MS, start + outage[1] * HOUR_MS) if outage else range(0)
    try:
        register(engine.registry, fleet.world, clock())
        demo_levels.promise(engine.store, fleet.world.customers, clock())

        async def app(scope, receive, send):
            if clock() in away:
                await send({"type": "http.response.start", "status": 503, "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return
            await engine.gateway(scope, receive, send)

        async def flush():
            await engine.gateway.flush()

        async def on_tick(now):
            await engine.gateway.heartbeat(now)
            if (now - start) % (HOUR_MS // 2) == 0:
                await asyncio.to_thread(engine.sink.drain, now)
            if now == start + OUTAGE[1] * HOUR_MS - HOUR_MS // 2:
                during.update(accounts(engine.store, known_through(engine.store)))

        async def drive():
            await engine.gateway.start()
            try:
                stats = await run_simulated(fleet, app, clock, settings.minutes, on_tick, flush=flush)
                assert stats.unsent == 0
            finally:
                await engine.gateway.stop()

        asyncio.run(drive())
        due = JANUARY.span(demo_levels.zone_of("timezone", zone))[1] + SEAL_AFTER_MS
        engine.sink.drain(due)
        held = in_force(versions(engine.store), JANUARY)
        return Seen(during, {v.level.name: seal(engine.store, v, JANUARY, due, due) for v in held})
    finally:
        engine.close()


def fields(settings):
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


def accounts(store, through):
    return {v.level.name: account(store, v, JANUARY, through) for v in in_force(versions(store), JANUARY)}


@pytest.mark.verify
@pytest.mark.timeout(1500)
def test_an_outage_of_six_hours_leaves_the_sealed_month_as_it_would_have_been(tmp_path):
    calm, struck = run(tmp_path / "calm", None), run(tmp_path / "struck", OUTAGE)
    assert len(calm.sealed) > 3
    for name, document in calm.sealed.items():
        assert document["minutes"]["good"] > HOURS * 60 / 2, name
        assert document["minutes"]["good"] + document["minutes"]["bad"] > 0.9 * HOURS * 60, name
        assert struck.sealed[name] == document
        assert struck.sealed[name]["seal"] == document["seal"]
        # While it lasted, nothing of it counted as good or as bad: an hour unmeasured, then not known yet.
        then = struck.during[name]["minutes"]
        assert then["good"] + then["bad"] <= OUTAGE[0] * 60 + 2
        assert then["unmeasured"] >= 55
        assert then["pending"] > calm.during[name]["minutes"]["pending"] + 4 * 60
        assert struck.during[name]["attainment"]["upper"] > struck.during[name]["attainment"]["lower"] + 0.4
