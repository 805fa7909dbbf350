"""People of an identity provider: what Streamlit's `st.login` is told, and who its claims make of somebody. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.report import MAX_TEXT
from contracts.times import SECOND_MS
from dashboards.people import CUSTOMER, Person
from dashboards.sessions import LIFETIME_MS

CALLBACK = "/oauth2callback"  # Streamlit's
ANYBODY = "*"
_MOST_GROUPS = 500


@dataclass(frozen=True, slots=True)
class Oidc:
    """`metadata`: address of the provider's discovery document. `roles`: (group, role, customer), the first that fits
    counts; ANYBODY fits everybody. `claim`: which claim holds the groups. `emails`: addresses (or @domains) that may
    come in, in lower case; empty: all. `url`: where people reach these pages."""

    metadata: str
    client: str
    url: str
    roles: tuple[tuple[str, str, str], ...]
    secret: str = field(repr=False)
    name: str = ""
    claim: str = "groups"
    emails: tuple[str, ...] = ()
    scope: str = "openid email profile"

    def secrets(self, key: bytes) -> dict[str, Any]:
        """Streamlit's section of secrets; held in memory, written nowhere. `key`: the sessions' key, which the cookie's
        own is made from."""
        return {
            "auth": {
                "redirect_uri": self.url + CALLBACK,
                "cookie_secret": hmac.digest(key, b"dipper-oidc-cookie-1", "sha256").hex(),
                "client_id": self.client,
                "client_secret": self.secret,
                "server_metadata_url": self.metadata,
                "client_kwargs": {"scope": self.scope},
            }
        }

    def person(self, claims: Mapping[str, Any], now: int) -> Person | None:
        """Who somebody is, by the claims of a token that was verified; None: nobody here."""
        issued = claims.get("iat")
        if not isinstance(issued, int | float) or now >= issued * SECOND_MS + LIFETIME_MS:
            return None
        email = str(claims.get("email") or "").lower() if claims.get("email_verified") is True else ""
        if self.emails and not (email and (email in self.emails or f"@{email.partition('@')[2]}" in self.emails)):
            return None
        name = email or str(claims.get("preferred_username") or claims.get("sub") or "")
        if not 1 <= len(name) <= MAX_TEXT or not name.isprintable():
            return None
        groups = _texts(claims.get(self.claim))
        for group, role, customer in self.roles:
            if group == ANYBODY or group in groups:
                return Person(name, role, customer if role == CUSTOMER else "", leaves="oidc")
        return None


def shown_name(claims: Mapping[str, Any]) -> str:
    """What to call somebody who may not come in."""
    name = str(claims.get("email") or claims.get("preferred_username") or claims.get("name") or "")
    return "".join(letter for letter in name if letter.isprintable())[:MAX_TEXT]


def _texts(value: object) -> frozenset[str]:
    if isinstance(value, str):
        return frozenset(value.split())
    if isinstance(value, list | tuple):
        return frozenset(item for item in value[:_MOST_GROUPS] if isinstance(item, str))
    return frozenset()
