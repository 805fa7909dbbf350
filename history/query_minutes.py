"""Minutes as they stand, one by one: for comparison with another account of the same time."""

from __future__ import annotations

from contracts.columns import COUNT_NAMES
from contracts.protocols import Store

_MINUTES = f"""SELECT customer, service, minute, {", ".join(COUNT_NAMES)} FROM minutes FINAL
WHERE minute >= {{start:Int64}} AND minute < {{end:Int64}} ORDER BY customer, service, minute"""  # noqa: S608


def minute_counts(store: Store, start: int, end: int) -> dict[tuple[str, str, int], dict[str, int]]:
    """Counts (COUNT_NAMES) by (customer, service, minute in ms UTC) in [start, end)."""
    rows = store.query(_MINUTES, {"start": start, "end": end})
    keys = zip(rows["customer"], rows["service"], rows["minute"], strict=True)
    return {key: {name: rows[name][i] for name in COUNT_NAMES} for i, key in enumerate(keys)}
