"""Reads a case for the localiser: a CSV or Parquet table of counts per combination of dimension values.

Every complaint is one sentence with file, row and column. Rows are counted as a spreadsheet does for CSV (the
header is row 1), and from 1 for Parquet.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

MAX_DIMENSIONS = 12
MAX_MINUTES = 60
"""Minutes up to the moment that are kept: history for the baseline, and for the change point."""

Column = Any
"""A pyarrow chunked array; the library has no types."""


class CaseError(Exception):
    """The case cannot be used; the message is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Table:
    """A file's columns, with the means to name a row of it."""

    path: str
    columns: dict[str, Column]
    row_name: Callable[[int], str]

    def column(self, name: str, purpose: str) -> Column:
        if name not in self.columns:
            there = ", ".join(self.columns)
            raise CaseError(f"{self.path}: no column {name!r} for the {purpose}; the columns are {there}")
        return self.columns[name]

    def wrong(self, row: int, column: str, expected: str, got: object) -> CaseError:
        return CaseError(f"{self.path}, {self.row_name(row)}, column {column!r}: expected {expected}, got {got!r}")


@dataclass(frozen=True, slots=True)
class Dimensions:
    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    """Per dimension its values; a code is a position in them."""
    codes: npt.NDArray[np.int64]
    """(n_leaves, n_dims): the distinct combinations."""
    leaf: npt.NDArray[np.int64]
    """(n_rows,): the leaf of each row of the file."""

    def named(self, where: tuple[tuple[int, int], ...]) -> dict[str, str]:
        return {self.names[d]: self.values[d][v] for d, v in where}


@dataclass(frozen=True, slots=True)
class RatioCase:
    dimensions: Dimensions
    bad: npt.NDArray[np.int64]
    total: npt.NDArray[np.int64]
    """(n_leaves, n_minutes)."""
    minutes: tuple[int, ...]
    """Times as the file has them, ascending; the last is the moment."""


@dataclass(frozen=True, slots=True)
class CountCase:
    dimensions: Dimensions
    real: npt.NDArray[np.float64]
    forecast: npt.NDArray[np.float64]


def read_ratio_case(path: str, at: int, bad: str, total: str, time: str, ignore: tuple[str, ...]) -> RatioCase:
    """Counts per leaf and minute up to `at`, of the last `MAX_MINUTES` minutes. Raises CaseError."""
    table = read_table(path)
    times = _times(table, time)
    bad_of, total_of = _counts(table, bad, "bad events"), _counts(table, total, "total")
    over = np.flatnonzero(bad_of > total_of)
    if len(over):
        row = int(over[0])
        raise table.wrong(row, bad, f"at most the {total_of[row]} of column {total!r}", int(bad_of[row]))
    dimensions = _dimensions(table, {bad, total, time, *ignore})
    minutes = np.unique(times)
    if at not in minutes:
        span = f"{minutes[0]} to {minutes[-1]}"
        raise CaseError(f"{path}, column {time!r}: the moment {at} is not in the data, which has {span}")
    _refuse_without_contrast(table, dimensions)
    minutes = minutes[minutes <= at][-MAX_MINUTES:]
    rows = np.flatnonzero((times >= minutes[0]) & (times <= at))
    shape = len(dimensions.codes), len(minutes)
    cell = dimensions.leaf[rows] * shape[1] + np.searchsorted(minutes, times[rows])

    def matrix(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        # Exact: float64 holds integers up to 2^53, and no count may exceed that.
        return np.bincount(cell, counts[rows], shape[0] * shape[1]).astype(np.int64).reshape(shape)

    return RatioCase(dimensions, matrix(bad_of), matrix(total_of), tuple(int(m) for m in minutes))


def read_count_case(path: str, real: str, forecast: str, ignore: tuple[str, ...]) -> CountCase:
    """Real and forecast counts per leaf. Raises CaseError."""
    table = read_table(path)
    real_of = _numbers(table, real, "real counts")
    forecast_of = _numbers(table, forecast, "forecast")
    dimensions = _dimensions(table, {real, forecast, *ignore})
    _refuse_without_contrast(table, dimensions)
    n_leaves = len(dimensions.codes)

    def per_leaf(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.bincount(dimensions.leaf, numbers, n_leaves).astype(np.float64)

    return CountCase(dimensions, per_leaf(real_of), per_leaf(forecast_of))


def read_table(path: str) -> Table:
    """A CSV (UTF-8, with or without BOM; all values as text) or Parquet file. Raises CaseError."""
    file = Path(path)
    if not file.is_file():
        raise CaseError(f"{path}: there is no such file")
    with file.open("rb") as opened:
        is_parquet = opened.read(4) == b"PAR1"
    table = _read_parquet(path) if is_parquet else _read_csv(path)
    names = [name.strip() for name in table.column_names]
    for position, name in enumerate(names):
        if not name:
            raise CaseError(f"{path}, header, column {position + 1}: expected a name, got nothing")
        if name in names[:position]:
            raise CaseError(f"{path}, header, column {position + 1}: the name {name!r} occurs twice")
    if table.num_rows == 0:
        raise CaseError(f"{path}: expected at least one row below the header, got none")
    row_name = (lambda row: f"row {row + 1}") if is_parquet else (lambda row: f"row {_csv_line(path, row)}")
    return Table(path, dict(zip(names, table.columns, strict=True)), row_name)


def _read_parquet(path: str) -> Any:
    try:
        return pyarrow.parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise CaseError(f"{path}: not a readable Parquet file: {_first_line(error)}") from error


def _read_csv(path: str) -> Any:
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as lines:
            header = next(csv.reader(lines), None)
    except UnicodeDecodeError:
        raise _not_utf8(path) from None
    except csv.Error as error:
        raise CaseError(f"{path}, row 1: not a CSV header: {error}") from error
    if not header or not any(name.strip() for name in header):
        raise CaseError(f"{path}: expected a header and rows, got an empty file or first line")
    misshapen: list[tuple[int, int, int]] = []

    def remember(row: Any) -> str:
        misshapen.append((row.number or 0, row.expected_columns, row.actual_columns))
        return "error"

    positions = [str(i) for i in range(len(header))]
    try:
        return pyarrow.csv.read_csv(
            path,
            pyarrow.csv.ReadOptions(use_threads=False, column_names=positions, skip_rows=1),
            pyarrow.csv.ParseOptions(invalid_row_handler=remember, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(positions, pa.string()), strings_can_be_null=False, null_values=[]
            ),
        ).rename_columns(header)
    except pa.ArrowException as error:
        if misshapen:
            row, expected, actual = misshapen[0]
            raise CaseError(f"{path}, row {row}: expected {expected} columns as in the header, got {actual}") from error
        if "UTF8" in str(error):
            raise _not_utf8(path) from None
        raise CaseError(f"{path}: not a readable CSV file: {_first_line(error)}") from error


def _not_utf8(path: str) -> CaseError:
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                column = line[: error.start].count(b",") + 1
                return CaseError(f"{path}, row {number}, column {column}: expected UTF-8 text, got other bytes")
    return CaseError(f"{path}: expected UTF-8 text, got other bytes")


def _csv_line(path: str, row: int) -> int:
    """Line of the file on which a row of the table ends; blank lines are no rows."""
    with Path(path).open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        next(reader)
        for number, _ in enumerate(line for line in reader if line):
            if number == row:
                break
        return reader.line_num


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _numbers(table: Table, name: str, purpose: str) -> npt.NDArray[np.float64]:
    column = table.column(name, purpose)
    expected = "a finite number of 0 or more"
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        try:
            values = pc.cast(pc.utf8_trim_whitespace(column), pa.float64())
        except pa.ArrowInvalid:
            row, text = next((i, v) for i, v in enumerate(column.to_pylist()) if not _is_number(v))
            raise table.wrong(row, name, expected, text) from None
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        values = pc.cast(column, pa.float64(), safe=False)
    else:
        raise CaseError(f"{table.path}, column {name!r}: expected numbers, got {column.type}")
    numbers: npt.NDArray[np.float64] = values.to_numpy(zero_copy_only=False).astype(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0) & (numbers < 2**53)))
    if len(wrong):
        row = int(wrong[0])
        raise table.wrong(row, name, expected, column[row].as_py())
    return numbers


def _is_number(text: str | None) -> bool:
    try:
        pc.cast(pa.array([(text or "").strip()]), pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _counts(table: Table, name: str, purpose: str) -> npt.NDArray[np.int64]:
    numbers = _numbers(table, name, purpose)
    broken = np.flatnonzero(numbers != np.floor(numbers))
    if len(broken):
        raise table.wrong(int(broken[0]), name, "a whole number", float(numbers[broken[0]]))
    return numbers.astype(np.int64)


def _times(table: Table, name: str) -> npt.NDArray[np.int64]:
    column = table.column(name, "time (see --time)")
    if pa.types.is_timestamp(column.type):
        table.columns[name] = pc.cast(pc.cast(column, pa.timestamp("s"), safe=False), pa.int64())
    return _counts(table, name, "time (see --time)")


def _dimensions(table: Table, other: set[str]) -> Dimensions:
    """The columns that are not `other`, integer-coded; values ascending, so that codes do not depend on row order."""
    names = tuple(name for name in table.columns if name not in other)
    if not names:
        raise CaseError(f"{table.path}: expected at least one column of dimension values beside the counts, got none")
    if len(names) > MAX_DIMENSIONS:
        listed = ", ".join(names)
        raise CaseError(
            f"{table.path}: expected at most {MAX_DIMENSIONS} dimensions, got {len(names)} ({listed}); "
            "leave some out with --ignore"
        )
    values: list[tuple[str, ...]] = []
    leaf = np.zeros(table.columns[names[0]].length(), dtype=np.int64)
    columns: list[npt.NDArray[np.int64]] = []
    for name in names:
        texts, codes = _coded(table, name)
        values.append(texts)
        columns.append(codes)
        leaf = np.unique(leaf * len(texts) + codes, return_inverse=True)[1].astype(np.int64)
    _, first = np.unique(leaf, return_index=True)
    return Dimensions(names, tuple(values), np.column_stack(columns)[first], leaf)


def _refuse_without_contrast(table: Table, dimensions: Dimensions) -> None:
    """A cause is what differs from the rest: one row, or one combination of values, has no rest."""
    if len(dimensions.leaf) == 1:
        raise CaseError(f"{table.path}, {table.row_name(0)}: expected at least two rows to compare, got this one only")
    if len(dimensions.codes) == 1:
        names = ", ".join(repr(name) for name in dimensions.names)
        only = ", ".join(repr(values[0]) for values in dimensions.values)
        columns = "column" if len(dimensions.names) == 1 else "columns"
        raise CaseError(
            f"{table.path}, {columns} {names}: expected a dimension with at least two values, "
            f"got only {only} in every row"
        )


def _coded(table: Table, name: str) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    column = table.columns[name]
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        raise CaseError(f"{table.path}, column {name!r}: expected texts or numbers as a dimension, got {column.type}")
    encoded = pc.dictionary_encode(pc.fill_null(pc.cast(column, pa.string()), "")).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    texts = encoded.dictionary.to_pylist()
    order = sorted(range(len(texts)), key=texts.__getitem__)
    position = np.empty(len(texts), dtype=np.int64)
    position[order] = np.arange(len(texts))
    return tuple(texts[i] for i in order), position[encoded.indices.to_numpy()]
