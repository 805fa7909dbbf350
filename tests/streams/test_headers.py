"""Headers of reports: blocks say what their records say, and a history gives them to many and decodes them once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.protocols import Record
from contracts.topics import REPORTS
from ingest.log.embedded import EmbeddedLog
from streams.headers import HeaderHistory, Headers, headers_of
from streams.rows import join_reports
from tests.streams.builders import T0, messages_of, report_row
from tests.streams.logs import PARTITIONS, append, read
from tests.streams.test_task import opened

BOXES = 5
MESSAGES = 40


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    with opened(tmp_path / "log") as log:
        yield log


def fill(log: EmbeddedLog) -> None:
    """Messages of five boxes, one of them poison."""
    rows = [
        (T0 + n * 1_000, report_row(f"box-{n % BOXES}-{b}", "boot", n, T0 + n * 1_000, dropped_requests=n))
        for n in range(MESSAGES)
        for b in range(3)
    ]
    messages = messages_of([], rows, PARTITIONS)
    append(log, messages[: len(messages) // 2])
    log.submit([Record(REPORTS.name, b"", b"not arrow", T0 + 20_500, 0)]).result()
    append(log, messages[len(messages) // 2 :])


def told(headers: Headers) -> list[tuple[str, int, int]]:
    rows = headers.rows
    return [
        (rows.device.values[code], seq, dropped)
        for code, seq, dropped in zip(rows.device.codes, rows.seq.tolist(), rows.dropped.tolist(), strict=True)
    ]


def all_of(history: HeaderHistory, log: EmbeddedLog, begin: int = 0) -> list[Headers]:
    """Blocks of partition 0 from an offset to the end."""
    at, blocks = dict.fromkeys(range(PARTITIONS), begin), []
    while at[0] < log.end_offsets(REPORTS.name)[0]:
        blocks.append(history.at(at, 0))
        assert blocks[-1].first == at[0]
        at[0] = blocks[-1].next
    return blocks


def test_a_block_cut_anywhere_says_what_the_rest_of_its_records_say(log: EmbeddedLog) -> None:
    fill(log)
    records = [r for r in read(log, REPORTS.name) if r.partition == 0]
    whole = headers_of(records)
    assert len(whole.refused) == 1
    assert whole.ends[-1] == len(whole.rows) > 40
    for cut in range(len(records)):
        rest, direct = whole.since(records[cut].offset), headers_of(records[cut:])
        assert told(rest) == told(direct)
        assert rest.ends.tolist() == direct.ends.tolist()
        assert rest.timestamps.tolist() == [r.timestamp_ms for r in records[cut:]]
        assert [d.record.offset for d in rest.refused] == [d.record.offset for d in direct.refused]
    halves = [headers_of(records[:7]).rows, headers_of(records[7:]).rows]
    joined = join_reports(halves)
    assert told(whole) == [
        (joined.device.values[c], s, d)
        for c, s, d in zip(joined.device.codes, joined.seq.tolist(), joined.dropped.tolist(), strict=True)
    ]


def test_a_history_decodes_once_for_all_who_read_it(log: EmbeddedLog) -> None:
    fill(log)
    history = HeaderHistory(log)
    first = [row for block in all_of(history, log) for row in told(block)]
    decoded = history.decoded
    assert decoded >= log.end_offsets(REPORTS.name)[0]
    assert [row for block in all_of(history, log) for row in told(block)] == first
    later = [row for block in all_of(history, log, 9) for row in told(block)]
    assert later == first[-len(later) :]
    assert 0 < len(later) < len(first)
    assert history.decoded == decoded
    history.forget()
    assert [row for block in all_of(history, log) for row in told(block)] == first
    assert history.decoded > decoded


def test_a_history_that_may_hold_little_reads_again(log: EmbeddedLog) -> None:
    fill(log)
    want = [row for block in all_of(HeaderHistory(log), log) for row in told(block)]
    small = HeaderHistory(log, most_rows=1)
    for _ in range(2):
        assert [row for block in all_of(small, log) for row in told(block)] == want
    assert small.decoded >= 2 * len(all_of(HeaderHistory(log), log)[0])
