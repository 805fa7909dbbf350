"""The current score of every box, in the order in which this book took them.

Rows are kept as the bytes they are sent as, so a snapshot is a join. Each change gets the book's next number, which is
the version of whoever has read up to it; a score's own version only tells which of two scores of a box is newer.
Feeds read partitions one after the other, each in its own order, so what somebody read up to at one says nothing about
another: feeds begin to count far apart, and a number that is not this book's is answered with "begin with a snapshot".
"""

from __future__ import annotations

import json
import random
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from contracts.health import MAX_VERSION, SERVE, BudgetState, Score

_ROOM = 2**35  # numbers of a feed: two years of 500 scores a second
MOST_CHANGES = 32  # of state, share or reasons, remembered per box
_SPARE = 2  # the order holds at most this many times as many places as there are boxes, and some
_SOME = 10_000


@dataclass(slots=True)
class Entry:
    """A box: its score, as sent in full and in brief, and the number it has in the order."""

    number: int
    score: Score
    full: bytes
    brief: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """What a box's score became at a time."""

    at: int
    value: float
    state: str
    share: float
    reasons: tuple[str, ...]


def brief_of(score: Score) -> bytes:
    """What a placement needs."""
    return json.dumps(
        {
            "device": score.device,
            "value": score.value,
            "state": score.state,
            "share": score.share,
            "version": score.version,
            "expires_at": score.expires_at,
        },
        separators=(",", ":"),
    ).encode()


def entry_of(score: Score, data: bytes) -> Entry:
    """An entry to apply; `data`: the score as it was read."""
    return Entry(0, score, data, brief_of(score))


def first_number(chance: random.Random) -> int:
    """Where a feed may begin to count: no other is within _ROOM, but for a chance of 1 in 262,143."""
    return chance.randrange(1, (MAX_VERSION + 1) // _ROOM) * _ROOM


class Book:
    """Not thread-safe: one thread applies and reads. `version`: number of the newest change, `begins_at` before any."""

    def __init__(self, begins_at: int = 0) -> None:
        self.version = begins_at
        self.budget: BudgetState | None = None
        self.computed_at = 0
        self._entries: dict[str, Entry] = {}
        self._numbers: list[int] = []
        self._devices: list[str] = []
        self._changes: dict[str, deque[Change]] = {}
        self._oldest = begins_at  # changes before this number are complete only in a snapshot

    def __len__(self) -> int:
        return len(self._entries)

    def apply(self, entries: Iterable[Entry]) -> None:
        """Take scores. Those that are not newer than what is known of their box change nothing."""
        for entry in sorted(entries, key=lambda e: e.score.version):
            score = entry.score
            known = self._entries.get(score.device)
            if known is not None and known.score.version >= score.version:
                continue
            self.version += 1
            entry.number = self.version
            self._remember(known, score)
            self._entries[score.device] = entry
            self._numbers.append(entry.number)
            self._devices.append(score.device)
            self.computed_at = max(self.computed_at, score.computed_at)
        if len(self._numbers) > _SPARE * len(self._entries) + _SOME:
            self._compact()

    def remove(self, *devices: str) -> None:
        """Forget boxes. Who follows by deltas is sent back to a snapshot: they would stay in its copy."""
        known = [device for device in devices if self._entries.pop(device, None) is not None]
        for device in known:
            self._changes.pop(device, None)
        if known:
            self.version += 1
            self._oldest = self.version
            self._compact()

    def knows(self, version: int) -> bool:
        """Whether the changes after a version can be told."""
        return self._oldest <= version <= self.version

    def entries(self) -> Iterable[Entry]:
        """Every box."""
        return self._entries.values()

    def entry(self, device: str) -> Entry | None:
        """One box."""
        return self._entries.get(device)

    def since(self, version: int, limit: int | None = None) -> tuple[list[Entry], int]:
        """Boxes that changed after a version, oldest change first, at most `limit`; and the version up to which that
        is all."""
        found: list[Entry] = []
        for at in range(bisect_right(self._numbers, version), len(self._numbers)):
            entry = self._entries.get(self._devices[at])
            if entry is not None and entry.number == self._numbers[at]:
                found.append(entry)
                if limit is not None and len(found) >= limit:
                    return found, entry.number
        return found, self.version

    def changes(self, device: str) -> list[Change]:
        """What happened to a box since it first was anything but healthy, newest first."""
        return list(reversed(self._changes.get(device, ())))

    def strata(self, now: int) -> list[dict[str, Any]]:
        """Boxes by region and ISP: how many in which state, and their mean value (None without any); those whose score
        has expired count as that alone."""
        sums: dict[tuple[str, str], list[float]] = {}
        for entry in self._entries.values():
            box, score = entry.score.box, entry.score
            row = sums.setdefault((box.get("device_region", ""), box.get("device_isp", "")), [0, 0, 0, 0, 0.0])
            if score.expired(now):
                row[3] += 1
            else:
                row[_STATE_AT[score.state]] += 1
                row[4] += score.value
        return [
            {
                "device_region": region,
                "device_isp": isp,
                "boxes": int(serve + reduce + drain),
                "reduced": int(reduce),
                "drained": int(drain),
                "expired": int(expired),
                "mean_value": round(value / boxes, 4) if (boxes := serve + reduce + drain) else None,
            }
            for (region, isp), (serve, reduce, drain, expired, value) in sorted(sums.items())
        ]

    def _remember(self, known: Entry | None, score: Score) -> None:
        codes = tuple(reason.code for reason in score.reasons)
        changes = self._changes.get(score.device)
        if changes is None and (score.state == SERVE and (known is None or known.score.state == SERVE)):
            return
        if changes is None:
            changes = self._changes[score.device] = deque(maxlen=MOST_CHANGES)
        last = changes[-1] if changes else None
        if last is None or (last.state, last.share, last.reasons) != (score.state, score.share, codes):
            changes.append(Change(score.computed_at, score.value, score.state, score.share, codes))

    def _compact(self) -> None:
        ordered = sorted(self._entries.values(), key=lambda e: e.number)
        self._numbers = [e.number for e in ordered]
        self._devices = [e.score.device for e in ordered]


_STATE_AT = {"serve": 0, "reduce": 1, "drain": 2}


def rows_json(version: int, computed_at: int, rows: Iterator[bytes], extra: bytes = b"") -> bytes:
    """The body of a snapshot, a delta or an event."""
    head = b'{"version":%d,"computed_at":%d,%s"devices":[' % (version, computed_at, extra)
    return head + b",".join(rows) + b"]}"
