"""Rules on matched traffic: ratios by hand, intervals that hold what they promise, and when nothing is said."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from dashboards.matched import Finding, matches, step
from tests.dashboards.made_operations import PLACES, make_rule_rows


def rows_of(*places: tuple[int, int, int, int], rule: str = "near", unmatched: int = 0) -> dict[str, list[Any]]:
    """One rule; a stratum per place: x of n of the rule, x0 of n0 of the others."""
    rows: dict[str, list[Any]] = {name: [] for name in make_rule_rows("none")}
    for i, (x, n, x0, n0) in enumerate(places):
        total, m = n + n0, x + x0
        values = [rule, f"isp-{i}", "hebei", n + unmatched, x, n, x0, n0, x * n0 / total, x0 * n / total]
        values += [m * n * n0 / total**2 - x * x0 / total, n * x0 / n0]
        for name, value in zip(rows, values, strict=True):
            rows[name].append(value)
    return rows


def test_the_ratio_is_mantel_and_haenszels() -> None:
    (found,) = matches(rows_of((30, 200, 6, 300), (5, 50, 5, 50), (8, 100, 4, 100), (9, 90, 8, 80), (6, 60, 7, 70)))
    own = 30 * 300 / 500 + 5 * 0.5 + 8 * 0.5 + 9 * 80 / 170 + 6 * 70 / 130
    others = 6 * 200 / 500 + 5 * 0.5 + 4 * 0.5 + 8 * 90 / 170 + 7 * 60 / 130
    assert found.ratio == pytest.approx(own / others)
    assert found.excess == pytest.approx(found.bad * (1 - others / own))
    assert (found.bad, found.requests, found.others_bad, found.others_requests) == (58, 500, 30, 600)
    assert found.matched_share == 1.0


def test_with_one_rate_everywhere_the_interval_is_that_of_independent_requests() -> None:
    """Ten equal places: nothing but the requests' own chance is left, as Greenland and Robins have it by hand."""
    (found,) = matches(rows_of(*[(40, 1_000, 20, 1_000)] * 10))
    spread = 10 * (60 * 1_000 * 1_000 / 2_000**2 - 40 * 20 / 2_000)
    error = math.sqrt(spread / (10 * 20.0 * 10 * 10.0))
    assert found.ratio == pytest.approx(2.0)
    assert math.log(found.high / found.ratio) == pytest.approx(2.262 * error, rel=0.01)  # Student's t with 9: 2.262
    assert math.log(found.ratio / found.low) == pytest.approx(2.262 * error, rel=0.01)
    assert found.finding is Finding.WORSE


def test_places_that_differ_widen_the_interval() -> None:
    (even,) = matches(rows_of(*[(40, 1_000, 20, 1_000)] * 6))
    (uneven,) = matches(rows_of(*[(80, 1_000, 20, 1_000), (2, 1_000, 20, 1_000)] * 3))
    assert uneven.high / uneven.low > 2 * even.high / even.low
    assert uneven.finding is Finding.OPEN


@pytest.mark.parametrize(
    ("rows", "finding"),
    [
        (rows_of(*[(40, 1_000, 20, 1_000)] * 4), Finding.FEW_PLACES),
        (rows_of(*[(2, 1_000, 1, 1_000)] * 6), Finding.FEW_BAD),
        (rows_of(*[(40, 1_000, 20, 1_000)] * 6, unmatched=1_500), Finding.UNMATCHED),
        (rows_of(*[(0, 1_000, 20, 1_000)] * 6), Finding.BETTER),
        (rows_of(*[(20, 1_000, 0, 1_000)] * 6), Finding.WORSE),
        (rows_of(*[(20, 1_000, 0, 50)] * 6), Finding.OPEN),
        (rows_of(*[(20, 1_000, 0, 1_000)] * 4), Finding.FEW_PLACES),
        (rows_of(*[(3, 1_000, 0, 1_000)] * 6), Finding.FEW_BAD),
        (rows_of(*[(0, 1_000, 0, 1_000)] * 6), Finding.FEW_BAD),
        (rows_of(*[(4_000, 100_000, 4_000, 100_000)] * 9), Finding.ALIKE),
        (rows_of(*[(20, 1_000, 40, 1_000)] * 10), Finding.BETTER),
        (rows_of(*[(9, 1_000, 7, 1_000)] * 10), Finding.OPEN),
    ],
)  # fmt: skip
def test_what_is_said_and_when_nothing_is(rows: dict[str, list[Any]], finding: Finding) -> None:
    (found,) = matches(rows)
    assert found.finding is finding


def test_a_rule_with_many_failures_against_others_with_none_is_worse() -> None:
    """5 000 of 100 000 against 0 of 1 000 000. One bad request more, of which the rule gets 1 of 11 as it has of the
    requests, makes 5 000 1/11 of 100 000 against 10/11 of 1 000 000."""
    (found,) = matches(rows_of(*[(500, 10_000, 0, 100_000)] * 10))
    assert found.finding is Finding.WORSE
    assert found.ratio == pytest.approx((5_000 + 1 / 11) / 100_000 / ((10 / 11) / 1_000_000))
    assert found.added == pytest.approx(1 / 11)
    # Others' rate may be 3.7 of 1 000 000 at most (of none seen 2.5% of the time): less than 13 600 times is not said.
    assert 1_000 < found.low < 13_600
    assert found.excess == pytest.approx(5_000)
    assert found.others_rate == pytest.approx(0.0, abs=1e-9)


def test_a_rule_without_failures_against_others_with_many_is_better_by_what_others_rate_would_have_given() -> None:
    (found,) = matches(rows_of(*[(0, 1_000, 40, 2_000)] * 10))
    assert found.finding is Finding.BETTER
    assert found.excess == pytest.approx(-200)  # 2% of 10 000
    assert found.others_rate == pytest.approx(0.02)


def test_nothing_is_added_where_both_sides_have_failures() -> None:
    (found,) = matches(rows_of(*[(40, 1_000, 20, 1_000)] * 10))
    assert (found.added, found.others_rate) == (0.0, pytest.approx(0.02))


def test_the_most_harmful_comes_first_and_thin_rules_are_not_judged() -> None:
    found = {m.rule: m for m in matches(make_rule_rows())}
    assert next(iter(found)) == "near"
    assert found["near"].finding is Finding.WORSE
    assert found["far"].finding is not Finding.WORSE
    assert found["alone"].finding is Finding.UNMATCHED
    assert not found["new"].finding.known


def test_rules_that_are_alike_are_seldom_called_different() -> None:
    """Boxes of a place fail together (a gamma of shape 3 for each side of a place): of 40 equal rules at a time at most
    one page in twenty may call any different, of 150 pages 7.5; beyond 15 has a chance below 1%."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(150):
        tables: dict[str, list[Any]] = {name: [] for name in make_rule_rows("none")}
        for k in range(40):
            rates = 0.01 * rng.gamma(3, 1 / 3, (12, 2))
            bad = rng.poisson(rates * 2_000)
            part = rows_of(*((int(x), 2_000, int(x0), 2_000) for x, x0 in bad), rule=f"rule-{k:02d}")
            for name, values in part.items():
                tables[name] += values
        wrong += any(m.finding in (Finding.WORSE, Finding.BETTER) for m in matches(tables))
    assert wrong <= 15


def test_equal_rules_with_few_failures_are_seldom_called_different_for_having_none() -> None:
    """As before, with others that serve a tenth as much: of about 40 failures of a rule and 4 of the others the
    others' are often none."""
    rng = np.random.default_rng(6)
    wrong = none = 0
    for _ in range(150):
        tables: dict[str, list[Any]] = {name: [] for name in make_rule_rows("none")}
        for k in range(40):
            rates = 0.0017 * rng.gamma(3, 1 / 3, (12, 2))
            bad = rng.poisson(rates * np.array([2_000, 200]))
            part = rows_of(*((int(x), 2_000, int(x0), 200) for x, x0 in bad), rule=f"rule-{k:02d}")
            for name, values in part.items():
                tables[name] += values
        found = matches(tables)
        none += sum(m.added > 0 for m in found)
        wrong += any(m.finding in (Finding.WORSE, Finding.BETTER) for m in found)
    assert none > 50
    assert wrong <= 15


def test_a_version_is_held_to_what_changed_not_to_what_always_was() -> None:
    """The rule always was 1.5 times as bad as others; its new version makes it three times as bad."""
    before = rows_of(*[(30, 1_000, 20, 1_000)] * 8)
    after = rows_of(*[(60, 1_000, 20, 1_000)] * 8)
    changed = step(before, after, "near")
    assert changed.change == pytest.approx(2.0)
    assert changed.finding is Finding.WORSE
    assert step(before, before, "near").change == pytest.approx(1.0)
    assert step(before, before, "near").finding is Finding.OPEN
    assert step(after, before, "near").finding is Finding.BETTER


def test_a_version_that_fails_much_where_others_do_not_at_all_is_worse_than_the_one_before() -> None:
    before = rows_of(*[(40, 1_000, 40, 1_000)] * 8)
    after = rows_of(*[(400, 1_000, 0, 1_000)] * 8)
    assert step(before, after, "near").finding is Finding.WORSE


def test_what_changed_for_others_as_well_does_not_count_against_a_version() -> None:
    before = rows_of(*[(20, 1_000, 20, 1_000)] * 8)
    everybody = rows_of(*[(60, 1_000, 60, 1_000)] * 8)
    assert step(before, everybody, "near").change == pytest.approx(1.0)


def test_a_version_without_evidence_is_not_judged() -> None:
    good = rows_of(*[(60, 1_000, 20, 1_000)] * 8)
    assert step({name: [] for name in good}, good, "near").finding is Finding.UNMATCHED
    assert step(good, rows_of(*[(60, 1_000, 20, 1_000)] * 2), "near").finding is Finding.FEW_PLACES
    assert step(rows_of(*[(1, 1_000, 1, 1_000)] * 8), good, "near").finding is Finding.FEW_BAD


def test_places_are_client_isp_and_region() -> None:
    (found,) = matches(make_rule_rows("near"))
    assert found.places == len(PLACES)
