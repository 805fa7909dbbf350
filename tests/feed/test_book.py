"""The book: newest score per box, changes in the order of versions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.health import DRAIN
from contracts.times import HOUR_MS
from feed.book import Book
from tests.feed.builders import NOW, entry


def devices(book: Book, since: int, limit: int | None = None) -> list[str]:
    return [e.score.device for e in book.since(since, limit)[0]]


def test_a_delta_holds_each_changed_box_once_at_its_newest() -> None:
    book = Book()
    book.apply([entry("a", 1), entry("b", 2), entry("c", 3)])
    seen = book.version
    book.apply([entry("a", 4, state=DRAIN), entry("a", 5), entry("b", 6)])
    found, upto = book.since(seen)
    assert [(e.score.device, e.score.version) for e in found] == [("a", 5), ("b", 6)]
    assert upto == book.version


def test_an_older_score_changes_nothing() -> None:
    book = Book()
    book.apply([entry("a", 5)])
    book.apply([entry("a", 4, state=DRAIN)])
    assert book.entry("a").score.state == "serve"
    assert devices(book, 5) == []


def test_who_has_read_up_to_a_version_gets_what_came_behind_it() -> None:
    book = Book()
    book.apply([entry("a", 10)])
    seen = book.version
    book.apply([entry("b", 7)])  # of another partition, read later
    assert devices(book, seen) == ["b"]


def test_parts_of_a_delta_join_without_gap() -> None:
    book = Book()
    book.apply([entry(f"d{i}", i + 1) for i in range(10)])
    got, at = [], 0
    while at < book.version:
        part, at = book.since(at, 3)
        got += [e.score.device for e in part]
    assert got == [f"d{i}" for i in range(10)]


def test_a_removed_box_sends_followers_to_a_snapshot() -> None:
    book = Book()
    book.apply([entry("a", 1), entry("b", 2)])
    seen = book.version
    book.remove("a")
    assert not book.knows(seen)
    assert book.knows(book.version)
    assert [e.score.device for e in book.entries()] == ["b"]
    version = book.version
    book.remove("a", "nobody")
    assert book.version == version


def test_a_version_of_the_future_is_not_known() -> None:
    book = Book()
    book.apply([entry("a", 1)])
    assert not book.knows(2)


def test_changes_of_a_box_are_remembered_newest_first_and_not_for_ever() -> None:
    book = Book()
    book.apply([entry("a", 1)])
    assert book.changes("a") == []
    for version in range(2, 102, 2):
        book.apply([entry("a", version, state=DRAIN, computed_at=NOW + version), entry("a", version + 1)])
    changes = book.changes("a")
    assert [c.state for c in changes[:3]] == ["serve", "drain", "serve"]
    assert len(changes) == 32


def test_strata_count_boxes_by_state() -> None:
    book = Book()
    book.apply([entry("a", 1), entry("b", 2, state=DRAIN), entry("c", 3, box={"device_region": "Tibet"})])
    hebei, tibet = sorted(book.strata(NOW), key=lambda row: row["device_region"])
    assert (hebei["boxes"], hebei["drained"], hebei["mean_value"]) == (2, 1, 0.575)
    assert (tibet["device_region"], tibet["device_isp"], tibet["boxes"]) == ("Tibet", "", 1)


def test_an_expired_score_is_neither_drained_nor_part_of_the_mean() -> None:
    book = Book()
    book.apply([entry("a", 1), entry("b", 2, state=DRAIN, expires_at=NOW - HOUR_MS)])
    book.apply([entry("c", 3, state=DRAIN, expires_at=NOW - HOUR_MS, box={"device_region": "Tibet"})])
    hebei, tibet = book.strata(NOW)
    counts = ("boxes", "reduced", "drained", "expired", "mean_value")
    assert [hebei[name] for name in counts] == [1, 0, 0, 1, 0.95]
    assert [tibet[name] for name in counts] == [0, 0, 0, 1, None]


@given(st.lists(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 60)), max_size=8), max_size=12), st.data())
def test_following_deltas_from_anywhere_gives_the_same_as_the_snapshot(
    batches: list[list[tuple[int, int]]], data: st.DataObject
) -> None:
    """A follower that reads at arbitrary moments holds at the end what the book holds."""
    book, held, at = Book(), {}, 0
    for batch in batches:
        book.apply([entry(f"d{device}", version) for device, version in batch])
        if data.draw(st.booleans()):
            found, at = book.since(at, data.draw(st.one_of(st.none(), st.integers(1, 4))))
            held.update({e.score.device: e.score.version for e in found})
    found, _ = book.since(at)
    held.update({e.score.device: e.score.version for e in found})
    assert held == {e.score.device: e.score.version for e in book.entries()}
