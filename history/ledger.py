"""The ledger: what boxes say they counted against what history holds, and where the difference went.

Per (device, boot) and in sum, for requests and slices:
reported + double_counted = stored + rejected + declared_dropped + pending + lost.
`lost` is found from the gaps between report numbers and what the box declared, never as a remainder, so that
`balanced` can be false.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from contracts.protocols import Store
from contracts.times import rfc3339
from history import ledger_tables as tables
from history.books import Account, Fates, Gap, SeqRange, lost_ranges, part, settle

Boot = tuple[str, str]
MAX_RANGES_IN_JSON = 1_000


@dataclass(frozen=True, slots=True)
class BootBooks:
    """The books of one boot of one box. `last_seen`: end of its newest interval, ms UTC; what it counted after that
    and never sent is unknowable. `lost`: the report numbers among which the lost ones are."""

    device: str
    boot: str
    last_seq: int
    last_seen: int
    requests: Account
    slices: Account
    lost: tuple[SeqRange, ...]

    @property
    def balanced(self) -> bool:
        """Whether both accounts of this boot add up."""
        return self.requests.difference == 0 and self.slices.difference == 0


@dataclass(frozen=True, slots=True)
class Ledger:
    """All books. `unheaded`: (requests, slices) stored whose report's header has not come yet, outside the sums.
    `dirty_minutes`: minutes that rollups do not show in full yet. `disagreeing_minutes`: clean minutes whose rollup
    differs from the stored rows; never but by a fault."""

    computed_at: int
    boots: tuple[BootBooks, ...]
    requests: Account
    slices: Account
    unheaded: tuple[int, int]
    dirty_minutes: int
    disagreeing_minutes: int

    @property
    def balanced(self) -> bool:
        """Whether every boot's accounts add up and rollups agree with the stored rows."""
        return all(boot.balanced for boot in self.boots) and self.disagreeing_minutes == 0

    @property
    def last_seen(self) -> dict[str, int]:
        """Per device, end of the newest interval received, ms UTC."""
        seen: dict[str, int] = {}
        for boot in self.boots:
            seen[boot.device] = max(seen.get(boot.device, 0), boot.last_seen)
        return seen

    def to_json(self) -> dict[str, Any]:
        """The form of `ledger.json`, with lost ranges, books that do not add up, and last_seen per device."""
        ranges = [
            {"device": b.device, "boot": b.boot, "first_seq": r.first, "last_seq": r.last}
            | {"requests": r.requests, "slices": r.slices}
            for b in self.boots
            for r in b.lost
        ]
        return {
            "requests": asdict(self.requests),
            "slices": asdict(self.slices),
            "devices": len({boot.device for boot in self.boots}),
            "balanced": self.balanced,
            "lost_ranges": ranges[:MAX_RANGES_IN_JSON],
            "lost_ranges_total": len(ranges),
            "unbalanced": [
                {"device": b.device, "boot": b.boot, "requests": b.requests.difference, "slices": b.slices.difference}
                for b in self.boots
                if not b.balanced
            ],
            "unheaded": {"requests": self.unheaded[0], "slices": self.unheaded[1]},
            "dirty_minutes": self.dirty_minutes,
            "disagreeing_minutes": self.disagreeing_minutes,
            "computed_at": rfc3339(self.computed_at),
            "last_seen": {device: rfc3339(at) for device, at in sorted(self.last_seen.items())},
        }


def ledger(store: Store, now: int) -> Ledger:
    """The books of everything stored, as of now (ms UTC, only stated in the result). Right also while a sink writes:
    they are then those of the headers stored when it began, box by box."""
    boots: list[BootBooks] = []
    unheaded = [0, 0]
    for group in tables.groups(store):
        newest = _boots(store, group)
        cut = {**group, **_ranges(newest.values()), "dirty": [tables.NO_MINUTE, *tables.dirty(store)]}
        boots.extend(_group_books(store, cut, newest))
        rows = store.query(tables.UNKNOWN, cut)
        unheaded[0] += rows["requests"][0]
        unheaded[1] += rows["slices"][0]
    return Ledger(
        computed_at=now,
        boots=tuple(boots),
        requests=sum((b.requests for b in boots), Account()),
        slices=sum((b.slices for b in boots), Account()),
        unheaded=(unheaded[0], unheaded[1]),
        dirty_minutes=len(tables.dirty(store)),
        disagreeing_minutes=tables.disagreeing(store),
    )


@dataclass(slots=True)
class _Newest:
    """The newest header of a boot, relative to the horizon before which its reports have expired. `ranges`: report
    numbers of all its headers, inclusive."""

    device: str
    boot: str
    reports: int
    last_seq: int
    last_seen: int
    newest: Mapping[str, int]
    earlier_boots: list[dict[str, Any]]
    last_listed: list[dict[str, Any]]
    ranges: list[tuple[int, int]]
    horizon_seq: int = 0


_NEWEST: tuple[str, ...] = (
    *("total_requests", "total_slices", "dropped_requests", "dropped_slices", "dropped_reports"),
    *("spool_dropped_requests", "spool_dropped_slices"),
)


def _ranges(boots: Iterable[_Newest]) -> dict[str, Any]:
    """What counts, as the parameters of a cut."""
    rows = [(b.device, b.boot, first, last) for b in boots for first, last in b.ranges]
    names = ("devices", "boots", "firsts", "lasts")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)) if rows else {name: [] for name in names}


def _group_books(store: Store, cut: dict[str, Any], boots: dict[Boot, _Newest]) -> list[BootBooks]:
    holed = [b for b in boots.values() if b.reports != b.last_seq - b.horizon_seq]
    gaps = _gaps(store, cut, holed)
    refused: dict[Boot, list[int]] = defaultdict(list)
    for device, boot, seq in zip(*store.query(tables.REJECTED_REPORTS, cut).values(), strict=True):
        refused[device, boot].append(seq)
    rows = tables.rejected_rows(store, cut)
    stored = _pairs(store.query(tables.STORED, cut))
    twice = _pairs(store.query(tables.TWICE, cut))
    spools = _spools(boots.values())
    books = []
    for key, boot in sorted(boots.items()):
        spool = spools[key]
        parts = [part(gap, refused[key], spool.oldest) for gap in gaps[key]]
        reports = boot.newest["dropped_reports"] + spool.reports
        accounts, lost = [], 0
        for i, name in enumerate(("requests", "slices")):
            spooled = boot.newest[f"spool_dropped_{name}"]
            values = [getattr(gap, name) for gap in gaps[key]]
            fates = settle(parts, values, spooled + (spool.requests, spool.slices)[i], reports)
            inside = boot.newest[f"dropped_{name}"] - spooled
            have, double = stored.get(key, (0, 0))[i], twice.get(key, (0, 0))[i]
            accounts.append(
                _account(boot.newest[f"total_{name}"], have, double, rows.get(key, (0, 0))[i], inside, fates)
            )
            lost += fates.lost
        missing = lost > 0 or sum(p.gone for p in parts) > reports
        ranges = tuple(lost_ranges(parts)) if missing else ()
        books.append(BootBooks(*key, boot.last_seq, boot.last_seen, accounts[0], accounts[1], ranges))
    return books


def _account(reported: int, stored: int, double: int, refused_rows: int, inside: int, fates: Fates) -> Account:
    return Account(
        reported=reported,
        stored=stored,
        rejected=refused_rows + fates.rejected,
        declared_dropped=inside + fates.declared,
        pending=fates.pending,
        lost=fates.lost,
        double_counted=double,
    )


def _boots(store: Store, group: dict[str, int]) -> dict[Boot, _Newest]:
    boots: dict[Boot, _Newest] = {}
    rows = store.query(tables.BOOTS, group)
    rows.pop("seqs")
    for device, boot, reports, last_seq, last_seen, newest, earlier, listed, firsts, lasts in zip(
        *rows.values(), strict=True
    ):
        values = dict(zip((*_NEWEST, "oldest_spooled_seq"), _tuple(newest), strict=True))
        lists = json.loads(earlier), json.loads(listed or "[]")
        ranges = list(zip(firsts, lasts, strict=True))
        boots[device, boot] = _Newest(device, boot, reports, last_seq, last_seen, values, *lists, ranges)
    rows = store.query(tables.HORIZONS, group)
    for i, key in enumerate(zip(rows["device"], rows["boot"], strict=True)):
        if key in boots:
            entry = boots[key]
            entry.horizon_seq = rows["seq"][i]
            entry.newest = {n: v - (rows[n][i] if n in _NEWEST else 0) for n, v in entry.newest.items()}
    return boots


def _tuple(value: Any) -> list[int]:
    return list(value.values()) if isinstance(value, dict) else list(value)


def _gaps(store: Store, cut: dict[str, Any], boots: list[_Newest]) -> dict[Boot, list[Gap]]:
    found: dict[Boot, list[Gap]] = defaultdict(list)
    if boots:
        rows = store.query(tables.GAPS, {**cut, **_ranges(boots)})
        for device, boot, first, last, requests, slices in zip(*rows.values(), strict=True):
            found[device, boot].append(Gap(first, last, requests, slices))
    return found


@dataclass(slots=True)
class _Spool:
    """What later boots of the box say of a boot; `oldest` None: nothing of it is held any more."""

    oldest: int | None
    reports: int = 0
    requests: int = 0
    slices: int = 0


def _spools(boots: Iterable[_Newest]) -> dict[Boot, _Spool]:
    """The newest boot's own spool from its newest report; an earlier boot's from what the later ones list of it."""
    by_device: dict[str, list[_Newest]] = defaultdict(list)
    for boot in boots:
        by_device[boot.device].append(boot)
    result: dict[Boot, _Spool] = {}
    for device, mine in by_device.items():
        mine.sort(key=lambda b: (b.last_seen, b.boot))
        for i, boot in enumerate(mine):
            later = mine[i + 1 :]
            held = [e for e in mine[-1].earlier_boots if e["boot"] == boot.boot]
            spool = _Spool(held[0]["oldest_spooled_seq"] if held else None)
            if not later:
                spool.oldest = boot.newest["oldest_spooled_seq"]
            for entry in (e for b in later for e in b.last_listed if e["boot"] == boot.boot):
                spool.reports = max(spool.reports, entry["dropped_reports"])
                spool.requests = max(spool.requests, entry["dropped_requests"])
                spool.slices = max(spool.slices, entry["dropped_slices"])
            result[device, boot.boot] = spool
    return result


def _pairs(rows: dict[str, list[Any]]) -> dict[Boot, tuple[int, int]]:
    keys = zip(rows["device"], rows["boot"], strict=True)
    return dict(zip(keys, zip(rows["requests"], rows["slices"], strict=True), strict=True))
