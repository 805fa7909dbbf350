"""Each identity is stored once: which rows of a block of slices or headers are new.

A row whose report was never seen is new without asking. A row whose report was seen, because it was sent again
through another gateway, replayed, or read again after a crash, is compared with the stored rows; the first that came
counts, whatever start or received_at a later copy carries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contracts.protocols import Store
from contracts.times import AUTH_WINDOW_MS, GRID_MS, MINUTE_MS
from history.known import KnownReports

# Two attempts to send one report are corrected by at most this far apart: both clocks were within the window.
_APART_MS = 2 * AUTH_WINDOW_MS + 2 * GRID_MS + MINUTE_MS
_STORED = """SELECT device, boot, seq, `row` FROM slices
WHERE minute >= {first:Int64} AND minute <= {last:Int64} AND (device, boot, seq) IN (
    SELECT t.1, t.2, t.3 FROM (
        SELECT arrayJoin(arrayZip({devices:Array(String)}, {boots:Array(String)}, {seqs:Array(Int64)})) AS t))"""

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Keys:
    """Whose rows a block holds: codes per row and the names they stand for."""

    device: Ints
    devices: list[str]
    boot: Ints
    boots: list[str]
    seq: Ints

    def report(self, row: int) -> tuple[str, str, int]:
        """(device, boot, seq) of a row."""
        return self.devices[self.device[row]], self.boots[self.boot[row]], int(self.seq[row])


@dataclass(frozen=True, slots=True)
class Runs:
    """Distinct (group, seq) of rows in order, cut into runs of consecutive seqs, so that reports are looked up run by
    run and not one by one. `row`: the first row of each, `of`: which one each row has; a run goes from
    `starts[i]` to before `ends[i]`."""

    row: Ints
    of: Ints
    starts: list[int]
    ends: list[int]

    def mark(self, keys: Keys, look: Callable[[int, int, int], list[int]]) -> Mask:
        """Per distinct (group, seq) whether `look(row, first seq, last seq)` names it."""
        seen: Mask = np.zeros(len(self.row), bool)
        rows, seqs = self.row.tolist(), keys.seq[self.row].tolist()
        for start, end in zip(self.starts, self.ends, strict=True):
            for seq in look(rows[start], seqs[start], seqs[end - 1]):
                seen[start + seq - seqs[start]] = True
        return seen


def keys_of(block: pa.Table) -> Keys:
    """The keys of a block's rows."""
    return Keys(*_codes(block["device"]), *_codes(block["boot"]), block["seq"].to_numpy())


def _runs(keys: Keys, more: Ints | None = None, size: int = 1) -> Runs:
    """Runs per boot, or per boot and another code below `size`."""
    _, group = np.unique(keys.device * len(keys.boots) + keys.boot, return_inverse=True)
    if more is not None:
        group = group * size + more
    low = int(keys.seq.min())
    span = int(keys.seq.max()) - low + 2  # the last seq of a group does not touch the first of the next
    packed, row, of = np.unique(group * span + (keys.seq - low), return_index=True, return_inverse=True)
    cuts = np.flatnonzero(np.diff(packed) != 1) + 1
    return Runs(row, of, [0, *cuts.tolist()], [*cuts.tolist(), len(packed)])


def new_headers(block: pa.Table, known: KnownReports) -> Mask:
    """Which headers are the first of their identity; they count as stored from now on."""
    keys = keys_of(block)
    known.load(keys.devices)
    runs = _runs(keys)

    def look(row: int, first: int, last: int) -> list[int]:
        device, boot, _ = keys.report(row)
        return known.see_headers(device, boot, first, last)

    new: Mask = np.zeros(len(keys.seq), bool)
    new[runs.row[~runs.mark(keys, look)]] = True
    return new


def new_slices(block: pa.Table, known: KnownReports, store: Store) -> Mask:
    """Which slices are the first of their identity, in the block and in the store."""
    keys = keys_of(block)
    known.load(keys.devices)
    row = block["row"].to_numpy()
    reports = _runs(keys)
    new: Mask = np.zeros(len(row), bool)
    new[np.unique(reports.of * (int(row.max()) + 1) + row, return_index=True)[1]] = True
    doubtful = _seen(block, keys, known)
    if doubtful.any():
        minute = block["start"].to_numpy()[doubtful] // MINUTE_MS * MINUTE_MS
        asked = {r: keys.report(reports.row[r]) for r in np.unique(reports.of[doubtful]).tolist()}
        stored = _stored(store, list(asked.values()), int(minute.min()), int(minute.max()))
        names = (asked[r] for r in reports.of[doubtful].tolist())
        hit = [(*name, n) in stored for name, n in zip(names, row[doubtful].tolist(), strict=True)]
        new[np.flatnonzero(doubtful)[hit]] = False
    return new


def _seen(block: pa.Table, keys: Keys, known: KnownReports) -> Mask:
    """Per row, whether slices of its report and customer came before."""
    customer, customers = _codes(block["customer"])
    runs = _runs(keys, customer, len(customers))

    def look(row: int, first: int, last: int) -> list[int]:
        device, boot, _ = keys.report(row)
        return known.see_slices(device, boot, customers[customer[row]], first, last)

    seen: Mask = runs.mark(keys, look)[runs.of]
    known.bound()
    return seen


def _stored(store: Store, reports: list[tuple[str, str, int]], first: int, last: int) -> set[tuple[str, str, int, int]]:
    devices, boots, seqs = zip(*reports, strict=True)
    window = {"first": first - _APART_MS, "last": last + _APART_MS}
    rows = store.query(_STORED, {**window, "devices": devices, "boots": boots, "seqs": seqs})
    return set(zip(rows["device"], rows["boot"], rows["seq"], rows["row"], strict=True))


def _codes(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.unify_dictionaries().combine_chunks()
    if not pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_encode()
    return whole.indices.to_numpy().astype(np.int64), whole.dictionary.to_pylist()
