"""The feed: one ASGI application in front of the book."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from contracts.auth import ID_PATTERN
from contracts.entities import Change
from contracts.errors import ContractError
from contracts.health import MAX_VERSION, STATES
from contracts.protocols import StoreError
from contracts.releases import Release, change_to_json, release_to_json
from contracts.times import SECOND_MS
from feed.book import Book, Entry
from feed.errors import Refusal
from feed.http import JSON, Answer, Query, Quota, Receive, Scope, Send, header, problem, send_answer
from feed.openapi import DOCUMENT
from feed.render import ARROW, LEAST_GZIP_BYTES, Filter, accepts_gzip, body, compressed, kind_of
from feed.settings import FeedSettings
from feed.snapshots import Form, Snapshots
from feed.stream import Streams

__all__ = ["Feed", "FeedSettings", "FeedTokens", "Releases"]

logger = logging.getLogger(__name__)

SCOPE = "feed:read"
PREFIX = "/v1/health/"
OPENAPI = "/v1/health/openapi.json"
DEVICES = "/v1/health/devices"
STREAM = "/v1/health/stream"
STRATA = "/v1/health/strata"
RELEASES = "/v1/releases"
FILTERS = ("state", "model", "device_isp", "device_region")
_MOST_CACHED_BYTES = 128 * 1024 * 1024
_MOST_CACHED = 8

_T = TypeVar("_T")


class FeedTokens(Protocol):
    """The part of a registry that the feed asks."""

    def check_api_token(self, token: str, scope: str) -> str | None:
        """Name of an accepted token of this scope, or None."""


class Releases(Protocol):
    """Who judges roll-outs; called in threads. Both raise StoreError when history is away."""

    def recent(self) -> Sequence[Change]:
        """Roll-outs, newest first."""

    def judge(self, change_id: str) -> Release:
        """One by the id of its change. Raises ContractError for what is none."""


def serves(path: str) -> bool:
    """Whether a request of this path is the feed's."""
    return path.startswith((PREFIX, RELEASES + "/")) or path == RELEASES


class Feed:
    """Serves a book. `ready`: whether the book holds what the topic does. `clock`: ms UTC. Give it requests whose path
    it `serves`."""

    def __init__(
        self,
        book: Book,
        tokens: FeedTokens,
        clock: Callable[[], int],
        ready: Callable[[], bool],
        settings: FeedSettings | None = None,
        releases: Releases | None = None,
    ) -> None:
        self.settings = settings or FeedSettings()
        self.book = book
        self.streams = Streams(book, self.settings)
        self.snapshots = Snapshots(book, clock)
        self._tokens = tokens
        self._clock = clock
        self._ready = ready
        self._releases = releases
        self._quota = Quota(self.settings.requests_per_s, self.settings.requests_burst)
        self._cache: OrderedDict[tuple[object, ...], bytes] = OrderedDict()

    def wake(self) -> None:
        """The book has changed."""
        self.streams.wake()
        self.snapshots.wake()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        head = scope["method"] == "HEAD"
        try:
            name = self._admit(scope)
            if scope["path"] == STREAM and not head:
                await self.streams.serve(scope, receive, send, name, lambda: self._name_of(scope) is not None)
                return
            answer = await self._answer(scope)
        except Refusal as refusal:
            answer = problem(refusal)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            answer = problem(Refusal(500, "internal", "the feed failed on this request; its log says where"))
        await send_answer(send, answer, head=head)

    def _admit(self, scope: Scope) -> str:
        if scope["method"] not in ("GET", "HEAD"):
            raise Refusal(405, "method", f"method: expected GET, HEAD, got {scope['method'][:20]}", "method")
        if scope["path"] == OPENAPI:
            return ""
        name = self._name_of(scope)
        if name is None:
            raise Refusal(
                401, "bad_token", f"authorization: expected Bearer and a token with scope {SCOPE}", "authorization"
            )
        wait_s = self._quota.take(name, self._clock())
        if wait_s:
            raise Refusal(429, "quota", f"token {name}: too many requests", retry_after_s=wait_s)
        if not self._ready():
            raise Refusal(503, "not_ready", "the feed reads what was published before", retry_after_s=2)
        return name

    def _name_of(self, scope: Scope) -> str | None:
        """Name of the token a request comes with, None if it is not accepted."""
        kind, _, token = header(scope, "authorization").partition(" ")
        return self._tokens.check_api_token(token.strip(), SCOPE) if kind.lower() == "bearer" else None

    async def _answer(self, scope: Scope) -> Answer:
        path: str = scope["path"]
        if path == OPENAPI:
            return Answer(200, json.dumps(DOCUMENT).encode())
        if path == DEVICES:
            return await self._devices(scope)
        if path == STRATA:
            return self._strata(scope)
        if path == STREAM:
            return Answer(200, b"", "text/event-stream")
        if path.startswith(DEVICES + "/"):
            return self._device(scope, path[len(DEVICES) + 1 :])
        if self._releases is not None and path == RELEASES:
            return await self._recent(scope, self._releases)
        if self._releases is not None and path.startswith(RELEASES + "/"):
            return await self._release(scope, self._releases, path[len(RELEASES) + 1 :])
        raise Refusal(404, "not_found", f"path: expected one of {', '.join(DOCUMENT['paths'])}", "path")

    async def _devices(self, scope: Scope) -> Answer:
        query = Query(scope)
        view = query.choice("view", ("full", "brief"))
        since = query.number("since", MAX_VERSION)
        chosen = Filter(*(query.many(name) for name in FILTERS))
        query.end(f"since, view, {', '.join(FILTERS)}")
        for state in chosen.state:
            if state not in STATES:
                raise Refusal(
                    400, "bad_query", f"state: expected one of {', '.join(STATES)}, got {state[:40]!r}", "state"
                )
        kind = kind_of(header(scope, "accept"))
        if kind is None:
            raise Refusal(406, "not_acceptable", f"accept: expected {JSON} or {ARROW}", "accept")
        if since is not None and not self.book.knows(since):
            raise Refusal(410, "unknown_version", f"since: version {since} is not known here, take a snapshot", "since")
        zipped = accepts_gzip(header(scope, "accept-encoding"))
        form = "arrow" if kind == ARROW else view
        whole = None
        if since is None and not chosen:
            whole = await self.snapshots.get(Form(kind, "full" if kind == ARROW else view, zipped))
        version = self.book.version if whole is None else whole.version
        tag = f'"{version}-{form}-{since if since is not None else "all"}-{chosen.tag()}{"-gzip" if zipped else ""}"'
        headers = [
            (b"etag", tag.encode()), (b"cache-control", b"private, no-cache"), (b"vary", b"accept, accept-encoding"),
        ]  # fmt: skip
        known = header(scope, "if-none-match")
        if known and (known.strip() == "*" or tag in (part.strip().removeprefix("W/") for part in known.split(","))):
            return Answer(304, b"", kind, tuple(headers))
        data = self._cache.get((tag,)) if whole is None else whole.data
        if data is None:
            data = body(self._chosen(since, chosen), version, self.book.computed_at, kind, view, b"")
            if zipped and len(data) >= LEAST_GZIP_BYTES:
                data = await asyncio.to_thread(compressed, data)
            self._keep((tag,), data)
        if data[:2] == b"\x1f\x8b":
            headers.append((b"content-encoding", b"gzip"))
        return Answer(200, data, kind, tuple(headers))

    def _chosen(self, since: int | None, chosen: Filter) -> list[Entry]:
        entries = list(self.book.entries()) if since is None else self.book.since(since)[0]
        return [e for e in entries if chosen.passes(e)] if chosen else entries

    def _keep(self, key: tuple[object, ...], data: bytes) -> None:
        self._cache[key] = data
        while len(self._cache) > _MOST_CACHED or sum(map(len, self._cache.values())) > _MOST_CACHED_BYTES:
            self._cache.popitem(last=False)

    def _device(self, scope: Scope, device: str) -> Answer:
        Query(scope).end("none")
        if not ID_PATTERN.match(device):
            raise Refusal(404, "unknown_device", "device: expected an id", "device")
        entry = self.book.entry(device)
        if entry is None:
            raise Refusal(404, "unknown_device", f"device: {device} has no score", "device")
        history = [
            {"at": c.at, "value": c.value, "state": c.state, "share": c.share, "reasons": c.reasons}
            for c in self.book.changes(device)
        ]
        now = self._clock()
        document = b'{"now":%d,"expired":%s,"score":%s,"history":%s}' % (
            now,
            b"true" if entry.score.expired(now) else b"false",
            entry.full,
            json.dumps(history, separators=(",", ":")).encode(),
        )
        return Answer(200, document, headers=((b"cache-control", b"private, no-cache"),))

    async def _recent(self, scope: Scope, releases: Releases) -> Answer:
        Query(scope).end("none")
        found = await _from_history(releases.recent)
        return _private({"releases": [change_to_json(change) for change in found]})

    async def _release(self, scope: Scope, releases: Releases, change: str) -> Answer:
        Query(scope).end("none")
        if not ID_PATTERN.match(change):
            raise Refusal(404, "unknown_release", "release: expected the id of a change", "release")
        try:
            found = await _from_history(lambda: releases.judge(change))
        except ContractError as error:
            raise Refusal(404, error.reason, str(error), error.field) from None
        return _private(release_to_json(found))

    def _strata(self, scope: Scope) -> Answer:
        Query(scope).end("none")
        budget, now = self.book.budget, self._clock()
        document = {
            "version": self.book.version,
            "computed_at": self.book.computed_at,
            "age_s": max(0, now - self.book.computed_at) // SECOND_MS if self.book.computed_at else None,
            "strata": self.book.strata(now),
            "budget": None if budget is None else json.loads(budget.to_json()),
            "exhausted": [] if budget is None else [dict(c.where) for c in budget.cells if c.exhausted],
        }
        return _private(document)


def _private(document: Any) -> Answer:
    body = json.dumps(document, ensure_ascii=False).encode()
    return Answer(200, body, headers=((b"cache-control", b"private, no-cache"),))


async def _from_history(question: Callable[[], _T]) -> _T:
    try:
        return await asyncio.to_thread(question)
    except StoreError as error:
        raise Refusal(503, "history_unavailable", str(error), retry_after_s=5) from None
