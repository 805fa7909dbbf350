"""The fast validator never disagrees with contracts.decode: on good reports, on broken ones, on noise."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.columns import COUNT_NAMES, HISTOGRAM_NAMES, SLICE_DIMENSIONS
from contracts.decode import decode
from contracts.errors import ContractError
from contracts.report import Histograms, Slices, Totals, encode
from ingest.pipeline import Arrival
from ingest.rows import doubtful, gather
from ingest.wire import read_report
from tests.ingest.builders import NOW, make_report, make_slices

MANY = settings(max_examples=100, deadline=None)
texts = st.text(min_size=1, max_size=8).filter(str.isprintable) | st.sampled_from(["acme", "ä" * 64, "客户"])


@st.composite
def histograms(draw, totals):
    lengths, cells, counts = [], [], []
    for total in totals:
        parts = draw(st.lists(st.integers(1, 50), min_size=1, max_size=4)) if total is None else split(draw, total)
        lengths.append(len(parts))
        cells += sorted(draw(st.sets(st.integers(0, 129), min_size=len(parts), max_size=len(parts))))
        counts += parts
    return Histograms(lengths, cells, counts)


def split(draw, total):
    if total == 0:
        return []
    first = draw(st.integers(1, min(total, 2**32 - 1)))
    rest = total - first
    return [first, rest] if rest else [first]


@st.composite
def good_slices(draw):
    rows = draw(st.integers(0, 4))
    requests = [draw(st.integers(0, 1_000)) for _ in range(rows)]
    counts = {n: [0] * rows for n in COUNT_NAMES}
    counts["requests"] = requests
    counts["sessions"] = [draw(st.integers(0 if r else 1, 20)) for r in requests]
    counts["stalled_sessions"] = [draw(st.integers(0, s)) for s in counts["sessions"]]
    counts["cache_hits"] = [draw(st.integers(0, r)) for r in requests]
    counts["s4xx"] = [draw(st.integers(0, r)) for r in requests]
    counts["bytes"] = [draw(st.integers(0, 2**53 - 1)) for _ in requests]
    return Slices(
        {n: [draw(texts) for _ in range(rows)] for n in SLICE_DIMENSIONS},
        counts,
        {
            "latency": draw(histograms(requests)),
            "throughput": draw(histograms([draw(st.integers(0, r)) for r in requests])),
        },
    )


@st.composite
def good_reports(draw):
    slices = draw(good_slices())
    carried = sum(slices.counts["requests"])
    return make_report(
        draw(st.integers(1, 9)),
        slices=slices,
        totals=Totals(carried + draw(st.integers(0, 9)), len(slices) + draw(st.integers(0, 9))),
        vitals=draw(st.dictionaries(st.sampled_from(["load1", "cpu_ratio"]), st.floats(-1e300, 1e300))),
        firmware=draw(texts),
    )


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**64),
    st.floats(),
    st.text(max_size=70),
    st.lists(st.integers(-1, 130), max_size=3),
    st.just({}),
)


def places(document, path=()):
    """Paths of everything in a document."""
    yield path
    if isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*path, key))
    elif isinstance(document, list):
        for i, value in enumerate(document):
            yield from places(value, (*path, i))


def at(document, path):
    for key in path:
        document = document[key]
    return document


@st.composite
def broken_bodies(draw):
    """A good report with one to three places changed, removed or added to; often still good."""
    document = json.loads(encode(draw(good_reports())))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([p for p in places(document) if p]))
        holder, key = at(document, path[:-1]), path[-1]
        how = draw(st.sampled_from(["change", "nudge", "remove", "add"]))
        if how == "nudge" and type(holder[key]) is int:
            holder[key] += draw(st.sampled_from([-1, 1]))
        elif how == "remove":
            del holder[key]
        elif how == "add" and isinstance(holder, dict):
            holder[draw(st.text(max_size=5))] = draw(VALUES)
        else:
            holder[key] = draw(VALUES)
    return json.dumps(document).encode()


def verdict_of_contract(body):
    try:
        decode(body)
    except ContractError as error:
        return error.reason, error.field
    return None


def verdict_of_gateway(body):
    """As the gateway comes to it: decode, then rules over rows, then the judge where there is doubt."""
    try:
        report = read_report(body)
    except ContractError as error:
        return error.reason, error.field
    if doubtful(gather([report]))[0]:
        return verdict_of_contract(body)
    return None


@MANY
@given(good_reports())
def test_good_reports_pass_the_fast_way_without_doubt(report):
    body = encode(report)
    assert verdict_of_contract(body) is None
    fast = read_report(body)
    assert not doubtful(gather([fast]))[0]
    slow = decode(body)
    assert (fast.device, fast.seq, fast.vitals) == (slow.device, slow.seq, slow.vitals)
    for name in SLICE_DIMENSIONS:
        assert getattr(fast.slices, name) == list(slow.slices.dimensions[name])
    for name in COUNT_NAMES:
        assert getattr(fast.slices, name) == list(slow.slices.counts[name])
    for name in HISTOGRAM_NAMES:
        mine, its = getattr(fast.slices, name), slow.slices.histograms[name]
        assert (mine.lengths, mine.cells, mine.counts) == (its.lengths, its.cells, its.counts)


@settings(MANY, max_examples=300)
@given(broken_bodies())
def test_both_validators_give_one_verdict_on_broken_reports(body):
    assert verdict_of_gateway(body) == verdict_of_contract(body)


@MANY
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_both_validators_give_one_verdict_on_noise(body):
    assert verdict_of_gateway(body) == verdict_of_contract(body)


small = st.integers(0, 6)
row_pairs = st.tuples(small, small).map(list)
sparse_pairs = st.tuples(row_pairs, st.lists(st.integers(0, 9), max_size=12)).map(
    lambda drawn: Histograms(drawn[0], (drawn[1] * 12)[: sum(drawn[0])] or [0] * sum(drawn[0]), [1] * sum(drawn[0]))
)


@settings(MANY, max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(COUNT_NAMES), row_pairs, max_size=3),
            st.dictionaries(st.sampled_from(HISTOGRAM_NAMES), sparse_pairs, max_size=2),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_rules_over_rows_of_many_reports_judge_each_alone(changes):
    bodies = [
        encode(make_report(1, slices=make_slices(3, 5, **counts, **sparse), totals=Totals(99, 9)))
        for counts, sparse in changes
    ]
    together = doubtful(gather([read_report(b) for b in bodies])).tolist()
    assert together == [verdict_of_contract(b) is not None for b in bodies]


TRICKS = {
    "escaped key of an optional field": lambda b: b.replace(b'"vitals":{"load1"', b'"vit\\u0061ls":{"bogus"'),
    "key twice, the last one bad": lambda b: b.replace(b'"seq":1', b'"seq":1,"seq":0'),
    "key twice, the first one bad": lambda b: b.replace(b'"seq":1', b'"seq":"x","seq":1'),
    "float for an integer": lambda b: b.replace(b'"seq":1', b'"seq":1.0'),
    "minus nought": lambda b: b.replace(b'"s3xx":[0', b'"s3xx":[-0'),
    "true for one": lambda b: b.replace(b'"s3xx":[0', b'"s3xx":[true'),
    "number beyond float": lambda b: b.replace(b"0.5", b"1e999"),
    "integer beyond float": lambda b: b.replace(b"0.5", b"1" + b"0" * 400),
    "integer beyond print": lambda b: b.replace(b"0.5", b"1" + b"0" * 5_000),
    "lone surrogate": lambda b: b.replace(b'"m1"', b'"\\ud800"'),
    "control character": lambda b: b.replace(b'"m1"', b'"a\\u0000"'),
    "direction override": lambda b: b.replace(b'"m1"', b'"a\\u202eb"'),
    "byte order mark": lambda b: b"\xef\xbb\xbf" + b,
    "UTF-16": lambda b: b.decode().encode("utf-16"),
    "something behind": lambda b: b + b"{}",
    "cells fall": lambda b: b.replace(b'"lengths":[1,1],"cells":[40,40],"counts":[3,5]',
                                      b'"lengths":[2,1],"cells":[40,40,40],"counts":[1,2,5]'),
    "an integer of 64 bits": lambda b: b.replace(b'"bytes":[3000,5000]', b'"bytes":[3000,9223372036854775807]'),
}  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS)
def test_known_differences_of_json_readers_make_no_difference(trick):
    plain = encode(make_report(1))
    body = TRICKS[trick](plain)
    assert body != plain
    assert verdict_of_gateway(body) == verdict_of_contract(body)


@settings(MANY, max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_are_either_a_report_or_a_refusal(body):
    arrival = Arrival("d-1", "boot-1", 1, NOW, NOW, body)
    arrival.read(10_000)
    assert (arrival.report is None) != (arrival.refusal is None)
