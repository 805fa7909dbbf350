"""People at the pages of a process: who they are, what is noted of them, and the listener for those elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from contracts.protocols import Store
from contracts.sla import Month
from contracts.times import DAY_MS
from dashboards.access import Access
from dashboards.server import GATEWAY_PATHS, GATEWAY_PREFIX
from dashboards.viewer import signed_in
from dipper.audit import AuditLog
from dipper.clock import wall_clock
from dipper.customer_side import AUDIT_FILE, SHARED_PREFIX
from dipper.people_settings import people_settings, session_key
from dipper.settings import ProcessSettings
from dipper.share import Share, checked, link, share_key
from dipper.shell import Opening
from feed.customers import PREFIX as CUSTOMERS_PREFIX
from history.tenant import Tenant

SHARED_MS = 30 * DAY_MS  # for how long a link made on a page opens
# What people and customers' programs reach from elsewhere beside the pages; all of it asks who they are.
PEOPLE_PREFIXES = (CUSTOMERS_PREFIX, SHARED_PREFIX)


class PeopleSide:
    """`data`: where keys and the audit log are. `address` says where this process's pages are, once they are served."""

    def __init__(
        self,
        process: ProcessSettings,
        registry: Any,
        store: Store,
        data: Path,
        environment: Mapping[str, str],
        address: Callable[[], str],
    ) -> None:
        settings = people_settings(environment, process)
        key = session_key(environment, data)
        self._listener, self._url, self._address = settings.listener, settings.url, address
        self._store, self._share_key = store, share_key(environment, data)
        self._audit = AuditLog(data / AUDIT_FILE, wall_clock)
        self.secrets = settings.oidc.secrets(key) if settings.oidc else None
        self.access = Access(
            registry,
            key,
            wall_clock,
            self._audit,
            always=settings.listener is not None,
            oidc=settings.oidc,
            url=settings.url,
        )

    def fields(self) -> dict[str, Any]:
        """What a page's Context knows of people."""
        return {
            "person": partial(signed_in, self.access),
            "tenant": lambda customer: Tenant(self._store, customer.id, customer.name),
            "audit": self._audit,
            "share": self._shared,
            "accounts": self.access.known,
        }

    def openings(self, app: Any) -> list[Opening]:
        """The pages' own listener, where one is named. `app`: the pages, mounted and started on another."""
        if self._listener is None:
            return []
        return [Opening(only_people(app), self._listener, "DIPPER_PAGES", tls=True)]

    def _shared(self, customer: str, month: Month, language: str) -> str:
        """The address of a report for whoever gets it."""
        now = wall_clock()
        text = link(self._share_key, checked(Share(customer, month, now + SHARED_MS), now))
        return f"{self._url or self._address()}{SHARED_PREFIX}{language}/{text}.html"


def only_people(app: Any) -> Any:
    """The same application without the doors for boxes, scrapers and the scheduler."""

    async def dispatch(scope: Any, receive: Any, send: Any) -> None:
        kind, path = scope["type"], scope.get("path", "")
        if kind == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif path in GATEWAY_PATHS or (path.startswith(GATEWAY_PREFIX) and not path.startswith(PEOPLE_PREFIXES)):
            if kind == "http":
                await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
                await send({"type": "http.response.body", "body": b""})
            else:
                await send({"type": "websocket.close", "code": 1000})
        else:
            await app(scope, receive, send)

    return dispatch
