"""The gate in front of the pages: nothing of them is handed out and no websocket opened before somebody said who they
are.

It also serves the page that asks, and takes the answer. What a person sees then is decided by `context.current`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from streamlit.auth_util import get_cookie_with_chunks
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value

from dashboards.access import Access, LogInRefused
from dashboards.login_page import LOG_IN, LOG_OUT, log_in_page, stranger_page
from dashboards.messages import Words
from dashboards.oidc import CALLBACK, shown_name
from dashboards.people import Person
from dashboards.sessions import COOKIE

# What Streamlit serves that nobody needs here: it would answer about the whole process.
CLOSED = ("/_stcore/metrics", "/_stcore/agent/", "/_stcore/script-health-check")
# What holds nothing of anybody: the frame's own files, and whether the server is there.
ASSETS = ("/static/", "/favicon", "/_stcore/health", "/_stcore/host-config", "/_stcore/bidi-components/")
PROVIDER = ("/auth/login", "/auth/logout", CALLBACK)
MAX_BODY_BYTES = 4_096
AT_ONCE, MOST_WAITING = 2, 20  # passwords looked at; beyond it people are told to come back, threads stay free
USER_COOKIE = "_streamlit_user"
_THEN = re.compile(r"/(?![/\\])[A-Za-z0-9_./?=&%+~:,|;-]{0,1500}")
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    ),
)
_log = logging.getLogger(__name__)
Headers = Mapping[str, str]


class Gate:
    """An ASGI application around the pages."""

    def __init__(self, pages: Any, access: Access) -> None:
        self._pages, self._access = pages, access
        self._turns, self._waiting = asyncio.Semaphore(AT_ONCE), 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind != "websocket" or self._may_connect(scope):
            await self._pages(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _may_connect(self, scope: Any) -> bool:
        """With an identity provider the script itself has to be asked, for it is what calls `st.login`."""
        access = self._access
        return not access.required or access.oidc is not None or self._person(_headers(scope)) is not None

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        path, headers = scope["path"], _headers(scope)
        if path == LOG_IN:
            await self._log_in(scope, headers, receive, send)
        elif path == LOG_OUT:
            await self._log_out(scope, headers, send)
        elif path.startswith(CLOSED) or (path in PROVIDER and self._access.oidc is None):
            await _answer(send, 404, b"")
        elif path.startswith(ASSETS) or path in PROVIDER or self._may_pass(scope, headers):
            await self._pages(scope, receive, send)
        else:
            await self._turn_away(scope, headers, send)

    def _may_pass(self, scope: Any, headers: Headers) -> bool:
        access = self._access
        if not access.required or self._person(headers) is not None:
            return True
        return access.oidc is not None and scope["path"] == "/" and scope["query_string"] == b"sso=1"

    def _person(self, headers: Headers) -> Person | None:
        cookies = _cookies(headers)
        return self._access.of_cookies(cookies) or self._access.of_claims(self._claims(cookies))

    def _claims(self, cookies: Mapping[str, str]) -> dict[str, Any]:
        """What Streamlit's own cookie says, whose signature it checks: the same that `st.user` holds in the script."""
        if self._access.oidc is None or USER_COOKIE not in cookies:
            return {}
        secret = get_cookie_secret()

        def one(name: str) -> bytes | None:
            value = cookies.get(name)
            return None if value is None else decode_signed_value(secret, name, value.encode("latin-1", "replace"))

        try:
            claims = json.loads(get_cookie_with_chunks(one, USER_COOKIE) or b"{}")
        except ValueError:
            return {}
        return claims if isinstance(claims, dict) else {}

    async def _turn_away(self, scope: Any, headers: Headers, send: Any) -> None:
        words = _words("", headers)
        claims = self._claims(_cookies(headers))
        navigates = scope["method"] in ("GET", "HEAD") and "text/html" in headers.get("accept", "")
        if claims.get("is_logged_in") is True and navigates:
            _log.warning("somebody known to the provider has no role here: %s", shown_name(claims))
            await _answer(send, 403, stranger_page(words, shown_name(claims)))
        elif navigates:
            query = scope["query_string"].decode("ascii", "replace")
            then = _then(scope["path"] + (f"?{query}" if query else ""))
            place = LOG_IN if then == "/" else f"{LOG_IN}?then={quote(then, safe='/')}"
            await _answer(send, 303, b"", ((b"location", place.encode()),))
        else:
            await _answer(send, 401, b"")

    async def _log_in(self, scope: Any, headers: Headers, receive: Any, send: Any) -> None:
        query = dict(parse_qsl(scope["query_string"].decode("ascii", "replace")))
        words, then = _words(query.get("lang", ""), headers), _then(query.get("then", "/"))
        if scope["method"] in ("GET", "HEAD"):
            if self._person(headers) is not None or not self._access.required:
                await _answer(send, 303, b"", ((b"location", then.encode()),))
                return
            await _answer(send, 200, self._asking(words, then))
        elif scope["method"] != "POST":
            await _answer(send, 405, b"", ((b"allow", b"GET, POST"),))
        elif not _is_ours(headers):
            await _answer(send, 403, self._asking(words, then, said=words("login.foreign")))
        else:
            await self._check(scope, headers, words, then, await _form(receive), send)

    async def _check(
        self, scope: Any, headers: Headers, words: Words, then: str, form: Mapping[str, str], send: Any
    ) -> None:
        name = form.get("name", "").strip()
        if self._waiting >= MOST_WAITING:
            await _answer(send, 503, self._asking(words, then, said=words("login.busy"), name=name[:128]))
            return
        self._waiting += 1
        try:
            async with self._turns:
                cookie = await asyncio.to_thread(self._access.log_in, name, form.get("password", ""))
        except LogInRefused as refused:
            said = words("login.wait", n=refused.wait_s) if refused.wait_s else words("login.wrong")
            more = ((b"retry-after", str(refused.wait_s).encode()),) if refused.wait_s else ()
            status = 429 if refused.wait_s else 401
            await _answer(send, status, self._asking(words, then, said=said, name=name[:128]), more)
            return
        finally:
            self._waiting -= 1
        session = self._cookie(scope, headers, cookie, self._access.lifetime_s)
        await _answer(send, 303, b"", ((b"location", then.encode()), session))

    async def _log_out(self, scope: Any, headers: Headers, send: Any) -> None:
        if not _is_ours(headers):
            await _answer(send, 403, b"")
            return
        await asyncio.to_thread(self._access.log_out, _cookies(headers))
        await _answer(send, 303, b"", ((b"location", LOG_IN.encode()), self._cookie(scope, headers, "", 0)))

    def _cookie(self, scope: Any, headers: Headers, text: str, age_s: int) -> tuple[bytes, bytes]:
        encrypted = self._access.encrypted(scope.get("scheme", "http"), headers.get("host", ""))
        secure = "; Secure" if encrypted else ""
        return b"set-cookie", f"{COOKIE}={text}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age_s}{secure}".encode()

    def _asking(self, words: Words, then: str, *, said: str = "", name: str = "") -> bytes:
        access = self._access
        sso = access.oidc.name if access.oidc else None
        return log_in_page(words, then, said=said, name=name, form=access.has_accounts, sso=sso)


def _headers(scope: Any) -> dict[str, str]:
    """Names in lower case; several cookie headers are one."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}; {text}" if key == "cookie" and key in found else text
    return found


def _cookies(headers: Headers) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def _words(wanted: str, headers: Headers) -> Words:
    language = wanted or headers.get("accept-language", "")
    return Words("zh" if language.lower().startswith("zh") else "en")


def _then(text: str) -> str:
    """A place among our own pages; the first page for anything else."""
    found = _THEN.fullmatch(text)
    return text if found and not text.startswith("/account/") else "/"


def _is_ours(headers: Headers) -> bool:
    """Whether a request comes from a page of ours, or from the address bar: browsers say so, other programs say
    nothing."""
    site = headers.get("sec-fetch-site", "none")
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return False
    return site in ("same-origin", "none")


async def _form(receive: Any) -> dict[str, str]:
    """Fields of a form; nothing of one that is too long or no form."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or len(body) > MAX_BODY_BYTES:
            return {}
        if not message.get("more_body"):
            break
    try:
        return dict(parse_qsl(body.decode("ascii"), max_num_fields=10, keep_blank_values=True))
    except ValueError:
        return {}


async def _answer(send: Any, status: int, page: bytes, more: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(page)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *_HEADERS, *more]})
    await send({"type": "http.response.body", "body": page})
