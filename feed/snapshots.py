"""Whole snapshots, made once and sent to everybody who asks, and made ready before anybody does.

A snapshot says which version it is of, and whoever follows goes on from there: one that is a moment old is as good as
one of now. So where `keep` runs, a request gets what is ready while the next one is being made in a thread; without it
every request gets the newest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from contracts.times import MINUTE_MS
from feed.book import Book
from feed.http import JSON
from feed.render import LEAST_GZIP_BYTES, body, compressed

_KEPT_MS = 10 * MINUTE_MS  # a form nobody asked for in this time is made no more
_IN_A_THREAD = 1_000  # boxes; fewer take less time than handing over
_OLDEST_MS = 5_000  # what is ready is sent for so long after the book has moved on


@dataclass(frozen=True, slots=True)
class Form:
    """What a snapshot is sent as: a media type, `full` or `brief`, gzip or plain."""

    kind: str = JSON
    view: str = "brief"
    zipped: bool = True


@dataclass(slots=True)
class Made:
    """A snapshot of a version. `passed_at`: when the book was first seen to have moved on, None: it has not."""

    version: int
    data: bytes
    passed_at: int | None = None


class Snapshots:
    """Of one book, in one loop. `clock`: ms. `made`: how many were made."""

    def __init__(self, book: Book, clock: Callable[[], int]) -> None:
        self.made = 0
        self._book = book
        self._clock = clock
        self._ready: dict[Form, Made] = {}
        self._asked: dict[Form, int] = {}
        self._making: dict[Form, asyncio.Task[Made]] = {}
        self._changed = asyncio.Event()
        self._kept = False

    def wake(self) -> None:
        """The book has changed."""
        self._changed.set()

    async def get(self, form: Form) -> Made:
        """A snapshot of every box."""
        now = self._clock()
        self._asked[form] = now
        ready = self._ready.get(form)
        if ready is not None and ready.version == self._book.version:
            return ready
        if ready is not None and self._kept and self._book.knows(ready.version):
            ready.passed_at = now if ready.passed_at is None else ready.passed_at
            if now - ready.passed_at <= _OLDEST_MS:
                self.wake()
                return ready
        made = await self._make(form)
        if not self._kept and made.version != self._book.version:  # joined one that began before the last change
            made = await self._make(form)
        return made

    async def keep(self) -> None:
        """Make ready what was asked for lately, and what clients begin with, after each change. Until cancelled."""
        self._kept = True
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                now = self._clock()
                self._asked = {form: at for form, at in self._asked.items() if now - at <= _KEPT_MS}
                self._ready = {form: made for form, made in self._ready.items() if form in self._asked}
                for form in {Form(), *self._asked}:
                    ready = self._ready.get(form)
                    if ready is None or ready.version != self._book.version:
                        await self._make(form)
        finally:
            self._kept = False

    async def _make(self, form: Form) -> Made:
        """Make one, or wait for the one that is being made."""
        task = self._making.get(form)
        if task is None:
            task = self._making[form] = asyncio.create_task(self._build(form))
            task.add_done_callback(lambda _: self._making.pop(form, None))
        return await asyncio.shield(task)

    async def _build(self, form: Form) -> Made:
        book = self._book
        entries, version, computed_at = list(book.entries()), book.version, book.computed_at

        def encoded() -> bytes:
            data = body(entries, version, computed_at, form.kind, form.view, b"")
            return compressed(data) if form.zipped and len(data) >= LEAST_GZIP_BYTES else data

        data = await asyncio.to_thread(encoded) if len(entries) > _IN_A_THREAD else encoded()
        self.made += 1
        made = self._ready[form] = Made(version, data)
        return made
