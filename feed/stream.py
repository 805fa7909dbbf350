"""Server-sent events (WHATWG HTML, section 9.2): changes of scores to any number of subscribers.

A subscriber is a position in the order of changes, nothing is queued for it: what it has not read yet is looked up when
it can take more, and of a box that changed twice meanwhile it gets the newest score only. So a slow subscriber costs no
memory, and one that takes nothing for `stalled_s` is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from contracts.health import MAX_VERSION
from feed.book import Book, rows_json
from feed.errors import Refusal
from feed.http import Query, Receive, Scope, Send, header
from feed.settings import FeedSettings

EVENT_STREAM = "text/event-stream"
_HEADERS = [
    (b"content-type", EVENT_STREAM.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # proxies must not collect events
]
_MOST_CACHED = 64


class Streams:
    """All subscribers of a book. `wake` after each change of the book."""

    def __init__(self, book: Book, settings: FeedSettings) -> None:
        self.dropped = 0
        self._book = book
        self._settings = settings
        self._open: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._closing = False
        self._cache: dict[tuple[int, int, str], tuple[bytes, int]] = {}

    @property
    def subscribers(self) -> int:
        """How many there are."""
        return self._open.total()

    def wake(self) -> None:
        """The book has changed."""
        self._cache.clear()
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """End all streams; clients come back to whoever serves then."""
        self._closing = True
        self.wake()

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, name: str, still_valid: Callable[[], bool]
    ) -> None:
        """Serve one subscriber, until it leaves or stalls, or its token is `still_valid` no more, which is asked once a
        beat. Raises Refusal before anything was sent."""
        query = Query(scope)
        view = query.choice("view", ("brief", "full"))
        at = self._position(header(scope, "last-event-id") or query.one("since", ""))
        query.end("view, since")
        limit = self._settings
        if self.subscribers >= limit.most_streams or self._open[name] >= limit.streams_per_token:
            raise Refusal(429, "streams", "stream: too many subscribers", retry_after_s=30)
        self._open[name] += 1
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await self._pass(send({"type": "http.response.start", "status": 200, "headers": _HEADERS}))
            await self._follow(send, leaving, at, view, _Admission(still_valid, limit.beat_s))
        except TimeoutError:
            self.dropped += 1
        finally:
            leaving.cancel()
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]
            with contextlib.suppress(TimeoutError, OSError):
                await self._pass(send({"type": "http.response.body", "body": b""}))

    def _position(self, text: str) -> int:
        if not text:
            return self._book.version
        if not (text.isascii() and text.isdigit() and len(text) <= 17 and int(text) <= MAX_VERSION):
            raise Refusal(400, "bad_version", f"last-event-id: expected a version, got {text[:40]!r}", "last-event-id")
        if not self._book.knows(int(text)):
            raise Refusal(410, "unknown_version", f"since: version {text} is not known here, take a snapshot", "since")
        return int(text)

    async def _follow(
        self, send: Send, leaving: asyncio.Future[None], at: int, view: str, admission: _Admission
    ) -> None:
        await self._pass(send(_part(b"retry: 2000\n: version %d\n\n" % self._book.version)))
        while not (leaving.done() or self._closing) and admission.holds():
            changed = self._changed
            while at < self._book.version:
                if leaving.done() or not admission.holds():
                    return
                if not self._book.knows(at):
                    return  # a box was removed: whoever resumes is told to take a snapshot
                event, at = self._event(at, view)
                await self._pass(send(_part(event)))
            waiting = asyncio.ensure_future(changed.wait())
            either: set[asyncio.Future[Any]] = {waiting, leaving}
            await asyncio.wait(either, timeout=admission.left_s(), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                waiting.cancel()
                await self._pass(send(_part(b": beat\n\n")))

    def _event(self, at: int, view: str) -> tuple[bytes, int]:
        """The next event after a version; subscribers in step share its bytes."""
        key = (at, self._book.version, view)
        made = self._cache.get(key)
        if made is None:
            entries, upto = self._book.since(at, self._settings.event_rows)
            rows = (e.full if view == "full" else e.brief for e in entries)
            data = rows_json(upto, self._book.computed_at, rows)
            made = b"id: %d\nevent: scores\ndata: %s\n\n" % (upto, data), upto
            if len(self._cache) < _MOST_CACHED:
                self._cache[key] = made
        return made

    async def _pass(self, sending: Awaitable[None]) -> None:
        await asyncio.wait_for(sending, self._settings.stalled_s)


class _Admission:
    """Whether a subscriber may still read. Asked again after `every_s`, however busy the stream is: an answer is as
    old at most."""

    def __init__(self, still_valid: Callable[[], bool], every_s: float) -> None:
        self._still_valid = still_valid
        self._every_s = every_s
        self._time = asyncio.get_running_loop().time
        self._due = self._time() + every_s

    def left_s(self) -> float:
        """Time until it is asked again."""
        return max(0.0, self._due - self._time())

    def holds(self) -> bool:
        """Whether it does, as of the last answer."""
        if self._time() < self._due:
            return True
        self._due = self._time() + self._every_s
        return self._still_valid()


def _part(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
