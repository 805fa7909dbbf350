"""The scheduler's feed beside the gateway: its book, who keeps it up to date, and its door."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from contracts.entities import Change
from contracts.protocols import Log, Store
from contracts.releases import Release
from dipper.release_side import judge, recent
from feed.app import Feed, FeedSettings, FeedTokens, serves
from feed.book import Book, first_number
from feed.follower import Follower


class StoredReleases:
    """Roll-outs judged from history as of the clock."""

    def __init__(self, store: Store, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock

    def recent(self) -> Sequence[Change]:
        """Roll-outs of the last thirty days, newest first. Raises StoreError."""
        return recent(self._store, self._clock())

    def judge(self, change_id: str) -> Release:
        """One of them. Raises ContractError for what is none; StoreError."""
        return judge(self._store, change_id, self._clock())


class FeedSide:
    """A feed of one process. `start` and `stop` in its loop."""

    def __init__(
        self, log: Log, store: Store, tokens: FeedTokens, clock: Callable[[], int], settings: FeedSettings
    ) -> None:
        book = Book(first_number(random.SystemRandom()))
        releases = StoredReleases(store, clock)
        self.feed = Feed(book, tokens, clock, lambda: self.follower.ready, settings, releases)
        self.follower = Follower(log, book, self.feed.wake)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to follow the topic."""
        parts = (self.follower.run(), self.feed.snapshots.keep())
        self._tasks = [asyncio.create_task(part) for part in parts]

    def close_streams(self) -> None:
        """Let subscribers go: a server that ends waits for its requests."""
        self.feed.streams.close()

    async def stop(self) -> None:
        """Stop following."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

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
        """An application of whose requests the feed answers those it serves."""

        async def dispatch(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and serves(scope["path"]):
                await self.feed(scope, receive, send)
            else:
                await app(scope, receive, send)

        return dispatch
