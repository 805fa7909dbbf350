"""The fleet's HTTP: kept connections, and another gateway when one does not answer."""

import asyncio
import contextlib

import pytest

from simulator.errors import SimulatorError
from simulator.sender import NOTHING, Endpoint, Line, Sender, endpoint
from simulator.settings import Settings, build_fleet

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
NOT_NOW = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


class Gateway:
    """A listener that answers every request with the same bytes, or hangs up on it (None)."""

    def __init__(self, reply):
        self.reply = reply
        self.requests = 0
        self.connections = 0
        self.seqs = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.endpoint = endpoint(f"http://127.0.0.1:{port}")
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.requests += 1
                self.seqs += [
                    int(line[12:]) for line in head.lower().split(b"\r\n") if line.startswith(b"dipper-seq: ")
                ]
                if self.reply is None:
                    break
                writer.write(self.reply)
        writer.close()


def fleet_of(devices=6):
    return build_fleet(Settings(devices=devices, customers=2, seed=3, minutes=1, faults_per_hour=0))


async def send_interval(fleet, gateways):
    sender = Sender(fleet, gateways)
    attempts = fleet.step(fleet.world.start_ms + 10_000)
    for attempt in attempts:
        await sender.send(attempt)
    sender.close()
    return sender, len(attempts)


def test_boxes_share_kept_connections():
    async def run():
        async with Gateway(OK) as gateway:
            sender, sent = await send_interval(fleet_of(), [gateway.endpoint])
            assert sent >= 5
            assert gateway.requests == sent
            assert gateway.connections == 1
            assert sender.summary()["answers"] == {"200": sent}
            assert sender.fleet.unsent() == 0

    asyncio.run(run())


@pytest.mark.parametrize("reply", [None, NOT_NOW])
def test_a_report_goes_to_another_gateway_when_one_does_not_take_it(reply):
    async def run():
        async with Gateway(reply) as bad, Gateway(OK) as good:
            sender, sent = await send_interval(fleet_of(40), [bad.endpoint, good.endpoint])
            assert good.requests == sent
            assert bad.requests > 0
            assert sender.moved > 0
            assert sender.answers == {200: sent}

    asyncio.run(run())


def test_a_box_keeps_its_report_when_no_gateway_answers():
    async def run():
        async with Gateway(None) as bad:
            sender, sent = await send_interval(fleet_of(), [bad.endpoint])
            assert sender.answers == {0: sent}
            assert sender.fleet.unsent() == len({a.device.id for a in sender.fleet.boxes if a.held})
            assert sender.fleet.truth.ledger(sender.fleet.boxes)["requests"]["stored"] == 0

    asyncio.run(run())


def test_what_failed_follows_as_soon_as_a_gateway_answers_again():
    async def run():
        async with Gateway(NOT_NOW) as gateway:
            fleet = fleet_of()
            sender = Sender(fleet, [gateway.endpoint])
            start = fleet.world.start_ms
            failed = fleet.step(start + 10_000)
            for attempt in failed:
                await sender.send(attempt)
            gateway.reply = OK
            for box in fleet.boxes:
                box.retry_at_ms = 0
            for attempt in fleet.step(start + 20_000):
                await sender.send(attempt)
            async with asyncio.timeout(30):
                while fleet.unsent():
                    await asyncio.sleep(0.01)
            await sender.idle()
            sender.close()
            assert sender.answers == {503: len(failed), 200: 2 * len(failed)}

    asyncio.run(run())


async def plan_three(reply):
    """Three reports of one box, due at the same moment."""
    async with Gateway(reply) as gateway:
        fleet = fleet_of(1)
        sender = Sender(fleet, [gateway.endpoint])
        start = fleet.world.start_ms
        sender.plan([attempt for n in (1, 2, 3) for attempt in fleet.step(start + n * 10_000)])
        async with asyncio.timeout(30):
            while not gateway.requests:
                await asyncio.sleep(0.01)
            await sender.idle()
        sender.close()
    return gateway, sender


def test_a_box_sends_one_report_after_the_other_the_newest_of_those_that_wait_first():
    gateway, sender = asyncio.run(plan_three(OK))
    assert gateway.seqs == [1, 3, 2]
    assert gateway.connections == 1
    assert sender.fleet.unsent() == 0


def test_what_waits_behind_a_report_that_failed_is_kept_for_later_and_not_sent():
    gateway, sender = asyncio.run(plan_three(NOT_NOW))
    assert gateway.seqs == [1]
    (box,) = sender.fleet.boxes
    assert len(box.held) == 3
    assert not any(held.in_flight for held in box.held.values())
    assert box.failures == 1


def test_a_connection_the_server_closed_is_replaced_without_a_failure():
    async def run():
        async with Gateway(OK.replace(b"content-length", b"connection: close\r\ncontent-length")) as gateway:
            sender, sent = await send_interval(fleet_of(), [gateway.endpoint])
            assert sender.answers == {200: sent}
            assert gateway.connections == sent

    asyncio.run(run())


def test_a_request_is_made_only_when_there_is_a_connection_for_it():
    async def made(where):
        requests = []

        def request():
            requests.append(b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n")
            return requests[-1]

        line = Line(where)
        answer = await line.exchange(request)
        line.close()
        return answer, len(requests)

    async def run():
        async with Gateway(OK) as gateway:
            there = await made(gateway.endpoint)
        return there, await made(Endpoint("127.0.0.1", 1))

    (answer, times), gone = asyncio.run(run())
    assert (answer[0], times) == (200, 1)
    assert gone == (NOTHING, 0)


@pytest.mark.parametrize("url", ["127.0.0.1:8410", "http://127.0.0.1", "ftp://h:1", "http://h:1/path", "http://h:x"])
def test_a_wrong_address_is_named(url):
    with pytest.raises(SimulatorError, match="gateway: expected http://HOST:PORT"):
        endpoint(url)
