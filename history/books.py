"""The ledger's arithmetic for one boot of one box: gaps between its reports, and where their content went.

Pure: numbers in, numbers out. Everything is counted twice, in requests and in slices, by the same code.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Account:
    """One side of the books: reported + double_counted = stored + rejected + declared_dropped + pending + lost."""

    reported: int = 0
    stored: int = 0
    rejected: int = 0
    declared_dropped: int = 0
    pending: int = 0
    lost: int = 0
    double_counted: int = 0

    @property
    def difference(self) -> int:
        """Left side minus right side; 0 when balanced."""
        explained = self.stored + self.rejected + self.declared_dropped + self.pending + self.lost
        return self.reported + self.double_counted - explained

    def __add__(self, other: Account) -> Account:
        return Account(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing seqs first..last, inclusive, with what the totals around them say they carried."""

    first: int
    last: int
    requests: int
    slices: int


@dataclass(frozen=True, slots=True)
class SeqRange:
    """A part of a gap, with its share of the gap's content (exact when the whole gap has one fate)."""

    first: int
    last: int
    requests: int
    slices: int


@dataclass(frozen=True, slots=True)
class Parted:
    """A gap by fate. A seq is rejected when the server refused it and still keeps it; else pending when the box may
    still hold it; else gone. `gone_ranges` are the seqs of the last kind."""

    gap: Gap
    rejected: int
    pending: int
    gone: int
    gone_ranges: tuple[tuple[int, int], ...]


def part(gap: Gap, rejected_seqs: Sequence[int], oldest_spooled_seq: int | None) -> Parted:
    """Fates of a gap's seqs. `rejected_seqs` ascending; `oldest_spooled_seq` None: the box holds nothing any more."""
    refused = rejected_seqs[bisect_left(rejected_seqs, gap.first) : bisect_right(rejected_seqs, gap.last)]
    border = gap.last + 1 if oldest_spooled_seq is None else max(gap.first, min(oldest_spooled_seq, gap.last + 1))
    held_back = sum(1 for seq in refused if seq >= border)
    pending = gap.last + 1 - border - held_back
    ranges = []
    at = gap.first
    for seq in (*(s for s in refused if s < border), border):
        if at < seq:
            ranges.append((at, seq - 1))
        at = seq + 1
    gone = sum(last - first + 1 for first, last in ranges)
    return Parted(gap, len(refused), pending, gone, tuple(ranges))


@dataclass(frozen=True, slots=True)
class Fates:
    """Content of all gaps of a boot by fate, and what of it was declared."""

    rejected: int
    pending: int
    declared: int
    lost: int


def settle(parts: Sequence[Parted], values: Sequence[int], declared: int, declared_reports: int) -> Fates:
    """Split the gaps' content. `values`: content per gap; `declared`: what the box says its spool lost of this boot,
    with the number of reports.

    A gap of one fate is exact. In a mixed gap only the sum is known: shares go by the number of seqs, and when the box
    declared at least as many reports as are gone, its own figure decides. What is declared beyond the gone reports was
    received after all (the answer got lost on its way to the box) and counts where it is stored."""
    rejected = pending = gone = 0
    mixed_rejected = mixed_pending = mixed_gone = 0
    for parted, value in zip(parts, values, strict=True):
        r, p, g = _shares(value, (parted.rejected, parted.pending, parted.gone))
        rejected, pending, gone = rejected + r, pending + p, gone + g
        if parted.gone and (parted.rejected or parted.pending):
            mixed_rejected, mixed_pending, mixed_gone = mixed_rejected + r, mixed_pending + p, mixed_gone + g
    count = sum(parted.gone for parted in parts)
    if count and declared_reports >= count:
        moved = max(-mixed_gone, min(declared - gone, mixed_pending + mixed_rejected))
        if moved > 0:
            from_pending = min(moved, mixed_pending)
        else:
            from_pending = moved if any(p.gone and p.pending for p in parts) else 0
        gone += moved
        pending -= from_pending
        rejected -= moved - from_pending
    settled = min(declared, gone) if count else 0
    return Fates(rejected, pending, settled, gone - settled)


def _shares(value: int, counts: tuple[int, int, int]) -> tuple[int, int, int]:
    """A value spread over fates by their number of seqs, in whole numbers that add up."""
    total = sum(counts)
    first = value * counts[0] // total
    second = value * (counts[0] + counts[1]) // total - first
    return first, second, value - first - second


def lost_ranges(parts: Sequence[Parted]) -> list[SeqRange]:
    """The gone seqs of all gaps, each with its share of its gap."""
    found = []
    for parted in parts:
        size = parted.gap.last - parted.gap.first + 1
        for first, last in parted.gone_ranges:
            n = last - first + 1
            found.append(SeqRange(first, last, parted.gap.requests * n // size, parted.gap.slices * n // size))
    return found
