"""The explore page: address to question and back, sentences, tables, CSV, SQL; scans in the background."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.columns import CELL_DIMENSIONS
from contracts.errors import ContractError
from contracts.times import HOUR_MS, MINUTE_MS
from dashboards import explore, explore_figures, explore_url, scans
from dashboards.context import set_context
from dashboards.explore_url import Ask
from history.query_cells import MEASURES, STEPS_MS, WITH_THRESHOLD, CellAnswer, CellQuestion, Statement
from history.query_raw import Scan
from tests.dashboards.synthetic import NOW, make_context, make_lens
from tests.dashboards.test_script import answer, markup, open_page

LENS = make_lens()
START = NOW // HOUR_MS * HOUR_MS - 2 * HOUR_MS
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)


def made(measure: str = "failures", rows: dict[tuple[str, ...], tuple[float, int]] | None = None) -> CellAnswer:
    rows = {("unicom",): (30, 1_000), ("telecom",): (10, 10_000)} if rows is None else rows
    by = ("client_isp", "client_region")[: len(next(iter(rows), ()))]
    threshold = 400.0 if measure in WITH_THRESHOLD else None
    question = CellQuestion(measure, START, START + HOUR_MS, by, threshold=threshold)
    values, totals = tuple(v for v, _ in rows.values()), tuple(t for _, t in rows.values())
    return CellAnswer(question, tuple(rows), (0,) * len(rows), values, totals, ("cell_hours",), Statement("", {}))


dimensions = st.sampled_from(CELL_DIMENSIONS)


@given(
    measure=st.sampled_from(MEASURES),
    by=st.lists(dimensions, max_size=2, unique=True),
    where=st.dictionaries(dimensions, st.lists(TEXT, min_size=1, max_size=3).map(tuple), max_size=3),
    without=st.lists(st.dictionaries(dimensions, TEXT, min_size=1, max_size=2), max_size=2),
    view=st.sampled_from(("line", "table")),
    step=st.none() | st.sampled_from([s for s in STEPS_MS if s <= HOUR_MS]),
    hours=st.none() | st.integers(1, 12),
)
def test_an_address_says_exactly_what_was_asked(measure, by, where, without, view, step, hours) -> None:  # type: ignore[no-untyped-def]
    ask = Ask(
        measure, tuple(by), where, tuple(without), view, None if hours is None else (START, START + hours * HOUR_MS),
        step, 312.5 if measure in WITH_THRESHOLD else None,
    )  # fmt: skip
    assert explore_url.read(explore_url.write(ask)) == ask


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"m": "happiness"}, "measure"),
        ({"by": "device"}, "by"),
        ({"view": "pie"}, "view"),
        ({"view": "heat"}, "by"),
        ({"where": "client_isp"}, "where"),
        ({"where": "app:x;app:y"}, "where"),
        ({"without": "app:x,y"}, "without"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-03-12T12:00Z"}, "to"),
        ({"step": "7"}, "step"),
        ({"step": "nan"}, "step"),
        ({"m": "slow_requests", "threshold": "-1"}, "threshold"),
        ({"where": "app:" + "x" * 5_000}, "where"),
    ],
)
def test_a_wrong_address_names_the_field(query: dict[str, str], field: str) -> None:
    with pytest.raises(ContractError) as caught:
        explore_url.read(query)
    assert caught.value.field == field


def test_the_sentence_names_who_is_in_excess_beyond_chance() -> None:
    assert explore.sentence(made(), LENS) == (
        "Failed requests: 0.364%; most in excess unicom: 3.00% against 0.100% elsewhere."
    )
    even = {("unicom",): (4.0, 1_000), ("telecom",): (30.0, 10_000)}
    assert explore.sentence(made(rows=even), LENS) == "Failed requests: 0.309%; no group stands out."
    assert explore.sentence(made(rows={(): (5.0, 100)}), LENS) == "Failed requests: 5.00% (5 of 100)."
    assert explore.sentence(made(rows={}), LENS) == "No traffic matches this question."
    rate = {("unicom",): (600.0, 0), ("telecom",): (1_800.0, 0)}
    assert explore.sentence(made("requests", rate), LENS) == "Requests: 40.0 a minute; 75.0% of it telecom."
    p95 = {("unicom",): (312.0, 1_000), ("telecom",): (84.3, 10_000)}
    assert explore.sentence(made("latency_p95", p95), LENS).startswith("Latency p95: highest for unicom, 312")


def test_excess_is_bad_beyond_the_ratio_of_all_others() -> None:
    worst, other = explore.groups(made())
    assert (worst.key, worst.excess) == (("unicom",), pytest.approx(30 - 1_000 * 10 / 10_000))
    assert other.excess == pytest.approx(10 - 10_000 * 30 / 1_000)
    alone = explore.groups(made(rows={("unicom",): (3.0, 10)}))[0]
    assert alone.excess == 0.0  # nobody to compare with


def test_tables_escape_and_csv_defuses_formulas() -> None:
    hostile = made(rows={("<script>",): (1.0, 10), ("=cmd()",): (0.0, 10)})
    assert "<script>" not in explore.groups_table(hostile, LENS)
    lines = explore.csv_text(hostile).splitlines()
    assert lines[0] == "client_isp,start_ms,value,total"
    assert f"'=cmd(),{START},0,10" in lines


def test_copied_sql_carries_values_as_parameters() -> None:
    text = explore.sql_text(Statement("SELECT {in_app:Array(String)}", {"in_app": ["it's"], "start": 5}))
    assert text == "SET param_in_app = '[\\'it\\\\\\'s\\']';\nSET param_start = '5';\nSELECT {in_app:Array(String)}"


def test_a_line_has_gaps_where_nothing_was_served() -> None:
    found = made()
    question = replace(found.question, step_ms=30 * MINUTE_MS)
    figure = explore_figures.line_figure(replace(found, question=question), LENS)
    assert [t["name"] for t in figure["data"]] == ["unicom", "telecom"]
    assert figure["data"][0]["y"] == [3.0, None, None]


def test_a_heat_map_leaves_cells_without_traffic_empty() -> None:
    found = made(rows={("unicom", "hebei"): (1.0, 10), ("telecom", "hebei"): (0.0, 10), ("unicom", "jilin"): (2.0, 4)})
    trace = explore_figures.heat_figure(found, LENS)["data"][0]
    assert (trace["y"], trace["x"]) == (["telecom", "unicom"], ["hebei", "jilin"])
    assert trace["z"] == [[0.0, None], [10.0, 50.0]]


def test_a_scan_can_be_stopped_between_pieces() -> None:
    question = CellQuestion("failures", START, START + HOUR_MS)
    first, go_on = threading.Event(), threading.Event()

    def pieces():  # type: ignore[no-untyped-def]
        yield Scan(START + HOUR_MS // 2, 5, {"box": 1}, {"box": 2})
        first.set()
        assert go_on.wait(10)
        yield Scan(START + HOUR_MS // 4, 6, {"box": 1}, {"box": 2})
        raise AssertionError("it read on after it was stopped")

    job = scans.start(question, pieces())
    assert job is not None
    assert first.wait(10)
    job.stop.set()
    go_on.set()
    job.thread.join(10)
    assert (job.running, job.whole, job.newest.rows, job.why) == (False, False, 6, "")


def test_a_scan_that_nobody_looks_at_any_more_ends_and_one_that_is_looked_at_goes_on() -> None:
    question = CellQuestion("failures", START, START + HOUR_MS)
    now = [0.0]

    def scanned(*, watched: bool) -> scans.Job:
        begun = threading.Event()

        def pieces():  # type: ignore[no-untyped-def]
            assert begun.wait(10)
            for part in (3, 2, 1, 0):
                now[0] += 50.0
                if watched:
                    job.look()
                yield Scan(START + part * HOUR_MS // 4, 4 - part)

        job = scans.start(question, pieces(), clock=lambda: now[0])
        assert job is not None
        begun.set()
        job.thread.join(10)
        return job

    left = scanned(watched=False)  # unseen for 50 s, 100 s, 150 s: two minutes are over
    assert (left.running, left.whole, left.newest.rows, left.why) == (False, False, 3, "")
    assert scanned(watched=True).whole


def test_no_more_than_two_scans_run_at_once_and_errors_are_told() -> None:
    question = CellQuestion("failures", START, START + HOUR_MS)
    hold = threading.Event()

    def waiting():  # type: ignore[no-untyped-def]
        assert hold.wait(10)
        yield Scan(START)

    def failing():  # type: ignore[no-untyped-def]
        raise ContractError("bad_query", "where", "fewer boxes", 9)
        yield

    jobs = [scans.start(question, waiting()) for _ in range(scans.MOST)]
    assert scans.start(question, waiting()) is None
    hold.set()
    for job in jobs:
        assert job is not None
        job.thread.join(10)
        assert job.whole
    job = scans.start(question, failing())
    assert job is not None
    job.thread.join(10)
    assert job.why == "where: expected fewer boxes, got 9"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_answers_its_address(language: str) -> None:
    set_context(make_context())
    app = open_page("explore", lang=language, by="client_isp", where="client_region:Hebei")
    assert "China Unicom" in answer(app)
    assert [b.label for b in app.button if "Hebei" in b.label]
    app.selectbox(key="x-measure").select("requests").run()
    assert app.query_params["m"] == "requests"
    assert "China" in answer(app)


def test_a_wrong_address_is_told_and_can_be_left() -> None:
    set_context(make_context())
    app = open_page("explore", by="<b>")
    assert answer(app) == "This address asks for something that does not exist."
    assert "<b>" not in markup(app)
    app.button[0].click().run()
    assert answer(app).startswith("Failed requests")


def test_boxes_are_told_apart_by_a_scan() -> None:
    set_context(make_context())
    app = open_page("explore", range="1h")
    app.button(key="x-scan").click().run()
    app.session_state["scan"].thread.join(10)
    app.run()
    assert "box-0007" in markup(app)
    assert app.session_state["scan"].whole


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "2 scans run already, of all viewers. Try again when one of them has ended."),
     ("zh", "所有用户合计已有 2 个扫描在运行。待其中一个结束后请重试。")],
)  # fmt: skip
def test_a_scan_that_finds_no_place_says_so(language: str, said: str) -> None:
    set_context(make_context())
    hold = threading.Event()

    def waiting():  # type: ignore[no-untyped-def]
        assert hold.wait(30)
        yield Scan(START)

    question = CellQuestion("failures", START, START + HOUR_MS)
    jobs = [scans.start(question, waiting()) for _ in range(scans.MOST)]
    try:
        app = open_page("explore", range="1h", lang=language)
        app.button(key="x-scan").click().run()
        assert said in markup(app)
        assert "scan" not in app.session_state
    finally:
        hold.set()
        for job in jobs:
            assert job is not None
            job.thread.join(10)
    app.button(key="x-scan").click().run()
    app.session_state["scan"].thread.join(10)
    assert said not in markup(app)
    assert app.session_state["scan"].whole
