"""The generator of labelled incidents does what its labels say; the benchmark scores by hand."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest

from anomaly.localise import localise_ratio
from benchmarks.localise.generate import HISTORY, KINDS, incidents
from benchmarks.localise.score import f1, score

PACKAGE = Path(__file__).parents[3] / "anomaly"


def inside(incident, cause):
    mask = np.ones(len(incident.codes), dtype=bool)
    for dim, value in cause:
        mask &= incident.codes[:, dim] == value
    return mask


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_give_equal_incidents(kind):
    (one,), (same,), (other,) = (incidents(kind, 0.01, 1, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.bad, same.bad)
    assert one.causes == same.causes
    assert one.bad.shape != other.bad.shape or not np.array_equal(one.bad, other.bad)
    assert (one.bad <= one.total).all()


@pytest.mark.parametrize("excess", [0.01, 0.1])
def test_a_labelled_cause_holds_its_excess(excess):
    for incident in incidents("single", excess, 5, seed=2):
        (cause,) = incident.causes
        mask = inside(incident, cause)
        usual = incident.bad[mask, :-1].sum() / incident.total[mask, :-1].sum()
        added = incident.bad[mask, -1].sum() - usual * incident.total[mask, -1].sum()
        assert added / incident.total[:, -1].sum() == pytest.approx(excess, rel=0.25)


def test_a_mix_shift_raises_the_rate_though_no_label_says_so():
    raised = 0
    for incident in incidents("mix", 0.01, 5, seed=2):
        rate = incident.bad.sum(axis=0) / incident.total.sum(axis=0)
        raised += rate[-1] > 1.2 * rate[:-1].mean()
        assert incident.causes == ()
    assert raised >= 4


@pytest.mark.parametrize(
    ("kind", "verdicts"),
    [("clean", {"quiet"}), ("mix", {"quiet", "diffuse"}), ("diffuse", {"diffuse"})],
)
def test_minutes_without_a_cause_name_none(kind, verdicts):
    for incident in incidents(kind, 0.1, 8, seed=5):
        result = localise_ratio(incident.codes, incident.bad, incident.total, HISTORY)
        assert result.answer == ()
        assert result.verdict.value in verdicts


@pytest.mark.parametrize(("excess", "least"), [(0.01, 0.9), (0.1, 0.97)])
def test_generated_causes_are_found(excess, least):
    found = []
    for kind in ("single", "several"):
        for incident in incidents(kind, excess, 10, seed=5):
            result = localise_ratio(incident.codes, incident.bad, incident.total, HISTORY)
            answer = [frozenset(c.where) for c in result.answer]
            found.append(score([frozenset(c) for c in incident.causes], answer, answer, result.verdict.value, 0.0))
    assert f1(found) >= least


def test_scoring_by_hand():
    a, b, c = (frozenset({(0, value)}) for value in range(3))
    found = [score([a], [a, b], [a, b], "localised", 0.0), score([b, c], [c], [c], "localised", 0.0)]
    # 2 hits, 1 wrong, 1 missed: 4 / (4 + 2)
    assert f1(found) == pytest.approx(2 / 3)
    assert [o.in_top3 for o in found] == [True, False]
    assert score([c], [a], [a, b, b, c], "localised", 0.0).in_top3 is False


def test_anomaly_imports_numpy_and_the_standard_library_only():
    allowed = {*sys.stdlib_module_names, "numpy", "anomaly"}
    imported = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    assert "numpy" in imported
    assert imported <= allowed
