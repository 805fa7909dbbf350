"""When months are sealed by themselves: not before the sink has read all that was received."""

from zoneinfo import ZoneInfo

import pytest

from contracts.sla import Month
from dipper.report_operations import MARGIN_MS, Settler, complete_through
from history.chdb_store import ChdbStore
from history.objectives import record
from history.sink import Sink, SinkSettings
from history.sla_account import sealable_from
from history.sla_seal import sealed
from tests.history.builders import MINUTE, Box, MemoryLog, make_slice, send
from tests.history.sla_world import level

OCT = Month(2026, 10)
END = OCT.span(ZoneInfo("UTC"))[1]
DUE = sealable_from(END)
LATE = DUE + 10 * MINUTE


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """The end of October in history, and of the same minutes a box's reports that wait in the log; (store, log)."""
    log = MemoryLog(partitions=2)
    with ChdbStore(tmp_path_factory.mktemp("settling") / "history", min_free_bytes=0) as store:
        record(store, [level(service="video")], "ana", 0)
        send(log, *served(Box("box-1")))
        before = Sink(log, store, SinkSettings(flush_every_ms=0))
        before.drain(END + 5 * MINUTE)
        before.close()
        send(log, *served(Box("box-2", "boot-2"), failed=10))
        yield store, log


def served(box, failed=0):
    row = make_slice(s2xx=10 - failed, s5xx=failed, f_server=failed)
    return [box.report(END - 2 * MINUTE + k * 10_000, [row]) for k in range(12)]


def test_a_month_is_sealed_only_after_the_sink_has_stored_what_waited_in_the_log(month):
    store, log = month
    sink = Sink(log, store, SinkSettings(flush_every_ms=0, late_refresh_ms=0))
    assert sink.status(LATE)["lag_records"] > 0
    assert complete_through(sink.status(LATE)) == 0
    settler = Settler(store)
    settler.step(LATE, lambda: sink.status(LATE))
    assert sealed(store, "acme", "acme-vod", OCT) is None
    sink.step(LATE)
    assert complete_through(sink.status(LATE + MINUTE)) == LATE - MARGIN_MS
    later = LATE + 60 * MINUTE
    settler.step(later, lambda: sink.status(later))
    document = sealed(store, "acme", "acme-vod", OCT)
    assert (document["minutes"]["good"], document["minutes"]["bad"]) == (0, 2)
