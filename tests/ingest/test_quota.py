"""Token buckets."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.quota import Quota


def test_a_burst_passes_and_then_the_rate():
    quota = Quota(rate=2, burst=3)
    assert [quota.take("d", 1, 0) for _ in range(4)] == [0, 0, 0, 1]
    assert quota.take("d", 1, 499) == 1
    assert quota.take("d", 1, 500) == 0


def test_the_wait_is_long_enough_and_told_in_whole_seconds():
    quota = Quota(rate=0.1, burst=1)
    quota.take("d", 1, 0)
    assert quota.take("d", 1, 0) == 10
    assert quota.take("d", 1, 10_000) == 0


def test_more_than_the_burst_passes_when_the_bucket_is_full_and_is_paid_back():
    quota = Quota(rate=1, burst=10)
    assert quota.take("d", 30, 0) == 0
    assert quota.take("d", 1, 0) == 21


def test_names_do_not_share_and_memory_is_bounded():
    quota = Quota(rate=1, burst=1, max_names=2)
    assert [quota.take(n, 1, 0) for n in ("a", "b", "c", "b")] == [0, 0, 0, 1]
    assert quota.take("a", 1, 0) == 0  # forgotten, so full again


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 5)), max_size=60))
def test_never_more_than_burst_and_rate_allow(steps):
    quota, now, taken = Quota(rate=3, burst=5), 0, 0
    for pause, amount in steps:
        now += pause
        if quota.take("d", amount, now) == 0:
            taken += amount
    assert taken <= 5 + 3 * now / 1000 + 1e-6
