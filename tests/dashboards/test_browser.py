"""The pages in a real browser: they draw, refresh in place, follow clicks, keep theme and address, fetch nothing."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from contracts.incidents import Action
from dashboards import guard
from dashboards.context import set_context
from dashboards.server import mount, streamlit_app
from tests.dashboards.synthetic import NOW, make_context

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
DEADLINE_MS = 120_000  # a first start on a busy machine loads Chromium, Streamlit and the engine from disk


async def gateway(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"gateway " + scope["path"].encode()})


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The pages and a stand-in gateway on a free port, in this process as in the product; refreshed every few seconds:
    a refresh ends the drawing of the one before, so on a busy machine a shorter one would let no chart be finished."""
    usual, guard.REFRESH_S = guard.REFRESH_S, 4
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(mount(gateway, streamlit_app()), log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        assert thread.is_alive(), "the server ended while starting"
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    guard.REFRESH_S = usual
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive(), "the server did not stop"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM.exists(), "this test needs a browser: install Debian's package chromium (apt-get install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def viewer(browser: Browser) -> Iterator[BrowserContext]:
    size = {"width": 1280, "height": 720}
    context = browser.new_context(viewport=size, timezone_id="Asia/Shanghai", locale="en-GB", color_scheme="light")  # type: ignore[arg-type]
    context.set_default_timeout(DEADLINE_MS)
    yield context
    context.close()


def open_page(viewer: BrowserContext, address: str) -> tuple[Page, list[str]]:
    """A page, and the list that collects its faults: script errors and requests to any other host."""
    faults: list[str] = []
    page = viewer.new_page()
    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    host = address.split("/")[2]
    page.on(
        "request",
        lambda r: None if r.url.startswith((f"http://{host}", "data:", "blob:")) else faults.append(f"fetched {r.url}"),
    )
    page.goto(address)
    page.wait_for_selector(".d-answer")
    return page, faults


def answer_is(page: Page, start: str) -> None:
    page.wait_for_function(
        "start => { const a = document.querySelectorAll('.d-answer');"
        " return a.length === 1 && a[0].textContent.startsWith(start); }",
        arg=start,
    )


def test_the_overview_leads_to_a_customer_and_back(viewer: BrowserContext, address: str) -> None:
    set_context(make_context())
    page, faults = open_page(viewer, address)
    answer_is(page, "Lark Live is below its objective")
    page.wait_for_selector(".d-spark")
    assert page.locator("tr.row").count() == 10
    assert "Asia/Shanghai (UTC+8)" in page.inner_text(".d-sub >> nth=0")

    spark = page.locator(".d-spark").first
    box = spark.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.wait_for_selector("#d-tip:visible")
    assert " of " in page.inner_text("#d-tip")

    page.locator("tr.row").nth(1).click()
    page.wait_for_selector(".js-plotly-plot .main-svg")
    answer_is(page, "Dunlin Games is within its objective")
    assert "customer=c005" in page.url
    assert page.locator(".js-plotly-plot .annotation").count() >= 5  # four titles and the objective
    page.go_back()
    page.wait_for_selector(".d-spark")
    answer_is(page, "Lark Live is below its objective")
    assert faults == []


def test_a_page_refreshes_in_place(viewer: BrowserContext, address: str) -> None:
    set_context(make_context(now=NOW))
    page, faults = open_page(viewer, f"{address}/?range=15m")
    page.wait_for_selector(".d-spark")
    page.evaluate("document.querySelector('.d-strip').closest('.d-root').dMine = true")
    set_context(make_context(now=NOW + 60_000))
    page.wait_for_function("document.querySelector('.d-sub').textContent.includes('20:04')")  # it was 20:03
    assert page.evaluate("document.querySelector('.d-strip').closest('.d-root').dMine") is True
    assert faults == []


def test_the_ledger_in_chinese_and_dark(viewer: BrowserContext, address: str) -> None:
    set_context(make_context())
    page, faults = open_page(viewer, f"{address}/ledger?lang=zh")
    page.wait_for_selector(".d-equation")
    answer_is(page, "12\u2009345\u2009678 个上报请求中有")
    light = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert light == "rgb(252, 252, 251)"
    page.get_by_role("button", name="深色").click()
    page.wait_for_function("getComputedStyle(document.querySelector('.stApp')).backgroundColor === 'rgb(20, 23, 26)'")
    page.wait_for_selector(".d-equation")
    ground = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--d-background').trim()")
    assert ground == "#14171a"
    page.get_by_role("link", name="总览").click()
    page.wait_for_selector(".d-spark")
    assert "lang=zh" in page.url
    assert page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor") == "rgb(20, 23, 26)"
    assert faults == []


def test_zooming_one_panel_zooms_all_and_survives_a_refresh(viewer: BrowserContext, address: str) -> None:
    set_context(make_context())
    page, faults = open_page(viewer, f"{address}/customer?customer=c003")
    page.wait_for_selector(".js-plotly-plot .main-svg")
    assert page.evaluate(
        "Object.keys(document.querySelector('.js-plotly-plot').layout).filter(k => /^xaxis/.test(k))"
    ) == ["xaxis"]
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 45, steps=6)
    page.mouse.up()
    read = "JSON.stringify(document.querySelector('.js-plotly-plot').layout.xaxis.range)"
    page.wait_for_function(f"new Date(JSON.parse({read})[1]) - new Date(JSON.parse({read})[0]) < 8 * 3600 * 1000")
    zoomed = page.evaluate(read)
    set_context(make_context(now=NOW + 60_000))
    page.wait_for_function("document.querySelector('.d-sub').textContent.includes('20:04')")
    page.wait_for_function(f"{read} === {json.dumps(zoomed)}")  # the chart follows the text
    assert faults == []


def test_the_gateways_paths_do_not_reach_the_pages(viewer: BrowserContext, address: str) -> None:
    for path in ("/healthz", "/v1/anything"):
        assert viewer.request.get(address + path).text() == f"gateway {path}"


TRIAGE = {
    "en": ("Dunlin Games", "Acknowledge", "Resolve", "Do it", "acknowledged", "resolved", "only client ISP"),
    "zh": ("Dunlin Games", "确认", "解决", "执行", "已确认", "已解决", "只看 客户端运营商"),
}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_operator_goes_from_the_list_to_the_cause_and_resolves(
    viewer: BrowserContext, address: str, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "REFRESH_S", 10)  # as in the product
    other, acknowledge, resolve, do_it, acknowledged, resolved, only = TRIAGE[language]
    acts: list[Action] = []
    set_context(make_context(acts=acts))
    page, faults = open_page(viewer, f"{address}/triage?lang={language}")
    page.locator(".d-cards .card", has_text=other).click()
    page.wait_for_url("**incident=inc-2**")
    answer_is(page, other)
    page.locator('.d-cards [data-pick="inc-1"]').click()
    answer_is(page, "Lark Live")
    page.locator('.d-heat td[data-pick*="Hebei"]').first.click()
    page.wait_for_url("**drill=client_isp**")
    page.get_by_role("button", name=only).click()
    page.wait_for_function("() => !location.search.includes('drill')")
    page.get_by_role("button", name=acknowledge, exact=True).click()
    page.locator(".d-cards .card.on", has_text=acknowledged).wait_for()
    page.get_by_role("button", name=resolve).first.click()
    page.get_by_test_id("stPopoverBody").get_by_role("button", name=do_it).click()
    page.locator(".d-figures", has_text=resolved).wait_for()
    assert [(a.verb, a.incident) for a in acts] == [("acknowledge", "inc-1"), ("resolve", "inc-1")]
    assert faults == []
