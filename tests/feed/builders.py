"""Scores, a feed in front of a book, a feed behind a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import uvicorn

from contracts.entities import Change
from contracts.errors import ContractError
from contracts.health import Reason, Score
from contracts.protocols import StoreUnavailable
from contracts.releases import Comparison, Release, ReleaseStep
from contracts.times import MINUTE_MS
from feed.app import Feed, FeedSettings
from feed.book import Book, Entry, entry_of

NOW = 1_767_600_000_000
TOKEN = "let-me-read"
EASY = FeedSettings(requests_per_s=1e6, requests_burst=1e6)


RELEASE = Release(
    change=Change("change-1", "firmware", {"model": "m1", "firmware": "2.0"}, NOW - MINUTE_MS, None, "a"),
    judged_until=NOW,
    verdict="hold",
    why="3 of 100",
    comparison=Comparison(3, 100, 0, 100, 0.0, None, 1.0, 100.0, 1.0, 20.0, 0.0, 5, 0, 5, 0, 0, 0),
    steps=(ReleaseStep(NOW - MINUTE_MS, 3, 100, 0, 100, 0.0, 1.0, 1.0),),
    groups=(),
    margin=1.25,
    least_requests=1_000.0,
    least_boxes=5,
)


class Tokens:
    """One token that may read the feed, until it is `revoked`; `asked`: how often."""

    def __init__(self) -> None:
        self.revoked = False
        self.asked = 0

    def check_api_token(self, token: str, scope: str) -> str | None:
        self.asked += 1
        if self.revoked:
            return None
        return "scheduler" if (token, scope) == (TOKEN, "feed:read") else None


def make_score(device: str, version: int, *, state: str = "serve", **overrides: Any) -> Score:
    share = {"serve": 1.0, "reduce": 0.3, "drain": 0.015}[state]
    values: dict[str, Any] = {
        "device": device,
        "value": 0.95 if state == "serve" else 0.2,
        "low": 0.1,
        "high": 1.0,
        "state": state,
        "share": share,
        "reasons": () if state == "serve" else (Reason("failures", (19.0, 61.0, 0.5, 15.0)),),
        "requests": 61.0,
        "failures": 19.0,
        "expected": 0.5,
        "version": version,
        "computed_at": NOW,
        "expires_at": NOW + 10 * MINUTE_MS,
        "box": {"model": "m1", "device_isp": "Unicom", "device_region": "Hebei", "firmware": "1.0"},
    }
    return Score(**values | overrides)


def entry(device: str, version: int, **overrides: Any) -> Entry:
    score = make_score(device, version, **overrides)
    return entry_of(score, score.to_json())


def brief(device: str, version: int, state: str) -> dict[str, Any]:
    """A row as the client reads it."""
    row: dict[str, Any] = json.loads(entry(device, version, state=state).brief)
    return row


class House:
    """A feed and requests to it, without sockets."""

    def __init__(self, settings: FeedSettings = EASY, *, ready: bool = True, begins_at: int = 0) -> None:
        self.book = Book(begins_at)
        self.now = NOW
        self.feed = Feed(self.book, Tokens(), lambda: self.now, lambda: ready, settings, self)
        self.history_is_away = False

    def recent(self) -> list[Change]:
        """As who judges releases."""
        if self.history_is_away:
            raise StoreUnavailable("history: no answer")
        return [RELEASE.change]

    def judge(self, change: str) -> Release:
        """As who judges releases."""
        if self.history_is_away:
            raise StoreUnavailable("history: no answer")
        if change != RELEASE.change.id:
            raise ContractError("unknown_release", "release", "the id of a change", change)
        return RELEASE

    def get(self, path: str, token: str | None = TOKEN, method: str = "GET", **headers: str) -> tuple[int, dict, bytes]:
        return asyncio.run(self.request(path, token, method, **headers))

    async def request(self, path: str, token: str | None, method: str, **headers: str) -> tuple[int, dict, bytes]:
        path, _, query = path.partition("?")
        raw = [(k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in headers.items()]
        if token is not None:
            raw.append((b"authorization", f"Bearer {token}".encode()))
        scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": raw}
        messages: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        await self.feed(scope, receive, send)
        start = messages[0]
        received = {k.decode(): v.decode() for k, v in start["headers"]}
        return start["status"], received, b"".join(m.get("body", b"") for m in messages[1:])

    def json(self, path: str, **headers: str) -> Any:
        status, _, body = self.get(path, **headers)
        assert status == 200, body
        return json.loads(body)


class Served:
    """A feed behind uvicorn in a thread. `call(f)` runs f in its loop, where the book lives."""

    def __init__(self, settings: FeedSettings = EASY) -> None:
        self.now: Callable[[], int] = lambda: NOW
        self.book = Book()
        self.tokens = Tokens()
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.feed = Feed(self.book, self.tokens, self.now, lambda: True, self._settings)
        config = uvicorn.Config(
            self.feed, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        await self._server.serve(sockets=[self._socket])

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self._server is not None and self._server.started)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self.call(self.feed.streams.close)
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def call(self, what: Callable[[], Any]) -> Any:
        async def inside() -> Any:
            return what()

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(inside(), self._loop).result(20)

    def publish(self, *entries: Entry) -> None:
        def apply() -> None:
            self.book.apply(entries)
            self.feed.streams.wake()

        self.call(apply)

    @contextlib.contextmanager
    def raw_stream(self, query: str = "", *, window: int | None = None, **headers: str) -> Iterator[socket.socket]:
        """A connection that asked for the stream."""
        with socket.socket() as client:
            if window is not None:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
            client.settimeout(20)
            client.connect(("127.0.0.1", self.port))
            lines = [f"GET /v1/health/stream{query} HTTP/1.1", "host: x", f"authorization: Bearer {TOKEN}"]
            lines += [f"{k.replace('_', '-')}: {v}" for k, v in headers.items()]
            client.sendall("\r\n".join([*lines, "", ""]).encode())
            yield client


def until(condition: Callable[[], Any], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


def read_until(client: socket.socket, wanted: bytes) -> bytes:
    data = b""
    while wanted not in data:
        part = client.recv(65_536)
        assert part, f"the stream ended before {wanted!r}: {data[-200:]!r}"
        data += part
    return data
