"""From a body's bytes to a typed report at C speed. `contracts.decode` stays the judge: whatever is refused or doubted
here is decoded again there, for its verdict and its words; a property test holds the two together."""

from __future__ import annotations

import zlib
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from contracts.auth import ID_PATTERN
from contracts.columns import COUNT_NAMES, EXEMPLARS_MEASURES, HISTOGRAM_NAMES, SLICE_DIMENSIONS, VITALS_MEASURES
from contracts.decode import check_interval, decode
from contracts.errors import ContractError
from contracts.histogram import CELLS
from contracts.report import (
    MAX_CELL_COUNT,
    MAX_COUNT,
    MAX_DROP_CAUSES,
    MAX_EARLIER_BOOTS,
    MAX_EXEMPLARS,
    MAX_SLICES,
    MAX_TEXT,
    VERSION,
)

Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Seq = Annotated[int, Meta(ge=1, le=MAX_COUNT)]
Text = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
Texts = Annotated[list[Text], Meta(max_length=MAX_SLICES)]
Counts = Annotated[list[Count], Meta(max_length=MAX_SLICES)]
Causes = Annotated[dict[str, Count], Meta(max_length=MAX_DROP_CAUSES)]


class WireHistograms(Struct, gc=False):
    """As contracts.report.Histograms."""

    lengths: Annotated[list[Annotated[int, Meta(ge=0, le=CELLS)]], Meta(max_length=MAX_SLICES)]
    cells: list[Annotated[int, Meta(ge=0, le=CELLS - 1)]]
    counts: list[Annotated[int, Meta(ge=1, le=MAX_CELL_COUNT)]]


WireSlices = msgspec.defstruct(
    "WireSlices",
    [
        *((name, Texts) for name in SLICE_DIMENSIONS),
        *((name, Counts) for name in COUNT_NAMES),
        *((name, WireHistograms) for name in HISTOGRAM_NAMES),
    ],
    forbid_unknown_fields=True,
    gc=False,
)
_SLICE_COLUMNS = (*SLICE_DIMENSIONS, *COUNT_NAMES)


class WireTotals(Struct, gc=False):
    """As contracts.report.Totals."""

    requests: Count
    slices: Count
    dropped_requests: Causes = {}
    dropped_slices: Causes = {}
    dropped_reports: Causes = {}


class WireBoot(Struct, gc=False):
    """As contracts.report.EarlierBoot."""

    boot: str
    dropped_reports: Count
    dropped_requests: Count
    dropped_slices: Count
    oldest_spooled_seq: Seq | None = None


class WireReport(Struct, gc=False):
    """As contracts.report.Report; slices and exemplars keep their columns as attributes and keys."""

    v: Annotated[int, Meta(ge=VERSION, le=VERSION)]
    device: str
    boot: str
    seq: Seq
    start: Count
    end: Count
    oldest_spooled_seq: Seq
    model: Text
    firmware: Text
    agent: Text
    totals: WireTotals
    slices: WireSlices  # type: ignore[valid-type]
    earlier_boots: Annotated[list[WireBoot], Meta(max_length=MAX_EARLIER_BOOTS)] = []
    vitals: dict[str, float] = {}
    exemplars: dict[str, Annotated[list[int | str], Meta(max_length=MAX_EXEMPLARS)]] = {}

    @property
    def row_count(self) -> int:
        """Number of slices."""
        return len(self.slices.customer)  # type: ignore[attr-defined]


_decoder = msgspec.json.Decoder(WireReport)
_VITALS = frozenset(c.name for c in VITALS_MEASURES)
_EXEMPLARS = {c.name: int if c.dtype == "int64" else str for c in EXEMPLARS_MEASURES}


def gunzip(body: bytes, limit: int) -> bytes:
    """One gzip member, at most `limit` bytes large; never inflates more than that. Raises ContractError."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        data = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise ContractError("malformed", "body", "gzip", str(error)) from None
    if len(data) > limit:
        raise ContractError("too_large", "body", f"at most {limit} bytes after decompression", "more")
    if not inflater.eof:
        raise ContractError("malformed", "body", "a whole gzip member", "a cut one")
    if inflater.unused_data:
        raise ContractError("malformed", "body", "one gzip member", f"{len(inflater.unused_data)} bytes after it")
    return data


def read_report(data: bytes) -> WireReport:
    """A report that keeps every rule of contracts.decode except those inside rows (`check_rows`, ascending cells):
    `ingest.rows` applies these to many reports at once. Raises ContractError."""
    try:
        report = _decoder.decode(data)
        if _keeps_report_rules(report):
            return report
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return judged(data)


def judged(data: bytes) -> WireReport:
    """A report by the words of contracts.decode, slowly. Raises ContractError."""
    report = decode(data)
    slices = report.slices
    columns = {**slices.dimensions, **slices.counts}
    histograms = {
        name: WireHistograms(list(h.lengths), list(h.cells), list(h.counts)) for name, h in slices.histograms.items()
    }
    totals = report.totals
    return WireReport(
        VERSION,
        report.device,
        report.boot,
        report.seq,
        report.start,
        report.end,
        report.oldest_spooled_seq,
        report.model,
        report.firmware,
        report.agent,
        WireTotals(
            totals.requests,
            totals.slices,
            dict(totals.dropped_requests),
            dict(totals.dropped_slices),
            dict(totals.dropped_reports),
        ),
        WireSlices(**columns, **histograms),
        [
            WireBoot(b.boot, b.dropped_reports, b.dropped_requests, b.dropped_slices, b.oldest_spooled_seq)
            for b in report.earlier_boots
        ],
        dict(report.vitals),
        {name: list(values) for name, values in report.exemplars.items()},
    )


def _keeps_report_rules(report: WireReport) -> bool:
    """The rules that types cannot say, on one report. False: let contracts.decode find the words."""
    is_id = ID_PATTERN.match
    totals = report.totals
    try:
        check_interval(report.start, report.end)
    except ContractError:
        return False
    carried = sum(report.slices.requests)  # type: ignore[attr-defined]
    return bool(
        is_id(report.device)
        and is_id(report.boot)
        and report.oldest_spooled_seq <= report.seq
        and totals.requests >= carried + sum(totals.dropped_requests.values())
        and totals.slices >= len(report.slices.customer)  # type: ignore[attr-defined]
        and all(map(is_id, (*totals.dropped_requests, *totals.dropped_slices, *totals.dropped_reports)))
        and all(is_id(b.boot) for b in report.earlier_boots)
        and report.vitals.keys() <= _VITALS
        and (not report.exemplars or _exemplars_fit(report.exemplars))
        and (report.model + report.firmware + report.agent).isprintable()
        and _columns_fit(report.slices)
    )


def _columns_fit(slices: WireSlices) -> bool:  # type: ignore[valid-type]
    """Whether columns have one length, histograms as many cells as they state, and texts are printable."""
    columns = msgspec.structs.astuple(slices)
    rows = len(columns[0])
    texts, histograms = len(SLICE_DIMENSIONS), columns[len(_SLICE_COLUMNS) :]
    if any(len(column) != rows for column in columns[: len(_SLICE_COLUMNS)]):
        return False
    for histogram in histograms:
        size = sum(histogram.lengths)
        if len(histogram.lengths) != rows or len(histogram.cells) != size or len(histogram.counts) != size:
            return False
    return all("".join(column).isprintable() for column in columns[:texts])


def _exemplars_fit(exemplars: dict[str, list[int | str]]) -> bool:
    if exemplars.keys() != _EXEMPLARS.keys():
        return False
    rows = len(exemplars["at"])
    for name, kind in _EXEMPLARS.items():
        values = exemplars[name]
        if len(values) != rows or not all(type(v) is kind for v in values):
            return False
        if kind is int:
            fits = all(0 <= v <= MAX_COUNT for v in values)  # type: ignore[operator]
        else:
            least = 0 if name == "failure" else 1
            fits = all(least <= len(v) <= MAX_TEXT and v.isprintable() for v in values)  # type: ignore[arg-type,union-attr]
        if not fits:
            return False
    return True
