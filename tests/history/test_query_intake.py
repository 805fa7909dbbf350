"""How well what boxes report comes in: figures by hand from a few boxes."""

import pytest

from contracts import topics
from contracts.errors import ContractError
from history import query_box, query_intake
from history.sink import Sink, SinkSettings
from tests.history.builders import MINUTE, T0, Box, make_slice, rejected_batch, send, send_batch

MINUTES = 6
NOW = T0 + MINUTES * MINUTE + 25_000
SILENT_MS = 3 * MINUTE


@pytest.fixture
def filled(store, log):
    """box-1 serves acme all the time, 10 a report, 1 failed from minute 4 on; box-2 falls silent after minute 1."""
    sink = Sink(log, store, SinkSettings())
    one, two = Box("box-1"), Box("box-2", device_isp="telecom")
    for i in range(MINUTES * 6):
        start = T0 + i * 10_000
        failed = 1 if i >= 24 else 0
        send(log, one.report(start, [make_slice(requests=10, f_server=failed, s5xx=failed, s2xx=10 - failed)]))
        if i < 12:
            send(log, two.report(start, [make_slice(requests=10, client_isp="unicom")]))
    for reason, at in (("bad_totals", 50_000), ("bad_totals", 40_000), ("bad_totals", 30_000), ("too_large", 20_000)):
        refused = rejected_batch(id=f"r{at}", received_at=NOW - at, sent_at=NOW - at, reason=reason)
        send_batch(log, topics.REJECTED, "box-1", refused, NOW - at)
    sink.drain(NOW)
    sink.close()
    return store


def test_coverage_falls_by_what_a_silent_box_used_to_serve(filled):
    steps = query_intake.coverage_steps(filled, T0, T0 + MINUTES * MINUTE, MINUTE)
    assert steps["measured"][:2] == [120, 120]
    assert steps["measured"][3] == 60
    assert steps["unmeasured"][3] == pytest.approx(60)
    (acme,) = query_intake.coverage_of(filled, T0, T0 + MINUTES * MINUTE)
    assert (acme.customer, acme.measured) == ("acme", 2 * 120 + 4 * 60)
    assert acme.unmeasured == pytest.approx(4 * 60)
    assert acme.worst == pytest.approx(0.5)
    assert query_intake.coverage_of(filled, T0, T0 + MINUTES * MINUTE, ("beta",)) == []


def test_a_box_is_silent_after_minutes_and_gone_after_a_day(filled):
    hearing = query_intake.hearing(filled, NOW, SILENT_MS)
    assert (hearing.total, hearing.heard, hearing.silent_count, hearing.gone) == (2, 1, 1, 0)
    assert [(box.device, box.device_isp, box.last_seen) for box in hearing.silent] == [
        ("box-2", "telecom", T0 + 2 * MINUTE)
    ]
    later = query_intake.hearing(filled, NOW + 2 * query_intake.GONE_AFTER_MS, SILENT_MS)
    assert (later.heard, later.silent_count, later.gone) == (0, 0, 2)


def test_stages_say_how_far_they_have_come(filled):
    stages = query_intake.stages(filled, NOW)
    assert stages.newest_end == T0 + MINUTES * MINUTE
    assert stages.received is not None
    assert stages.received >= stages.newest_end
    assert stages.closed == T0 + MINUTES * MINUTE
    assert stages.signal is None
    assert stages.stream is None


def test_delays_are_measured_from_the_end_of_an_interval_to_its_receipt(filled):
    arrivals = query_intake.arrivals(filled, NOW)
    assert arrivals.reports == MINUTES * 6 + 12
    assert arrivals.p50_ms is not None
    assert arrivals.p99_ms is not None
    assert 0 <= arrivals.p50_ms <= arrivals.p99_ms < 10_000
    assert query_intake.arrivals(filled, NOW + 7 * 86_400_000).p50_ms is None


def test_each_reason_has_its_newest_examples(filled):
    examples = query_intake.refusal_examples(filled, T0, NOW, each=2)
    assert [(e.reason, e.id) for e in examples] == [
        ("bad_totals", "r30000"), ("bad_totals", "r40000"), ("too_large", "r20000"),
    ]  # fmt: skip


def test_boxes_of_a_combination_are_counted_with_those_that_failed(filled):
    end = T0 + MINUTES * MINUTE
    assert query_intake.boxes_concerned(filled, {"customer": ("acme",)}, T0, end) == (2, 1, T0, end)
    assert query_intake.boxes_concerned(filled, {"client_isp": ("unicom",)}, T0, end)[:2] == (1, 0)
    start = end - query_intake.AFFECTED_OVER_MS
    assert query_intake.boxes_concerned(filled, {}, T0 - 60 * MINUTE, end)[2] == start
    with pytest.raises(ContractError, match="where"):
        query_intake.boxes_concerned(filled, {"1=1; --": ("x",)}, T0, end)


def test_a_box_has_a_story(filled):
    story = query_box.story(filled, "box-1", T0, T0 + MINUTES * MINUTE)
    assert list(story.minute) == [T0 + i * MINUTE for i in range(MINUTES)]
    assert list(story.requests) == [60] * MINUTES
    assert list(story.failures) == [0, 0, 0, 0, 6, 6]
    assert story.vitals_at is None
    assert set(story.vitals.values()) == {None}
    assert list(query_box.story(filled, "nobody", T0, T0 + MINUTES * MINUTE).minute) == []
