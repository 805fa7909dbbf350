"""The quality operator against a row-by-row reference, however its input is cut and interleaved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ContractError
from contracts.topics import DEVICE_EVIDENCE, QUALITY_CUBE, QUALITY_MINUTES, REPORTS, SLICES
from streams.quality import QualityOperator
from streams.settings import QualitySettings
from tests.streams.builders import (
    CUBE_KEYS,
    EVIDENCE_KEYS,
    MINUTE,
    MINUTE_KEYS,
    T0,
    Message,
    Slice,
    batch_of,
    expected,
    final,
    heartbeats,
    messages_of,
    report_row,
    reports_batch,
    slice_row,
    slices_batch,
)

PARTITIONS = 2
OUTPUTS = {QUALITY_MINUTES.name: 2, QUALITY_CUBE.name: 2, DEVICE_EVIDENCE.name: 2}
SETTINGS = QualitySettings(prior_requests=10.0, rows_per_message=3)
Output = list[tuple[str, Any]]


def operator(settings: QualitySettings = SETTINGS) -> QualityOperator:
    made = QualityOperator(settings, OUTPUTS)
    made.assign((topic, p) for topic in (SLICES.name, REPORTS.name) for p in range(PARTITIONS))
    return made


def feed(target: QualityOperator, message: Message) -> None:
    if message.rows:
        target.process(message.topic, message.partition, batch_of(message), message.timestamp_ms)
    else:
        target.heartbeat(message.topic, message.partition, message.timestamp_ms)


def advance(target: QualityOperator) -> Output:
    return [(e.topic, e.batch) for e in target.advance()]


def run(messages: Iterable[Message], every: int = 1, settings: QualitySettings = SETTINGS) -> Output:
    target = operator(settings)
    out: Output = []
    for i, message in enumerate(messages):
        feed(target, message)
        if i % every == 0:
            out += advance(target)
    return out + advance(target)


def assert_says(out: Output, messages: Sequence[Message], watermark: int, *, restored: bool = False) -> None:
    want = expected(messages, watermark, SETTINGS.prior_requests)
    close(final(out, QUALITY_MINUTES.name, MINUTE_KEYS), want.minutes, "coverage")
    # A restored operator emits all cells of a revised customer minute: it does not know which of them changed.
    assert final(out, QUALITY_CUBE.name, CUBE_KEYS, repeats=restored) == want.cube
    close(final(out, DEVICE_EVIDENCE.name, EVIDENCE_KEYS), want.evidence, "expected_failures")


def close(got: dict[Any, Any], want: dict[Any, Any], approximate: str) -> None:
    assert set(got) == set(want)
    for key, row in want.items():
        near = row[approximate] if row[approximate] is None else pytest.approx(row[approximate], rel=1e-9)
        assert got[key] == {**row, approximate: near}, key


COUNTS = st.fixed_dictionaries(
    {"requests": st.integers(0, 9), "f_timeout": st.integers(0, 3), "bytes": st.integers(0, 2**40)}
)
SLICE = st.builds(
    Slice,
    customer=st.sampled_from(["alpha", "beta", "gamma"]),
    service=st.sampled_from(["vod", "live"]),
    counts=COUNTS,
    latency=st.dictionaries(st.integers(0, 129), st.integers(1, 5), max_size=3),
    dimensions=st.fixed_dictionaries(
        {"client_isp": st.sampled_from(["i1", "i2"]), "firmware": st.sampled_from(["f1", "f2"])}
    ),
)


@st.composite
def traffic(draw: st.DrawFn) -> list[Message]:
    """Reports of a few boxes over eight minutes with delays up to six, some of them appended twice."""
    slices, reports = [], []
    seqs: dict[tuple[str, str], int] = {}
    dropped: dict[tuple[str, str], int] = {}
    for _ in range(draw(st.integers(1, 12))):
        device = draw(st.sampled_from(["d1", "d2", "d3"]))
        boot = (device, draw(st.sampled_from(["b1", "b2"])))
        seqs[boot] = seqs.get(boot, 0) + draw(st.integers(1, 2))
        dropped[boot] = dropped.get(boot, 0) + draw(st.integers(0, 3))
        start = T0 + draw(st.integers(0, 47)) * 10_000
        end = start + draw(st.sampled_from([1_000, 10_000]))
        at = end + draw(st.one_of(st.integers(0, 15_000), st.integers(0, 360_000)))
        header = report_row(*boot, seqs[boot], start, end=end, dropped_requests=dropped[boot] + 2)
        header["spool_dropped_requests"] = 2
        repeats = draw(st.sampled_from([1, 1, 2]))
        if draw(st.integers(0, 9)):
            reports += [(at, header)] * repeats
        for row, content in enumerate(draw(st.lists(SLICE, max_size=4))):
            slices += [(at, slice_row(*boot, seqs[boot], row, start, content))] * repeats
    return messages_of(slices, reports, PARTITIONS)


END = T0 + 30 * MINUTE
DONE = heartbeats(END, PARTITIONS)
WATERMARK = END - 20_000


@settings(deadline=None, max_examples=60)
@given(traffic())
def test_final_revisions_equal_the_reference(messages: list[Message]) -> None:
    assert_says(run([*heartbeats(T0, PARTITIONS), *messages, *DONE]), messages, WATERMARK)


@settings(deadline=None, max_examples=40)
@given(traffic(), st.integers(1, 7), st.integers(1, 5))
def test_how_input_is_cut_and_interleaved_does_not_show(messages: list[Message], every: int, flush: int) -> None:
    one_row_each = [Message(m.topic, m.partition, m.timestamp_ms, (row,)) for m in messages for row in m.rows]
    apart = sorted(messages, key=lambda m: (m.topic == SLICES.name, m.partition))  # partition after partition
    variants = [
        run([*messages, *DONE]),
        run([*one_row_each, *DONE], every, QualitySettings(prior_requests=10.0, flush_rows=flush)),
        run([*apart, *DONE], every),
        run([*messages, *DONE], 1000),
    ]
    for topic, keys in (
        (QUALITY_MINUTES.name, MINUTE_KEYS),
        (QUALITY_CUBE.name, CUBE_KEYS),
        (DEVICE_EVIDENCE.name, EVIDENCE_KEYS),
    ):
        first, *others = (final(out, topic, keys) for out in variants)
        for other in others:
            assert other == first  # to the last bit


@settings(deadline=None, max_examples=25)
@given(traffic(), st.data())
def test_order_of_arrival_in_time_does_not_show(messages: list[Message], data: st.DataObject) -> None:
    rows = [(m.topic, m.partition, row) for m in messages for row in m.rows]
    at = T0 + MINUTE  # everything arrives while every minute is open
    shuffled = data.draw(st.permutations(rows))
    outs = [
        run([*heartbeats(at, PARTITIONS), *(Message(t, p, at, (row,)) for t, p, row in order), *DONE])
        for order in (rows, shuffled)
    ]
    for topic, keys in ((QUALITY_MINUTES.name, MINUTE_KEYS), (DEVICE_EVIDENCE.name, EVIDENCE_KEYS)):
        assert final(outs[0], topic, keys) == final(outs[1], topic, keys)


@settings(deadline=None, max_examples=40)
@given(traffic(), st.integers(0, 40), st.integers(1, 4))
def test_restored_operator_goes_on_as_if_never_stopped(messages: list[Message], cut: int, every: int) -> None:
    everything = [*heartbeats(T0, PARTITIONS), *messages, *DONE]
    before = run(everything[:cut], every)
    target = operator()
    since = target.restore(
        [b for topic, b in before if topic == QUALITY_MINUTES.name],
        [b for topic, b in before if topic == DEVICE_EVIDENCE.name],
    )
    assert since is None or since < T0
    for message in everything:
        feed(target, message)
        before += advance(target)
    assert_says(before, messages, WATERMARK, restored=True)


# Single facts


def minute_of(out: Output, minute: int, customer: str = "alpha") -> list[dict[str, Any]]:
    rows = [r for topic, b in out if topic == QUALITY_MINUTES.name for r in b.to_pylist()]
    return [r for r in rows if (r["minute"], r["customer"]) == (minute, customer)]


def one_slice(at: int, start: int, seq: int = 1, requests: int = 5, device: str = "d1") -> list[Message]:
    content = Slice(counts={"requests": requests})
    return messages_of(
        [(at, slice_row(device, "b", seq, 0, start, content))], [(at, report_row(device, "b", seq, start))], PARTITIONS
    )


def test_minute_is_emitted_when_the_watermark_reaches_its_end_and_not_before() -> None:
    target = operator()
    for message in [*heartbeats(T0, PARTITIONS), *one_slice(T0 + 11_000, T0)]:
        feed(target, message)
    for message in heartbeats(T0 + MINUTE + 19_999, PARTITIONS):
        feed(target, message)
    assert advance(target) == []
    feed(target, heartbeats(T0 + MINUTE + 20_000, PARTITIONS)[0])
    assert advance(target) == []  # the other partition holds the watermark back
    feed(target, heartbeats(T0 + MINUTE + 20_000, PARTITIONS)[1])
    rows = minute_of(advance(target), T0)
    assert [(r["revision"], r["requests"], r["emitted_at"]) for r in rows] == [(1, 5, T0 + MINUTE)]


def test_nothing_is_emitted_before_every_partition_has_shown_a_record() -> None:
    target = operator()
    feed(target, heartbeats(T0 + 10 * MINUTE, PARTITIONS)[0])
    assert target.watermark is None
    assert advance(target) == []


def test_data_within_the_lateness_makes_one_more_revision() -> None:
    out = run(
        [
            *heartbeats(T0, PARTITIONS),
            *one_slice(T0 + 11_000, T0),
            *heartbeats(T0 + 2 * MINUTE, PARTITIONS),
            *one_slice(T0 + 2 * MINUTE + 1, T0 + 10_000, seq=2, requests=7),
            *heartbeats(T0 + 10 * MINUTE, PARTITIONS),
        ]
    )
    assert [(r["revision"], r["requests"], r["late_requests"]) for r in minute_of(out, T0)] == [(1, 5, 0), (2, 12, 0)]


def test_data_after_the_lateness_is_counted_as_late_and_changes_no_count() -> None:
    closed = T0 + 3 * MINUTE + 20_000
    out = run(
        [
            *heartbeats(T0, PARTITIONS),
            *one_slice(T0 + 11_000, T0),
            *heartbeats(closed, PARTITIONS),
            *one_slice(closed + 1, T0 + 10_000, seq=2, requests=7),
            *heartbeats(closed + MINUTE, PARTITIONS),
        ]
    )
    assert [(r["revision"], r["requests"], r["late_requests"]) for r in minute_of(out, T0)] == [(1, 5, 0), (2, 5, 7)]


def test_data_too_late_to_be_counted_is_told_by_the_counters() -> None:
    target = operator()
    late = T0 + 70 * MINUTE
    for message in [*heartbeats(late, PARTITIONS), *one_slice(late, T0, requests=7)]:
        feed(target, message)
    for message in heartbeats(late + MINUTE, PARTITIONS):
        feed(target, message)
    assert minute_of(advance(target), T0) == []
    assert target.counters.forgotten_requests == 7


def test_data_from_the_far_future_opens_no_window() -> None:
    target = operator()
    for message in [*heartbeats(T0, PARTITIONS), *one_slice(T0, T0 + 30 * MINUTE, requests=7)]:
        feed(target, message)
    for message in heartbeats(T0 + MINUTE, PARTITIONS):
        feed(target, message)
    advance(target)
    assert target.counters.misdated_requests == 7
    assert target.open_minutes <= 3


def test_a_row_that_comes_twice_counts_once() -> None:
    messages = [*heartbeats(T0, PARTITIONS), *one_slice(T0 + 11_000, T0), *one_slice(T0 + 12_000, T0)]
    out = run([*messages, *heartbeats(T0 + 10 * MINUTE, PARTITIONS)])
    assert [r["requests"] for r in minute_of(out, T0)] == [5]


def test_a_customer_that_falls_silent_is_seen_with_no_coverage_and_then_forgotten() -> None:
    out = run(
        [
            *heartbeats(T0, PARTITIONS),
            *one_slice(T0 + 11_000, T0),
            *heartbeats(T0 + 70 * MINUTE, PARTITIONS),
        ]
    )
    silent = minute_of(out, T0 + MINUTE)
    assert [(r["requests"], r["boxes"], r["coverage"]) for r in silent] == [(0, 0, 0.0)]
    assert minute_of(out, T0 + 59 * MINUTE)
    assert minute_of(out, T0 + 60 * MINUTE) == []


def test_cube_and_evidence_come_before_the_minutes_they_explain() -> None:
    target = operator()
    for message in [*one_slice(T0 + 11_000, T0), *heartbeats(T0 + 5 * MINUTE, PARTITIONS)]:
        feed(target, message)
    topics = [topic for topic, _ in advance(target)]
    assert topics == sorted(topics, key=[QUALITY_CUBE.name, DEVICE_EVIDENCE.name, QUALITY_MINUTES.name].index) or (
        topics.index(QUALITY_MINUTES.name) > max(topics.index(QUALITY_CUBE.name), topics.index(DEVICE_EVIDENCE.name))
    )


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"requests": -1}, "requests"),
        ({"start": -1}, "start"),
        ({"latency_cell": [130], "latency_count": [1]}, "latency_cell"),
        ({"latency_cell": [1, 2], "latency_count": [1]}, "latency_count"),
    ],
)
def test_values_that_break_the_arithmetic_are_refused_and_leave_no_trace(overrides: dict[str, Any], field: str) -> None:
    target = operator()
    good = slice_row("d1", "b", 1, 0, T0, Slice())
    bad = {**slice_row("d1", "b", 2, 0, T0, Slice()), **overrides}
    with pytest.raises(ContractError, match=field) as caught:
        target.process(SLICES.name, 0, slices_batch([good, bad]), T0 + 11_000)
    assert caught.value.reason == "malformed_batch"
    for message in heartbeats(T0 + 10 * MINUTE, PARTITIONS):
        feed(target, message)
    assert advance(target) == []


def test_negative_times_of_reports_are_refused() -> None:
    with pytest.raises(ContractError, match="seq"):
        operator().process(REPORTS.name, 0, reports_batch([report_row("d1", "b", -1, T0)]), T0)
