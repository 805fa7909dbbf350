"""Policy numbers of the gateway, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass, fields

from contracts.report import MAX_BODY_BYTES, MAX_DECODED_BYTES
from ingest.errors import IngestError


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Times in ms or s, sizes in bytes, as the names say."""

    flush_ms: int = 100  # a report waits at most this long for others before they are appended together
    flush_bytes: int = 2 * 1024 * 1024  # decoded bytes that are appended without waiting longer
    max_pending_bytes: int = 64 * 1024 * 1024  # bytes waiting for an append; more is answered 503
    max_body_bytes: int = MAX_BODY_BYTES  # as sent
    max_decoded_bytes: int = MAX_DECODED_BYTES  # after decompression
    drain_body_bytes: int = 2 * MAX_BODY_BYTES  # a body up to here is read although it is too large, to see whose it is
    body_timeout_s: float = 30.0  # how long the rest of a body may take
    requests_per_s: float = 5.0  # per device, lasting
    requests_burst: float = 120.0  # per device, at once: a backlog after an outage
    bytes_per_s: float = 65_536.0  # per device, lasting
    bytes_burst: float = 4_194_304.0  # per device, at once
    enroll_per_s: float = 10.0  # all senders together: tokens must not be guessed at speed
    enroll_burst: float = 100.0
    max_boots: int = 200_000  # (device, boot) pairs whose newest seqs are remembered
    digests_per_boot: int = 32  # newest reports of a boot whose digests are remembered
    rebuild_ms: int = 900_000  # how far back the memory is rebuilt from the log at start
    heartbeat_ms: int = 1_000  # an idle partition of telemetry.slices gets a heartbeat this often
    retry_after_s: int = 2  # what a 503 says
    follow: bool = False  # keep learning from the log what other gateways store; a process alone on its log need not
    manual: bool = False  # nothing runs by itself: whoever simulates time calls flush() and heartbeat()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("follow", "manual") and not value > 0:
                raise IngestError(f"gateway.{field.name}: expected a number above 0, got {value!r}")
        if self.max_body_bytes > MAX_BODY_BYTES or self.max_decoded_bytes > MAX_DECODED_BYTES:
            raise IngestError("gateway.max_body_bytes, max_decoded_bytes: expected at most what the contract allows")
