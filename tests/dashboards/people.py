"""Accounts and an identity provider's claims for tests of logging in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from contracts.entities import Customer
from contracts.sla import Month
from contracts.times import from_rfc3339
from dashboards.access import Access
from dashboards.context import Context
from dashboards.oidc import Oidc
from dashboards.viewer import signed_in

NOW = from_rfc3339("2026-03-12T12:03:20Z")
KEY = bytes(range(32))
PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class MadeAccount:
    name: str
    role: str
    customer: str = ""
    stamp: str = "s1"
    open: bool = True
    created_at: int = NOW
    disabled_at: int | None = None
    removed_at: int | None = None


class MadeAccounts:
    """Accounts in memory, all with the same password; `asked` counts how often one was checked."""

    def __init__(self, *accounts: MadeAccount) -> None:
        self.known = {account.name: account for account in accounts}
        self.asked = 0

    def account(self, name: str) -> MadeAccount | None:
        return self.known.get(name)

    def accounts(self) -> list[MadeAccount]:
        return list(self.known.values())

    def check_password(self, name: str, password: str) -> MadeAccount | None:
        self.asked += 1
        account = self.known.get(name)
        return account if account is not None and account.open and password == PASSWORD else None

    def change(self, name: str, **what: Any) -> None:
        self.known[name] = replace(self.known[name], **what)


ANA, LI, PORTAL = MadeAccount("ana", "operator"), MadeAccount("li", "viewer"), MadeAccount("portal", "customer", "c001")


def make_oidc(**changes: Any) -> Oidc:
    usual = Oidc(
        metadata="https://id.example.com/.well-known/openid-configuration",
        client="dipper",
        url="https://dipper.example.com",
        roles=(("ops", "operator", ""), ("acme", "customer", "c001"), ("all", "viewer", "")),
        secret="hush",
        name="Example ID",
    )
    return replace(usual, **changes)


def make_claims(**changes: Any) -> dict[str, Any]:
    usual = {"is_logged_in": True, "iat": NOW // 1000 - 60, "sub": "1234", "email": "Ana@Example.com"}
    return {**usual, "email_verified": True, "groups": ["all", "ops"], **changes}


class Notes(list[tuple[str, str, str, int]]):
    """An audit log in memory."""

    def __call__(self, who: str, customer: str, what: str, status: int) -> None:
        self.append((who, customer, what, status))


def make_access(*accounts: MadeAccount, now: Any = lambda: NOW, notes: Notes | None = None, **more: Any) -> Access:
    return Access(MadeAccounts(*accounts), KEY, now, notes if notes is not None else Notes(), **more)


class Door:
    """An Access that a test may change while the pages are served."""

    def __init__(self) -> None:
        self.access = make_access()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.access, name)


class MadeTenant:
    """dashboards.tenant_view.TenantView on a made-up backend."""

    def __init__(self, backend: Any, customer: Customer) -> None:
        self._backend, self._customer = backend, customer
        self.customer = customer.id

    def services(self) -> tuple[str, ...]:
        return tuple(self._backend.services(self.customer))

    def months(self, now: int) -> list[Month]:
        return list(self._backend.promised_months(self.customer, now))

    def report(self, month: Month, now: int) -> Mapping[str, Any]:
        return dict(self._backend.report(self._customer, month, now))


def with_people(context: Context, access: Any, notes: Notes | None = None) -> Context:
    """A context whose viewers are those that `access` knows."""
    return replace(
        context,
        person=partial(signed_in, access),
        tenant=partial(MadeTenant, context.backend),
        audit=notes if notes is not None else Notes(),
        share=lambda customer, month, language: (
            f"https://dipper.example.com/v1/shared/{language}/{customer}.{month}.html"
        ),
        accounts=access.known,
    )
