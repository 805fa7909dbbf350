"""Laws that hold for every case: names and order carry no information, more of the same evidence is not less."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.localise import BadInput, RatioSettings, Verdict, localise_counts, localise_ratio
from tests.anomaly.localise.builders import full_cube

HISTORY = 6
# Derandomised: two causes of equal rows are equal answers, and about one random cube in a thousand has such a pair.
seeds = st.integers(0, 2**32 - 1)


def incident(seed):
    """(codes, bad, total): a cube of 3 to 4 dimensions, rates that differ by value, and 0 to 2 faults."""
    rng = np.random.default_rng(seed)
    codes = full_cube(*rng.integers(3, 6, rng.integers(3, 5)))
    codes = codes[rng.random(len(codes)) < 0.8]
    total = rng.poisson(rng.lognormal(5, 1, len(codes))[:, None], (len(codes), HISTORY + 1))
    rate = np.full((len(codes), HISTORY + 1), 0.02)
    for column in codes.T:
        rate *= np.exp(rng.normal(0, 0.3, column.max() + 1))[column, None]
    for _ in range(rng.integers(0, 3)):
        leaf = codes[rng.integers(len(codes))]
        dims = rng.choice(codes.shape[1], rng.integers(1, 3), replace=False)
        rate[(codes[:, dims] == leaf[dims]).all(axis=1), -1] += rng.uniform(0.05, 0.3)
    return codes, rng.binomial(total, np.minimum(rate, 0.9)), total


def named(result, dims=None, values=None):
    """The answer as sets of (dimension, value), translated back."""
    found = set()
    for cause in result.answer:
        pairs = [(d, v) if dims is None else (dims[d], values[d][v]) for d, v in cause.where]
        found.add(frozenset((int(d), int(v)) for d, v in pairs))
    return found


@given(seeds, seeds)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_ratio_answers_do_not_depend_on_names_or_order(seed, shuffle):
    codes, bad, total = incident(seed)
    rng = np.random.default_rng(shuffle)
    plain = localise_ratio(codes, bad, total, HISTORY)
    rows = rng.permutation(len(codes))
    dims = rng.permutation(codes.shape[1])
    # New names: values permuted and spread, so that codes have gaps, too.
    names = [rng.permutation(2 * codes[:, d].max() + 2)[: codes[:, d].max() + 1] for d in dims]
    renamed = np.column_stack([names[i][codes[rows, d]] for i, d in enumerate(dims)])
    other = localise_ratio(renamed, bad[rows], total[rows], HISTORY)
    back = [{int(new): old for old, new in enumerate(names[i])} for i in range(len(dims))]
    assert other.verdict is plain.verdict
    assert named(other, dims, back) == named(plain)
    assert [c.gain for c in other.answer] == pytest.approx([c.gain for c in plain.answer], rel=0.02)
    assert [c.bad for c in other.answer] == [c.bad for c in plain.answer]


@given(seeds, st.integers(2, 4))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_multiplied_counts_never_weaken_a_cause(seed, times):
    codes, bad, total = incident(seed)
    once = localise_ratio(codes, bad, total, HISTORY)
    more = localise_ratio(codes, times * bad, times * total, HISTORY)
    gains = {c.where: c.gain for c in once.answer}
    for cause in more.causes:
        assert cause.gain >= gains.get(cause.where, 0.0) or not cause.answer
    if once.verdict is Verdict.LOCALISED:
        # More of the same never makes it chance or too little; it may show that the rest got worse as well.
        assert more.verdict in (Verdict.LOCALISED, Verdict.DIFFUSE)


@given(seeds)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_repeated_calls_give_the_same(seed):
    codes, bad, total = incident(seed)
    assert repr(localise_ratio(codes, bad, total, HISTORY)) == repr(localise_ratio(codes, bad, total, HISTORY))


@given(seeds)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_what_an_answer_says_is_consistent(seed):
    codes, bad, total = incident(seed)
    result = localise_ratio(codes, bad, total, HISTORY)
    assert bool(result.answer) == (result.verdict is Verdict.LOCALISED)
    for cause in result.causes:
        inside = np.ones(len(codes), dtype=bool)
        for d, v in cause.where:
            inside &= codes[:, d] == v
        assert cause.bad == bad[inside, -1].sum()
        assert cause.total == total[inside, -1].sum()
        assert 0 <= cause.purity <= 1
        assert cause.share <= 1
    assert [c.answer for c in result.causes] == sorted((c.answer for c in result.causes), reverse=True)
    assert len({c.where for c in result.causes}) == len(result.causes)


@given(seeds, seeds)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_count_answers_do_not_depend_on_names_or_order(seed, shuffle):
    rng = np.random.default_rng(seed)
    codes = full_cube(5, 4, 4)
    forecast = rng.uniform(20, 200, len(codes))
    real = forecast * (1 + rng.normal(0, 0.05, len(codes)))
    leaf = codes[rng.integers(len(codes))]
    real[(codes[:, :2] == leaf[:2]).all(axis=1)] *= 0.4
    plain = localise_counts(codes, real, forecast)
    rng = np.random.default_rng(shuffle)
    rows, dims = rng.permutation(len(codes)), rng.permutation(3)
    names = [rng.permutation(codes[:, d].max() + 1) for d in dims]
    renamed = np.column_stack([names[i][codes[rows, d]] for i, d in enumerate(dims)])
    other = localise_counts(renamed, real[rows], forecast[rows])
    back = [{int(new): old for old, new in enumerate(names[i])} for i in range(3)]
    assert named(other, dims, back) == named(plain)
    assert plain.verdict is Verdict.LOCALISED


BROKEN = {
    "codes of one axis": ({"codes": np.zeros(3, dtype=int)}, "codes", None),
    "codes of floats": ({"codes": np.zeros((3, 1))}, "codes", None),
    "too many dimensions": ({"codes": np.zeros((3, 13), dtype=int)}, "codes", None),
    "negative code": ({"codes": np.array([[0], [-1], [0]])}, "codes", 1),
    "other number of rows": ({"bad": np.zeros((2, 2), dtype=int)}, "bad", None),
    "fractions": ({"bad": np.zeros((3, 2))}, "bad", None),
    "negative count": ({"total": np.array([[1, 1], [1, 1], [1, -1]])}, "total", 2),
    "bad above total": ({"bad": np.array([[1, 1], [1, 2], [1, 1]])}, "bad", 1),
    "moment outside": ({"moment": 2}, "moment", None),
}


@pytest.mark.parametrize(("change", "field", "row"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_arrays_are_refused_by_name(change, field, row):
    good = {
        "codes": np.array([[0], [1], [2]]),
        "bad": np.ones((3, 2), dtype=int),
        "total": np.ones((3, 2), dtype=int),
        "moment": 1,
    }
    with pytest.raises(BadInput) as refused:
        localise_ratio(**(good | change))
    assert (refused.value.field, refused.value.row) == (field, row)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_broken_forecasts_are_refused_by_name(value):
    codes = np.array([[0], [1]])
    with pytest.raises(BadInput, match="forecast: expected a finite number of 0 or more") as refused:
        localise_counts(codes, np.ones(2), np.array([1.0, value]))
    assert refused.value.row == 1


def test_an_impossible_order_is_refused():
    ones = np.ones((2, 2), dtype=int)
    with pytest.raises(BadInput, match="max_order"):
        localise_ratio(np.array([[0], [1]]), ones, ones, 1, RatioSettings(max_order=0))


def test_no_leaves_at_all_are_insufficient():
    none = np.zeros((0, 2), dtype=int)
    assert localise_ratio(none, none, none, 1).verdict is Verdict.INSUFFICIENT_DATA
    assert localise_counts(none, np.zeros(0), np.zeros(0)).verdict is Verdict.INSUFFICIENT_DATA
