"""One open minute: its rows folded into cells of dimensions, boxes and strata. Holds aggregates, never rows."""

from __future__ import annotations

import numpy as np

from contracts.columns import CELL_DIMENSIONS, COUNT_NAMES, FAILURE_NAMES, REGISTRY_DIMENSIONS, REPORT_DIMENSIONS
from streams.coverage import ranks
from streams.evidence import Evidence, evidence
from streams.identity import SeenRows
from streams.kernel import Groups, Ints, aggregate, factorise, merge
from streams.rows import SliceRows, recode

BOX_ATTRIBUTES = REGISTRY_DIMENSIONS + REPORT_DIMENSIONS
_BOX_KEYS = ("device", "customer", "service", "client_isp", "client_region")
_CUSTOMER, _SERVICE = CELL_DIMENSIONS.index("customer"), CELL_DIMENSIONS.index("service")
_REQUESTS = COUNT_NAMES.index("requests")
_FAILURES = tuple(COUNT_NAMES.index(name) for name in FAILURE_NAMES)
_MERGE_AT = 8  # partial aggregates held before they are merged


class Window:
    """Slices of one minute. `codes`: per dimension text -> code; `cells`: Groups by CELL_DIMENSIONS with COUNTS and
    histograms; `touched` (n_cells,): changed since the last `mark_emitted`; `services`: (customer, service)
    with slices. Call `settle` before reading."""

    def __init__(self) -> None:
        self.codes: dict[str, dict[str, int]] = {name: {} for name in ("device", *CELL_DIMENSIONS)}
        self.attributes: dict[int, tuple[int, tuple[str, ...]]] = {}  # device -> newest (start, BOX_ATTRIBUTES)
        self.cells = aggregate([_none()] * len(CELL_DIMENSIONS), [_none()] * len(COUNT_NAMES), [])
        self.touched = np.zeros(0, np.bool_)
        self.services: set[tuple[str, str]] = set()
        self._seen = SeenRows()
        self._fresh: list[Groups] = []  # partial cells since `settle`
        self._boxes: list[Groups] = []  # by _BOX_KEYS: requests, failures

    def add(self, rows: SliceRows) -> int:
        """Fold rows in; returns how many were duplicates."""
        fresh = np.flatnonzero(self._seen.first_seen(rows.text["device"], rows.text["boot"], rows.seq, rows.row))
        duplicates = len(rows) - len(fresh)
        if duplicates:
            rows = rows.take(fresh)
        if not len(rows):
            return duplicates
        code = {name: recode(rows.text[name], codes) for name, codes in self.codes.items()}
        self._fresh.append(aggregate([code[name] for name in CELL_DIMENSIONS], rows.counts, rows.histograms))
        failures = np.sum([rows.counts[i] for i in _FAILURES], axis=0)
        self._boxes.append(aggregate([code[name] for name in _BOX_KEYS], [rows.counts[_REQUESTS], failures], []))
        self._note_attributes(rows, code["device"])
        if len(self._fresh) >= _MERGE_AT:
            self._fresh = [merge(self._fresh)]
            self._boxes = [merge(self._boxes)]
        return duplicates

    def settle(self) -> None:
        """Merge what was added since the last call into `cells` and `touched`."""
        if not self._fresh:
            return
        known = len(self.cells)
        merged = merge([self.cells, *self._fresh] if known else self._fresh)
        # Groups are numbered by first occurrence, so known cells keep their places and new ones follow.
        changed = np.ones(len(merged), np.bool_)
        changed[:known] = self.touched
        fresh_keys = np.concatenate([merged.keys, *(part.keys for part in self._fresh)], axis=1)
        changed[factorise(list(fresh_keys))[0][len(merged) :]] = True
        self.cells, self.touched, self._fresh = merged, changed, []
        self._boxes = [merge(self._boxes)]
        customers, services = self.names("customer"), self.names("service")
        pairs = factorise([self.cells.keys[_CUSTOMER], self.cells.keys[_SERVICE]])[1]
        self.services = {(customers[c], services[s]) for c, s in pairs.T.tolist()}

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
        if not self._boxes:
            return {}
        device, customer, service, _, _ = self._boxes[0].keys
        _, distinct = factorise([customer, service, device])
        counted = aggregate(list(distinct[:2]), [np.ones(distinct.shape[1], np.int64)], [])
        return {(c, s): n for c, s, n in zip(*counted.keys.tolist(), counted.counts[0].tolist(), strict=True)}

    def traffic(self) -> tuple[Ints, Ints, Ints]:
        """Distinct (device, customer) codes and their requests."""
        if not self._boxes:
            return _none(), _none(), _none()
        pairs = aggregate(list(self._boxes[0].keys[:2]), [self._boxes[0].counts[0]], [])
        return pairs.keys[0], pairs.keys[1], pairs.counts[0]

    def evidence(self, prior_requests: float) -> tuple[list[str], Evidence]:
        """Device names in order and the evidence whose `device` indexes them."""
        names = sorted(self.codes["device"])
        boxes = self._boxes[0]
        dimensions = ("device", "customer", "client_isp", "client_region")
        keys = [ranks(self.codes[name])[boxes.keys[_BOX_KEYS.index(name)]] for name in dimensions]
        return names, evidence(np.stack(keys), boxes.counts[0], boxes.counts[1], prior_requests)

    def _note_attributes(self, rows: SliceRows, device: Ints) -> None:
        columns = [rows.text[name] for name in BOX_ATTRIBUTES]
        ids, keys = factorise([device, *(c.codes for c in columns)])
        newest = np.zeros(keys.shape[1], np.int64)
        np.maximum.at(newest, ids, rows.start)
        for start, (code, *values) in zip(newest.tolist(), keys.T.tolist(), strict=True):
            stated = (start, tuple(c.values[v] for c, v in zip(columns, values, strict=True)))
            self.attributes[code] = max(stated, self.attributes.get(code, stated))


def _none() -> Ints:
    return np.zeros(0, np.int64)
