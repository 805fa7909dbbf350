"""The spool's records survive what happens around them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent_exporter.ranges import Runs
from agent_exporter.records import REPORT, STATE, pack, scan

payloads = st.lists(st.tuples(st.sampled_from([REPORT, STATE]), st.binary(max_size=60)), max_size=6)


@given(payloads)
def test_records_come_back_as_they_were(items: list[tuple[bytes, bytes]]) -> None:
    data = b"".join(pack(kind, n, payload) for n, (kind, payload) in enumerate(items))
    assert [(r.kind, r.payload) for r in scan(data)] == items
    assert [r.commit for r in scan(data)] == list(range(len(items)))


@given(payloads, st.data())
def test_one_flipped_bit_costs_one_record_and_forges_none(
    items: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    stream = bytearray(b"".join(pack(kind, n, payload) for n, (kind, payload) in enumerate(items)))
    if not stream:
        return
    bit = data.draw(st.integers(0, len(stream) * 8 - 1))
    stream[bit // 8] ^= 1 << bit % 8
    found = [r.commit for r in scan(bytes(stream))]
    assert len(found) == len(items) - 1
    assert set(found) <= set(range(len(items)))


@given(payloads, st.binary(max_size=80), st.data())
def test_cut_or_garbage_leaves_the_records_before_it(
    items: list[tuple[bytes, bytes]], garbage: bytes, data: st.DataObject
) -> None:
    packed = [pack(kind, n, payload) for n, (kind, payload) in enumerate(items)]
    stream = b"".join(packed)
    cut = data.draw(st.integers(0, len(stream)))
    whole, end = 0, 0
    for record in packed:
        end += len(record)
        whole += end <= cut
    assert [r.commit for r in scan(stream[:cut] + garbage)][:whole] == list(range(whole))


@given(st.sets(st.integers(1, 60)), st.lists(st.integers(1, 60)))
def test_runs_are_the_set_of_what_was_added_and_not_removed(added: set[int], removed: list[int]) -> None:
    runs = Runs()
    for number in sorted(added):
        runs.add(number)
    for number in removed:
        runs.remove(number)
    left = sorted(added - set(removed))
    assert list(runs) == left
    assert len(runs) == len(left)
    assert runs.first == (left[0] if left else None)
    assert all(b[0] > a[1] + 1 for a, b in pairwise(Runs(runs.to_list()).to_list()))
