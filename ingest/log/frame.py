"""Bytes of a segment: its head, and frames that hold the records of one submit, all or none.

Segment = head, frames. Head = magic, version, salt, first frame number, state (JSON), each under one CRC32.
Frame = magic, payload length, CRC32, number, group, records. Frames are numbered without gaps over the whole log; a
frame without records and with a higher number than expected says that the numbers between were lost and salvaged.
`group` is the number of the first frame of the fsync it belongs to: a damaged frame that is followed by a frame of a
later group was durable once, so it is corrupt and not merely torn. The CRC starts from the segment's random salt, so
that bytes that a client sent can never pass for a frame. Integers are little-endian.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from contracts.protocols import Record, StoredRecord

FORMAT_VERSION = 1
SEGMENT_MAGIC = b"DIPLOG1\n"
FRAME_MAGIC = b"\xd1\xfeFr"
_SEGMENT_HEAD = struct.Struct("<8sI8sQII")  # magic, version, salt, first frame, state length, crc
_FRAME_HEAD = struct.Struct("<4sIIQQ")  # magic, payload length, crc, number, group
_FRAME_TAIL = struct.Struct("<QQ")  # the part of the head under the crc: number, group
# Per record: length of topic, headers, key, value; partition; offset; timestamp.
_RECORD = struct.Struct("<BIIIIqq")
FRAME_HEAD_BYTES = _FRAME_HEAD.size
LEAST_RECORD_BYTES = _RECORD.size
MAX_PAYLOAD_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class SegmentHead:
    """`state`: partitions per default topic, and end offsets when the segment began. `size`: bytes of the head."""

    salt: int
    first_frame: int
    state: Mapping[str, object]
    size: int


@dataclass(frozen=True, slots=True)
class Meta:
    """Where a record stands and what an index needs of it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    empty: bool


def encode_head(salt: bytes, first_frame: int, state: Mapping[str, object]) -> bytes:
    """Head of a segment; `salt`: 8 random bytes."""
    text = json.dumps(state, separators=(",", ":"), sort_keys=True).encode()
    head = _SEGMENT_HEAD.pack(SEGMENT_MAGIC, FORMAT_VERSION, salt, first_frame, len(text), 0)[:-4]
    return head + struct.pack("<I", zlib.crc32(text, zlib.crc32(head))) + text


def decode_head(data: bytes) -> SegmentHead | None:
    """The head at the start of a segment's bytes, or None when it is not whole."""
    if len(data) < _SEGMENT_HEAD.size:
        return None
    magic, version, salt, first_frame, length, crc = _SEGMENT_HEAD.unpack_from(data)
    size = _SEGMENT_HEAD.size + length
    text = data[_SEGMENT_HEAD.size : size]
    if magic != SEGMENT_MAGIC or version != FORMAT_VERSION or len(text) != length:
        return None
    if zlib.crc32(text, zlib.crc32(data[: _SEGMENT_HEAD.size - 4])) != crc:
        return None
    return SegmentHead(zlib.crc32(salt), first_frame, json.loads(text), size)


def encode_frame(salt: int, number: int, group: int, records: Sequence[tuple[Record, int, int]]) -> bytes:
    """A frame of (record, partition, offset)."""
    parts = [b""]
    for record, partition, offset in records:
        topic = record.topic.encode()
        headers = json.dumps(dict(record.headers), separators=(",", ":")).encode() if record.headers else b""
        key, value = record.key, record.value
        parts.append(
            _RECORD.pack(len(topic), len(headers), len(key), len(value), partition, offset, record.timestamp_ms)
        )
        parts += (topic, headers, key, value)
    payload = b"".join(parts)
    tail = _FRAME_TAIL.pack(number, group)
    crc = zlib.crc32(payload, zlib.crc32(tail, salt))
    return _FRAME_HEAD.pack(FRAME_MAGIC, len(payload), crc, number, group) + payload


def frame_size(data: bytes | memoryview, at: int) -> int | None:
    """Bytes of the frame at a position as its head states them; None when no head is there or it is cut."""
    if at + FRAME_HEAD_BYTES > len(data) or data[at : at + 4] != FRAME_MAGIC:
        return None
    length: int = _FRAME_HEAD.unpack_from(data, at)[1]
    return FRAME_HEAD_BYTES + length if length <= MAX_PAYLOAD_BYTES else None


def check_frame(data: bytes | memoryview, at: int, salt: int) -> tuple[int, int, int] | None:
    """(number, group, end position) of a whole and undamaged frame at a position; else None."""
    size = frame_size(data, at)
    if size is None or at + size > len(data):
        return None
    _, _, crc, number, group = _FRAME_HEAD.unpack_from(data, at)
    view = memoryview(data)[at + FRAME_HEAD_BYTES - _FRAME_TAIL.size : at + size]
    return (number, group, at + size) if zlib.crc32(view, salt) == crc else None


def metas(data: bytes | memoryview, at: int, end: int, names: dict[bytes, str]) -> Iterator[Meta]:
    """Metas of the records of a checked frame; `names` caches topic names."""
    for topic, fields, start in _walk(data, at + FRAME_HEAD_BYTES, end):
        name = names.get(topic)
        if name is None:
            name = names[topic] = topic.decode()
        _, header_size, key_size, value_size, partition, offset, timestamp = fields
        key_at = start + header_size
        yield Meta(name, partition, offset, timestamp, bytes(data[key_at : key_at + key_size]), value_size == 0)


def wanted(
    data: bytes | memoryview, at: int, end: int, positions: Mapping[tuple[bytes, int], int]
) -> Iterator[StoredRecord]:
    """Records of a checked frame in the partitions of `positions` (by topic bytes) at or above these offsets."""
    for topic, fields, start in _walk(data, at + FRAME_HEAD_BYTES, end):
        _, header_size, key_size, value_size, partition, offset, timestamp = fields
        position = positions.get((topic, partition))
        if position is None or offset < position:
            continue
        key_at = start + header_size
        value_at = key_at + key_size
        headers = json.loads(bytes(data[start:key_at])) if header_size else {}
        key, value = bytes(data[key_at:value_at]), bytes(data[value_at : value_at + value_size])
        yield StoredRecord(topic.decode(), partition, offset, key, value, timestamp, headers)


def _walk(data: bytes | memoryview, at: int, end: int) -> Iterator[tuple[bytes, tuple[int, ...], int]]:
    """Per record: topic, its head's fields, position of its headers."""
    while at < end:
        fields = _RECORD.unpack_from(data, at)
        start = at + _RECORD.size + fields[0]
        yield bytes(data[at + _RECORD.size : start]), fields, start
        at = start + fields[1] + fields[2] + fields[3]
