"""Scans of stored slices, for what cells do not know: single boxes. Slow by nature, so they run in pieces, newest
first; whoever asks sees each piece and may stop between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from contracts.errors import ContractError
from contracts.protocols import Store
from contracts.times import DAY_MS, MINUTE_MS
from history.query_cells import QUANTILES, CellQuestion, measure_columns, where_clause

MAX_SCAN_MS = DAY_MS
PIECE_MS = 10 * MINUTE_MS
MAX_BOXES = 200_000

_PIECE = """SELECT device, sum(bad) AS value, sum(of) AS total, count() AS n FROM (
SELECT device, {columns} FROM slices FINAL
WHERE minute >= {{start:Int64}} AND minute < {{end:Int64}}{condition}
) GROUP BY device LIMIT {limit}"""


@dataclass(frozen=True, slots=True)
class Scan:
    """How far a scan has come: [reached, end) of the span is in the sums. `value`, `total` per box, as in CellAnswer;
    `rows`: slices read that matched."""

    reached: int
    rows: int = 0
    value: Mapping[str, float] = field(default_factory=dict)
    total: Mapping[str, int] = field(default_factory=dict)


def scan(store: Store, question: CellQuestion) -> Iterator[Scan]:
    """Sums by box, growing piece by piece from the span's end; the last has all of it. `by` and steps of the question
    are left aside. Raises ContractError for quantiles, for more than MAX_SCAN_MS, and beyond MAX_BOXES."""
    if question.measure in QUANTILES:
        raise ContractError("bad_query", "measure", "a ratio or a rate for single boxes", question.measure)
    if question.end - question.start > MAX_SCAN_MS:
        hours = (question.end - question.start) / 3_600_000
        raise ContractError("bad_query", "start, end", f"at most {MAX_SCAN_MS // 3_600_000} hours for boxes", hours)
    parameters: dict[str, object] = {}
    sql = _PIECE.format(
        columns=measure_columns(question, parameters),
        condition=where_clause(question, parameters),
        limit=MAX_BOXES,
    )
    value: dict[str, float] = {}
    total: dict[str, int] = {}
    rows, end = 0, question.end
    while end > question.start:
        start = max(question.start, end - PIECE_MS)
        found = store.query(sql, {**parameters, "start": start, "end": end})
        for device, bad, of, n in zip(*found.values(), strict=True):
            value[device] = value.get(device, 0) + bad
            total[device] = total.get(device, 0) + of
            rows += n
        if len(value) >= MAX_BOXES:
            raise ContractError("bad_query", "where", f"filters that leave fewer than {MAX_BOXES} boxes", len(value))
        end = start
        yield Scan(end, rows, dict(value), dict(total))
