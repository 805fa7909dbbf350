"""Customers read their own data: quality, service levels, incidents. Every query goes through history.tenant."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from contracts.entities import Customer
from contracts.errors import ContractError
from contracts.protocols import Store, StoreError
from contracts.sla import Month
from contracts.times import DAY_MS, MAX_TIME_MS, from_rfc3339
from feed.customers_openapi import DOCUMENT
from feed.errors import Refusal
from feed.http import Answer, Query, Quota, Receive, Scope, Send, header, problem, send_answer
from history.tenant import STEPS_MS, Tenant

logger = logging.getLogger(__name__)

PREFIX = "/v1/customers/"
OPENAPI = "/v1/customers/openapi.json"
STAFF_SCOPE = "history:read"
_PATH = re.compile(r"/v1/customers/([A-Za-z0-9][A-Za-z0-9._:-]{0,63})/(quality|sla|incidents|services|months)")
REQUESTS_PER_S, REQUESTS_BURST = 2.0, 20.0  # per token: a page of a customer's own asks a handful of questions
AT_ONCE = 4  # queries that run at a time; others wait their turn
REFUSALS_PER_S, REFUSALS_BURST = 1 / 60, 60.0  # noted one by one, per token; of all who have none, together
_REFUSALS = (401, 405, 429)  # which nothing slows down
NOBODY = "nobody"
LONGEST_MS = 400 * DAY_MS


class People(Protocol):
    """The part of a registry that is asked here."""

    def check_api_token(self, token: str, scope: str) -> str | None:
        """Name of an accepted token of this scope, or None."""

    def customer(self, customer_id: str) -> Customer | None:
        """A customer, or None."""


Audit = Callable[[str, str, str, int], None]
"""(who, customer, what, status): called once per answer about a customer; with customer "" of refusals not listed."""


class _Noted:
    """Notes answers. Refusals, of which anybody may cause any number, are noted at a bounded rate; those beyond it are
    counted, and their number is noted as soon as the rate allows a line."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._quota = Quota(REFUSALS_PER_S, REFUSALS_BURST)
        self._left_out: Counter[tuple[str, int]] = Counter()

    def __call__(self, who: str, customer: str, what: str, status: int, now: int) -> None:
        """Note an answer, or count it."""
        for key, n in list(self._left_out.items()):
            if not self._quota.take(key[0], now):
                self._audit(key[0], "", f"{n} more refusals, not listed", key[1])
                del self._left_out[key]
        if status in _REFUSALS and self._quota.take(who, now):
            self._left_out[who, status] += 1
            return
        self._audit(who, customer, what, status)


class CustomerApi:
    """An ASGI application for paths that begin with PREFIX. `clock`: ms UTC."""

    def __init__(self, store: Store, people: People, clock: Callable[[], int], audit: Audit) -> None:
        self._store, self._people, self._clock, self._noted = store, people, clock, _Noted(audit)
        self._quota = Quota(REQUESTS_PER_S, REQUESTS_BURST)
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """One HTTP request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        found = _PATH.fullmatch(scope["path"])
        customer, who = found[1] if found else "", ""
        try:
            if scope["method"] not in ("GET", "HEAD"):
                raise Refusal(405, "method", f"method: expected GET, HEAD, got {scope['method'][:20]}", "method")
            if scope["path"] == OPENAPI:
                answer = Answer(200, json.dumps(DOCUMENT).encode())
            elif found is None:
                raise Refusal(404, "not_found", f"path: expected one of {', '.join(DOCUMENT['paths'])}", "path")
            else:
                who = self._admit(scope, customer)
                answer = await self._answer(scope, customer, found[2])
        except Refusal as refusal:
            answer = problem(refusal)
        except ContractError as error:
            answer = problem(Refusal(400, error.reason, str(error), error.field))
        except StoreError as error:
            logger.warning("history did not answer a customer: %s", error)
            answer = problem(Refusal(503, "not_ready", "history is away or overloaded", retry_after_s=5))
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            answer = problem(Refusal(500, "internal", "this request failed; the log says where"))
        if customer:
            what = f"{scope['method'][:8]} {scope['path'][:120]}"
            self._noted(who or NOBODY, customer, what, answer.status, self._clock())
        await send_answer(send, answer, head=scope["method"] == "HEAD")

    def _admit(self, scope: Scope, customer: str) -> str:
        """Who asks. Whether a customer exists is told to nobody who may not see it."""
        kind, _, token = header(scope, "authorization").partition(" ")
        name = None
        if kind.lower() == "bearer":
            for wanted in (f"customer:{customer}", STAFF_SCOPE):
                name = name or self._people.check_api_token(token.strip(), wanted)
        if name is None:
            detail = "authorization: expected Bearer and a token with the scope of this customer (customer:ID)"
            raise Refusal(401, "bad_token", detail, "authorization")
        wait_s = self._quota.take(name, self._clock())
        if wait_s:
            raise Refusal(429, "quota", f"token {name}: too many requests", retry_after_s=wait_s)
        return name

    async def _answer(self, scope: Scope, customer: str, what: str) -> Answer:
        known = self._people.customer(customer)
        if known is None:
            raise Refusal(404, "unknown_customer", f"customer: {customer} is not registered", "customer")
        tenant = Tenant(self._store, customer, known.name)
        work = self._question(Query(scope), tenant, what)
        async with self._turns:
            document = await asyncio.to_thread(work)
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        return Answer(200, text.encode(), headers=((b"cache-control", b"private, no-store"),))

    def _question(self, query: Query, tenant: Tenant, what: str) -> Callable[[], Any]:
        now = self._clock()
        if what == "services":
            query.end("none")
            return lambda: {"customer": tenant.customer, "services": tenant.services()}
        if what == "months":
            query.end("none")
            return lambda: {"customer": tenant.customer, "months": [str(m) for m in tenant.months(now)]}
        if what == "sla":
            text = query.one("month", "")
            query.end("month")
            month = Month.parse(text) if text else None
            return lambda: tenant.report(_or_current(month, tenant, now), now)
        end = _time(query, "end", now)
        start = _time(query, "start", end - DAY_MS)
        if not 0 < end - start <= LONGEST_MS:
            raise Refusal(400, "bad_query", "start: expected before end, by 400 days at most", "start")
        if what == "incidents":
            query.end("start, end")
            return lambda: tenant.incidents(start, end)
        step = query.choice("step", ("5m", *(s for s in STEPS_MS if s != "5m")))
        service = query.one("service", "") or None
        query.end("start, end, step, service")
        return lambda: tenant.quality(start, end, step, service)


def _or_current(month: Month | None, tenant: Tenant, now: int) -> Month:
    chosen = month or tenant.current_month(now)
    if chosen is None:
        raise ContractError("bad_month", "month", "one with a service level (GET ../months lists them)", "none")
    return chosen


def _time(query: Query, name: str, default: int) -> int:
    text = query.one(name, "")
    if not text:
        return max(0, default)
    try:
        found = from_rfc3339(text)
    except ValueError as error:
        raise Refusal(400, "bad_query", f"{name}: {error}", name) from None
    if not 0 <= found <= MAX_TIME_MS:
        raise Refusal(400, "bad_query", f"{name}: expected a time from 1970 on, got {text[:40]!r}", name)
    return found
