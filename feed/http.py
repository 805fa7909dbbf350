"""The little of HTTP that the feed needs of ASGI."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from feed.errors import PROBLEM_TYPE, Refusal

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
JSON = "application/json"
_MAX_QUERY_CHARS = 4_000
_MOST_BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


def problem(refusal: Refusal) -> Answer:
    """The answer of a refusal."""
    headers: list[tuple[bytes, bytes]] = []
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return Answer(refusal.status, refusal.body(), PROBLEM_TYPE, tuple(headers))


async def send_answer(send: Send, answer: Answer, *, head: bool = False) -> None:
    """Send an answer; `head`: without its body."""
    headers = [(b"content-type", answer.content_type.encode()), *answer.headers]
    if answer.status != 304:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else answer.body})


def header(scope: Scope, name: str) -> str:
    """A header's text, empty when it is missing or not ASCII."""
    wanted = name.encode()
    for key, value in scope["headers"]:
        if key.lower() == wanted:
            return bytes(value).decode() if value.isascii() else ""
    return ""


class Query:
    """Parameters of a request; whoever takes them names them all, what is left is an error."""

    def __init__(self, scope: Scope) -> None:
        text = bytes(scope.get("query_string", b""))
        if len(text) > _MAX_QUERY_CHARS:
            raise Refusal(400, "bad_query", f"query: expected at most {_MAX_QUERY_CHARS} characters, got {len(text)}")
        try:
            pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, max_num_fields=100)
        except ValueError as error:
            raise Refusal(400, "bad_query", f"query: expected name=value pairs, got: {error}") from None
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def many(self, name: str) -> frozenset[str]:
        """All values of a parameter."""
        return frozenset(self._values.pop(name, ()))

    def one(self, name: str, default: str) -> str:
        """The value of a parameter that may be given once."""
        values = self._values.pop(name, [default])
        if len(values) > 1:
            raise Refusal(400, "bad_query", f"{name}: expected one value, got {len(values)}", name)
        return values[0]

    def number(self, name: str, most: int) -> int | None:
        """An integer 0 to `most`, or None."""
        text = self.one(name, "")
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 17 and int(text) <= most):
            raise Refusal(400, "bad_query", f"{name}: expected an integer 0 to {most}, got {text[:40]!r}", name)
        return int(text)

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """One of several values, the first by default."""
        value = self.one(name, allowed[0])
        if value not in allowed:
            raise Refusal(400, "bad_query", f"{name}: expected one of {', '.join(allowed)}, got {value[:40]!r}", name)
        return value

    def end(self, known: str) -> None:
        """Refuse what nobody asked for. `known`: the parameters there are, for the sentence."""
        if self._values:
            name = next(iter(self._values))
            raise Refusal(400, "bad_query", f"{name[:40]}: expected a parameter among {known}", name[:40])


class Quota:
    """A token bucket per name, in bounded memory."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate_ms = rate / 1000
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def take(self, name: str, now: int) -> int:
        """Take one; 0, or the whole seconds until there is one. `now`: ms."""
        level, at = self._buckets.get(name, (self._burst, now))
        level = min(self._burst, level + max(0, now - at) * self._rate_ms)
        taken = level >= 1
        self._buckets[name] = (level - taken, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return 0 if taken else max(1, math.ceil((1 - level) / self._rate_ms / 1000))
