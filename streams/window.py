"""One open minute: its rows folded into cells of dimensions, boxes and strata. Holds aggregates, never rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.columns import (
    CELL_DIMENSIONS,
    COUNT_NAMES,
    FAILURE_NAMES,
    HISTOGRAM_NAMES,
    REGISTRY_DIMENSIONS,
    REPORT_DIMENSIONS,
    SLICE_DIMENSIONS,
)
from streams.coverage import ranks
from streams.evidence import Evidence, evidence
from streams.identity import STRETCH_BITS, SeenRows
from streams.kernel import Groups, Ints, aggregate, factorise, offsets_of, starts_of_runs
from streams.keytable import KeyTable
from streams.rows import IDENTITY_TEXT, SliceRows, recode
from streams.totals import Histograms, Totals

BOX_ATTRIBUTES = REGISTRY_DIMENSIONS + REPORT_DIMENSIONS
_STRATUM = ("device", "customer", "service", "client_isp", "client_region")
_STRATUM_DIMENSIONS = tuple(SLICE_DIMENSIONS.index(name) for name in _STRATUM[1:])
_CUSTOMER, _SERVICE = CELL_DIMENSIONS.index("customer"), CELL_DIMENSIONS.index("service")
_REQUESTS = COUNT_NAMES.index("requests")
_FAILURES = tuple(COUNT_NAMES.index(name) for name in FAILURE_NAMES)
_MOST_WAITING_ROWS = 1 << 20  # with histograms not summed yet, about 50 bytes each


class Window:
    """Slices of one minute. `codes`: per dimension text -> code; `cells`: Groups by CELL_DIMENSIONS with COUNTS and
    histograms; `touched` (n_cells,): changed since the last `mark_emitted`; `services`: (customer, service)
    with slices; `attributes`: device code -> newest (start, BOX_ATTRIBUTES). Call `settle` before reading.

    A box says the same of itself in all rows of a report, and what it serves changes little from report to report. So
    rows are looked up once, as pairs of (box with its attributes) and slice dimensions; only pairs that are new are
    looked up among cells and strata. Sums grow in place."""

    def __init__(self) -> None:
        self.codes: dict[str, dict[str, int]] = {name: {} for name in ("device", *CELL_DIMENSIONS)}
        self.cells = aggregate([_none()] * len(CELL_DIMENSIONS), [_none()] * len(COUNT_NAMES), [])
        self.touched = np.zeros(0, np.bool_)
        self.services: set[tuple[str, str]] = set()
        self.attributes: dict[int, tuple[int, tuple[str, ...]]] = {}
        self._settled = True
        self._boots: dict[str, int] = {}
        self._seen = SeenRows()
        self._boxes = KeyTable(1 + len(BOX_ATTRIBUTES))  # device, BOX_ATTRIBUTES
        self._newest = _none()  # start, per box
        self._pairs = KeyTable(1 + len(SLICE_DIMENSIONS))  # box, SLICE_DIMENSIONS
        self._cell, self._stratum = _none(), _none()  # of each pair
        self._cells = KeyTable(len(CELL_DIMENSIONS))
        self._counts = Totals(len(COUNT_NAMES))
        self._histograms = [Histograms(_MOST_WAITING_ROWS) for _ in HISTOGRAM_NAMES]
        self._strata = KeyTable(len(_STRATUM))
        self._outcomes = Totals(2)  # requests and failures of each stratum

    def add(self, parts: Sequence[SliceRows]) -> int:
        """Fold rows in, none of the parts empty; returns how many were duplicates."""
        if not parts:
            return 0
        starts = [_starts_of_reports(part) for part in parts]
        device = self._recode("device", self.codes["device"], parts, starts)
        boot = self._recode("boot", self._boots, parts, starts)
        seq = np.concatenate([part.seq[at] for part, at in zip(parts, starts, strict=True)])
        row = np.concatenate([part.row for part in parts])
        fresh = self._seen.first_seen([device, boot, seq], _joined(starts, parts), row)
        duplicates = len(fresh) - int(np.count_nonzero(fresh))
        if duplicates:
            bounds = offsets_of(np.array([len(part) for part in parts]))
            parts = [
                part.take(np.flatnonzero(fresh[begin:end]))
                for part, begin, end in zip(parts, bounds, bounds[1:], strict=False)
            ]
            parts = [part for part in parts if len(part)]
            if not parts:
                return duplicates
            starts = [_starts_of_reports(part) for part in parts]
            device = self._recode("device", self.codes["device"], parts, starts)
        self._fold(parts, self._box_of_rows(parts, starts, device))
        return duplicates

    def _recode(self, name: str, codes: dict[str, int], parts: Sequence[SliceRows], at: Sequence[Ints]) -> Ints:
        return np.concatenate([recode(part.text[name].take(rows), codes) for part, rows in zip(parts, at, strict=True)])

    def _box_of_rows(self, parts: Sequence[SliceRows], starts: Sequence[Ints], device: Ints) -> Ints:
        """(n,) boxes of rows from those of reports."""
        attributes = [self._recode(name, self.codes[name], parts, starts) for name in BOX_ATTRIBUTES]
        boxes, new = self._boxes.number([device, *attributes])
        self._newest = np.concatenate([self._newest, np.zeros(len(new), np.int64)])
        begun = np.concatenate([part.start[at] for part, at in zip(parts, starts, strict=True)])
        np.maximum.at(self._newest, boxes, begun)
        return np.repeat(boxes, np.diff(_joined(starts, parts), append=sum(len(part) for part in parts)))

    def _fold(self, parts: Sequence[SliceRows], box: Ints) -> None:
        dimensions = [
            np.concatenate([recode(part.text[name], self.codes[name]) for part in parts]) for name in SLICE_DIMENSIONS
        ]
        pair, new = self._pairs.number([box, *dimensions])
        if len(new):
            self._place(len(new))
        cell, stratum = self._cell[pair], self._stratum[pair]
        begin = 0
        for part in parts:
            rows = slice(begin, begin + len(part))
            self._counts.add(cell[rows], part.counts)
            failures = np.sum([part.counts[i] for i in _FAILURES], axis=0)
            self._outcomes.add(stratum[rows], [part.counts[_REQUESTS], failures])
            for held, histogram in zip(self._histograms, part.histograms, strict=True):
                held.add(cell[rows], histogram)
            begin += len(part)
        self.touched[cell] = True
        self._settled = False

    def _place(self, new: int) -> None:
        """Find cells and strata of the newest pairs."""
        box, *dimensions = self._pairs.keys[:, -new:]
        device, *attributes = self._boxes.keys[:, box]
        cell, _ = self._cells.number([*dimensions, *attributes])
        stratum, _ = self._strata.number([device, *(dimensions[i] for i in _STRATUM_DIMENSIONS)])
        self._cell, self._stratum = np.concatenate([self._cell, cell]), np.concatenate([self._stratum, stratum])
        self.touched = np.concatenate([self.touched, np.zeros(len(self._cells) - len(self.touched), np.bool_)])
        self._counts.grow(len(self._cells))
        self._outcomes.grow(len(self._strata))

    def settle(self) -> None:
        """Bring what is read up to what was added."""
        if self._settled:
            return
        self._settled = True
        n = len(self._cells)
        self.cells = Groups(self._cells.keys, self._counts.sums, tuple(h.summed(n) for h in self._histograms))
        customers, services = self.names("customer"), self.names("service")
        pairs = factorise([self.cells.keys[_CUSTOMER], self.cells.keys[_SERVICE]])[1]
        self.services = {(customers[c], services[s]) for c, s in pairs.T.tolist()}
        columns = [self._texts(name, codes) for name, codes in zip(BOX_ATTRIBUTES, self._boxes.keys[1:], strict=True)]
        stated = zip(self._newest.tolist(), zip(*columns, strict=True), strict=True)
        for device, newest in zip(self._boxes.keys[0].tolist(), stated, strict=True):
            known = self.attributes.get(device)
            self.attributes[device] = newest if known is None else max(known, newest)

    def _texts(self, dimension: str, codes: Ints) -> list[str]:
        names = self.names(dimension)
        return [names[code] for code in codes.tolist()]

    def mark_emitted(self) -> None:
        """Forget which cells changed."""
        self.touched = np.zeros(len(self.cells), np.bool_)

    def names(self, dimension: str) -> list[str]:
        """Texts of a dimension by code."""
        return list(self.codes[dimension])

    def by_service(self) -> Groups:
        """Cells summed by (customer, service)."""
        if not len(self.cells):
            return self.cells
        keys = [self.cells.keys[_CUSTOMER], self.cells.keys[_SERVICE]]
        return aggregate(keys, list(self.cells.counts), self.cells.histograms)

    def services_of_cells(self) -> tuple[Ints, Ints]:
        """Customer and service codes of each cell."""
        return self.cells.keys[_CUSTOMER], self.cells.keys[_SERVICE]

    def boxes_by_service(self) -> dict[tuple[int, int], int]:
        """Distinct boxes with a slice, by codes of (customer, service)."""
        if not len(self._strata):
            return {}
        device, customer, service, _, _ = self._strata.keys
        _, distinct = factorise([customer, service, device])
        counted = aggregate(list(distinct[:2]), [np.ones(distinct.shape[1], np.int64)], [])
        return {(c, s): n for c, s, n in zip(*counted.keys.tolist(), counted.counts[0].tolist(), strict=True)}

    def traffic(self) -> tuple[Ints, Ints, Ints]:
        """Distinct (device, customer) codes and their requests."""
        pairs = aggregate(list(self._strata.keys[:2]), [self._outcomes.sums[0]], [])
        return pairs.keys[0], pairs.keys[1], pairs.counts[0]

    def evidence(self, prior_requests: float) -> tuple[list[str], Evidence]:
        """Device names in order and the evidence whose `device` indexes them."""
        names = sorted(self.codes["device"])
        dimensions = ("device", "customer", "client_isp", "client_region")
        keys = [ranks(self.codes[name])[self._strata.keys[_STRATUM.index(name)]] for name in dimensions]
        requests, failures = self._outcomes.sums
        return names, evidence(np.stack(keys), requests, failures, prior_requests)


def _starts_of_reports(rows: SliceRows) -> Ints:
    """First rows of stretches of one report whose box says the same of itself, as SeenRows takes them."""
    texts = [rows.text[name].codes for name in (*IDENTITY_TEXT, *BOX_ATTRIBUTES)]
    return starts_of_runs([*texts, rows.seq, rows.start, rows.row >> STRETCH_BITS])


def _joined(starts: Sequence[Ints], parts: Sequence[SliceRows]) -> Ints:
    """Starts in the rows of all parts."""
    begins = offsets_of(np.array([len(part) for part in parts]))
    return np.concatenate([at + begin for at, begin in zip(starts, begins, strict=False)])


def _none() -> Ints:
    return np.zeros(0, np.int64)
