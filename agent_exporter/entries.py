"""What the spool keeps in memory of a report and of a boot, and how a report's record is laid out."""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from agent_exporter.records import REPORT, pack

_NAME_LENGTH = struct.Struct(">H")


@dataclass(slots=True)
class Entry:
    """A report that waits. `segment`, `offset`, `size`: where its record is. `live`: the newest interval when made.
    `correction_ms`: what its times already hold of the clock's correction."""

    boot: str
    seq: int
    requests: int
    slices: int
    correction_ms: int
    live: bool
    segment: int = 0
    offset: int = 0
    size: int = 0
    settled: bool = False
    in_flight: bool = False
    evicted: bool = False  # dropped for space while it was being sent
    maybe_delivered: bool = False  # an attempt got no answer, so the server may have it


@dataclass(slots=True)
class Drops:
    """Reports that will never arrive, with the requests and slices in them."""

    reports: int = 0
    requests: int = 0
    slices: int = 0

    def add(self, requests: int, slices: int) -> None:
        """One more report."""
        self.reports += 1
        self.requests += requests
        self.slices += slices


@dataclass(slots=True)
class Boot:
    """What is known of one boot: drops by cause, and what its newest report declared of them."""

    drops: dict[str, Drops] = field(default_factory=dict)
    declared: Drops = field(default_factory=Drops)
    # First seq of the running boot whose report said that nothing of this boot is left; 0: none yet.
    closed_by: int = 0

    def drop(self, cause: str, requests: int, slices: int) -> None:
        self.drops.setdefault(cause, Drops()).add(requests, slices)

    def total(self) -> Drops:
        each = self.drops.values()
        return Drops(sum(d.reports for d in each), sum(d.requests for d in each), sum(d.slices for d in each))

    def to_dict(self) -> dict[str, Any]:
        return {
            "drops": {cause: [d.reports, d.requests, d.slices] for cause, d in self.drops.items()},
            "declared": [self.declared.reports, self.declared.requests, self.declared.slices],
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Boot:
        return cls({cause: Drops(*d) for cause, d in document["drops"].items()}, Drops(*document["declared"]))


def pack_reports(reports: list[tuple[Entry, bytes]], commit: int) -> tuple[list[int], bytes]:
    """The records of a commit's reports, and the offset of each, closed by their length."""
    offsets, parts, at = [0], [], 0
    for entry, body in reports:
        name = json.dumps([entry.boot, entry.seq, entry.requests, entry.slices, entry.correction_ms]).encode()
        record = pack(REPORT, commit, _NAME_LENGTH.pack(len(name)) + name + body)
        parts.append(record)
        at += len(record)
        offsets.append(at)
    return offsets, b"".join(parts)


def spans(offsets: list[int]) -> list[tuple[int, int]]:
    return [(first, after - first) for first, after in pairwise(offsets)]


def split(payload: bytes) -> tuple[list[Any], bytes]:
    (length,) = _NAME_LENGTH.unpack_from(payload)
    start = _NAME_LENGTH.size + length
    name: list[Any] = json.loads(payload[_NAME_LENGTH.size : start])
    return name, payload[start:]


def entry_of(payload: bytes) -> Entry:
    boot, seq, requests, slices, correction_ms = split(payload)[0]
    return Entry(sys.intern(boot), seq, requests, slices, correction_ms, live=False)
