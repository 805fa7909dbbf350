"""Keeps the book up to date from the topic health.scores.

A thread reads and decodes; entries are applied where the book is served, a few at a time, so that requests go on
meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from contracts.errors import ContractError
from contracts.health import BUDGET, BUDGET_KEY, BudgetState, budget_from_json, score_from_json
from contracts.protocols import Log, LogError, LogReader, TopicPartition
from contracts.topics import HEALTH_SCORES
from feed.book import Book, Entry, entry_of

KIND = "kind"
_RECORDS_PER_POLL = 2_000
_POLL_S = 0.5
_APPLIED_AT_ONCE = 500
_RETRY_S = 2.0


class Follower:
    """Follows the topic on a log. `run` in the loop that serves the book; `ready` once it has read what was there when
    it began; `error`: why it cannot read now, empty when it can."""

    def __init__(self, log: Log, book: Book, changed: Callable[[], None]) -> None:
        self.ready = False
        self.error = ""
        self.poison = 0
        self._log = log
        self._book = book
        self._changed = changed

    async def run(self) -> None:
        """Until cancelled; outages are waited for."""
        while True:
            try:
                reader, ends = await asyncio.to_thread(self._open)
                try:
                    await self._follow(reader, ends)
                finally:
                    reader.close()
            except LogError as error:
                self.error = str(error) or type(error).__name__
                await asyncio.sleep(_RETRY_S)

    async def _follow(self, reader: LogReader, ends: dict[TopicPartition, int]) -> None:
        while True:
            await self.take(await asyncio.to_thread(self.read, reader))
            positions = reader.positions()
            self.ready = self.ready or all(positions[place] >= end for place, end in ends.items())
            self.error = ""

    def _open(self) -> tuple[LogReader, dict[TopicPartition, int]]:
        topic = HEALTH_SCORES.name
        ends = {(topic, p): end for p, end in enumerate(self._log.end_offsets(topic))}
        starts = {(topic, p): at for p, at in enumerate(self._log.start_offsets(topic))}
        return self._log.reader(starts), ends

    def read(self, reader: LogReader, timeout_s: float = _POLL_S) -> list[Entry | BudgetState | str]:
        """What one poll gives: scores, the budget, names of boxes that are gone."""
        news: list[Entry | BudgetState | str] = []
        gone: set[str] = set()
        for record in reader.poll(_RECORDS_PER_POLL, timeout_s):
            try:
                if record.headers.get(KIND) == BUDGET:
                    news.append(budget_from_json(record.value))
                elif record.value:
                    entry = entry_of(score_from_json(record.value), record.value)
                    gone.discard(entry.score.device)  # it came back since
                    news.append(entry)
                elif record.key and record.key != BUDGET_KEY:
                    gone.add(record.key.decode("utf-8", "replace"))
            except ContractError:
                self.poison += 1
        return [*news, *sorted(gone)]

    async def take(self, news: list[Any]) -> None:
        """Apply what was read."""
        entries = sorted((n for n in news if isinstance(n, Entry)), key=lambda e: e.score.version)
        for begin in range(0, len(entries), _APPLIED_AT_ONCE):
            self._book.apply(entries[begin : begin + _APPLIED_AT_ONCE])
            await asyncio.sleep(0)
        for other in news:
            if isinstance(other, BudgetState):
                self._book.budget = other
        self._book.remove(*(other for other in news if isinstance(other, str)))
        if news:
            self._changed()
