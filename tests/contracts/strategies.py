"""Hypothesis strategies of good contract data: what a correct box could send. Other suites import them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from contracts.columns import (
    COUNT_NAMES,
    EXEMPLARS_MEASURES,
    FAILURE_NAMES,
    HISTOGRAM_NAMES,
    SLICE_DIMENSIONS,
    STATUS_NAMES,
    VITALS_MEASURES,
)
from contracts.histogram import CELLS
from contracts.report import (
    MAX_CELL_COUNT,
    MAX_EARLIER_BOOTS,
    MAX_EXEMPLARS,
    MAX_TEXT,
    EarlierBoot,
    Histograms,
    Report,
    Slices,
    Totals,
)
from contracts.times import GRID_MS

_ALNUM = "ABCXYZabcxyz0189"
_BIG = 2**40  # room to add many of them below MAX_COUNT

ids = st.builds(
    lambda first, rest: first + rest, st.sampled_from(_ALNUM), st.text(alphabet=_ALNUM + "._:-", max_size=63)
)
texts = st.one_of(
    st.sampled_from(["acme", "video", "华南", "near@3", "other", "unknown"]),
    st.text(st.characters(codec="utf-8").filter(str.isprintable), min_size=1, max_size=MAX_TEXT),
)
causes = st.dictionaries(ids, st.integers(0, _BIG), max_size=4)
sparse = st.dictionaries(st.integers(0, CELLS - 1), st.integers(1, 1000), max_size=12)


@st.composite
def parts_of(draw: st.DrawFn, total: int, names: tuple[str, ...]) -> dict[str, int]:
    """Counts by name that add up to at most `total`."""
    left, result = total, {}
    for name in names:
        result[name] = draw(st.integers(0, left))
        left -= result[name]
    return result


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """One slice: dimensions, counts, and `latency` and `throughput` as {cell: count}."""
    latency = draw(st.one_of(sparse, st.just({draw(st.integers(0, CELLS - 1)): MAX_CELL_COUNT})))
    requests = sum(latency.values())
    sessions = draw(st.integers(0 if requests else 1, _BIG))
    throughput: dict[int, int] = {}
    left = requests
    for cell in draw(st.sets(st.integers(0, CELLS - 1), max_size=6)):
        if left:
            throughput[cell] = draw(st.integers(1, min(left, MAX_CELL_COUNT)))
            left -= throughput[cell]
    return {
        **{name: draw(texts) for name in SLICE_DIMENSIONS},
        **{name: draw(st.integers(0, _BIG)) for name in ("bytes", "play_ms", "stall_ms")},
        **draw(parts_of(requests, STATUS_NAMES)),
        **draw(parts_of(requests, FAILURE_NAMES)),
        "requests": requests,
        "cache_hits": draw(st.integers(0, requests)),
        "sessions": sessions,
        "stalled_sessions": draw(st.integers(0, sessions)),
        "latency": latency,
        "throughput": throughput,
    }


def columns_of(given: list[dict[str, Any]]) -> Slices:
    """Rows (as of `rows`) as columns."""
    histograms = {}
    for name in HISTOGRAM_NAMES:
        ordered = [sorted(row[name].items()) for row in given]
        histograms[name] = Histograms(
            [len(cells) for cells in ordered],
            [cell for cells in ordered for cell, _ in cells],
            [count for cells in ordered for _, count in cells],
        )
    return Slices(
        {name: [row[name] for row in given] for name in SLICE_DIMENSIONS},
        {name: [row[name] for row in given] for name in COUNT_NAMES},
        histograms,
    )


def slices(max_rows: int = 4) -> st.SearchStrategy[Slices]:
    """Slices of one report, none included."""
    return st.lists(rows(), max_size=max_rows).map(columns_of)


earlier_boots = st.lists(
    st.builds(
        EarlierBoot,
        boot=ids,
        oldest_spooled_seq=st.none() | st.integers(1, _BIG),
        dropped_reports=st.integers(0, _BIG),
        dropped_requests=st.integers(0, _BIG),
        dropped_slices=st.integers(0, _BIG),
    ),
    max_size=MAX_EARLIER_BOOTS,
).map(tuple)

vitals = st.dictionaries(
    st.sampled_from([c.name for c in VITALS_MEASURES]), st.floats(allow_nan=False, allow_infinity=False)
)


@st.composite
def exemplars(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Columns of exemplars, or none at all."""
    count = draw(st.integers(0, min(3, MAX_EXEMPLARS)))
    if not count:
        return {}
    values = {"int64": st.integers(0, _BIG), "string": texts}
    special: dict[str, st.SearchStrategy[Any]] = {
        "failure": st.sampled_from(["", *FAILURE_NAMES]),
        "path_hash": st.text(alphabet="0123456789abcdef", min_size=16, max_size=16),
    }
    return {
        column.name: draw(st.lists(special.get(column.name, values[column.dtype]), min_size=count, max_size=count))
        for column in EXEMPLARS_MEASURES
    }


@st.composite
def intervals(draw: st.DrawFn) -> tuple[int, int]:
    """(start, end) inside one cell of the grid."""
    cell = draw(st.integers(0, 200_000_000)) * GRID_MS
    start = draw(st.integers(0, GRID_MS - 1))
    return cell + start, cell + draw(st.integers(start + 1, GRID_MS))


@st.composite
def reports(draw: st.DrawFn, max_rows: int = 4) -> Report:
    """A report that `decode` must accept."""
    carried = draw(slices(max_rows))
    dropped_requests, dropped_slices = draw(causes), draw(causes)
    start, end = draw(intervals())
    seq = draw(st.integers(1, _BIG))
    requests = sum(carried.counts["requests"]) + sum(dropped_requests.values())
    return Report(
        device=draw(ids),
        boot=draw(ids),
        seq=seq,
        start=start,
        end=end,
        oldest_spooled_seq=draw(st.integers(1, seq)),
        model=draw(texts),
        firmware=draw(texts),
        agent=draw(texts),
        totals=Totals(
            requests=requests + draw(st.integers(0, _BIG)),
            slices=len(carried) + sum(dropped_slices.values()) + draw(st.integers(0, _BIG)),
            dropped_requests=dropped_requests,
            dropped_slices=dropped_slices,
            dropped_reports=draw(causes),
        ),
        earlier_boots=draw(earlier_boots),
        vitals=draw(vitals),
        slices=carried,
        exemplars=draw(exemplars()),
    )
