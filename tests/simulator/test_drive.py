"""The drivers: simulated and live runs against an ASGI application, and the in-process client."""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import pytest

from contracts.auth import SERVER_TIME_HEADER, Envelope, verify
from contracts.times import AUTH_WINDOW_MS
from simulator.asgi import call, post
from simulator.drive import CLOSE_MS, SimulatedClock, run_live, run_simulated
from simulator.errors import SimulatorError
from simulator.fleet import Habits
from simulator.settings import DEFAULT_START, add_arguments, build_fleet, from_arguments
from tests.simulator.builders import CALM, START, make_fleet, spec


class App:
    """Answers telemetry after checking signature and clock; `held`: answers wait for `flush`."""

    def __init__(self, fleet, now, *, held=False):
        self.keys = {d.id: d.key for d in fleet.world.devices}
        self.now = now
        self.held = held
        self.waiting: list[asyncio.Event] = []
        self.seen: list[tuple[str, str, int]] = []
        self.offsets: list[int] = []
        self.most_at_once = self.at_once = 0

    async def __call__(self, scope, receive, send):
        assert (scope["method"], scope["path"]) == ("POST", "/v1/telemetry")
        h = {k.decode(): v.decode() for k, v in scope["headers"]}
        body = (await receive())["body"]
        assert int(h["content-length"]) == len(body)
        envelope = Envelope(
            h["dipper-device"],
            h["dipper-boot"],
            int(h["dipper-seq"]),
            int(h["dipper-sent-at"]),
            h["dipper-signature"],
        )
        now = self.now()
        status = 401
        if verify(self.keys[envelope.device], envelope, body) and abs(now - envelope.sent_at) <= AUTH_WINDOW_MS:
            status = 200
            self.seen.append((envelope.device, envelope.boot, envelope.seq))
            self.offsets.append(now - envelope.sent_at)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.held:
            event = asyncio.Event()
            self.waiting.append(event)
            await event.wait()
        else:
            await asyncio.sleep(0)
        self.at_once -= 1
        headers = [(SERVER_TIME_HEADER.encode(), str(now).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def flush(self):
        waiting, self.waiting = self.waiting, []
        for event in waiting:
            event.set()


@pytest.mark.parametrize("substeps", [1, 5])
@pytest.mark.parametrize("held", [False, True])
def test_a_simulated_run_sends_everything_and_ends_with_every_minute_closed(substeps, held):
    fleet = make_fleet([spec("path_cut", 0.5, 60, boxes=3)], habits=Habits(backlog_per_interval=2))
    clock = SimulatedClock(START)
    app = App(fleet, clock, held=held)
    ticks: list[int] = []

    async def on_tick(now):
        ticks.append(now)

    flush = app.flush if held else None
    stats = asyncio.run(run_simulated(fleet, app, clock, 2, on_tick, flush=flush, concurrency=10, substeps=substeps))
    assert stats.intervals == 12
    assert stats.settle_intervals >= 1
    assert stats.unsent == 0
    assert set(app.seen) == {(b.device.id, b.boot, s) for b in fleet.boxes for s in range(1, b.seq + 1)}
    assert stats.answers[200] == len(app.seen)
    assert app.most_at_once <= 10
    assert ticks == sorted(ticks)
    assert ticks[-1] - (START + 120_000) >= CLOSE_MS
    # Received when sent: what is left is the box's clock, or less than half a step of it once it has learned.
    errors = {d.clock_error_ms for d in fleet.world.devices}
    assert all(-offset in errors or abs(offset) <= 5_000 for offset in app.offsets)


def test_what_the_application_raises_ends_the_run():
    fleet = make_fleet(habits=CALM)

    async def broken(scope, receive, send):
        raise RuntimeError("broken gateway")

    async def on_tick(now):
        pass

    with pytest.raises(RuntimeError, match="broken gateway"):
        asyncio.run(run_simulated(fleet, broken, SimulatedClock(START), 1, on_tick))


def test_a_live_run_sends_on_the_clock_until_stopped_and_survives_refused_connections():
    async def scenario():
        fleet = make_fleet(devices=8, habits=CALM)
        # A clock that is 50 ms before the end of an interval now.
        ahead = (START + 9_950) - int(time.time() * 1000)

        def now():
            return int(time.time() * 1000) + ahead

        app = App(fleet, now)
        stop = asyncio.Event()
        calls = 0

        async def send(path, headers, body):
            nonlocal calls
            calls += 1
            if calls == len(fleet.boxes):
                stop.set()
            if calls == 1:
                raise ConnectionRefusedError
            return await post(app, path, headers, body)

        stats = await asyncio.wait_for(run_live(fleet, send, now, stop, spread_ms=100), 20)
        assert stats.intervals == 1
        assert stats.answers[0] == 1
        assert stats.answers[200] == len(app.seen) > 0
        assert stats.unsent == len(fleet.boxes) - len(app.seen)

    asyncio.run(scenario())


def test_the_client_passes_query_and_streams_and_disconnects_only_afterwards():
    async def app(scope, receive, send):
        assert scope["query_string"] == b"a=1"
        assert (await receive())["more_body"] is False
        gone = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        assert not gone.done()
        await send({"type": "http.response.start", "status": 201, "headers": [(b"X-Name", b"v")]})
        await send({"type": "http.response.body", "body": b"one,", "more_body": True})
        assert not gone.done()
        await send({"type": "http.response.body", "body": b"two"})
        assert (await gone)["type"] == "http.disconnect"

    assert asyncio.run(call(app, "GET", "/x?a=1", {})) == (201, {"x-name": "v"}, b"one,two")


def parse(*arguments: str):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return from_arguments(parser.parse_args(arguments))


def test_settings_from_the_command_line_build_the_fleet(tmp_path):
    script = tmp_path / "f.json"
    script.write_text(json.dumps({"fault": [{"kind": "origin_failure", "start_minute": 1, "minutes": 2}]}))
    fleet = build_fleet(parse("--devices", "12", "--customers", "3", "--seed", "9", "--script", str(script)))
    assert len(fleet.boxes) == 12
    assert len(fleet.world.customers) == 3
    assert [f.kind for f in fleet.faults] == ["origin_failure"]
    assert fleet.world.start_ms == START
    assert DEFAULT_START == "2026-01-05T10:00:00Z"


def test_without_a_script_faults_are_random_at_the_rate_asked_for():
    none = build_fleet(parse("--devices", "30", "--minutes", "60", "--fault-rate", "0"))
    some = build_fleet(parse("--devices", "30", "--minutes", "60", "--fault-rate", "5"))
    assert none.faults == ()
    assert len([f for f in some.faults if f.harmful]) in (4, 5, 6)


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--fault-rate", "-1"], ["--start", "yesterday"]])
def test_settings_that_make_no_sense_are_refused(arguments):
    with pytest.raises(SimulatorError):
        parse(*arguments)
