"""Which reports were stored: for duplicates, conflicts and totals that run backwards. Bounded memory."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum

from ingest.wire import WireReport

MAX_RANGES = 64
TOTAL_NAMES = (
    "totals.requests",
    "totals.slices",
    "totals.dropped_requests",
    "totals.dropped_slices",
    "totals.dropped_reports",
)
Totals = tuple[int, int, int, int, int]


class Seen(Enum):
    """What is known of a report's name."""

    NEW = "new"
    SAME = "same"  # stored with this digest, or so long ago that only its seq is remembered
    OTHER = "other"  # stored with another digest


@dataclass(slots=True)
class _Boot:
    newest_seq: int = 0
    totals: Totals = (0, 0, 0, 0, 0)
    starts: list[int] = field(default_factory=list)  # ranges of stored seqs, ascending, both ends included
    ends: list[int] = field(default_factory=list)
    digests: dict[int, str] = field(default_factory=dict)


def totals_of(report: WireReport) -> Totals:
    """The totals that may never fall within a boot."""
    t = report.totals
    return (
        t.requests,
        t.slices,
        sum(t.dropped_requests.values()),
        sum(t.dropped_slices.values()),
        sum(t.dropped_reports.values()),
    )


def runs_backwards(seq: int, totals: Totals, other_seq: int, other: Totals) -> str | None:
    """Name of the total that is lower in the later of two reports of a boot, or None."""
    earlier, later = (totals, other) if seq < other_seq else (other, totals)
    for name, before, after in zip(TOTAL_NAMES, earlier, later, strict=True):
        if after < before:
            return name
    return None


class KnownReports:
    """Stored reports by (device, boot). A pair that was silent longest is forgotten first, a boot's oldest digests and
    ranges too: a repeat of what is forgotten is stored again, which changes nothing, since a report's rows keep their
    identity. Safe to use from several threads."""

    def __init__(self, max_boots: int, digests_per_boot: int) -> None:
        self._max_boots = max_boots
        self._digests_per_boot = digests_per_boot
        self._boots: OrderedDict[tuple[str, str], _Boot] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._boots)

    def look(self, device: str, boot: str, seq: int, digest: str) -> Seen:
        """What is known of a name with this digest (hex SHA-256)."""
        with self._lock:
            known = self._boots.get((device, boot))
            if known is None:
                return Seen.NEW
            i = bisect_right(known.starts, seq) - 1
            if i < 0 or seq > known.ends[i]:
                return Seen.NEW
            stored = known.digests.get(seq)
            return Seen.SAME if stored is None or stored == digest[:16] else Seen.OTHER

    def newest(self, device: str, boot: str) -> tuple[int, Totals] | None:
        """Newest stored seq of a boot and its totals, or None."""
        with self._lock:
            known = self._boots.get((device, boot))
            return None if known is None else (known.newest_seq, known.totals)

    def add(self, device: str, boot: str, seq: int, digest: str, totals: Totals) -> None:
        """Remember a stored report."""
        with self._lock:
            known = self._boots.get((device, boot))
            if known is None:
                known = self._boots[device, boot] = _Boot()
                if len(self._boots) > self._max_boots:
                    self._boots.popitem(last=False)
            else:
                self._boots.move_to_end((device, boot))
            if seq > known.newest_seq:
                known.newest_seq, known.totals = seq, totals
            known.digests[seq] = digest[:16]
            if len(known.digests) > self._digests_per_boot:
                del known.digests[min(known.digests)]
            _include(known, seq)


def _include(known: _Boot, seq: int) -> None:
    starts, ends = known.starts, known.ends
    i = bisect_right(starts, seq)
    if i and seq <= ends[i - 1]:
        return
    joins_left = bool(i) and ends[i - 1] == seq - 1
    joins_right = i < len(starts) and starts[i] == seq + 1
    if joins_left and joins_right:
        ends[i - 1] = ends.pop(i)
        starts.pop(i)
    elif joins_left:
        ends[i - 1] = seq
    elif joins_right:
        starts[i] = seq
    else:
        starts.insert(i, seq)
        ends.insert(i, seq)
        if len(starts) > MAX_RANGES:
            del starts[0], ends[0]
