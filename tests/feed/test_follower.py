"""The book follows the topic, whatever is in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contracts.health import BudgetState
from contracts.protocols import LogUnavailable, Record
from feed.book import Book
from feed.follower import Follower
from ingest.log.embedded import EmbeddedLog
from tests.feed.builders import NOW, make_score


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    with EmbeddedLog(tmp_path, partitions=3, group_commit_ms=0, min_free_bytes=0) as opened:
        yield opened


def record(device: str, value: bytes, kind: str = "score") -> Record:
    return Record("health.scores", device.encode(), value, NOW, headers={"kind": kind})


def scored(device: str, version: int, state: str = "serve") -> Record:
    return record(device, make_score(device, version, state=state).to_json())


async def follow(follower: Follower, condition: Callable[[], bool]) -> None:
    task = asyncio.create_task(follower.run())
    try:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_it_reads_what_was_there_then_what_comes(log: EmbeddedLog) -> None:
    budget = BudgetState(NOW, 2, 0, 1, 0, ())
    log.submit([scored("a", 1), scored("b", 2), record("budget", budget.to_json(), "budget")]).result()
    book, changes = Book(), []
    follower = Follower(log, book, lambda: changes.append(book.version))

    async def run() -> None:
        task = asyncio.create_task(follower.run())
        async with asyncio.timeout(20):
            while not follower.ready:
                await asyncio.sleep(0.005)
            assert (len(book), book.version, book.budget) == (2, 2, budget)
            await asyncio.to_thread(lambda: log.submit([scored("a", 3, "drain")]).result())
            while changes[-1] < 3:
                await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert book.entry("a").score.state == "drain"
    assert changes[-1] == 3


def test_a_record_without_value_removes_a_box_and_bad_ones_are_counted(log: EmbeddedLog) -> None:
    log.submit([scored("a", 1), record("a", b""), record("b", b"{}"), record("budget", b"[]", "budget")]).result()
    book = Book()
    follower = Follower(log, book, lambda: None)
    asyncio.run(follow(follower, lambda: follower.ready))
    assert len(book) == 0
    assert follower.poison == 2


def test_a_box_that_left_and_came_back_is_there(log: EmbeddedLog) -> None:
    log.submit([scored("a", 1), record("a", b""), scored("a", 2, "drain"), scored("b", 3)]).result()
    book = Book()
    follower = Follower(log, book, lambda: None)
    asyncio.run(follow(follower, lambda: follower.ready))
    assert book.entry("a").score.state == "drain"


def test_an_empty_topic_is_ready_at_once(log: EmbeddedLog) -> None:
    follower = Follower(log, Book(), lambda: None)
    asyncio.run(follow(follower, lambda: follower.ready))


def test_an_outage_is_said_and_waited_for(log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.submit([scored("a", 1)]).result()
    book = Book()
    follower = Follower(log, book, lambda: None)
    whole = log.end_offsets
    told: list[str] = []

    def away(topic: str) -> list[int]:
        raise LogUnavailable("the brokers are away")

    def back_and_read() -> bool:
        """The brokers are back once their outage was said."""
        if follower.error and not told:
            told.append(follower.error)
            monkeypatch.setattr(log, "end_offsets", whole)
        return bool(told) and len(book) == 1 and not follower.error

    monkeypatch.setattr("feed.follower._RETRY_S", 0.02)
    monkeypatch.setattr(log, "end_offsets", away)
    asyncio.run(follow(follower, back_and_read))
    assert told == ["the brokers are away"]
