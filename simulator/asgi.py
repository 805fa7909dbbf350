"""The smallest client that calls an ASGI application in the same process: no sockets, no clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
App = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
Answer = tuple[int, dict[str, str], bytes]

_VERSION = {"version": "3.0", "spec_version": "2.3"}


async def post(app: App, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """POST a body; returns status, headers (names in lower case) and body. What the application raises passes
    through; status 0: it ended without an answer."""
    return await call(app, "POST", path, headers, body)


async def call(app: App, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
    """Like `post`, with any method."""
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": _VERSION,
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": raw,
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
    }
    exchange = _Exchange(body)
    try:
        await app(scope, exchange.receive, exchange.send)
    finally:
        exchange.done.set()
    return exchange.status, exchange.headers, b"".join(exchange.parts)


class _Exchange:
    """One request's side of the conversation."""

    __slots__ = ("_body", "done", "headers", "parts", "status")

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self.done = asyncio.Event()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []

    async def receive(self) -> Message:
        """The body, then, once the answer is complete, the disconnect: earlier would read as a client that left."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.done.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Collect the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in message.get("headers", ())}
        elif message["type"] == "http.response.body":
            self.parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                self.done.set()
