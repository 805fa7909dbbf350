"""What customers reach of a deployment: their read API, and reports behind signed links. Both are audited."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from html import escape
from pathlib import Path
from typing import Any

from contracts.errors import ContractError
from contracts.protocols import Store, StoreError
from dipper.audit import AuditLog
from dipper.errors import DipperError
from dipper.report_cli import FORMATS, rendered
from dipper.share import LinkRefused, Share, opened, share_key
from feed.customers import PREFIX as API_PREFIX
from feed.customers import CustomerApi, People
from feed.http import Answer, Quota, send_answer
from history.tenant import Tenant

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SHARED_PREFIX = "/v1/shared/"
AUDIT_FILE = "audit.log"
_PATH = re.compile(rf"/v1/shared/(en|zh)/([A-Za-z0-9_.-]{{1,600}})\.({'|'.join(FORMATS)})")
TYPES = {
    "pdf": "application/pdf",
    "html": "text/html; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
}
PER_LINK_S, PER_LINK_BURST = 0.5, 10.0
AT_ONCE = 2  # reports rendered at a time
REFUSED = {
    "tampered": (403, "This link is not valid: it was changed or cut.", "此链接无效：已被改动或截断。"),
    "expired": (410, "This link has expired. Ask for a new one.", "此链接已过期。请索取新的链接。"),
}
GONE = (404, "There is no such report any more.", "已没有这份报告。")
# A report is a page of its own: nothing may be loaded into it, and its address goes nowhere.
HEADERS = (
    (b"cache-control", b"private, no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
)


class SharedReports:
    """An ASGI application: GET /v1/shared/LANGUAGE/LINK.FORMAT."""

    def __init__(
        self, store: Store, people: People, clock: Callable[[], int], audit: Callable[..., None], key: bytes
    ) -> None:
        self._store, self._people, self._clock, self._audit, self._key = store, people, clock, audit, key
        self._quota = Quota(PER_LINK_S, PER_LINK_BURST)
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """One HTTP request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        answer = await self._answer(scope)
        await send_answer(send, answer, head=scope["method"] == "HEAD")

    async def _answer(self, scope: Scope) -> Answer:
        found = _PATH.fullmatch(scope["path"])
        if found is None or scope["method"] not in ("GET", "HEAD"):
            return _said(*REFUSED["tampered"])
        language, text, form = found.groups()
        now = self._clock()
        try:
            share = opened(self._key, text, now)
        except LinkRefused as refused:
            return _said(*REFUSED[refused.reason])
        name = f"link {hashlib.sha256(text.encode()).hexdigest()[:12]}"
        if self._quota.take(name, now):
            return _said(429, "This link is asked too often. Wait a moment.", "此链接访问过于频繁。请稍候。")
        answer = await self._report(share, language, form, now)
        self._audit(name, share.customer, f"report {share.month} {form}", answer.status)
        return answer

    async def _report(self, share: Share, language: str, form: str, now: int) -> Answer:
        known = self._people.customer(share.customer)
        if known is None:
            return _said(*GONE)
        tenant = Tenant(self._store, share.customer, known.name)
        try:
            async with self._turns:
                data = await asyncio.to_thread(lambda: rendered(tenant.report(share.month, now), form, language))
        except (ContractError, DipperError) as error:
            logger.warning("a shared report cannot be made: %s", error)
            return _said(*GONE)
        except StoreError as error:
            logger.warning("history did not answer a shared report: %s", error)
            return _said(503, "The report cannot be made now. Try again in a minute.", "暂时无法生成报告。请稍后再试。")
        return Answer(200, data, TYPES[form], HEADERS)


def _said(status: int, english: str, chinese: str) -> Answer:
    page = f"<!doctype html><meta charset=utf-8><title>Dipper</title><p>{escape(english)}</p><p>{escape(chinese)}</p>"
    return Answer(status, page.encode(), TYPES["html"], HEADERS)


class CustomerSide:
    """Both applications, in front of another."""

    def __init__(
        self, store: Store, people: People, clock: Callable[[], int], data: Path, environment: Mapping[str, str]
    ) -> None:
        audit = AuditLog(data / AUDIT_FILE, clock)
        self._api = CustomerApi(store, people, clock, audit)
        self._shared = SharedReports(store, people, clock, audit, share_key(environment, data))

    def beside(self, app: App) -> App:
        """An application that answers for customers as well."""

        async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope.get("path", "")
            if scope["type"] == "http" and path.startswith(API_PREFIX):
                await self._api(scope, receive, send)
            elif scope["type"] == "http" and path.startswith(SHARED_PREFIX):
                await self._shared(scope, receive, send)
            else:
                await app(scope, receive, send)

        return dispatch
