"""The feed of a process as it is put together."""

from __future__ import annotations

from typing import Any

from dipper.feed_side import FeedSide
from feed.app import FeedSettings

ANY: Any = None


def test_two_feeds_never_know_each_others_numbers() -> None:
    books = [FeedSide(ANY, ANY, ANY, lambda: 0, FeedSettings()).feed.book for _ in range(2)]
    assert not books[0].knows(books[1].version)
    assert not books[1].knows(books[0].version)
    assert all(book.knows(book.version) for book in books)
