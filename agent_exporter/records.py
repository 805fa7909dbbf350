"""The spool's records: framed, checksummed, found again behind damage. Pure functions over bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"\xd1PR1"
REPORT = b"R"
STATE = b"S"
# magic, kind, number of the commit, length of the payload, CRC-32 of the three and the payload
HEADER = struct.Struct(">4scQII")
_CHECKED = struct.Struct(">cQI")


@dataclass(frozen=True, slots=True)
class Record:
    """A whole record at `offset` of its segment, `size` bytes with its header."""

    kind: bytes
    commit: int
    offset: int
    size: int
    payload: bytes


def pack(kind: bytes, commit: int, payload: bytes) -> bytes:
    """A record's bytes."""
    crc = zlib.crc32(payload, zlib.crc32(_CHECKED.pack(kind, commit, len(payload))))
    return HEADER.pack(MAGIC, kind, commit, len(payload), crc) + payload


def unpack(data: bytes, offset: int = 0) -> Record | None:
    """The record at an offset, or None when there is no whole, undamaged one."""
    if len(data) - offset < HEADER.size:
        return None
    magic, kind, commit, length, crc = HEADER.unpack_from(data, offset)
    start = offset + HEADER.size
    if magic != MAGIC or length > len(data) - start:
        return None
    payload = data[start : start + length]
    if zlib.crc32(payload, zlib.crc32(_CHECKED.pack(kind, commit, length))) != crc:
        return None
    return Record(kind, commit, offset, HEADER.size + length, payload)


def scan(data: bytes) -> Iterator[Record]:
    """All undamaged records, in order; damage is skipped to the next record that proves itself."""
    offset = 0
    while (offset := data.find(MAGIC, offset)) >= 0:
        record = unpack(data, offset)
        if record is None:
            offset += 1
        else:
            yield record
            offset += record.size
