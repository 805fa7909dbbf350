"""uvicorn servers inside a loop that this program owns: its signals, its order of stopping."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from dipper.arrival import ArrivalProtocol
from dipper.settings import Listener, SettingsError

SHUTDOWN_S = 5
MOST_CONNECTIONS = 8192  # beyond it uvicorn answers 503: boxes come back, memory stays bounded


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the program: uvicorn's own handling would raise them again and end the
    process before logs and store are closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(listener: Listener, name: str) -> socket.socket:
    """A listening socket; port 0 takes any free one. Raises SettingsError with the setting's name."""
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((listener.host, listener.port))
    except OSError as error:
        sock.close()
        reason = error.strerror or error
        raise SettingsError(f"{name}: cannot listen on {listener.host}:{listener.port}: {reason}") from None
    sock.set_inheritable(False)
    return sock


def server_for(app: Any, *, tls_cert: Path | None = None, tls_key: Path | None = None) -> Server:
    """A quiet server for an ASGI application. Request logs would cost more than the requests; metrics count them."""
    config = uvicorn.Config(
        app,
        http=ArrivalProtocol,
        access_log=False,
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=SHUTDOWN_S,
        timeout_keep_alive=75,
        backlog=2048,
        limit_concurrency=MOST_CONNECTIONS,
        server_header=False,
        proxy_headers=False,  # nothing here asks for a client's address, and who states one may lie
        ssl_certfile=None if tls_cert is None else str(tls_cert),
        ssl_keyfile=None if tls_key is None else str(tls_key),
    )
    return Server(config)


async def started(server: Server, serving: asyncio.Task[None]) -> None:
    """Wait until a server accepts connections; raise what ended it if it did not come up."""
    while not server.started:
        if serving.done():
            serving.result()
            raise SettingsError("server: ended before it accepted connections")
        await asyncio.sleep(0.01)
