import itertools
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from contracts import topics
from history.books import Account
from history.clickhouse_store import ClickHouseStore
from history.ledger import ledger
from history.sink import Sink, SinkSettings
from tests.history.builders import (
    MINUTE,
    T0,
    Box,
    MemoryLog,
    make_slice,
    rejected_batch,
    send,
    send_batch,
    shifted,
    slice_batch,
)

PROMPT = SinkSettings(flush_every_ms=0, late_refresh_ms=0)
END = T0 + 100 * MINUTE


def rows(n):
    return [make_slice(requests=n)]


def books(store, log):
    Sink(log, store, PROMPT).drain(END)
    return ledger(store, END)


def refuse(log, header, refused_rows="[]", requests=0, slices=0, **more):
    name = f"{header['device']}-{header['boot']}-{header['seq']}-{refused_rows}"
    identity = {n: header[n] for n in ("device", "boot", "seq", "received_at")}
    row = rejected_batch(id=name, rows=refused_rows, requests=requests, slices=slices, **identity, **more)
    send_batch(log, topics.REJECTED, header["device"], row, header["received_at"])


def test_no_reports_no_books(store, log):
    empty = books(store, log)
    assert empty.balanced
    assert empty.requests == Account()


def test_a_gap_below_the_spool_is_lost_with_its_range(store, log):
    box = Box()
    sent = [box.report(T0 + k * 10_000, rows(k + 1)) for k in range(6)]
    send(log, *sent[:2], *sent[4:])
    found = books(store, log)
    assert found.requests == Account(reported=21, stored=1 + 2 + 5 + 6, lost=3 + 4)
    assert found.slices == Account(reported=6, stored=4, lost=2)
    assert [(r.first, r.last, r.requests) for r in found.boots[0].lost] == [(3, 4, 7)]
    assert found.balanced


def test_a_leading_gap_counts(store, log):
    box = Box()
    box.report(T0, rows(5))
    send(log, box.report(T0 + 10_000, rows(1)))
    assert books(store, log).requests == Account(reported=6, stored=1, lost=5)


def test_a_gap_in_the_spool_is_pending_and_stored_when_it_comes(store, log):
    box = Box()
    held = box.report(T0, rows(5))
    send(log, box.report(T0 + 10_000, rows(1), oldest=1))
    assert books(store, log).requests == Account(reported=6, stored=1, pending=5)
    send(log, held)
    assert books(store, log).requests == Account(reported=6, stored=6)


def test_drops_inside_and_of_whole_reports_are_declared(store, log):
    box = Box()
    dropped = box.report(T0, rows(5), in_drops=2)
    box.declare_spool_drop(dropped)
    send(log, box.report(T0 + 10_000, rows(1), in_drops=3))
    found = books(store, log)
    assert found.requests == Account(reported=11, stored=1, declared_dropped=5 + 2 + 3)
    assert found.slices == Account(reported=2, stored=1, declared_dropped=1)


def test_a_report_dropped_although_it_had_arrived_is_stored_and_nothing_else(store, log):
    box = Box()
    arrived = box.report(T0, rows(5))
    send(log, arrived)
    box.declare_spool_drop(arrived)
    send(log, box.report(T0 + 10_000, rows(1)))
    found = books(store, log)
    assert found.balanced
    assert found.requests == Account(reported=6, stored=6)


def test_refused_reports_and_rows_are_rejected_until_they_are_replayed(store, log):
    box = Box()
    whole = box.report(T0, rows(5))
    refuse(log, whole[0])
    partly = box.report(T0 + 10_000, [make_slice(requests=2), make_slice(customer="new", requests=7)], refused=[1])
    refuse(log, partly[0], "[1]", 7, 1)
    refuse(log, partly[0], "[ 1]", 0, 0, state="replayed")
    send(log, partly, box.report(T0 + 20_000, rows(1)))
    found = books(store, log)
    assert found.requests == Account(reported=15, stored=3, rejected=12)
    assert found.slices == Account(reported=4, stored=2, rejected=2)
    header, stored = partly
    send(log, (header, [*stored, {**make_slice(customer="new", requests=7), "row": 1}]))
    assert books(store, log).requests == Account(reported=15, stored=10, rejected=5), "a stored row is not refused"
    send(log, whole)
    assert books(store, log).requests == Account(reported=15, stored=15)


def test_an_earlier_boot_is_judged_by_what_the_newest_lists(store, log):
    box = Box()
    box.report(T0, rows(5))
    held = box.report(T0 + 10_000, rows(6))
    send(log, box.report(T0 + 20_000, rows(1), oldest=1))
    after = Box("box-1", "boot-2")
    after.earlier_boots = [
        {"boot": "boot-1", "oldest_spooled_seq": 2, "dropped_reports": 1, "dropped_requests": 5, "dropped_slices": 1}
    ]
    send(log, after.report(T0 + 30_000, rows(2)))
    assert books(store, log).requests == Account(reported=14, stored=3, declared_dropped=5, pending=6)
    after.earlier_boots[0]["oldest_spooled_seq"] = None
    send(log, after.report(T0 + 40_000, []))
    assert books(store, log).requests == Account(reported=14, stored=3, declared_dropped=5, lost=6)
    send(log, held)
    assert books(store, log).requests == Account(reported=14, stored=9, declared_dropped=5)


def test_a_row_stored_twice_is_seen(store, log):
    box = Box()
    report = box.report(T0, [make_slice(requests=5), make_slice(customer="beta", requests=2)])
    send(log, report)
    sink = Sink(log, store, PROMPT)
    sink.drain(END)
    # Past the sink: the same identities in another minute, as a faulty writer would leave them.
    store.insert("slices", pa.table(pa.Table.from_batches([slice_batch([shifted(report, 2 * MINUTE)])])))
    sink._dirty.mark([T0 + 2 * MINUTE], END)
    for found in (ledger(store, END), books(store, log)):
        assert found.requests == Account(reported=7, stored=14, double_counted=7)
        assert found.slices == Account(reported=2, stored=4, double_counted=2)
        assert found.balanced


def test_rows_that_vanish_from_history_unbalance_the_books(store, log):
    box = Box()
    send(log, *[box.report(T0 + k * 10_000, rows(k + 1)) for k in range(4)])
    Sink(log, store, PROMPT).drain(END)
    store.execute("DELETE FROM stored_reports WHERE seq = 3")
    found = ledger(store, END)
    assert not found.balanced
    assert found.requests.difference == 3
    assert found.disagreeing_minutes == 1
    assert found.to_json()["unbalanced"] == [{"device": "box-1", "boot": "boot-1", "requests": 3, "slices": 1}]


def test_totals_that_run_backwards_unbalance_the_books(store, log):
    box = Box()
    first = box.report(T0, rows(5))
    box.requests -= 3
    send(log, first, box.report(T0 + 10_000, rows(1)))
    assert not books(store, log).balanced


def test_slices_without_a_header_stay_outside_and_are_told(store, log):
    box = Box()
    report = box.report(T0, rows(5))
    store.insert("slices", slice_batch([report]))
    store.insert("dirty_minutes", pa.table({"minute": [T0], "dirty": pa.array([1], pa.uint8())}))
    found = ledger(store, END)
    assert found.balanced
    assert (found.requests, found.unheaded) == (Account(), (5, 1))


def test_slices_sent_twice_because_their_header_was_lost_count_once(store, log):
    box = Box()
    lost, after = box.report(T0, rows(5)), box.report(T0 + 10_000, rows(2))
    header, sliced = lost
    send_batch(log, topics.SLICES, "acme", slice_batch([lost]), header["received_at"])
    send(log, after)
    found = books(store, log)
    assert (found.requests, found.unheaded) == (Account(reported=7, stored=2, lost=5), (5, 1))
    assert found.balanced
    send(log, ({**header, "received_at": header["received_at"] + 30_000}, sliced))
    found = books(store, log)
    assert (found.requests, found.unheaded) == (Account(reported=7, stored=7), (0, 0))
    assert found.balanced


def test_json_has_the_form_of_ledger_json(store, log):
    box = Box()
    box.report(T0, rows(5))
    send(log, box.report(T0 + 10_000, rows(1)))
    document = books(store, log).to_json()
    names = {"reported", "stored", "rejected", "declared_dropped", "pending", "lost", "double_counted"}
    assert set(document["requests"]) == set(document["slices"]) == names
    assert (document["devices"], document["balanced"]) == (1, True)
    assert document["lost_ranges"] == [
        {"device": "box-1", "boot": "boot-1", "first_seq": 1, "last_seq": 1, "requests": 5, "slices": 1}
    ]
    assert document["last_seen"] == {"box-1": "2023-11-17T00:00:20.000Z"}


class Fleet(RuleBasedStateMachine):
    """One box and a server that loses, refuses and repeats; the truth of every report is written down."""

    requests = st.integers(0, 9)

    def __init__(self, shared_store):
        super().__init__()
        self.shared = shared_store
        self.log = MemoryLog()
        self.boots = 0
        self.at = T0
        self.fates = {}  # (boot, seq) -> [fate, requests, header totals]
        self.spool = []
        self.sent = []
        self.declared = {}  # of earlier boots, after their last report
        self.unsaid = []  # dropped of this boot since its last report
        self.box = None
        self.reboot()

    def make(self, fate, requests, **more):
        entries = {}
        for report in self.spool:
            entries.setdefault(report[0]["boot"], report[0]["seq"])
        own = entries.pop(self.box.boot, None)
        self.box.earlier_boots = [
            {"boot": boot, "oldest_spooled_seq": entries.get(boot), **self.declared.get(boot, NOTHING)}
            for boot in sorted(set(entries) | set(self.declared))
            if boot != self.box.boot
        ]
        self.at += 10_000
        report = self.box.report(self.at, rows(requests) if requests else [], oldest=own, **more)
        self.fates[self.box.boot, report[0]["seq"]] = [fate, requests]
        self.unsaid = []
        return report

    @rule(requests=requests, drops=st.integers(0, 2))
    def deliver(self, requests, drops):
        report = self.make("stored", requests, in_drops=drops)
        send(self.log, report)
        self.sent.append(report)

    @rule(requests=requests)
    def hold(self, requests):
        self.spool.append(self.make("pending", requests))

    @precondition(lambda self: self.spool)
    @rule()
    def send_backlog(self):
        for report in self.spool:
            self.fates[report[0]["boot"], report[0]["seq"]][0] = "stored"
            send(self.log, report)
            self.sent.append(report)
        self.spool = []

    @precondition(lambda self: self.spool)
    @rule()
    def spool_overflows(self):
        report = self.spool.pop(0)
        header = report[0]
        self.fates[header["boot"], header["seq"]][0] = "declared"
        if header["boot"] == self.box.boot:
            self.box.declare_spool_drop(report)
            self.unsaid.append(header)
        else:
            self.declare_of_earlier(header)

    def declare_of_earlier(self, header):
        entry = self.declared.setdefault(header["boot"], dict(NOTHING))
        entry["dropped_reports"] += 1
        entry["dropped_requests"] += header["requests"]
        entry["dropped_slices"] += header["slices"]

    @rule(requests=requests)
    def server_refuses(self, requests):
        refuse(self.log, self.make("rejected", requests)[0])

    @rule(requests=st.integers(1, 9))
    def server_loses(self, requests):
        self.make("lost", requests)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def other_gateway_repeats(self, data):
        report = data.draw(st.sampled_from(self.sent))
        send(self.log, shifted(report, data.draw(st.sampled_from([0, 10_000, -10_000, 60_000]))))

    @rule()
    def reboot(self):
        for header in self.unsaid:
            self.declare_of_earlier(header)
        self.unsaid = []
        self.boots += 1
        self.box = Box("box-1", f"boot-{self.boots}")

    def teardown(self):
        send(self.log, self.make("stored", 1))
        store = self.shared.empty()
        found = books(store, self.log)
        assert found.balanced, [b for b in found.boots if not b.balanced]
        assert found.requests.double_counted == 0
        for boot in found.boots:
            self.check(boot)

    def check(self, boot):
        known = {seq: v for (name, seq), v in self.fates.items() if name == boot.boot and seq <= boot.last_seq}
        oldest = min((h["seq"] for h, _ in self.spool if h["boot"] == boot.boot), default=None)
        truth, runs, before = Counter(), [], None
        for seq in sorted(known):
            fate, requests = known[seq]
            if fate == "lost" and oldest is not None and seq >= oldest:
                fate = "pending"  # by definition: the server can't tell it from what the box still holds
            truth[fate] += requests
            if before not in (None, "stored") and fate not in ("stored", before):
                runs.append({before, fate})
            before = fate
        assert boot.requests.stored == truth["stored"]
        beyond = any(
            fate == "declared"
            for (name, seq), (fate, _) in self.fates.items()
            if name == boot.boot and seq > boot.last_seq
        )
        if not runs and not beyond:
            got = boot.requests
            inside = sum_of_drops(self.sent, boot)
            assert got.declared_dropped - inside == truth["declared"]
            assert (got.rejected, got.pending, got.lost) == (truth["rejected"], truth["pending"], truth["lost"])
            if truth["lost"]:
                lost_seqs = {seq for seq, (fate, n) in known.items() if fate == "lost" and n}
                in_ranges = {seq for r in boot.lost for seq in range(r.first, r.last + 1)}
                assert {s for s in lost_seqs if oldest is None or s < oldest} <= in_ranges


NOTHING = {"dropped_reports": 0, "dropped_requests": 0, "dropped_slices": 0}


def sum_of_drops(sent, boot):
    mine = [h for h, _ in sent if (h["device"], h["boot"]) == (boot.device, boot.boot)]
    last = max(mine, key=lambda h: h["seq"], default=None)
    return 0 if last is None else last["dropped_requests"] - last["spool_dropped_requests"]


@pytest.mark.parametrize(
    ("where", "examples"), [("embedded", 8), ("served", 3), pytest.param("embedded", 60, marks=pytest.mark.verify)]
)
def test_the_books_tell_the_truth_of_any_fleet(request, where, examples):
    random.seed(0)
    shared_store = request.getfixturevalue(where)
    run_state_machine_as_test(
        lambda: Fleet(shared_store),
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )


class BusyStore:
    """A store that is written to before every query of whoever reads it."""

    def __init__(self, store, write):
        self._store = store
        self._write = write

    def query(self, sql, parameters=None):
        self._write()
        return self._store.query(sql, parameters)


def test_the_books_are_of_one_moment_however_much_is_written_while_they_are_read(store, log):
    boxes = [Box("box-1"), Box("box-2")]
    late = Box("late")
    held_back = [late.report(T0 + k * 10_000, rows(3)) for k in range(120)]
    send(log, *held_back[100:])
    sink = Sink(log, store, SinkSettings(flush_every_ms=0, late_refresh_ms=0, live_refresh_ms=0))
    written = [0]

    def write():
        # A report of each box at the front, and one into an ended minute that fills a gap: all at once stored, and
        # the minutes it touches recomputed.
        k = written[0]
        written[0] += 1
        fresh = [box.report(T0 + k * 30_000, rows(k + 1)) for box in boxes]
        send(log, *fresh, *held_back[k : k + 1])
        sink.step(T0 + k * 30_000 + 15_000)

    for _ in range(4):
        write()
    found = ledger(BusyStore(store, write), END)
    sink.close()
    assert written[0] > 14
    assert [(b.device, b.requests.difference, b.slices.difference) for b in found.boots if not b.balanced] == []
    assert found.disagreeing_minutes == 0
    assert found.requests.double_counted == 0
    reported = {b.device: b.requests.reported for b in found.boots}
    assert reported["box-1"] in {n * (n + 1) // 2 for n in range(5, written[0] + 1)}
    assert reported["late"] == 360
    stored_of_late = next(b.requests.stored for b in found.boots if b.device == "late")
    assert stored_of_late + found.requests.lost == 360


def test_a_thread_that_stores_never_makes_the_books_wrong(served, server_url):
    served.empty()
    with ClickHouseStore(server_url) as store:
        log, boxes = MemoryLog(), [Box(f"box-{i}") for i in range(20)]
        sink = Sink(log, store, SinkSettings(flush_every_ms=0, late_refresh_ms=0, live_refresh_ms=0))
        done = threading.Event()

        def write():
            for k in itertools.count():
                if done.is_set():
                    return
                send(log, *[box.report(T0 + k * 10_000, rows(k + 1)) for box in boxes])
                sink.step(T0 + k * 10_000 + 12_000)

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            try:
                found = [ledger(store, END) for _ in range(4)]
            finally:
                done.set()
            writing.result(60)
        assert all(books.balanced for books in found)
        assert {(b.requests.lost, b.requests.double_counted, b.requests.pending) for b in found} == {(0, 0, 0)}
        assert found[-1].requests.reported > found[0].requests.reported
        sink.drain(END)
        assert ledger(store, END).balanced
