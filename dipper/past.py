"""History's minutes as the detector learns them at the start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from contracts.columns import COUNT_NAMES, HISTOGRAM_NAMES
from contracts.protocols import Store
from contracts.times import HOUR_MS
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
    """Minutes of [start, end) with what each customer's service did in them, ascending. Late data has settled, so
    how much of each was measured when it was new does not matter any more. Raises StoreError."""
    known = store.query(_OLDEST, {"start": start})
    if not known["n"][0]:
        return
    begin = max(start, known["oldest"][0])
    for since in range(begin, end, _AT_ONCE_MS):
        columns = {"start": since, "end": min(end, since + _AT_ONCE_MS)}
        table = pa.table(store.query_arrow(_MINUTES, columns))
        current: dict[Service, ServiceMinute] = {}
        newest: int | None = None
        for rows in _batches(table):
            for minute, service, content in read_minutes(rows, promises):
                if newest is not None and minute != newest:
                    yield newest, current
                    current = {}
                newest = minute
                current[service] = content
        if newest is not None:
            yield newest, current


def _batches(table: pa.Table) -> list[pa.RecordBatch]:
    """With text as codes, whatever the engine gave, and lists that begin at 0."""
    columns = []
    for name in table.column_names:
        column = table[name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
        if name in ("customer", "service"):
            column = column if pa.types.is_dictionary(column.type) else column.cast(pa.utf8()).dictionary_encode()
        columns.append(column)
    return [pa.RecordBatch.from_arrays(columns, names=table.column_names)] if table.num_rows else []
