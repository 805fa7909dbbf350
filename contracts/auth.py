"""How a box proves who it is: headers, canonical string, HMAC-SHA256 (RFC 2104) with the device's key.

The MAC covers `sent_at`, the report's name and the body as sent (compressed). The name travels in headers so that
even a body that cannot be decoded is counted against the report it was.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass

from contracts.errors import ContractError

DEVICE_HEADER = "dipper-device"
BOOT_HEADER = "dipper-boot"
SEQ_HEADER = "dipper-seq"
SENT_AT_HEADER = "dipper-sent-at"
SIGNATURE_HEADER = "dipper-signature"  # hex HMAC-SHA256
SERVER_TIME_HEADER = "dipper-server-time"  # in every answer: the gateway's clock, ms UTC
VERSIONS_HEADER = "dipper-versions"  # in every answer: report versions the gateway reads, comma-separated

KEY_BYTES = 32
ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the headers of a telemetry request state. Times in ms UTC."""

    device: str
    boot: str
    seq: int
    sent_at: int
    signature: str


def check_id(field: str, value: object) -> str:
    """An id: 1 to 64 of A-Z a-z 0-9 . _ : -, starting with a letter or digit. Raises ContractError `bad_id`."""
    if not isinstance(value, str) or not ID_PATTERN.match(value):
        raise ContractError("bad_id", field, "1 to 64 of A-Z a-z 0-9 . _ : -, starting with a letter or digit", value)
    return value


def signature(key: bytes, device: str, boot: str, seq: int, sent_at: int, body: bytes) -> str:
    """Hex HMAC-SHA256 over `dipper-1`, device, boot, seq and sent_at, a line each, then the body."""
    head = f"dipper-1\n{device}\n{boot}\n{seq}\n{sent_at}\n".encode()
    return hmac.digest(key, head + body, "sha256").hex()


def verify(key: bytes, envelope: Envelope, body: bytes) -> bool:
    """Whether the envelope's signature is right, compared in constant time (as bytes: any text may be compared)."""
    expected = signature(key, envelope.device, envelope.boot, envelope.seq, envelope.sent_at, body)
    return hmac.compare_digest(expected.encode(), envelope.signature.encode("utf-8", "surrogatepass"))


def headers_for(key: bytes, device: str, boot: str, seq: int, sent_at: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt to send a body."""
    return {
        DEVICE_HEADER: device,
        BOOT_HEADER: boot,
        SEQ_HEADER: str(seq),
        SENT_AT_HEADER: str(sent_at),
        SIGNATURE_HEADER: signature(key, device, boot, seq, sent_at, body),
    }
