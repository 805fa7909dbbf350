"""The gate: without a session nothing passes but the page that asks; the answer is taken from our own page only."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.access import Access
from dashboards.gate import AT_ONCE, MOST_WAITING, Gate, _then
from dashboards.messages import Words
from dashboards.oidc import CALLBACK
from dashboards.sessions import COOKIE
from tests.dashboards.people import ANA, KEY, NOW, PASSWORD, PORTAL, MadeAccounts, Notes, make_access, make_oidc

HTML = {"accept": "text/html,application/xhtml+xml"}
HOST = {"host": "dipper.example.com"}
Answer = tuple[int, dict[str, str], str]


async def _pages(scope: Any, receive: Any, send: Any) -> None:
    """What stands for the pages behind the gate."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the pages"})


def ask(gate: Gate, target: str, method: str = "GET", form: dict[str, str] | None = None, **headers: str) -> Answer:
    path, _, query = target.partition("?")
    body = urlencode(form or {}).encode()
    sent: list[dict[str, Any]] = []
    given_headers = {**HOST, **HTML, **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http", "method": method, "path": path, "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given_headers.items()],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(gate(scope, receive, send))
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, sent[1]["body"].decode()


def connects(gate: Gate, **headers: str) -> bool:
    sent: list[str] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    given_headers = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "websocket", "path": "/_stcore/stream", "headers": given_headers}
    asyncio.run(gate(scope, None, send))
    return sent == ["websocket.accept"]


def log_in(
    gate: Gate, name: str = "ana", password: str = PASSWORD, target: str = "/account/login", **more: str
) -> Answer:
    return ask(gate, target, "POST", {"name": name, "password": password}, **more)


def cookie(answer: Answer) -> str:
    return answer[1]["set-cookie"].partition(";")[0]


@pytest.mark.parametrize(
    "path", ["/", "/triage", "/sla", "/media/0123.pdf", "/_stcore/upload_file/a/b", "/component/x"]
)
def test_without_a_session_no_page_no_file_and_no_websocket(path: str) -> None:
    gate = Gate(_pages, make_access(ANA))
    status, headers, body = ask(gate, path)
    assert (status, body) == (303, "")
    assert headers["location"].startswith("/account/login")
    assert ask(gate, path, accept="*/*")[0] == 401
    assert ask(gate, path, "POST")[0] == 401
    assert not connects(gate)
    assert not connects(gate, cookie=f"{COOKIE}=forged.forged")


def test_with_a_session_all_of_the_pages_passes_but_what_tells_of_the_process() -> None:
    gate = Gate(_pages, make_access(ANA))
    session = cookie(log_in(gate))
    assert ask(gate, "/triage", cookie=session)[2] == "the pages"
    assert ask(gate, "/media/0123.pdf", cookie=session, accept="*/*")[2] == "the pages"
    assert connects(gate, cookie=session)
    for path in ("/_stcore/metrics", "/_stcore/agent/mcp", "/_stcore/script-health-check", "/auth/login", CALLBACK):
        assert ask(gate, path, cookie=session)[0] == 404


def test_the_session_is_a_cookie_that_scripts_and_other_sites_do_not_get() -> None:
    plain = log_in(Gate(_pages, make_access(ANA)))[1]["set-cookie"]
    assert set(plain.split("; ")[1:]) == {"Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=43200"}
    behind_tls = log_in(Gate(_pages, make_access(ANA, url="https://dipper.example.com")))[1]["set-cookie"]
    assert behind_tls.endswith("; Secure")


def test_logging_in_leads_back_to_where_one_wanted_to_go() -> None:
    gate = Gate(_pages, make_access(ANA))
    asked = ask(gate, "/triage?incident=inc-1&lang=zh")[1]["location"]
    assert asked == "/account/login?then=/triage%3Fincident%3Dinc-1%26lang%3Dzh"
    form = re.search(r'action="([^"]+)"', ask(gate, asked)[2])
    assert form is not None
    status, headers, _ = log_in(gate, target=form[1].replace("&amp;", "&"))
    assert (status, headers["location"]) == (303, "/triage?incident=inc-1&lang=zh")


@given(
    st.text(max_size=60).map(lambda text: "/" + text)
    | st.sampled_from(["//evil.example", "/\\evil.example", "https://x"])
)
def test_it_never_leads_to_another_site(text: str) -> None:
    then = _then(text)
    assert then == "/" or (then == text and re.fullmatch(r"/[^/\\\s][^\\\s]*|/", then))


def test_a_wrong_password_is_told_from_nothing_else_and_the_name_is_kept() -> None:
    gate = Gate(_pages, make_access(ANA))
    wrong, unknown = log_in(gate, password="no"), log_in(gate, name="<b>nobody</b>")
    for status, headers, body in (wrong, unknown):
        assert status == 401
        assert Words("en")("login.wrong") in body
        assert "set-cookie" not in headers
    assert 'value="ana"' in wrong[2]
    assert "<b>nobody" not in unknown[2]
    assert PASSWORD not in wrong[2]


def test_too_many_wrong_passwords_have_to_wait_and_are_told_how_long() -> None:
    gate = Gate(_pages, make_access(ANA))
    answers = [log_in(gate, password="no") for _ in range(5)]
    assert [status for status, _, _ in answers] == [401, 401, 401, 401, 429]
    assert answers[-1][1]["retry-after"] == "2"
    assert "Try again in 2 seconds." in answers[-1][2]


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://dipper.example.com.evil.example"},
    ],
)
def test_another_sites_form_logs_nobody_in_or_out(headers: dict[str, str]) -> None:
    gate = Gate(_pages, make_access(ANA))
    status, answered, _ = log_in(gate, **headers)
    assert (status, "set-cookie" in answered) == (403, False)
    session = cookie(log_in(gate, origin="https://dipper.example.com", sec_fetch_site="same-origin"))
    assert ask(gate, "/account/logout", cookie=session, **headers)[0] == 403
    assert ask(gate, "/", cookie=session)[0] == 200


def test_whoever_logs_out_is_out_with_every_copy_of_the_cookie() -> None:
    gate = Gate(_pages, make_access(ANA))
    session = cookie(log_in(gate))
    status, headers, _ = ask(gate, "/account/logout", cookie=session)
    assert (status, headers["location"]) == (303, "/account/login")
    assert "Max-Age=0" in headers["set-cookie"]
    assert ask(gate, "/", cookie=session)[0] == 303


def test_a_crowd_is_told_to_come_back_and_keeps_no_threads() -> None:
    accounts = MadeAccounts(ANA)
    turn, most = threading.Event(), [0, 0]

    def slowly(name: str, password: str) -> None:
        most[0] += 1
        most[1] = max(most)
        turn.wait(10)
        most[0] -= 1

    accounts.check_password = slowly  # type: ignore[method-assign, assignment]
    gate = Gate(_pages, Access(accounts, KEY, lambda: NOW, Notes()))
    body = urlencode({"name": "ana", "password": "x"}).encode()
    statuses: list[int] = []

    async def one() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: dict[str, Any]) -> None:
            statuses.extend([message["status"]] if "status" in message else [])
            if statuses.count(503) == 10:
                turn.set()

        headers = [(b"host", b"dipper.example.com")]
        scope = {"type": "http", "method": "POST", "path": "/account/login", "query_string": b"", "headers": headers}
        await gate(scope, receive, send)

    async def crowd() -> None:
        await asyncio.gather(*(one() for _ in range(MOST_WAITING + 10)))

    asyncio.run(crowd())
    assert (statuses.count(503), most[1]) == (10, AT_ONCE)


@pytest.mark.parametrize("form", [{}, {"name": "ana"}, {"name": "ana", "password": "x" * 5_000}])
def test_a_form_that_is_incomplete_or_too_long_is_a_wrong_password(form: dict[str, str]) -> None:
    assert ask(Gate(_pages, make_access(ANA)), "/account/login", "POST", form)[0] == 401


def test_the_page_that_asks_speaks_the_browsers_language_and_offers_the_other() -> None:
    gate = Gate(_pages, make_access(PORTAL, oidc=make_oidc(name="")))
    english, chinese = (ask(gate, "/account/login", accept_language=code)[2] for code in ("en-GB", "zh-CN,zh;q=0.9"))
    assert "<h1>Log in to Dipper</h1>" in english
    assert "Continue with your organisation" in english
    assert "<h1>登录 Dipper</h1>" in chinese
    assert "<h1>登录 Dipper</h1>" in ask(gate, "/account/login?lang=zh")[2]
    headers = ask(gate, "/account/login")[1]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    for page in (english, chinese):
        assert not re.search(r"<script|https?://", page)


def test_where_nobody_has_an_account_yet_it_says_how_to_make_one() -> None:
    gate = Gate(_pages, make_access(always=True))
    assert "dipper users add NAME --role admin" in ask(gate, "/account/login")[2]
    assert not connects(gate)


def test_as_long_as_nobody_has_to_say_who_they_are_everything_passes() -> None:
    gate = Gate(_pages, make_access())
    assert ask(gate, "/")[2] == "the pages"
    assert connects(gate)
    assert ask(gate, "/account/login")[1]["location"] == "/"
    assert ask(gate, "/_stcore/metrics")[0] == 404


def test_with_a_provider_the_script_is_reached_only_to_be_sent_on() -> None:
    gate = Gate(_pages, make_access(oidc=make_oidc()))
    assert ask(gate, "/?sso=1")[2] == "the pages"
    assert connects(gate)  # the script itself turns strangers away: see test_script_people
    assert ask(gate, "/")[0] == 303
    assert ask(gate, "/triage?sso=1")[0] == 303
    assert ask(gate, "/media/0123.pdf", accept="*/*")[0] == 401
    assert ask(gate, "/", cookie="_streamlit_user=" + quote('"forged"'))[0] == 303
