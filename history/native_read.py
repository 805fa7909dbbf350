"""Blocks of ClickHouse's native protocol as Arrow columns, read without Python objects per value.

Types as the embedded engine gives them: LowCardinality as dictionaries, tuples as structs. What this module does not
know (decimals, UUIDs, sparse columns) is read by the driver, value by value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from clickhouse_driver.block import BlockInfo
from clickhouse_driver.columns.service import read_column
from clickhouse_driver.reader import read_binary_str, read_binary_uint8, read_binary_uint64
from clickhouse_driver.varint import read_varint
from numpy.typing import NDArray

from contracts.protocols import StoreError
from history.native_types import FIXED, Kind, arrow_type, kind_of

_INDEX: tuple[type[np.unsignedinteger[Any]], ...] = (np.uint8, np.uint16, np.uint32, np.uint64)
_MOST_TEXT_BYTES = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Block:
    """A block: (name, type) per column, and the columns; a header has none."""

    kinds: list[tuple[str, str]]
    rows: int
    columns: list[pa.Array]


class BlockReader:
    """Takes the place of the driver's BlockInputStream: `buffer` is its buffered reader, `context` its context."""

    def __init__(self, buffer: Any, context: Any) -> None:
        self._buffer = buffer
        self._context = context

    def read(self, use_numpy: bool | None = None) -> Block:  # noqa: ARG002 - the driver's signature
        """The next block."""
        BlockInfo().read(self._buffer)
        columns, rows = read_varint(self._buffer), read_varint(self._buffer)
        kinds: list[tuple[str, str]] = []
        arrays: list[pa.Array] = []
        for _ in range(columns):
            kinds.append((read_binary_str(self._buffer), read_binary_str(self._buffer)))
            custom = bool(read_binary_uint8(self._buffer))
            if rows:
                arrays.append(self._column(kind_of(kinds[-1][1]), rows, custom))
        return Block(kinds, rows, arrays)

    def _column(self, kind: Kind, rows: int, custom: bool) -> pa.Array:
        if custom or not kind.readable:
            values = read_column(self._context, kind.text, rows, self._buffer, has_custom_serialization=custom)
            return pa.array(list(values), arrow_type(kind) if kind.readable else None)
        self._prefix(kind)
        return self._values(kind, rows)

    def _prefix(self, kind: Kind) -> None:
        if kind.name == "LowCardinality":
            read_binary_uint64(self._buffer)
        else:
            for part in kind.parts:
                self._prefix(part)

    def _values(self, kind: Kind, rows: int) -> pa.Array:
        if kind.name in FIXED:
            return self._fixed(FIXED[kind.name], rows)
        if kind.name == "Bool":
            return pa.array(self._bytes(rows) != 0)
        if kind.name == "Nothing":
            self._bytes(rows)
            return pa.nulls(rows)
        if kind.name == "String":
            return self._strings(rows)
        if kind.name == "LowCardinality":
            return self._low_cardinality(kind.parts[0], rows)
        if kind.name == "Nullable":
            missing = self._bytes(rows) != 0
            return _masked(self._values(kind.parts[0], rows), missing)
        if kind.name == "Tuple":
            parts = [self._values(part, rows) for part in kind.parts]
            return pa.StructArray.from_arrays(parts, names=list(kind.names))
        ends = self._bytes(8 * rows).view(np.uint64)
        total = int(ends[-1]) if rows else 0
        offsets = pa.array(np.concatenate(([0], ends)).astype(np.int32))
        items = [self._values(part, total) for part in kind.parts]
        return (pa.MapArray if kind.name == "Map" else pa.ListArray).from_arrays(offsets, *items)

    def _bytes(self, size: int) -> NDArray[np.uint8]:
        return np.frombuffer(self._buffer.read(size), np.uint8) if size else np.zeros(0, np.uint8)

    def _fixed(self, kind: pa.DataType, rows: int) -> pa.Array:
        data = self._bytes(rows * kind.bit_width // 8)
        return pa.Array.from_buffers(kind, rows, [None, pa.py_buffer(data)])

    def _strings(self, rows: int) -> pa.Array:
        if rows == 0:
            return pa.array([], pa.utf8())
        ends, data = self._buffer.read_strings_arrow(rows)
        if len(data) > _MOST_TEXT_BYTES:
            raise StoreError(f"history: expected less than 2 GiB of text in one block, got {len(data)} bytes")
        offsets = np.frombuffer(ends, np.int64).astype(np.int32)
        return pa.Array.from_buffers(pa.utf8(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(data)])

    def _low_cardinality(self, inner: Kind, rows: int) -> pa.Array:
        nullable = inner.name == "Nullable"
        of = inner.parts[0] if nullable else inner
        if rows == 0:
            return pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], arrow_type(of)))
        dtype = _INDEX[read_binary_uint64(self._buffer) & 0xF]
        dictionary = self._values(of, read_binary_uint64(self._buffer))
        read_binary_uint64(self._buffer)
        index = self._bytes(rows * np.dtype(dtype).itemsize).view(dtype).astype(np.int32)
        indices = pa.array(index, mask=index == 0) if nullable else pa.array(index)
        return pa.DictionaryArray.from_arrays(indices, dictionary)


def _masked(array: pa.Array, missing: NDArray[np.bool_]) -> pa.Array:
    if len(array) == 0 or not missing.any() or array.null_count == len(array):
        return array
    _, *rest = array.buffers()
    validity = pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.Array.from_buffers(array.type, len(array), [validity, *rest])
