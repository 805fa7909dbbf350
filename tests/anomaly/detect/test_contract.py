"""The contract of the detectors: scoring changes nothing, silence is not good, state is a function of the minutes."""

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anomaly.detect
from anomaly.detect import BadInput, Counts, Detector, Verdict
from tests.anomaly.detect.builders import at, calm, feed, same


def random_minutes(seed, n_series, n_minutes):
    rng = np.random.default_rng(seed)
    total = rng.poisson(rng.lognormal(5, 2, n_series), (n_minutes, n_series))
    bad = rng.binomial(total, rng.uniform(0.001, 0.1, n_series))
    frozen = rng.random((n_minutes, n_series)) < 0.05
    return [Counts.of(bad[k], total[k], np.full(n_series, 0.01), frozen[k]) for k in range(n_minutes)]


def learned(counts, first=0, detector=None):
    detector = detector or Detector(len(counts[0]))
    for k, minute in enumerate(counts, first):
        detector.learn(at(k), minute, detector.score(at(k), minute))
    return detector


def test_scoring_changes_nothing():
    detector = calm(3)
    before = detector.arrays()
    loud = Counts.of([900, 25, 0], [5_000, 5_000, 0], [0.01, np.nan, 0.01])
    first = detector.score(at(300), loud)
    second = detector.score(at(300), loud)
    assert same(before, detector.arrays())
    assert np.array_equal(first.shift.evidence, second.shift.evidence)
    assert np.array_equal(first.p, second.p, equal_nan=True)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_saved_arrays_bring_everything_back(seed):
    counts = random_minutes(seed, 3, 150)
    detector = learned(counts)
    again = Detector(3)
    again.load(detector.arrays())
    more = random_minutes(seed + 1, 3, 20)
    assert same(learned(more, 150, detector).arrays(), learned(more, 150, again).arrays())


def test_series_do_not_depend_on_their_neighbours_memory():
    counts = random_minutes(7, 4, 200)
    together = learned(counts)
    together.select(np.array([2, 0]))
    picked = [Counts.of(c.bad[[2, 0]], c.total[[2, 0]], c.allowed[[2, 0]], c.frozen[[2, 0]]) for c in counts]
    alone = learned(picked)
    ours, theirs = together.arrays(), alone.arrays()
    # Whether a dip was found is decided together; these counts hold none.
    assert same(ours, theirs)


def test_a_new_series_begins_cold_beside_old_ones():
    detector = calm(1)
    detector.extend(1)
    scores = feed(detector, 1, [25, 25], [5_000, 5_000], first=300)
    assert scores.verdict.tolist() == [Verdict.OK, Verdict.WARMING_UP]
    fresh = Detector(1)
    feed(fresh, 1, [25], [5_000], first=300)
    detector.select(np.array([1]))
    ours, theirs = detector.arrays(), fresh.arrays()
    assert all(np.array_equal(ours[k], theirs[k], equal_nan=True) for k in ours if not k.endswith("minute"))


def test_saved_arrays_of_another_size_are_refused():
    with pytest.raises(BadInput, match=r"shift\.evidence: expected shape \(4, 2\), got \(4, 1\)"):
        Detector(2).load(calm(1, 3).arrays())
    with pytest.raises(BadInput, match="missing"):
        Detector(1).load({})


def test_warm_up_is_nan_and_says_so():
    scores = feed(Detector(1), 30, [5_000], [5_000])
    assert np.isnan(scores.p).all()
    assert scores.verdict.tolist() == [Verdict.WARMING_UP]


def test_a_frozen_minute_flips_nothing():
    detector = calm(2)
    terrible = Counts.of([5_000, 5_000], [5_000, 5_000], [0.01, 0.01], [True, False])
    scores = detector.score(at(300), terrible)
    assert scores.verdict[0] == Verdict.FROZEN
    assert np.isnan(scores.p[:, 0]).all()
    before = detector.arrays()
    detector.learn(at(300), terrible, scores)
    after = detector.arrays()
    for name in ("shift.evidence", "shift.since", "shift.measured", "season.overall", "season.level"):
        assert np.array_equal(before[name][..., 0], after[name][..., 0]), name
        assert not np.array_equal(before[name][..., 1], after[name][..., 1]), name


def test_a_dip_stays_a_dip_through_frozen_minutes():
    detector = calm(1)
    assert feed(detector, 3, [250], [5_000], first=300).verdict.tolist() == [Verdict.DIP]
    frozen = feed(detector, 10, [25], [5_000], first=303, frozen=[True])
    assert frozen.verdict.tolist() == [Verdict.FROZEN]
    assert feed(detector, 1, [250], [5_000], first=313).verdict.tolist() == [Verdict.DIP]


def test_no_traffic_is_neither_good_nor_bad():
    scores = feed(calm(1), 1, [0], [0], first=300)
    assert np.isnan(scores.p).all()
    assert scores.verdict.tolist() == [Verdict.TOO_LITTLE_DATA]
    assert not Verdict.TOO_LITTLE_DATA.known


@pytest.mark.parametrize(
    ("arguments", "field", "row"),
    [
        (([3], [2]), "bad", 0),
        (([1, -1], [2, 2]), "bad", 1),
        (([1.0], [2]), "bad", None),
        (([1], [2, 2]), "bad", None),
        (([1], [2], [1.0]), "allowed", 0),
        (([1], [2], [0.1, 0.1]), "allowed", None),
        (([1], [2], None, [1]), "frozen", None),
        (([[1]], [[2]]), "total", None),
    ],
)
def test_wrong_counts_are_named(arguments, field, row):
    with pytest.raises(BadInput) as error:
        Counts.of(*arguments)
    assert (error.value.field, error.value.row) == (field, row)


def test_minutes_ascend_and_begin_on_the_minute():
    detector = calm(1, 5)
    counts = Counts.of([1], [10])
    with pytest.raises(BadInput, match="after the newest learned minute"):
        detector.score(at(4), counts)
    with pytest.raises(BadInput, match="start of a minute"):
        detector.score(at(5) + 1, counts)
    with pytest.raises(BadInput, match="expected 1 series, got 2"):
        detector.score(at(5), Counts.of([1, 1], [10, 10]))


def test_the_package_imports_numpy_and_the_standard_library_only():
    allowed = {"anomaly", "numpy", "collections", "dataclasses", "enum", "math", "typing"}
    for module in Path(anomaly.detect.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.split(".")[0] for name in names} <= allowed, module.name
