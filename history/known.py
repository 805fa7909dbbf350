"""Which report identities have been seen: ranges of seq per (device, boot), loaded from the stored headers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from contracts.protocols import Store
from contracts.times import DAY_MS, HOUR_MS, SEAL_AFTER_MS

_SPANS = """SELECT device, boot, min(seq) AS first, max(seq) AS last, uniqExact(seq) AS n FROM reports
WHERE device IN {devices:Array(String)} GROUP BY device, boot"""
_SEQS = """SELECT groupUniqArray(seq) AS seqs FROM reports
WHERE device = {device:String} AND boot = {boot:String}"""
_OF_DIRTY = "SELECT DISTINCT device, boot, seq FROM slices WHERE minute IN {minutes:Array(Int64)}"
_LOAD_DEVICES = 2_000
MAX_OPEN_RANGES = 250_000
# A report can be sent again until the seal; a day more, for the sink may fall behind between two copies of one.
FORGET_AFTER_MS = SEAL_AFTER_MS + DAY_MS

Boot = tuple[str, str]


class SeqRanges:
    """A set of integers as sorted, disjoint, inclusive ranges; cheap while they are nearly contiguous."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, first: int | None = None, last: int | None = None) -> None:
        self._firsts: list[int] = [] if first is None else [first]
        self._lasts: list[int] = [] if last is None else [last]

    def __contains__(self, seq: int) -> bool:
        at = bisect_right(self._firsts, seq) - 1
        return at >= 0 and seq <= self._lasts[at]

    def add(self, seq: int) -> None:
        """Put one integer in."""
        at = bisect_right(self._firsts, seq) - 1
        if at >= 0 and seq <= self._lasts[at]:
            return
        grows = at >= 0 and self._lasts[at] == seq - 1
        meets = at + 1 < len(self._firsts) and self._firsts[at + 1] == seq + 1
        if grows and meets:
            self._lasts[at] = self._lasts.pop(at + 1)
            del self._firsts[at + 1]
        elif grows:
            self._lasts[at] = seq
        elif meets:
            self._firsts[at + 1] = seq
        else:
            self._firsts.insert(at + 1, seq)
            self._lasts.insert(at + 1, seq)

    def meets(self, first: int, last: int) -> bool:
        """Whether any of first..last is in."""
        at = bisect_right(self._firsts, last) - 1
        return at >= 0 and self._lasts[at] >= first

    def put(self, first: int, last: int) -> list[int]:
        """Put first..last in; returns those that were in before."""
        had = [seq for seq in range(first, last + 1) if seq in self] if self.meets(first, last) else []
        if not self._lasts or first > self._lasts[-1] + 1:
            self._firsts.append(first)
            self._lasts.append(last)
        elif first == self._lasts[-1] + 1:
            self._lasts[-1] = last
        elif first == last:
            self.add(first)
        else:
            self.update(SeqRanges(first, last))
        return had

    def ranges(self) -> list[tuple[int, int]]:
        """Inclusive ranges, ascending."""
        return list(zip(self._firsts, self._lasts, strict=True))

    def __len__(self) -> int:
        """How many ranges."""
        return len(self._firsts)

    def update(self, other: SeqRanges) -> None:
        """Put all of another set in. O(ranges of both)."""
        merged = SeqRanges()
        for first, last in sorted(self.ranges() + other.ranges()):
            if merged._lasts and first <= merged._lasts[-1] + 1:
                merged._lasts[-1] = max(merged._lasts[-1], last)
            else:
                merged._firsts.append(first)
                merged._lasts.append(last)
        self._firsts, self._lasts = merged._firsts, merged._lasts

    def without(self, other: SeqRanges) -> SeqRanges:
        """What is here and not there, as a set of its own. O(ranges of this one x log of the other's)."""
        left = SeqRanges()
        for first, last in self.ranges():
            begin, at = first, max(bisect_right(other._firsts, first) - 1, 0)
            while begin <= last and at < len(other) and other._firsts[at] <= last:
                if begin < other._firsts[at]:
                    left._firsts.append(begin)
                    left._lasts.append(other._firsts[at] - 1)
                begin = max(begin, other._lasts[at] + 1)
                at += 1
            if begin <= last:
                left._firsts.append(begin)
                left._lasts.append(last)
        return left

    def copy(self) -> SeqRanges:
        """An independent set."""
        other = SeqRanges()
        other._firsts, other._lasts = self._firsts.copy(), self._lasts.copy()
        return other


class KnownReports:
    """Identities whose header is stored (`headers`) and whose slices may be stored (`slices`, a superset). A device is
    read from the store when it is first asked for, and again when it comes back after FORGET_AFTER_MS.

    Of a report whose header is still to come, the slices of some customers may be stored and those of others be unread:
    partitions go by customer and are read at their own pace. `open` has those apart, by (device, boot, customer), so
    that a catch-up need not ask the store about every report once per partition. It holds about `max_open_ranges`
    ranges (some hundred bytes each) and a block's; beyond that they count as seen for every customer, which costs
    questions to the store and no memory.

    Slices are stored before their header, and their minutes are marked dirty before both. So what an interrupted run
    stored without a header lies in minutes that are still dirty: those are read at the start."""

    def __init__(
        self, store: Store, dirty_minutes: Sequence[int] = (), *, max_open_ranges: int = MAX_OPEN_RANGES
    ) -> None:
        self._store = store
        self._max_open_ranges = max_open_ranges
        self._unheaded = store.query(_OF_DIRTY, {"minutes": list(dirty_minutes)}) if dirty_minutes else None
        self._seen: dict[str, int] = {}  # devices that were read from the store; when they were last asked for
        self._now: int | None = None
        self._swept = 0
        self.headers: dict[Boot, SeqRanges] = {}
        self.slices: dict[Boot, SeqRanges] = {}
        self.open: dict[tuple[str, str, str], SeqRanges] = {}

    def see_headers(self, device: str, boot: str, first: int, last: int) -> list[int]:
        """Which headers of reports first..last are stored; all are afterwards, and so may their slices be."""
        self.slices.setdefault((device, boot), SeqRanges()).put(first, last)
        return self.headers.setdefault((device, boot), SeqRanges()).put(first, last)

    def see_slices(self, device: str, boot: str, customer: str, first: int, last: int) -> list[int]:
        """Of which reports first..last a customer's slices may be stored; all may be afterwards."""
        whole = self.slices.get((device, boot))
        held = set()
        if whole is not None and whole.meets(first, last):
            held = {seq for seq in range(first, last + 1) if seq in whole}
            if len(held) == last - first + 1:
                return sorted(held)
        apart = self.open.get((device, boot, customer))
        if apart is None:
            apart = self.open[device, boot, customer] = SeqRanges()
        return sorted(held.union(apart.put(first, last)))

    def bound(self) -> None:
        """Give up what is known apart when it has become too much: those reports count as seen for every customer."""
        if sum(map(len, self.open.values())) <= self._max_open_ranges:
            return
        for (device, boot, _), ranges in self.open.items():
            self.slices.setdefault((device, boot), SeqRanges()).update(ranges)
        self.open = {}

    def settle(self) -> None:
        """Forget apart what headers have come for since: their slices are all stored."""
        nothing = SeqRanges()
        left = {key: ranges.without(self.slices.get(key[:2], nothing)) for key, ranges in self.open.items()}
        self.open = {key: ranges for key, ranges in left.items() if len(ranges)}

    def advance(self, now: int) -> None:
        """Tell the time, ms UTC, between blocks. Once an hour devices that were not asked for since FORGET_AFTER_MS are
        let go, so that memory goes with the boxes there are and not with all that ever were."""
        if self._now is None:
            self._seen = dict.fromkeys(self._seen, now)
            self._swept = now
        self._now = now
        if now - self._swept < HOUR_MS:
            return
        self._swept = now
        gone = {device for device, seen in self._seen.items() if now - seen > FORGET_AFTER_MS}
        if gone:
            self._seen = {device: seen for device, seen in self._seen.items() if device not in gone}
            self.headers = {boot: ranges for boot, ranges in self.headers.items() if boot[0] not in gone}
            self.slices = {boot: ranges for boot, ranges in self.slices.items() if boot[0] not in gone}
            self.open = {key: ranges for key, ranges in self.open.items() if key[0] not in gone}

    def load(self, devices: Iterable[str]) -> None:
        """Make sure that the stored identities of these devices are known."""
        wanted, now = set(devices), self._now or 0
        missing = sorted(wanted - self._seen.keys())
        for at in range(0, len(missing), _LOAD_DEVICES):
            part = missing[at : at + _LOAD_DEVICES]
            rows = self._store.query(_SPANS, {"devices": part})
            for device, boot, first, last, n in zip(*rows.values(), strict=True):
                ranges = SeqRanges(first, last) if last - first + 1 == n else self._scattered(device, boot)
                self.headers[device, boot] = ranges
                self.slices[device, boot] = ranges.copy()
            self._seen.update(dict.fromkeys(part, now))
        self._seen.update(dict.fromkeys(wanted, now))
        if self._unheaded is not None:
            rows, self._unheaded = self._unheaded, None
            self.load(rows["device"])
            for device, boot, seq in zip(rows["device"], rows["boot"], rows["seq"], strict=True):
                self.slices.setdefault((device, boot), SeqRanges()).add(seq)

    def _scattered(self, device: str, boot: str) -> SeqRanges:
        ranges = SeqRanges()
        for seq in sorted(self._store.query(_SEQS, {"device": device, "boot": boot})["seqs"][0]):
            ranges.add(seq)
        return ranges
