"""A request's arrival is when its bytes came, not when a busy process read them."""

import asyncio
import socket
import time

from dipper.clock import wall_clock
from dipper.servers import server_for, started
from ingest.http import ARRIVED_AT

BUSY_S = 0.6
SLACK_MS = 250
REQUEST = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}"


async def served(act):
    """What an application behind a server was told while `act(address)` went on."""
    told = []

    async def app(scope, receive, send):
        told.append(scope["state"][ARRIVED_AT])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    server = server_for(app)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve([listener]))
        await started(server, serving)
        with socket.create_connection(listener.getsockname()) as client:
            times = await act(client)
        server.should_exit = True
        await serving
    return told, times


async def answered(client):
    """Wait for an answer without holding up the server in the same loop."""
    assert (await asyncio.to_thread(client.recv, 1_000)).startswith(b"HTTP/1.1 200")


def busy():
    """The process does nothing else meanwhile, as while it starts."""
    end = time.monotonic() + BUSY_S
    while time.monotonic() < end:
        pass


def test_a_request_that_waited_keeps_the_time_it_came():
    async def act(client):
        times = []
        for _ in range(2):  # on a connection nobody has accepted yet, and on a kept one
            times.append(wall_clock())
            client.sendall(REQUEST)
            busy()
            await answered(client)
        return times

    told, times = asyncio.run(served(act))
    assert len(told) == 2
    for arrived, sent in zip(told, times, strict=True):
        assert abs(arrived - sent) < SLACK_MS < BUSY_S * 1_000


def test_a_request_that_is_read_at_once_arrived_now():
    async def act(client):
        sent = wall_clock()
        client.sendall(REQUEST)
        await answered(client)
        return sent, wall_clock()

    (arrived,), (sent, after) = asyncio.run(served(act))
    assert sent - SLACK_MS < arrived <= after
