"""What the log let go of before history had read it is counted, once, and said."""

import pytest

from contracts.protocols import StoreUnavailable
from history.feeds import Feed
from history.sink import Sink, SinkSettings
from tests.history.builders import MINUTE, T0
from tests.ingest.log.builders import INCIDENTS, SLICES, append, open_log, record

PROMPT = SinkSettings(flush_every_ms=0, late_refresh_ms=0)


@pytest.fixture
def log(tmp_path):
    made = open_log(tmp_path / "log", segment_bytes=300)
    yield made
    made.close()


def heartbeats(log, *times, topic=SLICES):
    """Records that hold nothing, each in a segment of its own, at ms after T0."""
    for at in times:
        beat = record(b"x" * 400, topic=topic, key=b"%d" % at, at=T0 + at)
        append(log, type(beat)(beat.topic, beat.key, beat.value, beat.timestamp_ms, 0, {"kind": "heartbeat"}))


def polled(feed, most=10):
    return [r.offset for r in feed.poll(most, 0, cut=feed._log.end_offsets(feed.topic))]


def test_records_let_go_under_a_running_feed_are_counted_and_named(log, caplog):
    heartbeats(log, 1, 2, 3, 4)
    feed = Feed(log, SLICES, {})
    assert polled(feed, 1) == [0]
    log.expire(T0 + 4, {})
    assert polled(feed) == [3]
    assert feed.skipped.records == 2
    assert "telemetry.slices partition 0: 2 records lost, offsets 1 to 2" in caplog.text
    feed.close()


def test_records_let_go_with_nothing_after_them_are_counted_too(log):
    heartbeats(log, 1, 2, 3)
    feed = Feed(log, SLICES, {})
    assert polled(feed, 1) == [0]
    log.expire(T0 + 9, {})
    assert (polled(feed), feed.skipped.records, feed.lag_records()) == ([], 2, 0)
    feed.close()


def test_what_was_let_go_before_the_saved_position_is_not_lost_what_came_after_it_is(log):
    heartbeats(log, 1, 2, 3, 4)
    log.expire(T0 + 4, {})
    feeds = [Feed(log, SLICES, {(SLICES, 0): at}) for at in (3, 1)]
    assert [feed.skipped.records for feed in feeds] == [0, 2]
    for feed in feeds:
        feed.close()


def test_a_compacted_topic_lets_go_of_what_is_superseded(log):
    heartbeats(log, 1, 2, 3, topic=INCIDENTS)
    feed = Feed(log, INCIDENTS, {})
    assert polled(feed, 1) == [0]
    log.expire(T0 + 9, {})
    polled(feed)
    assert feed.skipped.records == 0
    feed.close()


class Failing:
    """A store that takes no positions while `fails`."""

    def __init__(self, store):
        self._store, self.fails = store, False

    def __getattr__(self, name):
        return getattr(self._store, name)

    def insert(self, table, rows):
        if self.fails and table == "positions":
            raise StoreUnavailable("away")
        return self._store.insert(table, rows)


def test_a_sink_counts_a_loss_once_however_often_it_takes_up_what_is_stored(embedded, log):
    store = Failing(embedded.empty())
    heartbeats(log, 1)
    sink = Sink(log, store, PROMPT)
    sink.step(T0)
    heartbeats(log, 2, 3, 4)
    log.expire(T0 + 4, {})
    store.fails = True
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            sink.step(T0 + MINUTE)
    store.fails = False
    sink.step(T0 + MINUTE)
    assert sink.status(T0 + MINUTE)["skipped_records"] == 2
    heartbeats(log, 5, 6)
    log.expire(T0 + 6, {})
    sink.step(T0 + 2 * MINUTE)
    assert sink.status(T0 + 2 * MINUTE)["skipped_records"] == 3
    sink.close()
