"""Reports as bytes, quickly: the same JSON as contracts.report.encode, put together from whole columns of a fleet.

A report is a head that changes with the boot and the totals, then `vitals`, `slices` and `exemplars`, which are
known as soon as the interval is over. Keeping them apart lets a box that was without agent write its head later.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.columns import (
    COUNT_NAMES,
    EXEMPLARS_MEASURES,
    FAILURE_NAMES,
    HISTOGRAM_NAMES,
    SLICE_DIMENSIONS,
    VITALS_MEASURES,
    names,
)
from contracts.report import VERSION, EarlierBoot
from simulator.catalogue import ISPS, REGIONS, SERVICES
from simulator.placement import APPS, Ints, Placement
from simulator.traffic import Interval, Sparse

_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_COUNTS = ",".join(f'"{name}":[%s]' for name in COUNT_NAMES)
_SPARSE = '"%s":{"lengths":%s,"cells":%s,"counts":%s}'
_VITALS = ",".join(f'"{c.name}":%r' for c in VITALS_MEASURES if c.name != "clock_offset_ms")
_EMPTY_SPARSE = ",".join(_SPARSE % (name, "[]", "[]", "[]") for name in HISTOGRAM_NAMES)
_EXEMPLAR_COLUMNS = names(EXEMPLARS_MEASURES)[1:]
NO_SLICES = "{" + ",".join(f'"{n}":[]' for n in SLICE_DIMENSIONS + COUNT_NAMES) + "," + _EMPTY_SPARSE + "}"
NOTHING = "{}"
Exemplar = tuple[int, tuple[str, ...]]  # ms after the interval's start; the other columns as JSON, in order


@dataclass(frozen=True, slots=True)
class Body:
    """What a box measured in one interval, ready for any head. `start`: true time, ms UTC."""

    start: int
    requests: int
    slices: int
    vitals_json: str
    slices_json: str
    exemplars: Sequence[Exemplar] = ()


def dumps(document: object) -> str:
    """Compact JSON, as contracts.report.encode writes it."""
    return _ENCODER.encode(document)


def vitals_json(values: Sequence[float], clock_offset_ms: int | None) -> str:
    """Vitals in the order of VITALS_MEASURES without the clock's offset, which is None until a server has answered."""
    offset = "" if clock_offset_ms is None else f',"clock_offset_ms":{float(clock_offset_ms)!r}'
    return "{" + _VITALS % tuple(values) + offset + "}"


def head_json(
    device: str,
    boot: str,
    seq: int,
    start: int,
    end: int,
    oldest_spooled_seq: int,
    model: str,
    firmware: str,
    agent: str,
    totals_json: str,
    earlier_json: str,
) -> str:
    """A report's beginning, up to `vitals`. Ids and versions need no escaping: their alphabet has nothing to escape."""
    return (
        f'{{"v":{VERSION},"device":"{device}","boot":"{boot}","seq":{seq},"start":{start},"end":{end},'
        f'"oldest_spooled_seq":{oldest_spooled_seq},"model":"{model}","firmware":"{firmware}","agent":"{agent}",'
        f'"totals":{totals_json},"earlier_boots":{earlier_json},'
    )


def totals_json(requests: int, slices: int, dropped: dict[str, tuple[int, int, int]]) -> str:
    """Totals; `dropped` cause -> (requests, slices, reports)."""
    if not dropped:
        return (
            f'{{"requests":{requests},"slices":{slices},"dropped_requests":{{}},"dropped_slices":{{}},'
            '"dropped_reports":{}}'
        )
    names = ("dropped_requests", "dropped_slices", "dropped_reports")
    by_cause = {name: {cause: n[i] for cause, n in dropped.items()} for i, name in enumerate(names)}
    return dumps({"requests": requests, "slices": slices, **by_cause})


def earlier_boots_json(earlier: Sequence[EarlierBoot]) -> str:
    """The list `earlier_boots`."""
    if not earlier:
        return "[]"
    return dumps([{name: getattr(b, name) for name in EarlierBoot.__slots__} for b in earlier])


class FleetEncoder:
    """Turns an interval of the fleet into per-box JSON. `rule_codes`: rule per row of the placement, into
    `rule_names`; customers by index."""

    def __init__(self, placement: Placement, customers: Sequence[str]) -> None:
        self._columns = [
            [quoted[i] for i in codes.tolist()]
            for quoted, codes in (
                ([dumps(c) for c in customers], placement.customer),
                ([dumps(s) for s in SERVICES], placement.service),
                ([dumps(a) for a in APPS], placement.app),
                ([dumps(i) for i in ISPS], placement.client_isp),
                ([dumps(r.name) for r in REGIONS], placement.client_region),
            )
        ]

    def slices(self, interval: Interval, rule_codes: Ints, rule_names: Sequence[str]) -> list[str]:
        """JSON of `slices` for every box, in order of boxes."""
        rows = interval.rows.tolist()
        quoted = [dumps(name) for name in rule_names]
        texts = [[column[r] for r in rows] for column in self._columns]
        texts.append([quoted[code] for code in rule_codes[interval.rows].tolist()])
        named = list(zip(SLICE_DIMENSIONS, texts, strict=True))
        bounds = interval.bounds.tolist()
        histograms = [
            (name, h, h.at[interval.bounds].tolist())
            for name, h in zip(HISTOGRAM_NAMES, (interval.latency, interval.throughput), strict=True)
        ]
        result = []
        for d in range(len(bounds) - 1):
            a, b = bounds[d], bounds[d + 1]
            if a == b:
                result.append(NO_SLICES)
                continue
            parts = [f'"{name}":[{",".join(text[a:b])}]' for name, text in named]
            counts = str(interval.counts[:, a:b].tolist()).replace(" ", "")[2:-2].split("],[")
            parts.append(_COUNTS % tuple(counts))
            parts += [_sparse_json(name, h, a, b, at[d], at[d + 1]) for name, h, at in histograms]
            result.append("{" + ",".join(parts) + "}")
        return result

    def exemplars(self, interval: Interval, rule_codes: Ints, rule_names: Sequence[str]) -> dict[int, list[Exemplar]]:
        """Requests worth showing, by box."""
        e = interval.exemplars
        result: dict[int, list[Exemplar]] = {}
        rows = interval.rows[e.row].tolist()
        rules = rule_codes[rows].tolist() if rows else []
        columns = (e.device, e.after_ms, e.path, e.status, e.latency_ms, e.failure)
        for row, rule, *values in zip(rows, rules, *(c.tolist() for c in columns), strict=True):
            device, after_ms, path, status, latency_ms, failure = values
            customer, service, _, isp, region = (column[row] for column in self._columns)
            texts = (customer, service, isp, region, dumps(rule_names[rule]), f'"{path:016x}"')
            name = FAILURE_NAMES[failure - 1] if failure else ""
            result.setdefault(device, []).append((after_ms, (*texts, str(status), str(latency_ms), f'"{name}"')))
        return result


def exemplars_json(exemplars: Sequence[Exemplar], start: int) -> str:
    """Columns of the exemplars of a report whose interval starts at `start` by the box's clock."""
    if not exemplars:
        return NOTHING
    at = ",".join(str(start + after) for after, _ in exemplars)
    columns = zip(_EXEMPLAR_COLUMNS, zip(*(rest for _, rest in exemplars), strict=True), strict=True)
    return f'{{"at":[{at}],' + ",".join(f'"{name}":[{",".join(values)}]' for name, values in columns) + "}"


def _sparse_json(name: str, h: Sparse, a: int, b: int, first: int, last: int) -> str:
    lists = (h.lengths[a:b], h.cells[first:last], h.counts[first:last])
    return _SPARSE % (name, *(str(values.tolist()).replace(" ", "") for values in lists))
