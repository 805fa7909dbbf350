"""What the three pages say, from small data with figures by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.times import MINUTE_MS
from dashboards import customer, ledger, overview, pipeline
from dashboards.format import THIN
from dashboards.model import Books, CustomerSeries, Fleet, Group, LostRange, Marker, Refusal, State, Sums
from dashboards.pipeline import pipeline_markup
from history.books import Account
from tests.dashboards.synthetic import NOW, make_customer, make_lens, make_steps

LENS = make_lens()


def make_fleet(present: dict[str, Sums], reference: dict[str, Sums] | None = None) -> Fleet:
    end = NOW // MINUTE_MS * MINUTE_MS
    series = {c: make_steps([s.requests], [s.failures]) for c, s in present.items()}
    start = end - 5 * MINUTE_MS
    return Fleet(
        start=end - 3_600_000, end=end, present_start=start, present_end=end, newest=end - MINUTE_MS, series=series,
        present=present, reference=reference or {}, reference_kind="day" if reference else None, isps=(), regions=(),
    )  # fmt: skip


def say(fleet: Fleet, *customers: object) -> str:
    return overview.sentence(overview.overview(fleet, customers), LENS)  # type: ignore[arg-type]


def test_overview_names_the_worst_of_those_below() -> None:
    fleet = make_fleet({"a": Sums(10_000, 100), "b": Sums(10_000, 200), "c": Sums(10_000, 1)})
    text = say(fleet, make_customer("a"), make_customer("b", name="Bee"), make_customer("c"))
    assert text == "2 of 3 customers are below their objective, worst Bee: 2.00% fail, promised at most 0.5%."


def test_overview_of_one_below_of_many_and_one_unclear() -> None:
    fleet = make_fleet({"a": Sums(10_000, 100), "b": Sums(100, 1)})
    assert say(fleet, make_customer("a", name="Ay"), make_customer("b")) == (
        "Ay is below its objective: 1.00% of requests fail, promised at most 0.5%. For 1 the data cannot tell."
    )


def test_overview_of_a_calm_fleet_and_its_coverage() -> None:
    calm = make_fleet({"a": Sums(10_000, 10), "b": Sums(10_000, 10)})
    both = make_customer("a"), make_customer("b")
    assert say(calm, *both) == "All 2 customers with traffic are within objective: 0.100% of requests fail."
    thin = make_fleet({"a": Sums(10_000, 10, 5_000.0), "b": Sums(10_000, 10)})
    assert say(thin, *both) == (
        "No customer is below its objective, 1 is surely within it; 0.100% of requests fail. "
        "For 1 the data cannot tell. 80.0% of expected traffic is measured."
    )


def test_overview_without_traffic_or_objectives() -> None:
    assert say(make_fleet({}), make_customer("a")) == "No customer has traffic now."
    assert say(make_fleet({"a": Sums(1_000, 10)}), make_customer("a", None)) == (
        "1.00% of requests fail; no customer has an objective for failures yet."
    )


def test_overview_ranks_worst_first_and_keeps_unregistered_traffic() -> None:
    fleet = make_fleet({"a": Sums(1_000, 1), "b": Sums(10_000, 500), "stray": Sums(10, 0)})
    view = overview.overview(fleet, [make_customer("a"), make_customer("b"), make_customer("idle")])
    assert [(r.id, r.state) for r in view.rows] == [
        ("b", State.BELOW),
        ("a", State.WITHIN),
        ("stray", State.NO_OBJECTIVE),
        ("idle", State.NO_TRAFFIC),
    ]
    assert view.total == Sums(11_010, 501, 0.0)


def test_a_stale_fleet_is_not_judged() -> None:
    view = overview.overview(make_fleet({"a": Sums(10_000, 900)}), [make_customer("a")], fresh=False)
    assert view.rows[0].state is State.NOT_JUDGED


def test_the_strip_shows_change_and_escapes_names() -> None:
    fleet = make_fleet({"a": Sums(10_000, 100)}, {"a": Sums(1_000, 2)})
    view = overview.overview(fleet, [make_customer("a", name="<b>&")])
    markup = overview.strip(view, fleet, LENS, {"range": "1h"}, 10)
    assert "&lt;b&gt;&amp;" in markup
    assert "<b>&" not in markup
    assert "+0.80" in markup  # 1.00% against 0.20%
    assert "100 of 10\u2009000 failed" in markup
    assert "/customer?range=1h&amp;customer=a" in markup
    assert f"2{THIN}000" in markup  # 10 000 requests in 5 minutes


def test_groups_name_the_one_that_stands_out() -> None:
    groups = [Group("north", Sums(10_000, 300), 5, 0), Group("south", Sums(40_000, 80), 9, 1)]
    assert overview.group_finding(groups, LENS) == "north fails most: 3.00% against 0.200% elsewhere"
    even = [Group("north", Sums(1_000, 3), 5, 0), Group("south", Sums(1_000, 2), 9, 1)]
    assert overview.group_finding(even, LENS) == "No group stands out: 0.250% fail"
    assert overview.group_finding([], LENS) == "No data in this range"


def test_groups_beyond_the_twelfth_are_summed() -> None:
    groups = [Group(f"g{i:02d}", Sums(1_000 - i, 0), 2, 0) for i in range(20)]
    markup = overview.groups_table(groups, "ISP", "By ISP", 60_000, LENS)
    assert markup.count("<tr>") == 13  # head, eleven groups, the others
    assert "9 others" in markup
    assert ">18<" in markup  # boxes of the other nine


def make_series(present: Sums, failures: list[int], requests: list[int], **more: object) -> CustomerSeries:
    end = NOW // MINUTE_MS * MINUTE_MS
    steps = make_steps(requests, failures, **more)
    return CustomerSeries(end - 3_600_000, end, end - MINUTE_MS, steps, present, end - 5 * MINUTE_MS, end, ())


@pytest.mark.parametrize(
    ("present", "target", "text"),
    [
        (
            Sums(10_000, 300),
            0.99,
            "Bee is below its objective since 12:01: 3.00% of requests fail, promised at most 1%.",
        ),
        (Sums(10_000, 30), 0.99, "Bee is within its objective: 0.300% of requests fail, promised at most 1%."),
        (Sums(0, 0), 0.99, "Bee has no traffic now."),
        (Sums(10_000, 30), None, "0.300% of Bee's requests fail; it has no objective for failures."),
        (
            Sums(300, 1),
            0.999,
            "Whether Bee is within its objective cannot be told: 1 of 300 failed, which chance alone explains.",
        ),
        (
            Sums(5_000, 10, 5_000.0),
            0.99,
            (
                "Whether Bee is within its objective cannot be told: "
                "50.0% of its traffic is measured, and the rest could decide it."
            ),
        ),
    ],
)
def test_customer_sentence(present: Sums, target: float | None, text: str) -> None:
    data = make_series(present, [0, 30, 31], [1_000, 1_000, 1_000])
    view = customer.customer_view(data, make_customer("b", target, "Bee"), None)
    assert customer.sentence(view, LENS) == text


def test_customer_titles_state_the_findings() -> None:
    latency = {"p50": (40.0, None, 60.0), "p95": (100.0, None, 300.0), "p99": (1.0, None, 1.0)}
    status = {"s5xx": (5, 0, 25)}
    data = make_series(Sums(1_000, 0), [5, 0, 30], [1_000, 0, 1_000], latency_ms=latency, status=status)
    titles = customer.titles(customer.customer_view(data, make_customer("b", 0.99), None), LENS)
    assert titles.failures == "Failures peaked at 3.00% at 12:02, 3.0 times the objective"
    assert (
        titles.latency == f"Half of requests took under 50.0{THIN}ms, 1 in 20 over 200{THIN}ms (medians over the range)"
    )
    assert titles.coverage == "All expected traffic was measured"
    assert titles.traffic == "667 requests/min on average; 1.50% answered 5xx"


def test_customer_titles_without_failures_latency_or_data() -> None:
    quiet = customer.customer_view(make_series(Sums(10, 0), [0], [10]), make_customer("b"), None)
    titles = customer.titles(quiet, LENS)
    assert titles.failures == "No failures in this range"
    assert titles.latency == "No latency was measured in this range"
    empty = customer.customer_view(make_series(Sums(), [0, 0], [0, 0], unmeasured=()), make_customer("b"), None)
    assert set(vars_of(customer.titles(empty, LENS))) == {"No data in this range"}


def test_mean_traffic_begins_with_the_first_data() -> None:
    data = make_series(Sums(1_000, 0), [0, 0, 5, 0, 0], [0, 0, 1_000, 0, 500], status={"s5xx": (0, 0, 0, 0, 0)})
    titles = customer.titles(customer.customer_view(data, make_customer("b"), None), LENS)
    assert titles.traffic == "500 requests/min on average; 0% answered 5xx"


def vars_of(titles: customer.Titles) -> list[str]:
    return [titles.failures, titles.latency, titles.coverage, titles.traffic]


def test_coverage_title_tells_how_long_it_was_thin() -> None:
    data = make_series(Sums(10, 0), [0, 0, 0], [100, 50, 50], unmeasured=(0.0, 50.0, 50.0))
    titles = customer.titles(customer.customer_view(data, make_customer("b"), None), LENS)
    assert titles.coverage == f"66.7% of expected traffic was measured; 2{THIN}min fell below 99%"


def test_changes_say_who_and_what_and_escape_it() -> None:
    marker = Marker("m", "firmware", NOW - 60_000, None, "wei <x>", "note & more", "FW-1", "")
    hover = customer.marker_hover(marker, LENS)
    assert hover == "12:02 · firmware · wei &lt;x&gt;<br>everything<br>note &amp; more<br>FW-1"
    assert "wei &lt;x&gt;" in customer.changes_table([marker], LENS)
    assert "No changes are recorded" in customer.changes_table([], LENS)


CLEAN = Books(Account(reported=1_000, stored=990, rejected=10), Account(reported=50, stored=50), (), 3, (), 0, ())


@pytest.mark.parametrize(
    ("books", "text"),
    [
        (CLEAN, f"Every one of 1{THIN}000 reported requests is accounted for; nothing is lost."),
        (
            replace(CLEAN, requests=Account(reported=1_000, stored=900, rejected=10, declared_dropped=40, pending=50)),
            f"Nothing is lost; 50 of 1{THIN}000 reported requests are still on their boxes.",
        ),
        (
            replace(CLEAN, requests=Account(reported=1_000, stored=980, rejected=10, lost=10), lost_range_count=1),
            f"10 of 1{THIN}000 reported requests are lost without a declaration, in one gap.",
        ),
        (
            replace(CLEAN, requests=Account(reported=1_000, stored=980, rejected=10, lost=10), lost_range_count=4),
            f"10 of 1{THIN}000 reported requests are lost without a declaration, in 4 gaps.",
        ),
        (
            replace(CLEAN, requests=Account(reported=1_000, double_counted=7, stored=997, rejected=10)),
            f"7 of 1{THIN}000 reported requests and 0 slices are counted twice.",
        ),
        (
            replace(CLEAN, requests=Account(reported=1_000, stored=980, rejected=10)),
            "The books do not balance: 10 requests and 0 slices cannot be placed.",
        ),
        (
            Books(Account(), Account(), (), 0, (), 0, ()),
            "No box has reported yet, so there is nothing to account for.",
        ),
    ],
)
def test_ledger_says_the_gravest_first(books: Books, text: str) -> None:
    assert ledger.sentence(books, LENS) == text


def test_the_equation_shows_every_term_and_its_verdict() -> None:
    markup = ledger.equation(replace(CLEAN, slices=Account(reported=50, stored=48)), LENS)
    assert "What came in does not equal what became of it" in markup
    assert "✓ balanced" in markup  # requests
    assert "≠ off by 2" in markup  # slices
    assert markup.count('class="op"') == 14
    assert "What came in equals what became of it" in ledger.equation(CLEAN, LENS)


def test_ledger_tables_escape_and_count() -> None:
    books = replace(
        CLEAN,
        lost_ranges=(LostRange("box<1>", "b", 3, 9, 70), LostRange("box2", "b", 4, 4)),
        lost_range_count=5,
        refusals=(Refusal("after_seal", 2, NOW - 61_000), Refusal("bad_id", 9, None)),
    )
    lost = ledger.lost_table(books, LENS)
    assert "box&lt;1&gt;" in lost
    assert "3 … 9" in lost
    assert "and 3 more gaps" in lost
    refusals = ledger.refusals_table(books, LENS)
    assert refusals.index("bad_id") < refusals.index("after_seal")
    assert f"1{THIN}min ago" in refusals


def test_the_pipelines_state_is_amber_with_a_sign_when_late() -> None:
    calm = pipeline_markup({"freshness_s": 8.2, "stream_s": 75.0, "lag_s": 0.2, "rejected": 1_204}, LENS, demo=False)
    assert f"8{THIN}s · fresh" in calm
    assert f"1{THIN}min" in calm
    assert "nothing" in calm
    assert f"1{THIN}204" in calm
    assert "amber" not in calm
    status = {"freshness_s": 61.0, "stream_s": 181.0, "lag_s": 61.0, "rejected": 0}
    late = pipeline_markup(status, LENS, demo=True)
    assert late.count("amber") == 3
    assert late.count("⚠") == 3
    assert "· late" in late
    assert "simulated" in late
    assert pipeline_markup({}, LENS, demo=False).count("no data") == 3  # whoever does not store knows of no lag


def test_late_history_is_said_plainly_and_fresh_history_is_not() -> None:
    fresh, late = {"freshness_s": 59.0}, {"freshness_s": 90.0}
    assert (pipeline.is_late(fresh), pipeline.is_late(late), pipeline.is_late({})) == (False, True, False)
    assert pipeline.banner(fresh, LENS) == pipeline.banner({}, LENS) == pipeline.detail({}, LENS) == ""
    assert pipeline.detail(fresh, LENS) == f"freshness 59{THIN}s"
    assert pipeline.detail(late, LENS).endswith(", late")
    notice = pipeline.banner(late, LENS)
    assert "History is late" in notice
    assert 'class="d-notice late"' in notice


def test_a_title_on_thin_data_says_how_thin() -> None:
    data = make_series(Sums(10, 0), [0, 1, 0], [100, 50, 50], unmeasured=(0.0, 50.0, 50.0))
    titles = customer.titles(customer.customer_view(data, make_customer("b"), None), LENS)
    assert titles.failures == "Failures peaked at 2.00% at 12:01, 4.0 times the objective (66.7% measured)"
