"""Versions of service levels: only ever added, so that what held for a month can be read for ever.

A version holds from the month it names until the next version of its name. An objective that exists may only be
changed for months that have not begun; a new one may begin in the past, where nothing was stated yet.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from contracts.errors import ContractError
from contracts.protocols import Store
from contracts.sla import Month, ServiceLevel, level_from_json

_VERSIONS = """SELECT recorded_at, retired, author, document, sha256 FROM objective_versions FINAL
WHERE {customer:String} = '' OR customer = {customer:String}
ORDER BY customer, name, valid_from, recorded_at, sha256"""
_REASON = "bad_service_level"


@dataclass(frozen=True, slots=True)
class Version:
    """A recorded version. `number`: 1, 2, .. by name as recorded; `retired`: from `level.valid_from` on the objective
    is no more; `sha256` of its text, hex."""

    level: ServiceLevel
    number: int
    recorded_at: int
    author: str
    retired: bool
    sha256: str


def versions(store: Store, customer: str | None = None) -> list[Version]:
    """Every version, by customer, name and the month it holds from; of one month the later recorded one is last."""
    rows = store.query(_VERSIONS, {"customer": customer or ""})
    found = [
        Version(level_from_json(json.loads(document)), 0, recorded_at, author, bool(retired), sha256)
        for recorded_at, retired, author, document, sha256 in zip(*rows.values(), strict=True)
    ]
    count: Counter[tuple[str, str]] = Counter()
    numbers: dict[Version, int] = {}
    for version in sorted(found, key=lambda v: (v.recorded_at, v.sha256)):
        name = version.level.customer, version.level.name
        count[name] += 1
        numbers[version] = count[name]
    return [replace(version, number=numbers[version]) for version in found]


def in_force(known: Iterable[Version], month: Month) -> list[Version]:
    """The version of each objective that holds for a month, by customer and name; retired ones are left out."""
    newest: dict[tuple[str, str], Version] = {}
    for version in known:
        if version.level.valid_from <= month:
            newest[version.level.customer, version.level.name] = version
    return [version for _, version in sorted(newest.items()) if not version.retired]


def record(store: Store, levels: Sequence[ServiceLevel], author: str, now: int) -> list[Version]:
    """Add versions, all or none; those that say what holds already are left out. Returns what was added. Raises
    ContractError naming the objective, when it would rewrite a month that has begun, move its months, or overlap
    another."""
    known = versions(store)
    added: list[tuple[ServiceLevel, bool]] = []
    for level in levels:
        if _holds(known, level):
            continue
        _check(known, level, now)
        added.append((level, False))
        known = _with(known, level, now, author, retired=False)
    _insert(store, added, author, now)
    return [v for v in known if v.recorded_at == now and v.author == author and (v.level, False) in added]


def retire(store: Store, customer: str, name: str, month: Month, author: str, now: int) -> Version:
    """End an objective with the start of a month that has not begun; versions recorded for later months end with it.
    Returns the version that ends it. Raises ContractError."""
    known = versions(store, customer)
    of_name = [v for v in known if v.level.name == name]
    later = {v.level.valid_from for v in of_name if v.level.valid_from > month}
    held = {start: v.level for start in (month, *sorted(later)) for v in in_force(of_name, start)}
    if not held:
        names = sorted({v.level.name for v in in_force(known, month)})
        raise ContractError(_REASON, "name", f"an objective of {customer}: {', '.join(names) or '(none)'}", name)
    first = next(iter(held.values()))
    ended = {start: replace(level, valid_from=start) for start, level in {month: first, **held}.items()}
    _check_time(of_name, ended[month], now)
    _insert(store, [(level, True) for level in ended.values()], author, now)
    for level in sorted(ended.values(), key=lambda level: _hash(level, retired=True)):  # as versions() numbers them
        known = _with(known, level, now, author, retired=True)
    return next(v for v in known if v.level == ended[month] and v.retired and v.recorded_at == now)


def _holds(known: Sequence[Version], level: ServiceLevel) -> bool:
    """Whether the newest version of this name from this month on says the same."""
    same = [v for v in known if (v.level.customer, v.level.name) == (level.customer, level.name)]
    of_month = [v for v in same if v.level.valid_from == level.valid_from]
    return bool(of_month) and of_month[-1].level == level and not of_month[-1].retired


def _check(known: Sequence[Version], level: ServiceLevel, now: int) -> None:
    _check_time([v for v in known if (v.level.customer, v.level.name) == (level.customer, level.name)], level, now)
    starts = {level.valid_from, *(v.level.valid_from for v in known if v.level.valid_from > level.valid_from)}
    for month in sorted(starts):
        for version in in_force(known, month):
            other = version.level
            if other.name != level.name and _subject(other) == _subject(level):
                expected = f"one objective for {' '.join(_subject(level))}; {other.name} holds it in {month}"
                raise ContractError(_REASON, f"{level.customer} {level.name}", expected, level.name)


def _subject(level: ServiceLevel) -> tuple[str, str, str]:
    return level.customer, level.service, level.measure


def _check_time(same: Sequence[Version], level: ServiceLevel, now: int) -> None:
    where = f"{level.customer} {level.name}"
    if not same:
        return
    current = Month.at(now, level.zone)
    if level.valid_from <= current:
        expected = f"a month that has not begun, {current.next()} or later: a change never rewrites the past"
        raise ContractError(_REASON, f"{where}: valid_from", expected, str(level.valid_from))
    before = same[-1].level.timezone
    if level.timezone != before:
        expected = f"{before} as before: a month ends where the next begins (retire it and name a new one)"
        raise ContractError(_REASON, f"{where}: timezone", expected, level.timezone)


def _with(known: list[Version], level: ServiceLevel, now: int, author: str, *, retired: bool) -> list[Version]:
    same = [v for v in known if (v.level.customer, v.level.name) == (level.customer, level.name)]
    version = Version(level, len(same) + 1, now, author, retired, _hash(level, retired=retired))
    later = [*known, version]
    later.sort(key=lambda v: (v.level.customer, v.level.name, v.level.valid_from, v.recorded_at, v.number))
    return later


def _text(level: ServiceLevel) -> str:
    return json.dumps(level.to_json(), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _hash(level: ServiceLevel, *, retired: bool) -> str:
    return hashlib.sha256(f"{int(retired)}{_text(level)}".encode()).hexdigest()


def _insert(store: Store, added: Sequence[tuple[ServiceLevel, bool]], author: str, now: int) -> None:
    if not added:
        return
    columns = {
        "customer": [level.customer for level, _ in added],
        "name": [level.name for level, _ in added],
        "valid_from": [str(level.valid_from) for level, _ in added],
        "recorded_at": pa.array([now] * len(added), pa.int64()),
        "retired": pa.array([int(retired) for _, retired in added], pa.uint8()),
        "author": [author] * len(added),
        "document": [_text(level) for level, _ in added],
        "sha256": [_hash(level, retired=retired) for level, retired in added],
    }
    store.insert("objective_versions", pa.table(columns))
