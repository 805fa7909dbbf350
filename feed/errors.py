"""What the feed refuses, and how a refusal is answered (RFC 9457)."""

from __future__ import annotations

import json
from dataclasses import dataclass

PROBLEM_TYPE = "application/problem+json"
PROBLEM_BASE = "urn:dipper:problem:"  # a problem's type is this and its reason

TITLES = {
    400: "The request cannot be read",
    401: "The sender is not who it says",
    404: "There is nothing here",
    405: "This method does not work here",
    406: "This kind of answer is not written here",
    410: "This version is not known here; begin with a snapshot",
    429: "Too much from this sender",
    500: "The feed failed",
    503: "The feed has nothing to say yet",
}


class FeedError(Exception):
    """Base of what this package raises."""


@dataclass(slots=True)
class Refusal(FeedError):
    """An answer other than 2xx or 3xx. `field`: what is wrong, empty when it is no field. `retry_after_s`: seconds
    after which the same request may pass."""

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
