"""POST /v1/telemetry: from a request to an arrival and back to an answer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Protocol

from contracts import auth
from contracts.auth import Envelope
from contracts.errors import ContractError
from contracts.protocols import DeviceKey
from contracts.report import MAX_COUNT
from contracts.times import AUTH_WINDOW_MS, rfc3339
from ingest.batcher import Batcher
from ingest.errors import Refusal
from ingest.http import Answer, Headers, Receive, problem, read_body, text_header
from ingest.known import KnownReports, Seen
from ingest.metrics import Metrics
from ingest.pipeline import Arrival, Lookup
from ingest.quota import Quota
from ingest.settings import GatewaySettings

STORED = b'{"status":"stored"}'
DUPLICATE = b'{"status":"duplicate"}'
_STORED_ANSWER = Answer(200, STORED)


class Keys(Lookup, Protocol):
    """The part of a registry that this door asks."""

    def keys(self, device: str) -> Sequence[DeviceKey]:
        """As contracts.protocols.Registry."""


class TelemetryDoor:
    """Admits reports. What a box did not sign counts nowhere but in the metrics; what it signed is stored, or kept with
    the reason of its refusal, before it is answered."""

    def __init__(
        self, registry: Keys, known: KnownReports, batcher: Batcher, settings: GatewaySettings, metrics: Metrics
    ) -> None:
        self._registry = registry
        self._known = known
        self._batcher = batcher
        self._settings = settings
        self._metrics = metrics
        self._requests = Quota(settings.requests_per_s, settings.requests_burst)
        self._bytes = Quota(settings.bytes_per_s, settings.bytes_burst)
        self._in_flight: dict[tuple[str, str, int], asyncio.Future[None]] = {}

    async def answer(self, headers: Headers, receive: Receive, now: int) -> Answer:
        """Handle a request. Raises Refusal."""
        check_media(headers)
        envelope = read_envelope(headers)
        keys = self._registry.keys(envelope.device)
        if not keys:
            raise unauthenticated()
        body = await read_body(receive, headers, self._settings.drain_body_bytes, self._settings.body_timeout_s)
        check_signature(keys, envelope, body, now)
        self._check_quota(envelope.device, len(body), now)
        self._metrics.add("dipper_gateway_body_bytes_total", len(body))
        return await self._admit(envelope, body, now)

    def _check_quota(self, device: str, size: int, now: int) -> None:
        wait_s = self._requests.take(device, 1, now) or self._bytes.take(device, size, now)
        if wait_s:
            raise Refusal(429, "quota", f"device {device}: its quota is used up", retry_after_s=wait_s)

    async def _admit(self, envelope: Envelope, body: bytes, now: int) -> Answer:
        name = (envelope.device, envelope.boot, envelope.seq)
        digest = hashlib.sha256(body).hexdigest()
        while (other := self._in_flight.get(name)) is not None:
            await asyncio.shield(other)  # the same report again while the first attempt is on its way to disk
        arrival = Arrival(*name, envelope.sent_at, now, body, digest)
        size = judge(arrival, self._known, self._settings)
        if size is None:
            self._metrics.add("dipper_gateway_reports_duplicate_total")
            return Answer(200, DUPLICATE)
        return await self._await_fate(name, arrival, size)

    async def _await_fate(self, name: tuple[str, str, int], arrival: Arrival, size: int) -> Answer:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._in_flight[name] = ended
        try:
            await self._batcher.submit(arrival, size)
        finally:
            del self._in_flight[name]
            ended.set_result(None)
        if arrival.refusal is not None:
            return problem(arrival.refusal)
        if arrival.refused_rows:
            return Answer(200, b'{"status":"stored","rejected_rows":%d}' % len(arrival.refused_rows))
        return _STORED_ANSWER


def check_media(headers: Headers) -> None:
    """JSON, plain or gzip; a missing Content-Type passes for JSON. Raises Refusal 415."""
    kind = text_header(headers, "content-type").partition(";")[0].strip().lower()
    if kind not in ("", "application/json"):
        raise Refusal(
            415, "unsupported_media", f"content-type: expected application/json, got {kind!r}", "content-type"
        )
    encoding = text_header(headers, "content-encoding").strip().lower()
    if encoding not in ("", "gzip", "identity"):
        raise Refusal(
            415, "unsupported_media", f"content-encoding: expected gzip or none, got {encoding!r}", "content-encoding"
        )


def read_envelope(headers: Headers) -> Envelope:
    """The signed headers. Raises Refusal 401: without them nobody has signed anything."""
    try:
        return Envelope(
            device=auth.check_id(auth.DEVICE_HEADER, text_header(headers, auth.DEVICE_HEADER)),
            boot=auth.check_id(auth.BOOT_HEADER, text_header(headers, auth.BOOT_HEADER)),
            seq=_integer(headers, auth.SEQ_HEADER, 1),
            sent_at=_integer(headers, auth.SENT_AT_HEADER, 0),
            signature=text_header(headers, auth.SIGNATURE_HEADER),
        )
    except ContractError as error:
        raise Refusal(401, "missing_credentials", str(error), error.field) from None


def _integer(headers: Headers, name: str, least: int) -> int:
    text = text_header(headers, name)
    # Exactly the digits that were signed: no sign, no space, no leading zero, no digit of another script.
    if not text.isdigit() or len(text) > 16 or not least <= int(text) <= MAX_COUNT or str(int(text)) != text:
        raise ContractError("bad_field", name, f"an integer {least}..{MAX_COUNT}", text)
    return int(text)


def check_signature(keys: Sequence[DeviceKey], envelope: Envelope, body: bytes, received_at: int) -> None:
    """One of the keys signed it, at a time near that of its receipt. Raises Refusal 401."""
    if not any(auth.verify(key.secret, envelope, body) for key in keys):
        raise unauthenticated()
    if abs(received_at - envelope.sent_at) > AUTH_WINDOW_MS:
        raise Refusal(
            401,
            "clock_out_of_window",
            f"{auth.SENT_AT_HEADER}: expected within {AUTH_WINDOW_MS} ms of {received_at} ({rfc3339(received_at)}), "
            f"got {envelope.sent_at}; correct by {auth.SERVER_TIME_HEADER} and send again",
            auth.SENT_AT_HEADER,
        )


def judge(arrival: Arrival, known: KnownReports, settings: GatewaySettings) -> int | None:
    """Decode an authenticated arrival, or set its refusal; returns the bytes it counts with, None for a duplicate."""
    body = arrival.body
    seen = known.look(arrival.device, arrival.boot, arrival.seq, arrival.digest)
    if seen is Seen.SAME:
        return None
    if len(body) > settings.max_body_bytes:
        limit = settings.max_body_bytes
        arrival.refusal = Refusal(413, "too_large", f"body: expected at most {limit} bytes, got {len(body)}", "body")
        arrival.body = body[:limit]
        return len(body)
    if seen is Seen.OTHER:
        arrival.refusal = Refusal(
            409, "conflict", "body: expected the digest this report was stored with, got another", "body"
        )
        return len(body)
    return arrival.read(settings.max_decoded_bytes)


def unauthenticated() -> Refusal:
    """Says the same whatever is wrong: nobody learns which devices exist."""
    return Refusal(
        401,
        "unauthenticated",
        "unknown device, revoked key, or a signature that does not fit key, headers and body",
        auth.SIGNATURE_HEADER,
    )
