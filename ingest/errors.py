"""What the gateway refuses, and how a refusal is answered (RFC 9457)."""

from __future__ import annotations

import json
from dataclasses import dataclass

from contracts.errors import ContractError

PROBLEM_TYPE = "application/problem+json"
PROBLEM_BASE = "urn:dipper:problem:"  # a problem's type is this and its reason

TITLES = {
    400: "The request cannot be read",
    401: "The sender is not who it says, or its clock is wrong",
    404: "There is nothing here",
    405: "This method does not work here",
    408: "The body did not arrive in time",
    409: "Another report of this name is stored already",
    413: "The body is too large",
    415: "This kind of body is not read here",
    422: "The content breaks the contract",
    429: "Too much from this sender",
    500: "The gateway failed",
    503: "The gateway cannot store now",
}
# Statuses of ContractError reasons; every other reason is 422.
_STATUSES = {"malformed": 400, "identity_mismatch": 400, "conflict": 409, "too_large": 413}


class IngestError(Exception):
    """Base of what this package raises itself. Not retriable unless it is a Refusal with `retry_after_s`."""


@dataclass(slots=True)
class Refusal(IngestError):
    """An answer other than 2xx. `field`: what is wrong, empty when it is no field. `retry_after_s`: seconds after which
    the same request may pass; None: the header is not sent."""

    status: int
    reason: str
    detail: str
    field: str = ""
    retry_after_s: int | None = None

    def body(self) -> bytes:
        """The problem body."""
        document = {
            "type": PROBLEM_BASE + self.reason,
            "title": TITLES[self.status],
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
            "field": self.field,
        }
        return json.dumps(document, separators=(",", ":")).encode()


def refusal_of(error: ContractError) -> Refusal:
    """The answer to data that breaks the contract."""
    return Refusal(_STATUSES.get(error.reason, 422), error.reason, str(error), error.field)
