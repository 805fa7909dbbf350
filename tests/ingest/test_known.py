"""What the gateway remembers of stored reports, against a plain dictionary."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.known import MAX_RANGES, KnownReports, Seen, runs_backwards

NONE = (0, 0, 0, 0, 0)


@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["a" * 64, "b" * 64])), max_size=60))
def test_answers_equal_those_of_a_plain_dictionary(reports):
    known, plain = KnownReports(10, 1_000), {}
    for seq, digest in reports:
        expected = Seen.NEW if seq not in plain else Seen.SAME if plain[seq] == digest else Seen.OTHER
        assert known.look("d", "b", seq, digest) is expected
        if expected is Seen.NEW:
            known.add("d", "b", seq, digest, NONE)
            plain[seq] = digest
    assert all(known.look("d", "b", s, d) is Seen.SAME for s, d in plain.items())
    assert known.newest("d", "b") == ((max(plain), NONE) if plain else None)


def test_a_seq_is_remembered_longer_than_its_digest():
    known = KnownReports(10, 2)
    for seq in (1, 2, 3):
        known.add("d", "b", seq, f"{seq}" * 64, NONE)
    assert known.look("d", "b", 1, "x" * 64) is Seen.SAME
    assert known.look("d", "b", 3, "x" * 64) is Seen.OTHER


def test_the_boot_that_was_silent_longest_is_forgotten_first():
    known = KnownReports(2, 10)
    for boot in ("a", "b", "a", "c"):
        known.add("d", boot, 1, "0" * 64, NONE)
    assert [known.look("d", boot, 1, "0" * 64) for boot in "abc"] == [Seen.SAME, Seen.NEW, Seen.SAME]


def test_a_boot_with_endless_gaps_takes_bounded_memory():
    known = KnownReports(2, 5)
    for seq in range(1, 2_000, 2):
        known.add("d", "b", seq, "0" * 64, NONE)
    boot = known._boots["d", "b"]
    assert len(boot.starts) == len(boot.ends) == MAX_RANGES
    assert len(boot.digests) == 5


def test_totals_compare_in_the_order_of_seqs():
    low, high = (5, 5, 5, 5, 5), (5, 5, 6, 5, 5)
    assert runs_backwards(2, high, 1, low) is None
    assert runs_backwards(1, low, 2, high) is None
    assert runs_backwards(2, low, 1, high) == "totals.dropped_requests"
    assert runs_backwards(1, high, 2, low) == "totals.dropped_requests"
