"""The pages in a real browser: they draw, refresh in place, follow clicks, keep theme and address, fetch nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from contracts.incidents import Action
from dashboards import guard
from dashboards.context import set_context
from dashboards.oidc import Oidc
from dashboards.server import mount, streamlit_app
from tests.dashboards.people import ANA, KEY, LI, PASSWORD, PORTAL, Door, Notes, make_access, make_oidc, with_people
from tests.dashboards.synthetic import NOW, make_context
from tests.services.oidc import Provider, Somebody

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
DEADLINE_MS = 120_000  # a first start on a busy machine loads Chromium, Streamlit and the engine from disk


DOOR = Door()
WHOLE = {"email_verified": True, "groups": ["ops"]}
PEOPLE = [
    Somebody("ana", {"email": "ana@example.com", **WHOLE}),
    Somebody("eve", {"email": "eve@example.com", **WHOLE, "groups": ["elsewhere"]}),
]


async def gateway(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"gateway " + scope["path"].encode()})


@pytest.fixture(autouse=True)
def nobody_has_an_account() -> None:
    DOOR.access = make_access()


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider(PEOPLE) as running:
        yield running


def oidc_of(provider: Provider, address: str) -> Oidc:
    known = {"metadata": provider.metadata_url, "client": provider.client, "secret": provider.secret}
    return make_oidc(**known, url=address, emails=("@example.com",))


@pytest.fixture(scope="module")
def address(provider: Provider) -> Iterator[str]:
    """The pages and a stand-in gateway on a free port, in this process as in the product; refreshed every few seconds:
    a refresh ends the drawing of the one before, so on a busy machine a shorter one would let no chart be finished."""
    usual, guard.REFRESH_S = guard.REFRESH_S, 4
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    provider.redirect = f"{url}/oauth2callback"
    pages = streamlit_app(oidc_of(provider, url).secrets(KEY))
    config = uvicorn.Config(mount(gateway, pages, access=DOOR), log_config=None, access_log=False)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        assert thread.is_alive(), "the server ended while starting"
        time.sleep(0.02)
    yield url
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
    """A page that is drawn, and the list that collects its faults."""
    page, faults = new_page(viewer, address)
    page.goto(address)
    page.wait_for_selector(".d-answer")
    return page, faults


def new_page(viewer: BrowserContext, address: str) -> tuple[Page, list[str]]:
    """A page, and the list that collects its faults: script errors and requests to any other host."""
    faults: list[str] = []
    page = viewer.new_page()
    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    host = address.split("/")[2]
    page.on(
        "request",
        lambda r: None if r.url.startswith((f"http://{host}", "data:", "blob:")) else faults.append(f"fetched {r.url}"),
    )
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
    page.wait_for_function(
        "document.querySelector('.stApp') &&"  # away for a moment while the theme changes
        " getComputedStyle(document.querySelector('.stApp')).backgroundColor === 'rgb(20, 23, 26)'"
    )
    page.wait_for_selector(".d-equation")
    ground = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--d-background').trim()")
    assert ground == "#14171a"
    page.get_by_role("link", name="总览").click()
    page.wait_for_selector(".d-spark")
    assert "lang=zh" in page.url
    assert page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor") == "rgb(20, 23, 26)"
    assert faults == []


def test_zooming_one_panel_zooms_all_and_survives_a_refresh_without_news(
    viewer: BrowserContext, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        guard, "REFRESH_S", 10
    )  # as in the product: one that comes while the mouse is down takes the zoom
    set_context(make_context())
    page, faults = new_page(viewer, address)
    with page.expect_websocket() as opened:
        page.goto(f"{address}/customer?customer=c003")
    page.wait_for_selector(".js-plotly-plot .main-svg")
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    assert page.evaluate(
        "Object.keys(document.querySelector('.js-plotly-plot').layout).filter(k => /^xaxis/.test(k))"
    ) == ["xaxis"]
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 45, steps=6)
    page.mouse.up()
    read = "JSON.stringify(document.querySelector('.js-plotly-plot')?.layout.xaxis.range ?? [0, 1e12])"
    page.wait_for_function(f"new Date(JSON.parse({read})[1]) - new Date(JSON.parse({read})[0]) < 8 * 3600 * 1000")
    zoomed = page.evaluate(read)
    for _ in range(3):  # it is told that a drawing begins, what is in it, and that it ended
        opened.value.wait_for_event("framereceived")
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    assert page.evaluate(read) == zoomed
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
    notes = Notes()
    DOOR.access = make_access(ANA)
    set_context(with_people(make_context(acts=acts), DOOR, notes))
    page, faults = log_in(viewer, f"{address}/triage?lang={language}", "ana")
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
    confirm(page, resolve, do_it)
    page.locator(".d-figures", has_text=resolved).wait_for()
    assert [(a.verb, a.incident, a.author) for a in acts] == [
        ("acknowledge", "inc-1", "ana"), ("resolve", "inc-1", "ana"),
    ]  # fmt: skip
    assert notes == [("ana", "", "incident inc-1: acknowledge", 200), ("ana", "", "incident inc-1: resolve", 200)]
    assert faults == []


def confirm(page: Page, action: str, do_it: str) -> None:
    """Open an action that asks for more, and do it. A refresh that comes in between closes what was opened."""
    for _ in range(20):
        page.get_by_role("button", name=action).first.click()
        try:
            page.get_by_test_id("stPopoverBody").get_by_role("button", name=do_it).click(timeout=6_000)
        except PlaywrightTimeout:
            continue
        return
    raise AssertionError(f"{action} never stayed open")


def log_in(viewer: BrowserContext, target: str, name: str, password: str = PASSWORD) -> tuple[Page, list[str]]:
    """Ask for a page, log in where one is asked to, and be led to it."""
    page, faults = new_page(viewer, target)
    page.goto(target)
    assert "/account/login" in page.url
    page.fill("input[name=name]", name)
    page.fill("input[name=password]", password)
    page.click("button")
    page.wait_for_selector(".d-answer, .r h2")
    assert page.url.partition("?")[0] == target.partition("?")[0]
    return page, faults


def test_a_viewer_looks_and_has_nothing_to_act_with(viewer: BrowserContext, address: str) -> None:
    DOOR.access = make_access(LI)
    set_context(with_people(make_context(), DOOR))
    page, faults = log_in(viewer, f"{address}/triage?lang=en", "li")
    page.get_by_text("li may look, not act.").wait_for()
    page.locator(".d-figures").first.wait_for()
    for verb in ("Acknowledge", "Mute", "Resolve", "Note"):
        assert page.get_by_role("button", name=verb, exact=True).count() == 0  # an incident's card says "acknowledged"
    page.get_by_role("link", name="Service levels").click()
    page.wait_for_selector(".r h2")
    assert page.get_by_role("button", name="Share").count() == 0
    assert faults == []


def test_a_customer_sees_the_own_service_levels_and_no_other_page(viewer: BrowserContext, address: str) -> None:
    DOOR.access = make_access(PORTAL)
    set_context(with_people(make_context(), DOOR))
    page, faults = log_in(viewer, f"{address}/sla?customer=c003", "portal")
    page.locator(".r", has_text="Lark Live").first.wait_for()
    links = page.locator(".st-key-pages a")
    assert [links.nth(i).inner_text() for i in range(links.count())] == ["Service levels"]
    for path in ("/", "/triage?customer=c003"):
        page.goto(address + path)
        page.locator(".r", has_text="Lark Live").first.wait_for()
        said = page.inner_text("body")
        assert "Plover Sport" not in said
        assert "Our pipeline" not in said
    assert faults == []


def test_files_of_a_report_are_made_when_somebody_asks_for_them(viewer: BrowserContext, address: str) -> None:
    DOOR.access = make_access(PORTAL)
    set_context(with_people(make_context(), DOOR))
    page, faults = log_in(viewer, f"{address}/sla?customer=c003", "portal")
    for form, begins in (("PDF", b"%PDF-"), ("HTML", b"<!doctype html>"), ("CSV", b"row,customer,"), ("JSON", b"{")):
        with page.expect_download(timeout=30_000) as started:
            page.get_by_role("button", name=form, exact=True).click()
        assert started.value.suggested_filename.startswith("c001-20")  # its own, whatever the address asks for
        assert Path(started.value.path()).read_bytes().startswith(begins)
    assert faults == []


def test_a_session_outlives_a_reload_and_ends_everywhere_when_the_account_is_closed(
    viewer: BrowserContext, address: str
) -> None:
    DOOR.access = access = make_access(ANA)
    set_context(with_people(make_context(), DOOR))
    page, _ = log_in(viewer, f"{address}/ledger?lang=en", "ana")
    page.reload()
    page.wait_for_selector(".d-equation")
    assert page.locator(".d-who b").inner_text() == "ana"
    access._accounts.change("ana", open=False)  # type: ignore[attr-defined]
    page.get_by_text("You are logged out.").first.wait_for()  # at the page's next refresh
    assert page.locator(".d-equation").count() == 0
    page.reload()
    page.wait_for_url("**/account/login**")
    access._accounts.change("ana", open=True)  # type: ignore[attr-defined]
    page, _ = new_page(viewer, address)
    page.goto(address)
    page.wait_for_selector(".d-spark")
    page.get_by_role("link", name="Log out").click()
    page.wait_for_url("**/account/login")
    page.goto(f"{address}/triage")
    assert "/account/login" in page.url


def test_people_of_a_provider_come_in_by_their_group_and_go_out_at_both(
    viewer: BrowserContext, address: str, provider: Provider
) -> None:
    DOOR.access = make_access(LI, oidc=oidc_of(provider, address))
    DOOR.access._clock = lambda: time.time_ns() // 1_000_000  # a provider's tokens carry the wall's time
    set_context(with_people(make_context(), DOOR))
    page = viewer.new_page()
    page.goto(f"{address}/triage")
    page.get_by_role("link", name="Continue with Example ID").click()
    page.get_by_role("link", name="ana").click()
    page.wait_for_selector(".d-spark")
    assert page.locator(".d-who").inner_text().split() == ["ana@example.com", "operator"]
    page.goto(f"{address}/triage?lang=en")
    page.get_by_role("button", name="Acknowledge", exact=True).wait_for()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/account/login")
    assert provider.ended == ["ana"]

    page.get_by_role("link", name="Continue with Example ID").click()
    page.get_by_role("link", name="eve").click()
    page.get_by_role("heading", name="You have no access here.").wait_for()
    assert "eve@example.com is known to your organisation" in page.inner_text("main")
    page.goto(f"{address}/?sso=1")
    page.wait_for_selector(".d-empty")
    assert page.locator(".d-spark").count() == 0
    page.goto(address)
    page.get_by_role("link", name="Log in as somebody else").click()
    page.wait_for_url("**/account/login")
    assert provider.ended == ["ana", "eve"]


def test_a_rule_and_a_box_are_chosen_by_a_click_and_kept_in_the_address(viewer: BrowserContext, address: str) -> None:
    set_context(make_context())
    page, faults = open_page(viewer, f"{address}/rules")
    answer_is(page, "Rule near serves worse than others")
    page.locator('.d-rules tr[data-pick="far"]').click()
    page.wait_for_url("**rule=far**")
    page.locator("h2", has_text="far: ").wait_for()
    page.wait_for_selector(".js-plotly-plot .main-svg")
    page.goto(f"{address}/scores")
    page.locator('.d-rules tr[data-pick="box-0007"]').click()
    page.wait_for_url("**box=box-0007**")
    page.locator("h2", has_text="box-0007: drained").wait_for()
    page.goto(f"{address}/releases?release=rel-1")
    answer_is(page, "Promote application cdn")
    page.locator('.d-cards [data-pick="rel-0"]').click()
    page.wait_for_url("**release=rel-0**")
    answer_is(page, "Roll back firmware 2.3.1")
    assert faults == []
