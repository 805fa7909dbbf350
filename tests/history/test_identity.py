"""Every identity is stored once, however its copies come."""

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from history.sink import Sink, SinkSettings
from tests.history.builders import T0, Box, MemoryLog, make_slice, send, shifted

# Blocks far smaller than what is unread, so that partitions are read at their own pace, one long before the next.
SMALL = SinkSettings(flush_every_ms=0, live_refresh_ms=None, block_rows=6, poll_records=3, blocks_per_step=2)
CUSTOMERS = ("acme", "beta", "calc", "dune", "echo")  # over several partitions of the log


def fleet():
    """Reports of two boxes that serve every customer, and one that serves another one each time."""
    boxes = [Box("box-1"), Box("box-2"), Box("box-3")]
    reports = []
    for k in range(4):
        start = T0 + 10_000 * k
        reports += [box.report(start, [make_slice(customer=c) for c in CUSTOMERS]) for box in boxes[:2]]
        reports.append(boxes[2].report(start, [make_slice(customer=CUSTOMERS[k])] * 2))
    return reports


REPORTS = fleet()
ACTIONS = st.one_of(
    st.tuples(st.just("send"), st.integers(0, len(REPORTS) - 1), st.sampled_from((0, 10_000, -20_000, 300_000))),
    st.just(("step",)),
    st.just(("restart",)),
)
FIRST_AND_AGAIN = [("send", i, 0) for i in range(12)] + [("step",)] * 3 + [("send", i, 60_000) for i in range(12)]


class Counting:
    """A store that counts the questions after stored rows."""

    def __init__(self, store):
        self._store = store
        self.questions = 0

    def query(self, sql, parameters=None):
        self.questions += "seqs" in (parameters or {})
        return self._store.query(sql, parameters)

    def __getattr__(self, name):
        return getattr(self._store, name)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACTIONS, max_size=20))
@example(FIRST_AND_AGAIN)
@example([*FIRST_AND_AGAIN[:15], ("restart",), *FIRST_AND_AGAIN[15:]])
def test_any_order_of_partitions_repeats_and_restarts_stores_each_identity_once(embedded, actions):
    store, log = embedded.empty(), MemoryLog()
    sink = Sink(log, store, SMALL)
    sent = set()
    for action, *what in actions:
        if action == "send":
            i, by_ms = what
            send(log, shifted(REPORTS[i], by_ms))
            sent.add(i)
        elif action == "step":
            sink.step(T0)
        else:
            sink.close()
            sink = Sink(log, store, SMALL)
    sink.drain(T0)
    sink.close()
    rows = store.query("SELECT device, boot, seq, `row`, customer FROM slices FINAL")
    wanted = [
        (h["device"], h["boot"], h["seq"], row["row"], row["customer"]) for h, rows in map(REPORTS.__getitem__, sent)
        for row in rows
    ]  # fmt: skip
    assert sorted(zip(*rows.values(), strict=True)) == sorted(wanted)


def test_a_catch_up_asks_the_store_about_nothing_that_is_new(embedded):
    store, log = Counting(embedded.empty()), MemoryLog()
    send(log, *REPORTS)
    sink = Sink(log, store, SMALL)
    sink.drain(T0)
    assert store.questions == 0
    send(log, shifted(REPORTS[0], 10_000))
    sink.drain(T0)
    assert store.questions == 1, "about the repeated report"
    sink.close()
