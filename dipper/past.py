"""History's minutes as the detector learns them at the start."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import pyarrow as pa

from contracts.columns import COUNT_NAMES, HISTOGRAM_NAMES
from contracts.entities import MEASURES
from contracts.protocols import Store
from contracts.times import HOUR_MS
from history.imported import TROUBLE, imported, oldest_imported
from streams.detect import ServiceMinute, read_minutes
from streams.detect_measures import Promises, Service

_AT_ONCE_MS = 6 * HOUR_MS  # bounds memory: two hundred customers are some 100,000 rows then
_LISTS = ", ".join(f"{name}_{part}" for name in HISTOGRAM_NAMES for part in ("cell", "count"))
# ruff: noqa: S608 - column names are declared ones; values are parameters.
_MINUTES = f"""SELECT minute, customer, service, {", ".join(COUNT_NAMES)}, {_LISTS},
    CAST(NULL AS Nullable(Float64)) AS coverage
FROM minutes FINAL WHERE minute >= {{start:Int64}} AND minute < {{end:Int64}} ORDER BY minute, customer, service"""
_OLDEST = "SELECT min(minute) AS oldest, count() AS n FROM minutes WHERE minute >= {start:Int64}"


def past_minutes(
    store: Store, start: int, end: int, promises: Promises
) -> Iterator[tuple[int, Mapping[Service, ServiceMinute]]]:
    """Minutes of [start, end) with what each customer's service did in them, ascending: measured ones, and where a
    service has none in a minute, imported ones. Late data has settled, so how much of each was measured when it was
    new does not matter any more. Raises StoreError."""
    known = store.query(_OLDEST, {"start": start})
    oldest = [int(known["oldest"][0])] if known["n"][0] else []
    before = oldest_imported(store, start)
    if before is not None:
        oldest.append(before)
    if not oldest:
        return
    for since in range(max(start, min(oldest)), end, _AT_ONCE_MS):
        until = min(end, since + _AT_ONCE_MS)
        found: dict[int, dict[Service, ServiceMinute]] = {}
        if before is not None:
            found = _imported(store, since, until)
        table = pa.table(store.query_arrow(_MINUTES, {"start": since, "end": until}))
        for rows in text_as_codes(table, ("customer", "service")):
            for minute, service, content in read_minutes(rows, promises):
                found.setdefault(minute, {})[service] = content
        for minute in sorted(found):
            yield minute, found[minute]


def _imported(store: Store, start: int, end: int) -> dict[int, dict[Service, ServiceMinute]]:
    """Minutes of a past before Dipper; one that was labelled as trouble counts as not covered, so it is not learned."""
    rows = imported(store, start, end)
    found: dict[int, dict[Service, ServiceMinute]] = {}
    for minute, customer, service, measure, bad, total, label in zip(*rows.values(), strict=True):
        services = found.setdefault(minute, {})
        content = services.get((customer, service))
        if content is None:
            nothing = np.zeros(len(MEASURES), np.int64)
            content = services[customer, service] = ServiceMinute(nothing, nothing.copy(), float("nan"), 0)
        m = MEASURES.index(measure)
        content.bad[m], content.total[m] = bad, total
        if label == TROUBLE:
            content.coverage = 0.0
    return found


def text_as_codes(table: pa.Table, names: Collection[str]) -> list[pa.RecordBatch]:
    """All rows in one batch (none for no rows), with text as codes, whatever the engine gave, and lists that begin
    at 0."""
    columns = []
    for name in table.column_names:
        column = table[name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
        if name in names:
            column = column if pa.types.is_dictionary(column.type) else column.cast(pa.utf8()).dictionary_encode()
        columns.append(column)
    return [pa.RecordBatch.from_arrays(columns, names=table.column_names)] if table.num_rows else []
