"""Arrow columns as a block of ClickHouse's native protocol, a column at a time and without Python objects per value.

Layout of a column: name, type, a byte that says "ordinary serialization", then values. Numbers: their bytes, little
endian. String: length as varint, bytes. LowCardinality: version, then flags with the width of an index, the dictionary,
the indices. Array: ends of the rows as UInt64, then all items. Nullable: a byte per row, 1 for NULL, then values.
Source: `src/Formats/NativeWriter.cpp` and `src/DataTypes/Serializations/` of ClickHouse 26.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contracts.protocols import StoreError
from history.errors import RowsRefused
from history.native_types import FIXED, Kind, kind_of

Part = bytes | memoryview
_SHARED_DICTIONARIES = 1
_ADDITIONAL_KEYS = 1 << 9
_NEW_DICTIONARY = 1 << 10
_WIDTHS: tuple[tuple[int, type[np.unsignedinteger[Any]]], ...] = ((1 << 8, np.uint8), (1 << 16, np.uint16))


def encode(block: pa.Table, kinds: Sequence[tuple[str, str]]) -> list[Part]:
    """Bytes of a block, in parts; `kinds`: name and engine type per column, in the order to write them. What is null
    where the engine's type knows no NULL becomes the type's default, as the embedded engine has it.

    Raises RowsRefused that names the column for values the type cannot hold, StoreError for types this program does not
    write."""
    parts: list[Part] = [varint(len(kinds)) + varint(block.num_rows)]
    for name, text in kinds:
        parts.append(_text(name) + _text(text) + b"\0")
        kind, column = kind_of(text), _whole(block[name])
        try:
            _prefix(parts, kind)
            _values(parts, kind, column)
        except pa.ArrowNotImplementedError as error:
            raise StoreError(f"history: {name}: expected {text}, got {column.type}: {error}") from None
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise RowsRefused(f"history: {name}: expected {text}, got {column.type}: {error}") from None
    return parts


def varint(value: int) -> bytes:
    """A number of 7 bits a byte, the lowest first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _text(value: str) -> bytes:
    data = value.encode()
    return varint(len(data)) + data


def _part(values: NDArray[Any]) -> Part:
    return np.ascontiguousarray(values).view(np.uint8).data


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)  # combining copies even one
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    whole = column.combine_chunks()
    return whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole


def _prefix(parts: list[Part], kind: Kind) -> None:
    if kind.name == "LowCardinality":
        parts.append(struct.pack("<q", _SHARED_DICTIONARIES))
    elif kind.name in ("Array", "Nullable"):
        _prefix(parts, kind.parts[0])


def _values(parts: list[Part], kind: Kind, array: pa.Array) -> None:
    if kind.name in FIXED or kind.name == "Bool":
        _fixed(parts, kind, array)
    elif kind.name == "String":
        parts.append(_part(_strings(array)))
    elif kind.name == "LowCardinality" and kind.parts[0].name == "String":
        _low_cardinality(parts, array)
    elif kind.name == "Array":
        ends, items = _items(array)
        parts.append(_part(ends))
        _values(parts, kind.parts[0], items)
    elif kind.name == "Nullable":
        parts.append(_part(array.is_null().cast(pa.uint8()).to_numpy()))
        _values(parts, kind.parts[0], array)
    else:
        raise pa.ArrowNotImplementedError("this program writes no such type")


def _fixed(parts: list[Part], kind: Kind, array: pa.Array) -> None:
    if pa.types.is_null(array.type):
        array = pa.nulls(len(array), pa.int8())
    if array.null_count:
        array = pc.fill_null(array, False if pa.types.is_boolean(array.type) else 0)
    wanted = FIXED.get(kind.name, pa.uint8())
    if array.type != wanted:
        array = array.cast(wanted)
    parts.append(_part(array.to_numpy()))


def _strings(array: pa.Array) -> NDArray[np.uint8]:
    """Length and bytes of each value, one after the other."""
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    array = array.cast(pa.large_binary())
    if array.null_count:
        array = pc.fill_null(array, b"")
    _, ends, data = array.buffers()
    offsets = np.frombuffer(ends, np.int64)[array.offset : array.offset + len(array) + 1] if len(array) else _NONE
    values = np.frombuffer(data, np.uint8) if data is not None else _NONE.view(np.uint8)
    values = values[offsets[0] : offsets[-1]]
    sizes = np.diff(offsets)
    widths = np.ones(len(sizes), np.int64)
    most = int(sizes.max(initial=0))
    for shift in range(7, most.bit_length(), 7):
        widths += sizes >= 1 << shift
    heads = offsets[:-1] - offsets[0] + np.cumsum(widths) - widths
    out = np.empty(len(values) + int(widths.sum()), np.uint8)
    is_value = np.ones(len(out), bool)
    for byte in range(int(widths.max(initial=0))):
        has = widths > byte
        at = heads[has] + byte
        more = np.where(widths[has] > byte + 1, 0x80, 0)
        out[at] = (sizes[has] >> 7 * byte & 0x7F) | more
        is_value[at] = False
    out[is_value] = values
    return out


_NONE = np.zeros(1, np.int64)


def _low_cardinality(parts: list[Part], array: pa.Array) -> None:
    if len(array) == 0:
        return
    plain = not pa.types.is_dictionary(array.type)
    if not plain and (array.null_count or array.dictionary.null_count or len(array.dictionary) > 2 * len(array)):
        array, plain = array.cast(array.type.value_type), True
    if plain:
        array = pc.fill_null(array.cast(pa.binary()), b"").dictionary_encode()
    size = len(array.dictionary)
    width, dtype = next(((i, d) for i, (most, d) in enumerate(_WIDTHS) if size <= most), (2, np.uint32))
    parts.append(struct.pack("<qq", _ADDITIONAL_KEYS | _NEW_DICTIONARY | width, size))
    parts.append(_part(_strings(array.dictionary)))
    parts.append(struct.pack("<q", len(array)))
    parts.append(_part(array.indices.to_numpy().astype(dtype)))


def _items(array: pa.Array) -> tuple[NDArray[np.uint64], pa.Array]:
    """Ends of the rows, counted in items from 0, as bytes; and the items of all rows."""
    if array.null_count:
        array = pc.if_else(array.is_valid(), array, pa.scalar([], array.type))
    offsets = array.offsets.to_numpy().astype(np.uint64)
    items = array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    return offsets[1:] - offsets[0], items
