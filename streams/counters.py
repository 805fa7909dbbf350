"""What the quality operator counts of its inputs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What came in since start, in rows or requests as named."""

    slices: int = 0
    reports: int = 0
    duplicate_slices: int = 0
    late_reports: int = 0  # headers that cover nothing any more
    late_requests: int = 0
    forgotten_requests: int = 0  # too late even for late_requests
    misdated_requests: int = 0  # further in the future than a gateway lets pass
