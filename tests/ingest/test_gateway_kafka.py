"""Gateways before real brokers: answers follow the acknowledgement, outages are 503, gateways learn from each other."""

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager
from typing import NamedTuple

import pyarrow as pa
import pytest

from contracts import arrow
from contracts.columns import SLICES
from ingest.gateway import Gateway, GatewaySettings
from ingest.heartbeats import is_heartbeat
from ingest.http import call
from ingest.log.kafka import KafkaLog
from tests.ingest.builders import MemoryRegistry, body_of, make_report, signed
from tests.ingest.log_contract import DEADLINE_S
from tests.services.kafka import Broker, create_topics

DEVICES = tuple(f"d-{i}" for i in range(20))
TIMEOUT_S = 3.0


class Answer(NamedTuple):
    """What a gateway answered."""

    status: int
    headers: dict[str, str]
    body: bytes


def wall_ms():
    return time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A broker that tests may kill; each leaves it running."""
    with Broker(tmp_path_factory.mktemp("kafka-gateway"), quick=True) as broker:
        yield broker


@pytest.fixture
def prefix(broker, request):
    prefix = f"{request.node.name}."
    names = ("telemetry.reports", "telemetry.slices", "telemetry.vitals", "telemetry.rejected", "changes")
    create_topics(broker.settings, {prefix + name: 2 for name in names})
    return prefix


@asynccontextmanager
async def serving(broker, prefix, **settings):
    """A started gateway with a log of its own, as a process has it."""
    log = await asyncio.to_thread(
        KafkaLog, broker.settings, client_id="gateway", prefix=prefix, delivery_timeout_s=TIMEOUT_S
    )
    gateway = Gateway(log, MemoryRegistry(DEVICES), GatewaySettings(**{"flush_ms": 20, **settings}), wall_ms)
    await gateway.start()
    try:
        yield gateway, log
    finally:
        await gateway.stop()
        await asyncio.to_thread(log.close)


async def ask(gateway, method, path, headers=None, body=b""):
    return Answer(*await call(gateway, method, path, headers, body))


async def post(gateway, device, seq=1, **report):
    now = wall_ms()
    start = now - now % 10_000 - 10_000
    body = body_of(make_report(seq, device=device, start=start, end=start + 10_000, **report))
    return await ask(gateway, "POST", "/v1/telemetry", signed(body, device=device, seq=seq, sent_at=now), body)


async def until(condition, what):
    deadline = time.monotonic() + DEADLINE_S
    while not await condition():
        assert time.monotonic() < deadline, f"{what} did not happen in {DEADLINE_S} s"
        await asyncio.sleep(0.05)


def stored_names(log):
    """(device, seq) of all slices in the log, once per report."""
    ends = {("telemetry.slices", p): end for p, end in enumerate(log.end_offsets("telemetry.slices"))}
    reader = log.reader(dict.fromkeys(ends, 0))
    names = set()
    while any(reader.positions()[place] < end for place, end in ends.items()):
        for r in reader.poll(100, 1.0):
            if not is_heartbeat(r):
                batch = arrow.from_bytes(SLICES, r.value, pa)
                names.update(zip(*(batch.column(n).to_pylist() for n in ("device", "seq")), strict=True))
    reader.close()
    return names


def test_what_is_answered_stored_is_in_kafka_and_nothing_is_answered_before(broker, prefix):
    async def main():
        async with serving(broker, prefix) as (gateway, log):
            answers = await asyncio.gather(*(post(gateway, device) for device in DEVICES))
            assert [a.status for a in answers] == [200] * len(DEVICES)
            assert await asyncio.to_thread(stored_names, log) == {(device, 1) for device in DEVICES}
            os.kill(broker.pid(), signal.SIGSTOP)
            try:
                waiting = asyncio.ensure_future(post(gateway, "d-0", seq=2))
                done, _ = await asyncio.wait([waiting], timeout=0.5)
                assert not done, "an answer must wait for the acknowledgement"
                health = await ask(gateway, "GET", "/healthz")
                assert health.status == 200
            finally:
                os.kill(broker.pid(), signal.SIGCONT)
            assert (await waiting).status == 200
            assert ("d-0", 2) in await asyncio.to_thread(stored_names, log)

    asyncio.run(main())


def test_an_outage_is_503_with_retry_after_and_bounded_memory_and_ends_by_itself(broker, prefix):
    async def main():
        async with serving(broker, prefix, max_pending_bytes=200_000) as (gateway, log):
            assert (await post(gateway, "d-0")).status == 200
            await asyncio.to_thread(broker.kill)
            began = time.monotonic()
            answers = await asyncio.gather(*(post(gateway, device, seq=2) for device in DEVICES))
            assert {a.status for a in answers} == {503}
            assert all(int(a.headers["retry-after"]) > 0 for a in answers)
            assert time.monotonic() - began < TIMEOUT_S + 3
            assert (await ask(gateway, "GET", "/readyz")).status == 503
            began = time.monotonic()
            assert (await post(gateway, "d-1", seq=2)).status == 503
            assert time.monotonic() - began < 1, "refused at once once Kafka counts as away"
            assert log.buffered_bytes == 0
            await asyncio.to_thread(broker.start)

            async def taken():
                return (await post(gateway, "d-1", seq=2)).status == 200

            await until(taken, "recovery")
            assert (await ask(gateway, "GET", "/readyz")).status == 200
            assert {("d-0", 1), ("d-1", 2)} <= await asyncio.to_thread(stored_names, log)

    asyncio.run(main())


def test_a_report_that_another_gateway_stored_is_a_duplicate(broker, prefix):
    async def main():
        async with (
            serving(broker, prefix, follow=True) as (first, log),
            serving(broker, prefix, follow=True) as (second, _),
            serving(broker, prefix) as (alone, _),
        ):
            now = wall_ms()
            body = body_of(make_report(1, start=now - 20_000 - now % 10_000, end=now - 10_000 - now % 10_000))
            headers = signed(body, sent_at=now)
            stored = await ask(first, "POST", "/v1/telemetry", headers, body)
            assert b"stored" in stored.body

            async def known():
                return second._known.newest("d-1", "boot-1") is not None

            await until(known, "learning")
            again = await ask(second, "POST", "/v1/telemetry", headers, body)
            assert (again.status, again.body) == (200, b'{"status":"duplicate"}')
            unaware = await ask(alone, "POST", "/v1/telemetry", headers, body)
            assert b"stored" in unaware.body
            assert await asyncio.to_thread(stored_names, log) == {("d-1", 1)}

    asyncio.run(main())
