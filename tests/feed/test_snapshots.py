"""Snapshots are made once, and ready before anybody asks where somebody keeps them."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable

from feed.book import Book
from feed.snapshots import Form, Made, Snapshots
from tests.feed.builders import NOW, entry

PLAIN = Form(zipped=False)


class Kept:
    """A book of 20 boxes and its snapshots."""

    def __init__(self) -> None:
        self.book = Book()
        self.now = NOW
        self.snapshots = Snapshots(self.book, lambda: self.now)
        self.book.apply(entry(f"d{i}", i + 1) for i in range(20))

    def run(self, what: Callable[[], Awaitable[None]], *, keep: bool) -> None:
        async def both() -> None:
            keeper = asyncio.create_task(self.snapshots.keep()) if keep else None
            await asyncio.sleep(0)
            try:
                await asyncio.wait_for(what(), 20)
            finally:
                if keeper is not None:
                    keeper.cancel()
                    await asyncio.gather(keeper, return_exceptions=True)

        asyncio.run(both())

    async def until_made(self, form: Form, version: int) -> Made:
        while (made := await self.snapshots.get(form)).version != version:
            await asyncio.sleep(0)
        return made


def told(made: Made) -> tuple[int, int]:
    document = json.loads(made.data if made.data[:2] != b"\x1f\x8b" else gzip.decompress(made.data))
    return document["version"], len(document["devices"])


def test_many_who_ask_at_once_get_one_snapshot() -> None:
    kept = Kept()

    async def ask() -> None:
        made = await asyncio.gather(*(kept.snapshots.get(Form()) for _ in range(50)))
        assert {told(m) for m in made} == {(20, 20)}

    kept.run(ask, keep=False)
    assert kept.snapshots.made == 1


def test_without_a_keeper_everybody_gets_the_newest() -> None:
    kept = Kept()

    async def ask() -> None:
        assert told(await kept.snapshots.get(Form())) == (20, 20)
        kept.book.apply([entry("d20", 21)])
        assert told(await kept.snapshots.get(Form())) == (21, 21)
        assert told(await kept.snapshots.get(Form(view="full", zipped=False))) == (21, 21)

    kept.run(ask, keep=False)


def test_what_clients_begin_with_is_ready_before_they_ask() -> None:
    kept = Kept()

    async def wait() -> None:
        kept.snapshots.wake()
        while not kept.snapshots.made:
            await asyncio.sleep(0)
        assert told(await kept.snapshots.get(Form())) == (20, 20)

    kept.run(wait, keep=True)
    assert kept.snapshots.made == 1


def test_with_a_keeper_the_last_one_is_sent_while_the_next_is_made() -> None:
    kept = Kept()

    async def ask() -> None:
        await kept.until_made(PLAIN, 20)
        kept.book.apply([entry("d20", 21)])
        assert told(await kept.snapshots.get(PLAIN)) == (20, 20)
        assert told(await kept.until_made(PLAIN, 21)) == (21, 21)

    kept.run(ask, keep=True)


def test_one_that_is_too_old_or_whose_changes_nobody_can_tell_is_not_sent() -> None:
    kept = Kept()

    async def ask() -> None:
        await kept.until_made(PLAIN, 20)
        kept.book.remove("d3")  # who holds version 20 would never learn of it
        assert told(await kept.snapshots.get(PLAIN)) == (21, 19)
        kept.book.apply([entry("d1", 30)])
        assert told(await kept.snapshots.get(PLAIN)) == (21, 19)
        kept.now += 5_001
        assert told(await kept.snapshots.get(PLAIN)) == (22, 19)

    kept.run(ask, keep=True)


def test_what_nobody_asks_for_any_more_is_made_no_more() -> None:
    kept = Kept()

    async def ask() -> None:
        await kept.until_made(PLAIN, 20)
        await kept.until_made(Form(), 20)
        kept.now += 11 * 60_000
        kept.book.apply([entry("d1", 30)])
        before = kept.snapshots.made
        kept.snapshots.wake()
        while kept.snapshots.made == before:
            await asyncio.sleep(0)
        await kept.until_made(Form(), 21)
        assert kept.snapshots.made == before + 1

    kept.run(ask, keep=True)
