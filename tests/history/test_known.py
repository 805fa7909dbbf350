from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from history.known import SeqRanges, split


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


def test_split_tells_first_sight_from_the_rest():
    seen = {}
    assert split(seen, [("d", "b", 1), ("d", "b", 1), ("d", "c", 1)]) == [False, True, False]
    assert split(seen, [("d", "b", 2), ("d", "b", 1)]) == [False, True]
