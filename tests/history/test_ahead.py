import pytest

from contracts import topics
from history.ahead import ReadAhead
from history.feeds import Feed
from tests.history.builders import T0, Box, MemoryLog, make_slice, send_batch, slice_batch

SLICES = topics.SLICES.name
ROWS = 100


@pytest.fixture
def ahead():
    ahead = ReadAhead(block_rows=250, poll_records=500)
    yield ahead
    ahead.close()


@pytest.fixture
def log():
    """Forty records of a hundred rows each, in one partition."""
    log = MemoryLog(partitions=1)
    box = Box()
    for i in range(40):
        report = box.report(T0 + i * 10_000, [make_slice()] * ROWS)
        send_batch(log, topics.SLICES, "acme", slice_batch([report]), T0 + i * 10_000)
    return log


def read(ahead, feed, cut, most=100):
    return list(ahead.blocks(feed, cut, most))


def test_blocks_are_of_the_wanted_size_however_much_a_record_holds(ahead, log):
    blocks = read(ahead, Feed(log, SLICES, {}), [40])
    sizes = [block.rows["slices"].num_rows for block in blocks]
    assert sizes[0] <= 8 * ROWS  # nothing is known of the topic yet
    assert set(sizes[1:-1]) == {3 * ROWS}
    assert sum(sizes) == 40 * ROWS
    assert [block.rest for block in blocks][-1] == 0


def test_every_row_comes_once_and_in_order_up_to_the_cut(ahead, log):
    blocks = read(ahead, Feed(log, SLICES, {}), [33])
    seq = [n for block in blocks for n in block.rows["slices"]["seq"].to_pylist()]
    assert seq == [n for n in range(1, 34) for _ in range(ROWS)]


def test_a_block_knows_its_own_end_not_that_of_the_next(ahead, log):
    feed = Feed(log, SLICES, {})
    read_so_far = 0
    for block in ahead.blocks(feed, [40], 100):
        read_so_far += block.records
        assert block.positions == {(SLICES, 0): read_so_far}


def test_what_was_read_ahead_and_not_taken_is_read_again(ahead, log):
    blocks = ahead.blocks(Feed(log, SLICES, {}), [40], 100)
    first = next(blocks)
    blocks.close()
    rest = read(ahead, Feed(log, SLICES, first.positions), [40])
    assert first.records + sum(block.records for block in rest) == 40


def test_no_more_blocks_are_read_than_asked_for(ahead, log):
    feed = Feed(log, SLICES, {})
    blocks = read(ahead, feed, [40], most=2)
    assert len(blocks) == 2
    assert feed.positions() == blocks[-1].positions


def test_a_feed_without_records_gives_one_empty_block(ahead):
    (block,) = read(ahead, Feed(MemoryLog(partitions=1), SLICES, {}), [0])
    assert (block.records, block.rest, dict(block.rows)) == (0, 0, {})
