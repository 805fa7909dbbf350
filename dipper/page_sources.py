"""What the pages are given beside history: health scores from the feed's book, verdicts on roll-outs, thresholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from contracts.health import BudgetState, Score
from contracts.protocols import Log, Store
from contracts.thresholds import Thresholds
from dashboards.report.fonts import VARIABLE
from dashboards.shared import SharedReleases
from dipper.feed_side import StoredReleases
from dipper.settings import environment
from feed.book import Book, Change
from feed.follower import Follower


class FeedScores:
    """dashboards.context.Scores on the feed of this process. The book belongs to the server's loop; pages run in
    other threads and only take copies, each made in one step of the interpreter."""

    def __init__(self, follower: Follower, book: Book) -> None:
        self._follower = follower
        self._book = book

    @property
    def ready(self) -> bool:
        """Whether the book holds what was published before."""
        return self._follower.ready

    def all(self) -> Sequence[Score]:
        """Every box's score."""
        return [entry.score for entry in list(self._book.entries())]

    def budget(self) -> BudgetState | None:
        """How much is removed."""
        return self._book.budget

    def of(self, device: str) -> Score | None:
        """One box's score."""
        entry = self._book.entry(device)
        return None if entry is None else entry.score

    def changes(self, device: str) -> Sequence[Change]:
        """What happened to a box, newest first."""
        return self._book.changes(device)


class FollowedScores(FeedScores):
    """The same of a process without a feed, which follows the topic itself: `run` in its loop, until cancelled."""

    def __init__(self, log: Log) -> None:
        book = Book()
        super().__init__(Follower(log, book, lambda: None), book)

    async def run(self) -> None:
        """Follow; outages are waited for."""
        await self._follower.run()


def operations(scores: FeedScores, store: Store, clock: Callable[[], int]) -> dict[str, Any]:
    """Fields of dashboards.context.Context for what operators see beside quality."""
    return {
        "releases": SharedReleases(StoredReleases(store, clock)),
        "scores": scores,
        "report_font": environment().get(VARIABLE),
    }


def thresholds_of(policy: Mapping[str, Mapping[str, Any]]) -> Thresholds:
    """What detection calls bad without a promise, as a policy says."""
    return Thresholds(**{field.name: policy["detector"][field.name] for field in fields(Thresholds)})
