"""The scheduler's feed beside the gateway: its book, who keeps it up to date, and its door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from contracts.protocols import Log, Store
from dipper.release_side import release
from feed.app import PREFIX, RELEASES, Feed, FeedSettings, FeedTokens
from feed.book import Book
from feed.follower import Follower


class FeedSide:
    """A feed of one process. `start` and `stop` in its loop."""

    def __init__(
        self, log: Log, store: Store, tokens: FeedTokens, clock: Callable[[], int], settings: FeedSettings
    ) -> None:
        book = Book()
        self.feed = Feed(
            book, tokens, clock, lambda: self.follower.ready, settings, lambda change: release(store, change, clock())
        )
        self.follower = Follower(log, book, self.feed.streams.wake)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow the topic."""
        self._task = asyncio.create_task(self.follower.run())

    def close_streams(self) -> None:
        """Let subscribers go: a server that ends waits for its requests."""
        self.feed.streams.close()

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def status(self) -> dict[str, Any]:
        """What a status page shows."""
        return {
            "ready": self.follower.ready,
            "error": self.follower.error,
            "boxes": len(self.feed.book),
            "version": self.feed.book.version,
            "subscribers": self.feed.streams.subscribers,
            "dropped_subscribers": self.feed.streams.dropped,
        }

    def beside(self, app: Any) -> Any:
        """An application whose requests below /v1/health/ and /v1/releases/ the feed answers."""

        async def dispatch(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"].startswith((PREFIX, RELEASES)):
                await self.feed(scope, receive, send)
            else:
                await app(scope, receive, send)

        return dispatch
