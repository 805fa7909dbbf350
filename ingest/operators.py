"""POST /v1/changes and POST /v1/enroll: small JSON bodies from people's tools and from boxes that have no key yet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from contracts.auth import check_id
from contracts.entities import Change, change_from_json
from contracts.errors import ContractError
from contracts.protocols import DeviceKey, LogError, Record
from contracts.topics import CHANGES
from ingest.errors import Refusal, refusal_of
from ingest.http import Answer, Headers, Receive, read_body, text_header
from ingest.quota import Quota
from ingest.settings import GatewaySettings
from ingest.telemetry import STORED, check_media

MAX_JSON_BYTES = 64 * 1024
CHANGES_SCOPE = "changes:write"
_EVERYBODY = ""  # enrolment has one quota for all senders: they are not known yet


class Tokens(Protocol):
    """The part of a registry that these doors ask."""

    def enroll(self, device: str, token: str, now: int) -> DeviceKey:
        """Exchange a one-time token for a key. Raises ContractError `bad_token`, `bad_id`."""

    def check_api_token(self, token: str, scope: str) -> str | None:
        """Name of an accepted token of this scope, or None."""


def change_to_json(change: Change) -> bytes:
    """A change as the log carries it; contracts.entities.change_from_json reads it back."""
    document = {
        "id": change.id,
        "kind": change.kind,
        "scope": dict(change.scope),
        "start": change.start,
        "end": change.end,
        "author": change.author,
        "reference": change.reference,
        "note": change.note,
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode()


class OperatorDoors:
    """Changes and enrolment. `append` makes records durable and raises LogError."""

    def __init__(
        self, registry: Tokens, append: Callable[[Sequence[Record]], Awaitable[None]], settings: GatewaySettings
    ) -> None:
        self._registry = registry
        self._append = append
        self._settings = settings
        self._enrolments = Quota(settings.enroll_per_s, settings.enroll_burst)

    async def change(self, headers: Headers, receive: Receive, now: int) -> Answer:
        """Store a change of the network. The same id again replaces it. Raises Refusal."""
        name = self._bearer(headers)
        document = await self._document(headers, receive)
        if isinstance(document, dict):
            document.setdefault("author", name)
        try:
            change = change_from_json(document)
        except ContractError as error:
            raise refusal_of(error) from None
        key = json.dumps(dict(change.scope), separators=(",", ":"), sort_keys=True).encode()
        try:
            await self._append([Record(CHANGES.name, key, change_to_json(change), now)])
        except LogError as error:
            raise Refusal(503, "log_unavailable", str(error), retry_after_s=self._settings.retry_after_s) from None
        return Answer(200, STORED)

    async def enroll(self, headers: Headers, receive: Receive, now: int) -> Answer:
        """Give a box its key for a one-time token. Raises Refusal."""
        wait_s = self._enrolments.take(_EVERYBODY, 1, now)
        if wait_s:
            raise Refusal(429, "quota", "enrolment: too many attempts", retry_after_s=wait_s)
        document = await self._document(headers, receive)
        try:
            if not isinstance(document, dict):
                raise ContractError("bad_field", "body", "an object with device and token", document)
            device = check_id("device", document.get("device"))
            token = document.get("token")
            if not isinstance(token, str) or not 1 <= len(token) <= 256 or not token.isascii():
                raise ContractError("bad_field", "token", "1 to 256 ASCII characters", type(token).__name__)
        except ContractError as error:
            raise refusal_of(error) from None
        try:
            key = await asyncio.to_thread(self._registry.enroll, device, token, now)
        except ContractError as error:
            raise Refusal(401, error.reason, "token: expected an unused token of this device", "token") from None
        body = {"device": device, "key_id": key.key_id, "key": key.secret.hex()}
        return Answer(201, json.dumps(body).encode(), headers=((b"cache-control", b"no-store"),))

    def _bearer(self, headers: Headers) -> str:
        kind, _, token = text_header(headers, "authorization").partition(" ")
        name = self._registry.check_api_token(token.strip(), CHANGES_SCOPE) if kind.lower() == "bearer" else None
        if name is None:
            raise Refusal(
                401, "bad_token", f"authorization: expected Bearer and a token with scope {CHANGES_SCOPE}",
                "authorization",
            )  # fmt: skip
        return name

    async def _document(self, headers: Headers, receive: Receive) -> Any:
        check_media(headers)
        if text_header(headers, "content-encoding").strip().lower() == "gzip":
            raise Refusal(
                415, "unsupported_media", "content-encoding: expected none here, got gzip", "content-encoding"
            )
        body = await read_body(receive, headers, MAX_JSON_BYTES, self._settings.body_timeout_s)
        try:
            return json.loads(body.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise Refusal(400, "malformed", f"body: expected JSON in UTF-8, got {error}", "body") from None
