"""OpenID Connect with the authorization code flow and PKCE, as a real provider demands it: discovery, authorize with a
page that asks who somebody is, token with an ID token signed by RS256, keys, end of session.

It is strict where providers are: client, redirect address, verifier and the code's single use are checked, and what is
wrong is answered as RFC 6749 says. It knows no passwords: whoever is clicked on is logged in.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CODE_LIVES_S = 60
TOKEN_LIVES_S = 3_600


@dataclass(frozen=True)
class Somebody:
    """Who can be clicked on; `claims` go into the ID token beside those of the protocol."""

    subject: str
    claims: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Code:
    """What a code was given for."""

    person: Somebody
    redirect: str
    nonce: str | None
    challenge: str
    expires_at: float


class Provider:
    """`people` may log in; `client` and `secret` are those of the one application that is known, `redirect` its
    address to come back to. Start and stop with `with`."""

    def __init__(self, people: list[Somebody], *, client: str = "dipper") -> None:
        self.people = {person.subject: person for person in people}
        self.client, self.secret = client, secrets.token_urlsafe(24)
        self.redirect = ""
        self.ended: list[str] = []  # subjects whose session was ended here
        self._key = RSAKey.generate_key(2048, parameters={"kid": "k1", "use": "sig", "alg": "RS256"})
        self._codes: dict[str, _Code] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.metadata_url = f"{self.issuer}/.well-known/openid-configuration"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def discovery(self) -> dict[str, Any]:
        """OpenID Connect Discovery 1.0."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "end_session_endpoint": f"{self.issuer}/logout",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", "email", "profile"],
        }

    def keys(self) -> dict[str, Any]:
        """RFC 7517; the public half only."""
        return {"keys": [self._key.as_dict(private=False)]}

    def asking(self, query: dict[str, str]) -> tuple[int, str]:
        """The page on which somebody says who they are; 400 for a request no provider would take."""
        wrong = [
            name
            for name, expected in (
                ("client_id", self.client),
                ("redirect_uri", self.redirect),
                ("response_type", "code"),
            )
            if query.get(name) != expected
        ]
        if wrong or "openid" not in query.get("scope", "").split() or query.get("code_challenge_method") != "S256":
            return 400, f"invalid_request {wrong}"
        links = "".join(
            f'<li><a href="/chosen?{escape(urlencode({**query, "sub": subject}))}">{escape(subject)}</a></li>'
            for subject in self.people
        )
        return 200, f"<!doctype html><title>Example ID</title><h1>Who are you?</h1><ul>{links}</ul>"

    def chosen(self, query: dict[str, str]) -> str:
        """Where the browser goes with a fresh code."""
        code = secrets.token_urlsafe(16)
        with self._lock:
            self._codes[code] = _Code(
                self.people[query["sub"]],
                query["redirect_uri"],
                query.get("nonce"),
                query["code_challenge"],
                time.monotonic() + CODE_LIVES_S,
            )
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """RFC 6749 4.1.3, RFC 7636 4.5."""
        if self._client_of(form, authorization) != (self.client, self.secret):
            return 401, {"error": "invalid_client"}
        with self._lock:
            code = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        shown = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            form.get("grant_type") != "authorization_code"
            or code is None
            or time.monotonic() > code.expires_at
            or form.get("redirect_uri") != code.redirect
            or not secrets.compare_digest(shown, code.challenge)
        ):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": self.client, "sub": code.person.subject, "iat": now, "exp": now + TOKEN_LIVES_S,
            **({"nonce": code.nonce} if code.nonce else {}), **code.person.claims,
        }  # fmt: skip
        id_token = jwt.encode({"alg": "RS256", "kid": "k1"}, claims, self._key)
        access = secrets.token_urlsafe(16)
        return 200, {"access_token": access, "token_type": "Bearer", "expires_in": TOKEN_LIVES_S, "id_token": id_token}

    def log_out(self, query: dict[str, str]) -> str:
        """OpenID Connect RP-Initiated Logout 1.0: back to the application, whose session here is over."""
        claims = jwt.decode(query["id_token_hint"], self._key, algorithms=["RS256"]).claims
        self.ended.append(claims["sub"])
        return query["post_logout_redirect_uri"] if query["post_logout_redirect_uri"] == self.redirect else self.issuer

    def _client_of(self, form: dict[str, str], authorization: str) -> tuple[str, str]:
        if authorization.startswith("Basic "):
            name, _, secret = base64.b64decode(authorization[6:]).decode().partition(":")
            return unquote_plus(name), unquote_plus(secret)
        return form.get("client_id", ""), form.get("client_secret", "")


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        served = provider

    return Handler


class _Handler(BaseHTTPRequestHandler):
    served: Provider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/.well-known/openid-configuration":
            self._json(200, self.served.discovery())
        elif parts.path == "/jwks":
            self._json(200, self.served.keys())
        elif parts.path == "/authorize":
            status, page = self.served.asking(query)
            self._send(status, page.encode(), "text/html; charset=utf-8")
        elif parts.path == "/chosen":
            self._redirect(self.served.chosen(query))
        elif parts.path == "/logout":
            self._redirect(self.served.log_out(query))
        else:
            self._send(404, b"", "text/plain")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
        if urlsplit(self.path).path == "/token":
            self._json(*self.served.token(dict(parse_qsl(body)), self.headers.get("authorization", "")))
        else:
            self._send(404, b"", "text/plain")

    def _json(self, status: int, document: dict[str, Any]) -> None:
        self._send(status, json.dumps(document).encode(), "application/json")

    def _redirect(self, place: str) -> None:
        self._send(302, b"", "text/plain", ("location", place))

    def _send(self, status: int, body: bytes, kind: str, *more: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("content-type", kind), ("content-length", str(len(body))), *more):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""
