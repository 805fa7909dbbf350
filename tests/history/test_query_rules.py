"""Rules against others on matched traffic: the sums against arithmetic by hand."""

import pytest

from contracts.errors import ContractError
from history.cell_rollups import CellRollups
from history.query_cells import CellQuestion
from history.query_rules import bucket_of, by_place, by_step, customers_of, rule_of
from history.versions import Versions
from tests.history.builders import MINUTE, T0
from tests.history.test_query_cells import DAY, HOUR, cell, fill


def served(minute, rule, requests, failed, client_region="hebei", **box):
    return cell(minute, sched_rule=rule, requests=requests, f_server=failed, client_region=client_region) | box


@pytest.fixture
def filled(store):
    """In hebei: near@1 has 10 of 100 bad, near@2 20 of 100, far@1 6 of 300; an hour later near@2 5 of 50, far@1 5 of
    50. In hubei near@2 alone serves 40. In hunan far@1 and wide@1 serve 10 each, 1 of wide's is bad."""
    fill(
        store,
        [
            served(T0, "near@1", 100, 10, client_region="hebei"),
            served(T0 + 5 * MINUTE, "near@2", 100, 20, client_region="hebei", firmware="2.4.0"),
            served(T0 + 9 * MINUTE, "far@1", 300, 6, client_region="hebei", device_isp="telecom"),
            served(T0 + HOUR, "near@2", 50, 5, client_region="hebei"),
            served(T0 + HOUR + MINUTE, "far@1", 50, 5, client_region="hebei"),
            served(T0, "near@2", 40, 1, client_region="hubei"),
            served(T0 + 2 * MINUTE, "far@1", 10, 0, client_region="hunan"),
            served(T0 + 2 * MINUTE, "wide@1", 10, 1, client_region="hunan"),
        ],
    )
    return store


def question(**changed):
    return CellQuestion(**{"measure": "failures", "start": T0, "end": T0 + 2 * HOUR} | changed)


def rows_of(found, *columns):
    places = zip(found["rule"], found["client_region"], strict=True)
    values = zip(*(found[name] for name in columns), strict=True)
    return dict(zip(places, values, strict=True))


def test_a_rule_meets_the_others_in_its_strata(filled):
    found = by_place(filled, question())
    counts = rows_of(found, "all_total", "bad", "requests", "others_bad", "others_requests")
    assert counts == {
        ("near", "hebei"): (250, 35, 250, 11, 350),
        ("near", "hubei"): (40, 0, 0, 0, 0),
        ("far", "hebei"): (350, 11, 350, 35, 250),
        ("far", "hunan"): (10, 0, 10, 1, 10),
        ("wide", "hunan"): (10, 1, 10, 0, 10),
    }
    weighted, others, spread, expected = rows_of(
        found, "weighted", "others_weighted", "spread", "expected"
    )["near", "hebei"]  # fmt: skip
    # Two hours: 30 of 200 beside 6 of 300, and 5 of 50 beside 5 of 50.
    assert weighted == pytest.approx(30 * 300 / 500 + 5 * 50 / 100)
    assert others == pytest.approx(6 * 200 / 500 + 5 * 50 / 100)
    assert spread == pytest.approx((36 * 200 * 300 / 500**2 - 30 * 6 / 500) + (10 * 50 * 50 / 100**2 - 5 * 5 / 100))
    assert expected == pytest.approx(200 * 6 / 300 + 50 * 5 / 50)


def test_it_makes_no_difference_from_which_table_hours_come(filled):
    from_minutes = by_place(filled, question())
    CellRollups(filled, Versions(filled)).step(T0 + 3 * HOUR, (), most=None)
    from_hours = by_place(filled, question())
    columns = [name for name in from_hours if name not in ("rule", "client_isp", "client_region")]
    expected = rows_of(from_minutes, *columns)
    assert rows_of(from_hours, *columns) == {place: pytest.approx(values) for place, values in expected.items()}
    assert len(expected) == 5


def test_a_rule_that_stands_apart_is_none_of_the_others_but_meets_them(filled):
    found = rows_of(by_place(filled, question(), apart=("near",)), "bad", "requests", "others_bad", "others_requests")
    assert found["near", "hebei"] == (35, 250, 11, 350)
    assert found["far", "hebei"] == (0, 0, 0, 0)
    assert found["far", "hunan"] == (0, 10, 1, 10)


def test_one_rule_alone_and_over_time(filled):
    assert set(by_place(filled, question(), rule="wide")["rule"]) == {"wide"}
    steps = by_step(filled, question(step_ms=15 * MINUTE), "near")
    assert steps["i"] == [0, 4]
    assert steps["bad"] == [30, 5]
    assert steps["requests"] == [200, 50]
    assert steps["expected"] == pytest.approx([4.0, 5.0])
    assert customers_of(filled, "near", T0, T0 + HOUR) == ("acme",)
    assert customers_of(filled, "nobody", T0, T0 + HOUR) == ()


def test_filters_and_thresholds_hold(filled):
    assert by_place(filled, question(where={"customer": ("nobody",)}))["rule"] == []
    slow = by_place(filled, question(measure="slow_requests", threshold=1_000.0))
    assert set(slow["rule"]) == {"near", "far", "wide"}
    with pytest.raises(ContractError, match="measure"):
        by_place(filled, question(measure="requests"))


def test_traffic_is_matched_within_the_hour_up_to_two_days_and_within_the_day_beyond():
    assert bucket_of(2 * DAY) == HOUR
    assert bucket_of(7 * DAY) == DAY


def test_versions_belong_to_their_rule():
    assert rule_of("near@7") == rule_of("near@8") == rule_of("near") == "near"
