"""What is durable: segments in order and end offsets, shared by the writer thread and any number of readers."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from contracts import topics
from contracts.protocols import LogError, LogUnavailable, TopicPartition
from ingest.log import segment as segments_of
from ingest.log.errors import corrupt
from ingest.log.frame import Meta
from ingest.log.segment import Segment


class State:
    """Every attribute is guarded by `grown`, a condition that is notified when something became durable or ended."""

    def __init__(self, folder: Path, default_partitions: int) -> None:
        self.folder = folder
        self.default_partitions = default_partitions
        self.grown = threading.Condition()
        self.segments: list[Segment] = []
        self.ends: dict[TopicPartition, int] = {}
        self.closed = False
        self.broken: str | None = None

    def load(self) -> None:
        """Open what is there, mend a torn tail, and see that there is a segment to write to. Raises LogCorrupt."""
        for leftover in self.folder.glob("*.new"):
            leftover.unlink()
        paths = sorted(self.folder.glob("*.seg"))
        for path in paths:
            self._load_one(path, last=path == paths[-1])
        if self.segments:
            self._check_partitions(self.segments[-1])
        if not self.segments or self.segments[-1].sealed:
            next_frame = self.segments[-1].next_frame if self.segments else 0
            self.segments.append(segments_of.create(self.folder, next_frame, self.state_for_head()))

    def _load_one(self, path: Path, *, last: bool) -> None:
        segment = segments_of.load_sealed(path)
        if segment is None:
            segment, size = segments_of.scan(path, last=last)
            if segment is None:
                path.unlink()
                segments_of.sync_folder(self.folder)
                return
            if last:
                _truncate(path, size)
            else:
                segments_of.write_sidecar(segment)
        expected = self.segments[-1].next_frame if self.segments else segment.first_frame
        if segment.first_frame != expected:
            raise corrupt(path, 0, f"frame {expected} was expected, a file before this one is missing")
        self.segments.append(segment)
        for topic, ends in segment.head.state["ends"].items():  # type: ignore[attr-defined]
            for partition, end in enumerate(ends):
                self._raise_end((topic, partition), end)
        for place, index in segment.partitions.items():
            self._raise_end(place, index.next)

    def _raise_end(self, place: TopicPartition, end: int) -> None:
        self.ends[place] = max(self.ends.get(place, 0), end)

    def _check_partitions(self, segment: Segment) -> None:
        made_with = segment.head.state["partitions"]
        if made_with != self.default_partitions:
            raise LogError(
                f"{self.folder}: log.partitions: this log was made with {made_with}, got {self.default_partitions}; "
                "keep the number or start a log in a new folder"
            )

    def state_for_head(self) -> dict[str, object]:
        """What a new segment's head says, so that offsets go on when all older segments are gone."""
        ends: dict[str, list[int]] = {}
        for topic, partition in self.ends:
            row = ends.setdefault(topic, [0] * self.partitions(topic))
            row[partition] = self.ends[topic, partition]
        return {"partitions": self.default_partitions, "ends": ends}

    def partitions(self, topic: str) -> int:
        """Number of partitions. Raises LogError for a topic that contracts.topics does not declare."""
        declared = topics.BY_NAME.get(topic)
        if declared is None:
            raise LogError(f"topic: expected one of {sorted(topics.BY_NAME)}, got {topic!r}")
        return declared.partitions or self.default_partitions

    def check_open(self) -> None:
        """Raise LogUnavailable when the log is closed or broken."""
        if self.broken is not None:
            raise LogUnavailable(self.broken)
        if self.closed:
            raise LogUnavailable(f"{self.folder}: the log is closed")

    def commit(self, segment: Segment, frames: list[tuple[int, int, int, list[Meta]]]) -> None:
        """Publish durable frames (position, end, number, metas) of the newest segment; wakes readers."""
        with self.grown:
            for position, end, number, metas in frames:
                segment.note(position, end, number + 1, metas)
                for meta in metas:
                    self.ends[meta.topic, meta.partition] = meta.offset + 1
            self.grown.notify_all()

    def start(self, place: TopicPartition) -> int:
        """Oldest kept offset of a partition."""
        for segment in self.segments:
            index = segment.partitions.get(place)
            if index is not None:
                return index.first
        return self.ends.get(place, 0)

    def locate(self, place: TopicPartition, offset: int) -> tuple[int, int]:
        """(first frame of the segment, position) from which a scan meets the first record at or above an offset."""
        for segment in self.segments:
            index = segment.partitions.get(place)
            if index is not None and index.next > offset:
                return segment.first_frame, segment.position_of(place, offset)
        return self.segments[-1].first_frame, self.segments[-1].size

    def segment_at(self, first_frame: int) -> Segment:
        """The segment with a first frame, or the oldest kept one after it."""
        for segment in self.segments:
            if segment.first_frame >= first_frame:
                return segment
        return self.segments[-1]

    def segment_after(self, segment: Segment) -> Segment | None:
        """The next kept segment, or None when it is the newest."""
        if segment is self.segments[-1]:
            return None
        return self.segment_at(segment.first_frame + 1)


def _truncate(path: Path, size: int) -> None:
    """Cut a torn tail off and make what is kept durable before anybody reads it."""
    with path.open("r+b") as file:
        if os.fstat(file.fileno()).st_size != size:
            file.truncate(size)
        os.fsync(file.fileno())
