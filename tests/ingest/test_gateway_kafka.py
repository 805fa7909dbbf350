"""Gateways before real brokers: answers follow the acknowledgement, outages are 503, gateways learn from each other."""

import asyncio
import contextlib
import itertools
import os
import re
import signal
import time
from contextlib import asynccontextmanager
from typing import NamedTuple

import pyarrow as pa
import pytest

from contracts import arrow
from contracts.columns import REPORTS, SLICES
from contracts.protocols import LogError
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
    prefix = re.sub(r"[^\w.-]", "-", request.node.name) + "."
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


def places_of_names(log, topic, columns):
    """(device, seq) of all slices or headers in the log, with the first (partition, offset) of each."""
    ends = {(topic, p): end for p, end in enumerate(log.end_offsets(topic))}
    reader = log.reader(dict.fromkeys(ends, 0))
    places = {}
    while any(reader.positions()[place] < end for place, end in ends.items()):
        for r in reader.poll(100, 1.0):
            if not is_heartbeat(r):
                batch = arrow.from_bytes(columns, r.value, pa)
                for name in zip(*(batch.column(n).to_pylist() for n in ("device", "seq")), strict=True):
                    places.setdefault(name, (r.partition, r.offset))
    reader.close()
    return places


def stored_names(log):
    """(device, seq) of all slices in the log, once per report."""
    return set(places_of_names(log, "telemetry.slices", SLICES))


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


def test_no_header_stands_where_brokers_refuse_the_slices(broker):
    prefix = "refused."
    names = ("telemetry.reports", "telemetry.vitals", "telemetry.rejected", "changes")
    create_topics(broker.settings, {prefix + name: 2 for name in names})
    create_topics(broker.settings, {prefix + "telemetry.slices": 2}, max_message_bytes="300")

    async def main():
        async with serving(broker, prefix, heartbeat_ms=3_600_000) as (gateway, log):
            assert (await post(gateway, "d-0")).status == 503
            assert await asyncio.to_thread(log.end_offsets, "telemetry.slices") == [0, 0]
            assert await asyncio.to_thread(log.end_offsets, "telemetry.reports") == [0, 0]

    asyncio.run(main())


@pytest.mark.verify
@pytest.mark.parametrize("after_s", [0.3, 0.5, 0.7, 0.9])
def test_whoever_looks_sees_no_header_before_its_slices_also_when_brokers_die(broker, prefix, after_s):
    """A cut as the sink makes it, first the end of headers and then that of slices, again and again under load."""
    cuts = []

    def look(log):
        with contextlib.suppress(LogError):
            cuts.append((log.end_offsets("telemetry.reports"), log.end_offsets("telemetry.slices")))

    async def send(gateway, device, ends):
        for seq in itertools.count(1):
            if time.monotonic() > ends:
                return
            await post(gateway, device, seq)

    async def watch(log, ends):
        while time.monotonic() < ends:
            await asyncio.to_thread(look, log)

    async def main():
        async with serving(broker, prefix, flush_ms=1, requests_burst=1e6) as (gateway, log):
            began = time.monotonic()
            sending = [asyncio.ensure_future(send(gateway, device, began + after_s + 0.2)) for device in DEVICES]
            watching = asyncio.ensure_future(watch(log, began + after_s))
            await asyncio.sleep(after_s)
            await asyncio.to_thread(broker.kill)
            await asyncio.gather(*sending, watching)
            await asyncio.to_thread(broker.start)

            async def taken():
                return (await post(gateway, DEVICES[0], 100_000)).status == 200

            await until(taken, "recovery")
            await asyncio.to_thread(look, log)
            headers = await asyncio.to_thread(places_of_names, log, "telemetry.reports", REPORTS)
            slices = await asyncio.to_thread(places_of_names, log, "telemetry.slices", SLICES)
            assert len(headers) > len(DEVICES)
            assert set(headers) <= set(slices)
            for name, (partition, offset) in headers.items():
                at, its = slices[name]
                seen = next(slice_ends for header_ends, slice_ends in cuts if header_ends[partition] > offset)
                assert its < seen[at], f"{name}: its header could be read before its slices"

    asyncio.run(main())
