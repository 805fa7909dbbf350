"""The script itself, run by Streamlit's own test harness: every page, both languages, every state of the data."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

import dashboards
from contracts.protocols import StoreUnavailable
from dashboards.context import Context, set_context
from tests.dashboards.synthetic import make_context

SCRIPT = Path(dashboards.__file__).parent / "app.py"
PAGES = ("overview", "triage", "customer", "scores", "releases", "rules", "explore", "data", "ledger")


def open_page(page: str, **query: str) -> AppTest:
    """The script's first run on a page. The harness opens pages by file only, so a page made of a function is chosen
    by the hash that the browser would send."""
    app = AppTest.from_file(str(SCRIPT), default_timeout=20)
    if page != "overview":
        app._page_hash = calc_hash(page)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app


def markup(app: AppTest) -> str:
    return "\n".join(element.proto.body for element in app.get("html"))


def answer(app: AppTest) -> str:
    found = re.findall(r'<h1 class="d-answer">(.*?)</h1>', markup(app))
    assert len(found) == 1, found
    return str(found[0])


HISTORY_PAGES = tuple(page for page in PAGES if page not in ("scores", "releases"))  # these have sources of their own
ANSWERS = {
    ("overview", "en"): "Lark Live is below its objective: ",
    ("overview", "zh"): "Lark Live 未达标：",
    ("customer", "en"): "Lark Live is below its objective since 11:",
    ("customer", "zh"): "Lark Live 自 11:",
    ("triage", "en"): "Lark Live and 2 more: stalled sessions at 4.1 times normal since 11:19 for client ISP = ",
    ("triage", "zh"): "Lark Live 等另 2 个：卡顿会话自 11:19 起为正常的 4.1 倍",
    ("scores", "en"): "1 drained, 1 reduced, of 43 boxes with a score. 1 more looks ill",
    ("scores", "zh"): "43 个有评分的节点中，1 个已排空，1 个流量已减。另有 1 个",
    ("releases", "en"): "Roll back firmware 2.3.1: 2\u2009708 of 8\u2009910 requests failed where 32.0 were expected.",
    ("releases", "zh"): "回滚 固件 2.3.1：8\u2009910 个请求中 2\u2009708 个失败，预期 32.0。",
    ("rules", "en"): "Rule near serves worse than others: 3.0",
    ("rules", "zh"): "规则 near 劣于其他规则：相同流量上失败请求为其 3.0",
    ("data", "en"): "99.86% of expected traffic was measured. 3 boxes are silent. 44 reports",
    ("data", "zh"): "预期流量测得 99.86%。3 个节点静默。",
    ("explore", "en"): "Failed requests: 0.5",
    ("explore", "zh"): "失败请求：0.5",
    ("ledger", "en"): "2\u2009000 of 12\u2009345\u2009678 reported requests are lost without a declaration",
    ("ledger", "zh"): "12\u2009345\u2009678 个上报请求中有 2\u2009000 个未经申报而丢失",
}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_with_its_answer(page: str, language: str) -> None:
    set_context(make_context())
    app = open_page(page, lang=language, customer="c001")
    assert answer(app).startswith(ANSWERS[page, language])
    assert ("时间为 UTC" if language == "zh" else "times in UTC") in markup(app)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("page", PAGES)
def test_without_data_a_page_says_what_is_missing_and_what_to_do(page: str, language: str) -> None:
    set_context(make_context(empty=True, demo=False))
    app = open_page(page, lang=language)
    assert "d-empty" in markup(app)
    assert ("POST /v1/changes" if page == "releases" else "dipper doctor") in markup(app)
    assert "nan" not in markup(app).lower().replace("nance", "")


@pytest.mark.parametrize("page", ["overview", "customer"])
def test_stale_data_is_announced_and_nobody_is_judged_on_it(page: str) -> None:
    set_context(make_context(age_ms=27 * 60_000))
    app = open_page(page, customer="c001")
    assert answer(app).startswith("Nothing is known about quality now: the newest data is 2")
    assert "d-notice late" in markup(app)
    assert "below objective" not in markup(app)


def test_without_customers_the_pages_say_how_to_add_one() -> None:
    set_context(make_context(0, empty=True))
    for page in ("overview", "customer"):
        app = open_page(page)
        assert answer(app) == "No customer is registered yet."
        assert "dipper customers add" in markup(app)


def test_before_the_context_is_set_the_pages_say_so() -> None:
    for page in PAGES:
        assert answer(open_page(page)) == "The pages have no data source yet."


class BrokenBackend:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
        def fail(*args: object) -> None:
            raise self._error

        return fail


@pytest.mark.parametrize("page", HISTORY_PAGES)
def test_a_store_that_is_away_and_a_fault_of_ours_are_told_apart_without_a_traceback(page: str) -> None:
    sound = make_context()
    for error, text in (
        (StoreUnavailable("engine overloaded"), "History does not answer."),
        (ZeroDivisionError("secret detail"), "This page could not be drawn."),
    ):
        set_context(Context(BrokenBackend(error), sound.registry, sound.now, BrokenBackend(error).status))
        app = open_page(page)
        assert answer(app) == text
        assert "secret detail" not in markup(app)
        assert "Traceback" not in markup(app)
        assert markup(app).count(">no data</span>") == 3  # the pipeline's state


def test_without_their_sources_pages_say_where_to_ask_instead() -> None:
    sound = make_context()
    set_context(Context(sound.backend, sound.registry, sound.now, sound.status))
    for page, place in (("scores", "GET /v1/health/devices"), ("releases", "GET /v1/releases/ID")):
        assert place in markup(open_page(page))


def test_a_fault_of_the_frame_itself_is_no_traceback_either() -> None:
    class BrokenRegistry:
        def customers(self) -> list[object]:
            raise OSError("secret detail")

    sound = make_context()
    set_context(Context(sound.backend, BrokenRegistry(), sound.now, sound.status))  # type: ignore[arg-type]
    app = open_page("overview")
    assert answer(app) == "This page could not be drawn."
    assert "secret detail" not in markup(app)


def test_choosing_a_customer_opens_its_page_and_the_address_follows() -> None:
    set_context(make_context())
    app = open_page("overview")
    app.selectbox(key="control-customer").select("c002").run()
    assert answer(app).startswith("Heron Downloads is within its objective")
    assert app.query_params["customer"] == "c002"
    assert app.selectbox(key="control-service").options == ["All services", "download", "video"]


def test_switching_language_switches_every_text() -> None:
    set_context(make_context())
    app = open_page("overview")
    app.selectbox(key="control-lang").select("zh").run()
    assert answer(app).startswith("Lark Live 未达标")
    assert app.selectbox(key="control-range").label == "时间范围"
    assert app.query_params["lang"] == "zh"


def test_hostile_addresses_do_no_harm() -> None:
    set_context(make_context())
    app = open_page("customer", customer="<script>alert(1)</script>", range="../../etc", lang="'", service="x")
    assert "<script>alert" not in markup(app)
    assert answer(app).startswith("Kestrel Video")


def test_a_demo_opens_on_its_first_hour_and_says_what_it_is() -> None:
    set_context(make_context(demo=True))
    app = open_page("overview")
    assert app.selectbox(key="control-range").value == "1h"
    assert "Demo: a simulated fleet" in markup(app)


def test_two_hundred_customers_show_forty_until_asked_for_all() -> None:
    set_context(make_context(200))
    app = open_page("overview", range="1h")
    assert strip_rows(app) == 40
    app.toggle(key="show_all").set_value(True).run()
    assert strip_rows(app) == 200


def strip_rows(app: AppTest) -> int:
    strip = next(e for e in app.get("bidi_component") if e.proto.component_name == "dipper_strip")
    return str(strip.proto.json or strip.proto.mixed.json).count("data-customer=")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_fifty_customers_and_a_day_runs_well_under_a_second(page: str) -> None:
    set_context(make_context(50))
    app = open_page(page, range="24h")
    started = time.perf_counter()
    app.run()
    assert time.perf_counter() - started < 1.0
