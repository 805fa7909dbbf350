"""One segment file and its sparse index per partition, kept in memory and, once the segment is sealed, beside it."""

from __future__ import annotations

import json
import mmap
import os
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.protocols import TopicPartition
from contracts.topics import ALL
from ingest.log import frame
from ingest.log.errors import corrupt
from ingest.log.frame import Meta, SegmentHead

INDEX_EVERY_BYTES = 256 * 1024  # a look-up scans at most about this much
COMPACTED = frozenset(topic.name for topic in ALL if topic.compacted)
_SIDECAR_MAGIC = b"DIPIDX1\n"


@dataclass(slots=True)
class PartitionIndex:
    """A partition's records inside one segment. Entry i: the record `offsets[i]` lies in the frame at
    `positions[i]`, and no earlier record of this segment has a timestamp above `before[i]`."""

    first: int
    next: int
    max_timestamp: int
    offsets: list[int]
    positions: list[int]
    before: list[int]


@dataclass(slots=True)
class Segment:
    """`size`: end of the last durable frame; `next_frame`: number after it. `latest`: per partition of compacted
    topics the newest offset of each key in this segment."""

    path: Path
    head: SegmentHead
    next_frame: int
    size: int
    sealed: bool = False
    max_timestamp: int = -1
    partitions: dict[TopicPartition, PartitionIndex] = field(default_factory=dict)
    latest: dict[TopicPartition, dict[bytes, int]] = field(default_factory=dict)

    @property
    def first_frame(self) -> int:
        """Number of the first frame; it names the file."""
        return self.head.first_frame

    def note(self, position: int, end: int, next_frame: int, metas: Iterable[Meta]) -> None:
        """Take a durable frame into the index."""
        for meta in metas:
            place = (meta.topic, meta.partition)
            index = self.partitions.get(place)
            if index is None:
                index = self.partitions[place] = PartitionIndex(
                    meta.offset, meta.offset, meta.timestamp_ms, [meta.offset], [position], [-1]
                )
            elif position - index.positions[-1] >= INDEX_EVERY_BYTES:
                index.offsets.append(meta.offset)
                index.positions.append(position)
                index.before.append(index.max_timestamp)
            index.next = meta.offset + 1
            index.max_timestamp = max(index.max_timestamp, meta.timestamp_ms)
            self.max_timestamp = max(self.max_timestamp, meta.timestamp_ms)
            if meta.topic in COMPACTED:
                self.latest.setdefault(place, {})[meta.key] = meta.offset
        self.size = end
        self.next_frame = next_frame

    def position_of(self, place: TopicPartition, offset: int) -> int:
        """A position at or before the frame with the first record of a partition at or above an offset."""
        index = self.partitions[place]
        return index.positions[max(0, bisect_right(index.offsets, offset) - 1)]

    def offset_before_time(self, place: TopicPartition, time_ms: int) -> int:
        """An indexed offset of a partition with no record at or after a time before it in this segment."""
        index = self.partitions[place]
        return index.offsets[max(0, bisect_left(index.before, time_ms) - 1)]


def name_of(first_frame: int) -> str:
    """File name of a segment; names sort by age."""
    return f"{first_frame:020d}.seg"


def create(folder: Path, first_frame: int, state: dict[str, object]) -> Segment:
    """A new, empty, durable segment."""
    data = frame.encode_head(os.urandom(8), first_frame, state)
    path = folder / name_of(first_frame)
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)
    head = frame.decode_head(data)
    assert head is not None
    return Segment(path, head, first_frame, head.size)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def scan(path: Path, *, last: bool) -> tuple[Segment | None, int]:
    """Read a segment frame by frame: what is in it and its undamaged size. In the last segment a torn tail ends it (the
    caller truncates; None: not even its head is whole); elsewhere, or when a later fsync followed, damage raises
    LogCorrupt."""
    with path.open("rb") as file:
        file_size = os.fstat(file.fileno()).st_size
        if file_size == 0:
            if last:
                return None, 0
            raise corrupt(path, 0, "the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            return _scan(path, data, last)


def _scan(path: Path, data: memoryview, last: bool) -> tuple[Segment | None, int]:
    head = frame.decode_head(bytes(data[: min(len(data), 1 << 20)]))
    if head is None:
        # A head is durable before the first frame is written, so a bad one in a file with frames is damage.
        if last and bytes(data).find(frame.FRAME_MAGIC) < 0:
            return None, 0
        raise corrupt(path, 0, "the segment's head fails its checksum")
    segment = Segment(path, head, head.first_frame, head.size)
    names: dict[bytes, str] = {}
    at = head.size
    while at < len(data):
        checked = frame.check_frame(data, at, head.salt)
        if checked is None:
            if last and not _durable_frame_follows(data, at + 1, segment):
                break
            raise corrupt(path, at, "a frame fails its checksum")
        number, _, end = checked
        empty = end - at == frame.FRAME_HEAD_BYTES
        if number != segment.next_frame and not (empty and number > segment.next_frame):
            raise corrupt(path, at, f"frame {segment.next_frame} was expected, {number} is there")
        segment.note(at, end, number + 1, frame.metas(data, at, end, names))
        at = end
    return segment, segment.size


def _durable_frame_follows(data: memoryview, at: int, segment: Segment) -> bool:
    """Whether a whole frame of a later fsync than the damaged frame's lies behind a position."""
    rest = bytes(data[at:])
    found = rest.find(frame.FRAME_MAGIC)
    while found >= 0:
        checked = frame.check_frame(rest, found, segment.head.salt)
        if checked is not None and checked[1] > segment.next_frame:
            return True
        found = rest.find(frame.FRAME_MAGIC, found + 1)
    return False


def write_sidecar(segment: Segment) -> None:
    """Keep the index of a sealed segment beside it, so that opening the log need not scan it. Marks it sealed."""
    document = {
        "size": segment.size,
        "next_frame": segment.next_frame,
        "max_timestamp": segment.max_timestamp,
        "partitions": [
            [*place, i.first, i.next, i.max_timestamp, i.offsets, i.positions, i.before]
            for place, i in segment.partitions.items()
        ],
        "latest": [
            [*place, [[key.decode("latin-1"), offset] for key, offset in keys.items()]]
            for place, keys in segment.latest.items()
        ],
    }
    body = zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 1)
    path = segment.path.with_suffix(".idx")
    fresh = path.with_suffix(".idx.new")
    with fresh.open("wb") as file:
        file.write(_SIDECAR_MAGIC + zlib.crc32(body, segment.head.salt).to_bytes(4, "little") + body)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    segment.sealed = True


def read_sidecar(path: Path, head: SegmentHead) -> dict[str, Any] | None:
    """The index that was written when a segment was sealed, or None when there is no valid one."""
    try:
        data = path.with_suffix(".idx").read_bytes()
    except FileNotFoundError:
        return None
    body = data[12:]
    if data[:8] != _SIDECAR_MAGIC or data[8:12] != zlib.crc32(body, head.salt).to_bytes(4, "little"):
        return None
    document: dict[str, Any] = json.loads(zlib.decompress(body))
    return document


def load_sealed(path: Path) -> Segment | None:
    """A sealed segment from its head and sidecar; None when there is no valid sidecar: scan the segment. Raises
    LogCorrupt when the segment is shorter than it was sealed."""
    with path.open("rb") as file:
        head = frame.decode_head(file.read(1 << 20))
        file_size = os.fstat(file.fileno()).st_size
    document = None if head is None else read_sidecar(path, head)
    if head is None or document is None or document["size"] < file_size:
        return None  # longer than sealed: there was no space to begin another segment, so it was written to after all
    if document["size"] > file_size:
        raise corrupt(path, file_size, f"the file ends here, sealed with {document['size']} bytes")
    segment = Segment(path, head, document["next_frame"], file_size, True, document["max_timestamp"])
    for topic, partition, first, next_offset, newest, offsets, positions, before in document["partitions"]:
        segment.partitions[topic, partition] = PartitionIndex(first, next_offset, newest, offsets, positions, before)
    for topic, partition, pairs in document["latest"]:
        segment.latest[topic, partition] = {key.encode("latin-1"): offset for key, offset in pairs}
    return segment
