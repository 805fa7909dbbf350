"""A file of past minutes as rows: CSV, JSON lines or Parquet, every row checked, wrong ones named by row and field."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from contracts.auth import check_id
from contracts.entities import MEASURES
from contracts.errors import ContractError
from contracts.report import MAX_TEXT
from contracts.times import DAY_MS, MINUTE_MS, from_rfc3339
from dipper.settings import SettingsError
from history.imported import LABELS, OK, SCHEMA

FIELDS = ("minute", "customer", "service", "measure", "bad", "total")
MAX_FILE_BYTES = 4 * 1024**3
MAX_ROWS = 30_000_000
MAX_LINE_CHARS = 4_096
MAX_COUNT = 10**12
OLDEST_MS = 400 * DAY_MS
MOST_PROBLEMS = 20
AT_ONCE = 5_000  # rows of a block: fits a request to a running Dipper

Row = tuple[int, str, str, str, int, int, str]
Step = Callable[[int], None]


def fingerprint(path: Path) -> str:
    """SHA-256 of the file, hex. Raises SettingsError for a file that is none, or too large."""
    if not path.is_file():
        raise SettingsError(f"{path}: expected a file of past minutes, got nothing to read")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise SettingsError(f"{path}: expected at most {MAX_FILE_BYTES} bytes, got {path.stat().st_size}")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, now: int, step: Step) -> int:
    """How many rows there are. `step(rows so far)`. Raises SettingsError that names the first wrong rows and fields:
    nothing of such a file is taken."""
    problems: list[str] = []
    n = 0
    for n, (place, document) in enumerate(_documents(path), 1):
        if n > MAX_ROWS:
            raise SettingsError(f"{path}: expected at most {MAX_ROWS} rows, got more")
        try:
            row_of(document, now)
        except ContractError as error:
            problems.append(f"  {place}: {error}")
            if len(problems) == MOST_PROBLEMS:
                problems.append("  and perhaps more")
                break
        step(n)
    if problems:
        raise SettingsError("\n".join([f"{path}: nothing was imported:", *problems]))
    return n


def blocks(path: Path, now: int) -> Iterator[pa.Table]:
    """Rows of a checked file in blocks of SCHEMA."""
    rows: list[Row] = []
    for _, document in _documents(path):
        rows.append(row_of(document, now))
        if len(rows) == AT_ONCE:
            yield _block(rows)
            rows = []
    if rows:
        yield _block(rows)


def _block(rows: list[Row]) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table(
        {field.name: pa.array(list(c), field.type) for field, c in zip(SCHEMA, columns, strict=True)}, SCHEMA
    )


def row_of(document: Mapping[str, Any], now: int) -> Row:
    """A checked row. Raises ContractError that names the field."""
    unknown = sorted(set(document) - {*FIELDS, "label"}, key=str)
    if unknown:
        raise ContractError("bad_row", str(unknown[0]), f"fields {', '.join(FIELDS)} and label", "another field")
    for name in FIELDS:
        if document.get(name) in (None, ""):
            raise ContractError("bad_row", name, "a value", "none")
    minute = _minute(document["minute"], now)
    customer = check_id("customer", document["customer"])
    service = document["service"]
    if not isinstance(service, str) or len(service) > MAX_TEXT or not service.isprintable():
        raise ContractError("bad_row", "service", f"1 to {MAX_TEXT} printable characters", service)
    measure = document["measure"]
    if measure not in MEASURES:
        raise ContractError("bad_row", "measure", f"one of {', '.join(MEASURES)}", measure)
    total = _count("total", document["total"], MAX_COUNT)
    bad = _count("bad", document["bad"], total)
    label = document.get("label") or OK
    if label not in LABELS:
        raise ContractError("bad_row", "label", f"one of {', '.join(LABELS)}", label)
    return minute, customer, service, str(measure), bad, total, str(label)


def _minute(value: Any, now: int) -> int:
    expected = "the start of a whole minute, RFC 3339 with a zone or ms UTC"
    time_ms = value
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ContractError("bad_row", "minute", expected, value.isoformat())
        time_ms = round(value.timestamp() * 1_000)
    elif isinstance(value, str):
        try:
            time_ms = int(value) if value.isascii() and value.isdigit() else from_rfc3339(value)
        except ValueError:
            raise ContractError("bad_row", "minute", expected, value) from None
    if type(time_ms) is not int or time_ms % MINUTE_MS:
        raise ContractError("bad_row", "minute", expected, value)
    if not now - OLDEST_MS <= time_ms <= now - MINUTE_MS:
        raise ContractError("bad_row", "minute", f"in the past, at most {OLDEST_MS // DAY_MS} days ago", value)
    return time_ms


def _count(name: str, value: Any, most: int) -> int:
    number = value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(MAX_COUNT)):
        number = int(value)
    if type(number) is not int or not 0 <= number <= most:
        raise ContractError("bad_row", name, f"a whole number from 0 to {most}", value)
    return number


def _documents(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where it stands, fields) of each row, by the file's ending. Raises SettingsError."""
    reader = {".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines, ".parquet": _parquet}.get(path.suffix)
    if reader is None:
        raise SettingsError(f"{path}: expected a file .csv, .jsonl, .ndjson or .parquet, got {path.suffix or 'none'}")
    try:
        yield from reader(path)
    except (UnicodeDecodeError, csv.Error, pa.ArrowException, OSError) as error:
        raise SettingsError(f"{path}: expected readable {path.suffix[1:]}, got: {error}") from None


def _csv(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(_bounded(file, path), strict=True)
        header = next(rows, [])
        missing = [name for name in FIELDS if name not in header]
        if missing or len(set(header)) < len(header):
            raise SettingsError(f"{path}: line 1: expected the columns {', '.join(FIELDS)} [, label], got {header}")
        for row in rows:
            place = f"line {rows.line_num}"
            if len(row) == len(header):
                yield place, dict(zip(header, row, strict=True))
            elif row:
                raise SettingsError(f"{path}: {place}: expected {len(header)} values, got {len(row)}")


def _json_lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for n, line in enumerate(_bounded(file, path), 1):
            if not line.strip():
                continue
            try:
                document = json.loads(line)
            except ValueError as error:
                raise SettingsError(f"{path}: line {n}: expected a JSON object, got: {error}") from None
            if not isinstance(document, dict):
                raise SettingsError(f"{path}: line {n}: expected a JSON object, got {line[:40]!r}")
            yield f"line {n}", document


def _bounded(file: Any, path: Path) -> Iterator[str]:
    """Lines, none longer than MAX_LINE_CHARS."""
    n = 0
    while line := file.readline(MAX_LINE_CHARS + 1):
        n += 1
        if len(line) > MAX_LINE_CHARS:
            raise SettingsError(f"{path}: line {n}: expected at most {MAX_LINE_CHARS} characters, got more")
        yield line


def _parquet(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        n = 0
        for batch in file.iter_batches(batch_size=AT_ONCE):
            for row in batch.to_pylist():
                n += 1
                yield f"row {n}", row
