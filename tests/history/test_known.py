from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from history.known import KnownReports, SeqRanges

T0, HOUR = 1_700_000_000_000, 3_600_000


def holding(seqs):
    ranges = SeqRanges()
    for seq in seqs:
        ranges.add(seq)
    return ranges


def members(ranges):
    return {seq for first, last in ranges.ranges() for seq in range(first, last + 1)}


@given(st.lists(st.integers(1, 30)))
def test_ranges_hold_exactly_what_was_added(seqs):
    ranges = SeqRanges()
    for seq in seqs:
        ranges.add(seq)
    assert [seq for seq in range(33) if seq in ranges] == sorted(set(seqs))
    found = ranges.ranges()
    assert all(first <= last for first, last in found)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(found)), "neighbours are merged"


def test_a_copy_lives_on_its_own():
    ranges = SeqRanges(1, 5)
    other = ranges.copy()
    other.add(6)
    assert 6 not in ranges
    assert 6 in other


@given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)))
def test_sets_are_joined_and_taken_from_each_other(some, others):
    a, b = holding(some), holding(others)
    assert members(a.without(b)) == some - others
    a.update(b)
    assert members(a) == some | others
    assert members(b) == others
    for found in (a.ranges(), holding(some).without(b).ranges()):
        assert all(first <= last for first, last in found)
        assert all(x[1] < y[0] for x, y in pairwise(found))


class EmptyStore:
    """A store that holds no report yet."""

    def query(self, sql, parameters=None):
        return {"device": [], "boot": [], "first": [], "last": [], "n": []}


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 5)), max_size=12))
def test_a_run_that_is_put_in_tells_what_was_there(runs):
    ranges, have = SeqRanges(), set()
    for first, more in runs:
        wanted = set(range(first, first + more + 1))
        assert ranges.meets(first, first + more) == bool(wanted & have)
        assert ranges.put(first, first + more) == sorted(wanted & have)
        have |= wanted
        assert members(ranges) == have
        assert all(a[1] + 1 < b[0] for a, b in pairwise(ranges.ranges()))


def test_a_report_is_seen_per_customer_until_its_header_came():
    known = KnownReports(EmptyStore())
    assert known.see_slices("d", "b", "acme", 1, 2) == []
    assert known.see_slices("d", "b", "beta", 1, 1) == []
    assert known.see_slices("d", "b", "acme", 1, 3) == [1, 2]
    assert known.see_slices("d", "c", "acme", 1, 3) == []
    assert known.see_headers("d", "b", 1, 1) == []
    assert known.see_headers("d", "b", 1, 2) == [1]
    known.settle()
    assert known.see_slices("d", "b", "late", 1, 3) == [1, 2], "after the header every customer's may be stored"
    assert known.see_slices("d", "b", "acme", 3, 4) == [3]


def test_what_headers_never_come_for_stays_bounded_and_seen():
    known = KnownReports(EmptyStore(), max_open_ranges=10)
    for seq in range(1, 400, 2):
        assert known.see_slices("d", "b", "acme", seq, seq) == []
        known.bound()
        known.settle()
        assert sum(map(len, known.open.values())) <= 10
    assert known.see_slices("d", "b", "acme", 1, 399) == list(range(1, 400, 2))


class OneReport(EmptyStore):
    """A store that holds reports 1 to 5 of every box, each of one boot; `asked`: for which boxes, in turn."""

    def __init__(self):
        self.asked = []

    def query(self, sql, parameters=None):
        devices = parameters["devices"]
        self.asked.append(devices)
        n = len(devices)
        return {"device": devices, "boot": ["b"] * n, "first": [1] * n, "last": [5] * n, "n": [5] * n}


def test_boxes_that_are_gone_are_forgotten_a_day_after_the_seal_and_known_again_when_they_come_back():
    store = OneReport()
    known = KnownReports(store)
    known.load(["stays", "goes"])
    known.see_slices("goes", "b", "acme", 9, 9)
    for hour in range(74):
        known.advance(T0 + hour * HOUR)
        known.load(["stays"])
        expected = {"stays", "goes"} if hour <= 72 else {"stays"}
        assert {device for device, _ in known.headers} == {device for device, _ in known.slices} == expected
    assert known.open == {}
    assert store.asked == [["goes", "stays"]]
    known.load(["goes", "stays"])
    assert store.asked == [["goes", "stays"], ["goes"]]
    assert known.see_headers("goes", "b", 1, 6) == [1, 2, 3, 4, 5]
