"""Reading a report's bytes: every field checked, every refusal named. Standard library only.

Unknown top-level fields are ignored, so that a newer agent's additions do not break an older gateway; unknown slice
columns are refused, because a count that nobody reads would be lost in silence.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from contracts.auth import check_id
from contracts.columns import (
    COUNT_NAMES,
    EXEMPLARS_MEASURES,
    FAILURE_NAMES,
    HISTOGRAM_NAMES,
    SLICE_DIMENSIONS,
    STATUS_NAMES,
    VITALS_MEASURES,
)
from contracts.errors import ContractError
from contracts.histogram import CELLS
from contracts.report import (
    MAX_CELL_COUNT,
    MAX_COUNT,
    MAX_DECODED_BYTES,
    MAX_DROP_CAUSES,
    MAX_EARLIER_BOOTS,
    MAX_EXEMPLARS,
    MAX_SLICES,
    MAX_TEXT,
    SUPPORTED_VERSIONS,
    EarlierBoot,
    Histograms,
    Report,
    Slices,
    Totals,
)
from contracts.times import GRID_MS


def decode(body: bytes) -> Report:
    """A validated report from decompressed JSON bytes. Raises ContractError; its `reason` is one of malformed,
    unsupported_version, bad_id, bad_field, bad_interval, bad_totals, bad_slices, bad_histogram, too_large."""
    if len(body) > MAX_DECODED_BYTES:
        raise ContractError("too_large", "body", f"at most {MAX_DECODED_BYTES} bytes of JSON", len(body))
    try:
        # Decoded here, because json.loads would guess UTF-16 and let encoded surrogates pass.
        document = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except ContractError:
        raise
    except (ValueError, RecursionError) as error:
        raise ContractError("malformed", "body", "a JSON object in UTF-8", str(error)) from None
    if not isinstance(document, dict):
        raise ContractError("malformed", "body", "a JSON object", document)
    version = document.get("v")
    if type(version) is not int or version not in SUPPORTED_VERSIONS:
        raise ContractError("unsupported_version", "v", f"one of {SUPPORTED_VERSIONS}", version)
    report = Report(
        device=check_id("device", document.get("device")),
        boot=check_id("boot", document.get("boot")),
        seq=_count("seq", document.get("seq"), least=1),
        start=_count("start", document.get("start")),
        end=_count("end", document.get("end")),
        oldest_spooled_seq=_count("oldest_spooled_seq", document.get("oldest_spooled_seq"), least=1),
        model=_text("model", document.get("model")),
        firmware=_text("firmware", document.get("firmware")),
        agent=_text("agent", document.get("agent")),
        totals=_totals(document.get("totals")),
        earlier_boots=_earlier_boots(document.get("earlier_boots", [])),
        vitals=_vitals(document.get("vitals", {})),
        slices=_slices(document.get("slices")),
        exemplars=_exemplars(document.get("exemplars", {})),
    )
    check_interval(report.start, report.end)
    check_totals(report)
    return report


def check_interval(start: int, end: int) -> None:
    """An interval is not empty and lies inside one cell of the 10 s grid. Raises ContractError `bad_interval`."""
    if not start < end:
        raise ContractError("bad_interval", "end", f"later than start ({start})", end)
    if start // GRID_MS != (end - 1) // GRID_MS:
        raise ContractError("bad_interval", "end", f"in the same {GRID_MS} ms grid cell as start ({start})", end)


def check_totals(report: Report) -> None:
    """Totals cover at least what this report carries and what was dropped, and the spool does not start after it."""
    totals = report.totals
    if report.oldest_spooled_seq > report.seq:
        raise ContractError(
            "bad_totals", "oldest_spooled_seq", f"at most seq ({report.seq})", report.oldest_spooled_seq
        )
    for name, total, carried, causes in (
        ("requests", totals.requests, sum(report.slices.counts["requests"]), totals.dropped_requests),
        ("slices", totals.slices, len(report.slices), totals.dropped_slices),
    ):
        dropped = sum(causes.values())
        if total < carried + dropped:
            expected = f"at least carried + dropped ({carried} + {dropped})"
            raise ContractError("bad_totals", f"totals.{name}", expected, total)


def _refuse_constant(name: str) -> float:
    raise ContractError("malformed", "body", "finite numbers", name)


def _count(path: str, value: object, *, least: int = 0, most: int = MAX_COUNT) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ContractError("bad_field", path, f"an integer {least}..{most}", value)
    return value


def _text(path: str, value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT or not value.isprintable():
        raise ContractError("bad_field", path, f"1 to {MAX_TEXT} printable characters", value)
    return value


def _object(path: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ContractError("bad_field", path, "an object", value)
    return value


def _list(path: str, value: object, length: int | None = None, reason: str = "bad_slices") -> list[Any]:
    if not isinstance(value, list):
        raise ContractError("bad_field", path, "a list", value)
    if length is not None and len(value) != length:
        raise ContractError(reason, path, f"{length} values, one per row", f"{len(value)} values")
    return value


def _causes(path: str, value: object) -> dict[str, int]:
    causes = _object(path, value)
    if len(causes) > MAX_DROP_CAUSES:
        raise ContractError("bad_field", path, f"at most {MAX_DROP_CAUSES} causes", len(causes))
    return {check_id(f"{path} cause", cause): _count(f"{path}.{cause}", n) for cause, n in causes.items()}


def _totals(value: object) -> Totals:
    document = _object("totals", value)
    return Totals(
        requests=_count("totals.requests", document.get("requests")),
        slices=_count("totals.slices", document.get("slices")),
        dropped_requests=_causes("totals.dropped_requests", document.get("dropped_requests", {})),
        dropped_slices=_causes("totals.dropped_slices", document.get("dropped_slices", {})),
        dropped_reports=_causes("totals.dropped_reports", document.get("dropped_reports", {})),
    )


def _earlier_boots(value: object) -> tuple[EarlierBoot, ...]:
    boots = _list("earlier_boots", value)
    if len(boots) > MAX_EARLIER_BOOTS:
        raise ContractError("bad_field", "earlier_boots", f"at most {MAX_EARLIER_BOOTS} boots", len(boots))
    result = []
    for i, item in enumerate(boots):
        path = f"earlier_boots[{i}]"
        document = _object(path, item)
        oldest = document.get("oldest_spooled_seq")
        result.append(
            EarlierBoot(
                boot=check_id(f"{path}.boot", document.get("boot")),
                oldest_spooled_seq=None if oldest is None else _count(f"{path}.oldest_spooled_seq", oldest, least=1),
                dropped_reports=_count(f"{path}.dropped_reports", document.get("dropped_reports")),
                dropped_requests=_count(f"{path}.dropped_requests", document.get("dropped_requests")),
                dropped_slices=_count(f"{path}.dropped_slices", document.get("dropped_slices")),
            )
        )
    return tuple(result)


def _vitals(value: object) -> dict[str, float]:
    known = {c.name for c in VITALS_MEASURES}
    result: dict[str, float] = {}
    for name, number in _object("vitals", value).items():
        if name not in known:
            raise ContractError("bad_field", "vitals", f"names among {sorted(known)}", name)
        # An integer beyond float64 must be compared, not converted: isfinite would overflow.
        if type(number) not in (int, float) or not -sys.float_info.max <= number <= sys.float_info.max:
            raise ContractError("bad_field", f"vitals.{name}", "a finite number", number)
        result[name] = float(number)
    return result


def _slices(value: object) -> Slices:
    document = _object("slices", value)
    known = {*SLICE_DIMENSIONS, *COUNT_NAMES, *HISTOGRAM_NAMES}
    if document.keys() != known:
        raise ContractError("bad_slices", "slices", f"exactly the columns {sorted(known)}", sorted(document))
    rows = len(_list("slices.customer", document["customer"]))
    if rows > MAX_SLICES:
        raise ContractError("too_large", "slices", f"at most {MAX_SLICES} rows", rows)
    dimensions = {
        n: [_text(f"slices.{n}[{i}]", v) for i, v in enumerate(_list(f"slices.{n}", document[n], rows))]
        for n in SLICE_DIMENSIONS
    }
    counts = {
        n: [_count(f"slices.{n}[{i}]", v) for i, v in enumerate(_list(f"slices.{n}", document[n], rows))]
        for n in COUNT_NAMES
    }
    histograms = {n: _histograms(f"slices.{n}", document[n], rows) for n in HISTOGRAM_NAMES}
    slices = Slices(dimensions, counts, histograms)
    check_rows(slices)
    return slices


def _histograms(path: str, value: object, rows: int) -> Histograms:
    document = _object(path, value)
    lengths = [
        _count(f"{path}.lengths[{i}]", v, most=CELLS)
        for i, v in enumerate(_list(f"{path}.lengths", document.get("lengths"), rows))
    ]
    size = sum(lengths)
    cells = _list(f"{path}.cells", document.get("cells"))
    counts = _list(f"{path}.counts", document.get("counts"))
    if len(cells) != size or len(counts) != size:
        raise ContractError(
            "bad_histogram", path, f"{size} cells and counts, the sum of lengths", f"{len(cells)} and {len(counts)}"
        )
    at = 0
    for row, length in enumerate(lengths):
        before = -1
        for i in range(at, at + length):
            cell = _count(f"{path}.cells[{i}]", cells[i], most=CELLS - 1)
            if cell <= before:
                raise ContractError("bad_histogram", f"{path}.cells[{i}]", f"above {before} in row {row}", cell)
            before = cell
            _count(f"{path}.counts[{i}]", counts[i], least=1, most=MAX_CELL_COUNT)
        at += length
    return Histograms(lengths, cells, counts)


# (smaller columns, larger column): in every row the sum of the smaller may not exceed the larger.
ROW_RULES: tuple[tuple[tuple[str, ...], str], ...] = (
    (STATUS_NAMES, "requests"),
    (FAILURE_NAMES, "requests"),
    (("cache_hits",), "requests"),
    (("stalled_sessions",), "sessions"),
)


def check_rows(slices: Slices) -> None:
    """Rules inside a row: ROW_RULES; a row has traffic; latency counts add up to requests, throughput counts to at
    most requests. Raises ContractError `bad_slices` or `bad_histogram` with the first row that breaks one."""
    counts = slices.counts
    for row, requests in enumerate(counts["requests"]):
        if requests == 0 and counts["sessions"][row] == 0:
            raise ContractError("bad_slices", f"slices.requests[{row}]", "traffic: requests or sessions above 0", 0)
        for smaller, larger in ROW_RULES:
            total = sum(counts[n][row] for n in smaller)
            if total > counts[larger][row]:
                expected = f"sum at most {larger} ({counts[larger][row]})"
                raise ContractError("bad_slices", f"slices.{'+'.join(smaller)}[{row}]", expected, total)
    latency = _row_sums(slices.histograms["latency"])
    throughput = _row_sums(slices.histograms["throughput"])
    for row, requests in enumerate(counts["requests"]):
        if latency[row] != requests:
            raise ContractError(
                "bad_histogram", f"slices.latency[{row}]", f"counts that add up to requests ({requests})", latency[row]
            )
        if throughput[row] > requests:
            raise ContractError(
                "bad_histogram",
                f"slices.throughput[{row}]",
                f"counts of at most requests ({requests})",
                throughput[row],
            )


def _row_sums(histograms: Histograms) -> list[int]:
    sums, at = [], 0
    for length in histograms.lengths:
        sums.append(sum(histograms.counts[at : at + length]))
        at += length
    return sums


def _exemplars(value: object) -> dict[str, list[Any]]:
    document = _object("exemplars", value)
    if not document:
        return {}
    known = [c.name for c in EXEMPLARS_MEASURES]
    if document.keys() != set(known):
        raise ContractError("bad_field", "exemplars", f"exactly the columns {known}", sorted(document))
    rows = len(_list("exemplars.at", document["at"]))
    if rows > MAX_EXEMPLARS:
        raise ContractError("too_large", "exemplars", f"at most {MAX_EXEMPLARS} rows", rows)
    result: dict[str, list[Any]] = {}
    for column in EXEMPLARS_MEASURES:
        path = f"exemplars.{column.name}"
        values = _list(path, document[column.name], rows, "bad_field")
        for i, item in enumerate(values):
            if column.dtype == "int64":
                _count(f"{path}[{i}]", item)
            elif column.name == "failure" and item == "":
                continue
            else:
                _text(f"{path}[{i}]", item)
        result[column.name] = values
    return result
