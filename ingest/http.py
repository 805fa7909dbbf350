"""The little of HTTP that the gateway needs of ASGI: reading a bounded body, sending an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.auth import SERVER_TIME_HEADER, VERSIONS_HEADER
from contracts.report import SUPPORTED_VERSIONS
from ingest.errors import PROBLEM_TYPE, Refusal

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = Mapping[bytes, bytes]
ARRIVED_AT = "arrived_at"  # in a scope's state, from a server that knows: when the request came, ms UTC

_VERSIONS = (VERSIONS_HEADER.encode(), ",".join(map(str, SUPPORTED_VERSIONS)).encode())
_SERVER_TIME = SERVER_TIME_HEADER.encode()


class Disconnected(Exception):
    """The client went away before its body was read; nobody is left to answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; `reason` is counted."""

    status: int
    body: bytes
    content_type: str = "application/json"
    reason: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())


def problem(refusal: Refusal) -> Answer:
    """The answer of a refusal."""
    headers: list[tuple[bytes, bytes]] = []
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Dipper-HMAC" if refusal.reason != "bad_token" else b"Bearer"))
    return Answer(refusal.status, refusal.body(), PROBLEM_TYPE, refusal.reason, tuple(headers))


def arrived_at(scope: Scope, now: int) -> int:
    """When a request came; `now` where its server does not know better."""
    arrived: int = scope.get("state", {}).get(ARRIVED_AT, now)
    return min(now, arrived)


async def send_answer(send: Send, answer: Answer, now: int) -> None:
    """Send an answer with the headers that every answer carries."""
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (_SERVER_TIME, str(now).encode()),
        _VERSIONS,
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def text_header(headers: Headers, name: str) -> str:
    """A header's text, empty when it is missing or not ASCII."""
    value = headers.get(name.encode(), b"")
    return value.decode() if value.isascii() else ""


async def read_body(receive: Receive, headers: Headers, limit: int, timeout_s: float) -> bytes:
    """The body, at most `limit` bytes. Raises Refusal 413 (by Content-Length before reading, else when it comes to
    more), 408 when the rest takes longer than timeout_s; Disconnected."""
    declared = headers.get(b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise _too_large(limit, int(declared))
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        try:
            async with asyncio.timeout(timeout_s):
                body = await _read_rest(receive, body, limit)
        except TimeoutError:
            raise Refusal(408, "slow_body", f"body: expected within {timeout_s:g} s, got {len(body)} bytes") from None
    if len(body) > limit:
        raise _too_large(limit, len(body))
    return body


async def _read_rest(receive: Receive, body: bytes, limit: int) -> bytes:
    chunks, size = [body], len(body)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _too_large(limit, size)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _too_large(limit: int, size: int) -> Refusal:
    return Refusal(413, "too_large", f"body: expected at most {limit} bytes, got {size} or more", "body")


async def call(
    app: Any, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    """Send a request to an ASGI application in this process; returns status, headers, body."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
    }
    requests = iter([{"type": "http.request", "body": body, "more_body": False}])
    answers: list[dict[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        return next(requests, {"type": "http.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    await app(scope, receive, send)
    start, rest = answers[0], answers[1:]
    received = {k.decode(): v.decode() for k, v in start["headers"]}
    return start["status"], received, b"".join(m.get("body", b"") for m in rest)
