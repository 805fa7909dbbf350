"""Each identity is stored once: which rows of a block of slices or headers are new.

A row whose report was never seen is new without asking. A row whose report was seen, because it was sent again
through another gateway, replayed, or read again after a crash, is compared with the stored rows; the first that came
counts, whatever start or received_at a later copy carries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contracts.protocols import Store
from contracts.times import AUTH_WINDOW_MS, GRID_MS, MINUTE_MS
from history.known import KnownReports, split

# Two attempts to send one report are corrected by at most this far apart: both clocks were within the window.
_APART_MS = 2 * AUTH_WINDOW_MS + 2 * GRID_MS + MINUTE_MS
_STORED = """SELECT device, boot, seq, `row` FROM slices
WHERE minute >= {first:Int64} AND minute <= {last:Int64} AND (device, boot, seq) IN (
    SELECT t.1, t.2, t.3 FROM (
        SELECT arrayJoin(arrayZip({devices:Array(String)}, {boots:Array(String)}, {seqs:Array(Int64)})) AS t))"""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Keys:
    """Identities of a block's rows: `reports` lists the distinct (device, boot, seq), `report` says per row which."""

    reports: list[tuple[str, str, int]]
    report: NDArray[np.int64]


def keys_of(block: pa.Table) -> Keys:
    """The distinct reports of a block and each row's, in order of first appearance."""
    device, boot = _codes(block["device"]), _codes(block["boot"])
    seq = block["seq"].to_numpy()
    pair = device[0] * len(boot[1]) + boot[0]
    low = int(seq.min())
    packed = pair * (int(seq.max()) - low + 1) + (seq - low)
    _, first, report = np.unique(packed, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    first = first[order]
    names = zip(device[0][first].tolist(), boot[0][first].tolist(), seq[first].tolist(), strict=True)
    return Keys([(device[1][d], boot[1][b], s) for d, b, s in names], rank[report])


def new_headers(block: pa.Table, known: KnownReports) -> Mask:
    """Which headers are the first of their identity; they count as stored from now on."""
    keys = keys_of(block)
    known.load({device for device, _, _ in keys.reports})
    seen = np.array(split(known.headers, keys.reports), bool)
    split(known.slices, keys.reports)
    first_row: Mask = np.zeros(len(keys.report), bool)
    first_row[np.unique(keys.report, return_index=True)[1]] = True
    first_row &= ~seen[keys.report]
    return first_row


def new_slices(block: pa.Table, known: KnownReports, store: Store) -> Mask:
    """Which slices are the first of their identity, in the block and in the store."""
    keys = keys_of(block)
    known.load({device for device, _, _ in keys.reports})
    row = block["row"].to_numpy()
    packed = keys.report * (int(row.max()) + 1) + row
    new: Mask = np.zeros(len(row), bool)
    new[np.unique(packed, return_index=True)[1]] = True
    doubtful = _seen(block, keys, known)
    if doubtful.any():
        minute = block["start"].to_numpy()[doubtful] // MINUTE_MS * MINUTE_MS
        reports = [keys.reports[r] for r in np.unique(keys.report[doubtful])]
        stored = _stored(store, reports, int(minute.min()), int(minute.max()))
        triples = (keys.reports[r] for r in keys.report[doubtful])
        hit = [(*triple, n) in stored for triple, n in zip(triples, row[doubtful].tolist(), strict=True)]
        new[np.flatnonzero(doubtful)[hit]] = False
    return new


def _seen(block: pa.Table, keys: Keys, known: KnownReports) -> Mask:
    """Per row, whether slices of its report and customer came before."""
    customer, names = _codes(block["customer"])
    packed = keys.report * len(names) + customer
    _, first, group = np.unique(packed, return_index=True, return_inverse=True)
    reports = (keys.reports[r] for r in keys.report[first].tolist())
    slices = [(*report, names[c]) for report, c in zip(reports, customer[first].tolist(), strict=True)]
    seen: Mask = np.array(known.see(slices), bool)[group]
    return seen


def _stored(store: Store, reports: list[tuple[str, str, int]], first: int, last: int) -> set[tuple[str, str, int, int]]:
    devices, boots, seqs = zip(*reports, strict=True)
    window = {"first": first - _APART_MS, "last": last + _APART_MS}
    rows = store.query(_STORED, {**window, "devices": devices, "boots": boots, "seqs": seqs})
    return set(zip(rows["device"], rows["boot"], rows["seq"], rows["row"], strict=True))


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.unify_dictionaries().combine_chunks()
    if not pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_encode()
    return whole.indices.to_numpy().astype(np.int64), whole.dictionary.to_pylist()
