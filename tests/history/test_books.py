from hypothesis import given
from hypothesis import strategies as st

from history.books import Account, Fates, Gap, SeqRange, lost_ranges, part, settle


def parted(first, last, rejected=(), oldest=None, requests=0):
    return part(Gap(first, last, requests, 0), list(rejected), oldest)


def test_a_gap_is_parted_into_refused_held_and_gone():
    p = parted(3, 10, rejected=[1, 4, 9, 12], oldest=8)
    assert (p.rejected, p.pending, p.gone) == (2, 2, 4)
    assert p.gone_ranges == ((3, 3), (5, 7))


@given(st.integers(1, 20), st.integers(0, 15), st.sets(st.integers(1, 40)), st.none() | st.integers(1, 45))
def test_every_seq_of_a_gap_has_one_fate(first, more, rejected, oldest):
    last = first + more
    p = parted(first, last, sorted(rejected), oldest)
    wanted = {"rejected": 0, "pending": 0}
    gone = set()
    for seq in range(first, last + 1):
        if seq in rejected:
            wanted["rejected"] += 1
        elif oldest is not None and seq >= oldest:
            wanted["pending"] += 1
        else:
            gone.add(seq)
    assert (p.rejected, p.pending, p.gone) == (wanted["rejected"], wanted["pending"], len(gone))
    assert {s for a, b in p.gone_ranges for s in range(a, b + 1)} == gone


def test_gaps_of_one_fate_are_exact():
    parts = [
        parted(1, 2, oldest=100),
        parted(5, 6, [5, 6], 100),
        parted(9, 9, oldest=100),
        parted(100, 101, oldest=100),
    ]
    assert settle(parts, [10, 20, 30, 40], declared=0, declared_reports=0) == Fates(20, 40, 0, 40)
    assert settle(parts, [10, 20, 30, 40], declared=40, declared_reports=3) == Fates(20, 40, 40, 0)


def test_what_nobody_declared_is_lost():
    parts = [parted(1, 1), parted(3, 3)]
    assert settle(parts, [10, 7], declared=10, declared_reports=1) == Fates(0, 0, 10, 7)
    assert settle(parts, [10, 7], declared=0, declared_reports=2) == Fates(0, 0, 0, 17)


def test_what_was_declared_but_arrived_is_not_declared_twice():
    assert settle([], [], declared=25, declared_reports=2) == Fates(0, 0, 0, 0)
    assert settle([parted(4, 4)], [10], declared=25, declared_reports=2) == Fates(0, 0, 10, 0)


def test_the_boxs_own_figure_decides_in_a_mixed_gap():
    mixed = parted(1, 4, oldest=3)
    assert settle([mixed], [100], declared=80, declared_reports=2) == Fates(0, 20, 80, 0)
    assert settle([mixed], [100], declared=10, declared_reports=2) == Fates(0, 90, 10, 0)
    refused = parted(1, 4, rejected=[3, 4], oldest=9)
    assert settle([refused], [100], declared=70, declared_reports=2) == Fates(30, 0, 70, 0)
    assert settle([mixed], [100], declared=0, declared_reports=0) == Fates(0, 50, 0, 50)


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.sets(st.integers(0, 3)), st.integers(-1, 5), st.integers(0, 1000)), max_size=5
    ),
    st.integers(0, 3000),
    st.integers(0, 12),
)
def test_fates_add_up_to_the_gaps_whatever_was_declared(gaps, declared, reports):
    parts, values = [], []
    for i, (size, rejected, oldest, value) in enumerate(gaps):
        first = 10 * i + 1
        parts.append(parted(first, first + size - 1, sorted(first + r for r in rejected), first + oldest))
        values.append(value)
    fates = settle(parts, values, declared, reports)
    assert fates.rejected + fates.pending + fates.declared + fates.lost == sum(values)
    assert min(fates.rejected, fates.pending, fates.declared, fates.lost) >= 0
    assert fates.declared <= declared


def test_lost_ranges_share_their_gap():
    found = lost_ranges([part(Gap(3, 6, 100, 8), [4], None)])
    assert found == [SeqRange(3, 3, 25, 2), SeqRange(5, 6, 50, 4)]


def test_an_account_knows_its_difference():
    account = Account(reported=10, stored=6, lost=3)
    assert account.difference == 1
    assert (account + Account(stored=1)).difference == 0
