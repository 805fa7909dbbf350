"""Who may come in: local accounts with sessions of ours, and people of an identity provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from contracts.report import MAX_TEXT
from contracts.times import SECOND_MS
from dashboards.backoff import Backoff
from dashboards.oidc import Oidc
from dashboards.people import Person
from dashboards.sessions import COOKIE, LIFETIME_MS, Sessions

__all__ = ["Access", "Account", "Accounts", "LogInRefused"]

Audit = Callable[[str, str, str, int], None]
"""(who, customer, what, status): notes it, or raises OSError."""


class Account(Protocol):
    """A person's account. `stamp` changes with password, role and closing."""

    name: str
    role: str
    customer: str
    stamp: str

    @property
    def open(self) -> bool:
        """Whether it may be used."""


class Accounts(Protocol):
    """The part of a registry that is asked here. Called from many threads."""

    def account(self, name: str) -> Account | None:
        """An account, or None."""

    def accounts(self) -> list[Any]:
        """All of them, those that ended included."""

    def check_password(self, name: str, password: str) -> Account | None:
        """The account, when it is open and this is its password; as slow for a name that nobody has."""


class LogInRefused(Exception):
    """Wrong name or password; or `wait_s` to be waited before the next attempt is looked at."""

    def __init__(self, wait_s: int = 0) -> None:
        super().__init__("wait" if wait_s else "wrong")
        self.wait_s = wait_s


class Access:
    """`clock`: ms UTC of the wall. `always`: even while there is no account, everybody has to log in; else whoever
    reaches the pages then is the local operator. `oidc`: None without an identity provider. `url`: where people reach
    the pages, empty when only this machine does. `audit` notes who came in and who did not."""

    def __init__(
        self,
        accounts: Accounts,
        key: bytes,
        clock: Callable[[], int],
        audit: Audit,
        *,
        always: bool = False,
        oidc: Oidc | None = None,
        url: str = "",
    ) -> None:
        self._accounts, self._clock, self._audit = accounts, clock, audit
        self._sessions = Sessions(key)
        self._backoff = Backoff()
        self._always = always
        self.oidc = oidc
        self._url = url

    @property
    def required(self) -> bool:
        """Whether everybody has to say who they are. Once there was an account, it stays so."""
        return self._always or self.oidc is not None or bool(self._accounts.accounts())

    def known(self) -> list[Any]:
        """All local accounts."""
        return self._accounts.accounts()

    @property
    def has_accounts(self) -> bool:
        """Whether there is a local account anybody could log in with."""
        return any(account.open for account in self._accounts.accounts())

    def log_in(self, name: str, password: str) -> str:
        """The cookie of a new session. Raises LogInRefused; OSError when it cannot be noted. Takes a quarter of a
        second and 32 MiB: call it in a thread, and not in many."""
        name = name[: MAX_TEXT + 1]
        now = self._clock()
        wait_ms = self._backoff.wait_ms(name, now)
        if wait_ms:
            raise LogInRefused(-(-wait_ms // SECOND_MS))
        account = self._accounts.check_password(name, password)
        if account is None:
            self._backoff.failed(name, now)
            known = self._accounts.account(name)  # what nobody is named may be a password in the wrong field
            self._audit(known.name if known else "nobody", "", "log in: wrong name or password", 401)
            raise LogInRefused
        self._audit(account.name, account.customer, "log in", 200)
        self._backoff.passed(name)
        return self._sessions.begin(account.name, account.stamp, now)

    def log_out(self, cookies: Mapping[str, str]) -> None:
        """End the session of a cookie, if there is one."""
        person = self.of_cookies(cookies)
        if person is not None:
            self._sessions.end(cookies.get(COOKIE, ""), self._clock())
            self._audit(person.name, person.customer, "log out", 200)

    def of_cookies(self, cookies: Mapping[str, str]) -> Person | None:
        """Who a session of ours belongs to, as their account is now."""
        text = cookies.get(COOKIE)
        session = self._sessions.read(text, self._clock()) if text else None
        account = self._accounts.account(session.account) if session else None
        if session is None or account is None or not account.open or account.stamp != session.stamp:
            return None
        return Person(account.name, account.role, account.customer, leaves="local")

    def of_claims(self, claims: Mapping[str, Any]) -> Person | None:
        """Who a token's claims belong to."""
        if self.oidc is None or claims.get("is_logged_in") is not True:
            return None
        return self.oidc.person(claims, self._clock())

    def encrypted(self, scheme: str, host: str) -> bool:
        """Whether a browser came over TLS: to this process, or to a proxy at the pages' own address."""
        return scheme == "https" or self._url == f"https://{host}"

    @property
    def lifetime_s(self) -> int:
        """For how long a browser keeps a session's cookie."""
        return LIFETIME_MS // SECOND_MS
