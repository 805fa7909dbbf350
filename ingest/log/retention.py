"""Giving space back: whole old segments go, the newest record per key of compacted topics stays."""

from __future__ import annotations

import mmap
from collections.abc import Mapping

from contracts.protocols import Record, TopicPartition
from ingest.log import frame, segment
from ingest.log.errors import corrupt
from ingest.log.segment import Segment
from ingest.log.state import State
from ingest.log.writer import Writer


def expire(state: State, writer: Writer, before_ms: int, keep: Mapping[TopicPartition, int]) -> int:
    """Delete the oldest segments whose records are all older than a time and below every position in `keep`; returns
    how many. Runs in the writer thread. Newest records per key of compacted topics are appended again first, with
    their own timestamps; one with an empty value ends its key and goes."""
    if _expendable(state.segments[-1], before_ms, keep):
        writer.roll()
    doomed: list[Segment] = []
    for candidate in state.segments[:-1]:
        if not _expendable(candidate, before_ms, keep):
            break
        doomed.append(candidate)
    for victim in doomed:
        survivors = _survivors(state, victim)
        if survivors:
            writer.append_now(survivors)
        with state.grown:
            state.segments.remove(victim)
        victim.path.unlink()
        victim.path.with_suffix(".idx").unlink(missing_ok=True)
    if doomed:
        segment.sync_folder(state.folder)
    return len(doomed)


def _expendable(candidate: Segment, before_ms: int, keep: Mapping[TopicPartition, int]) -> bool:
    if not candidate.partitions or candidate.max_timestamp >= before_ms:
        return False
    return all(
        place not in candidate.partitions or candidate.partitions[place].next <= at for place, at in keep.items()
    )


def _survivors(state: State, victim: Segment) -> list[Record]:
    """Records of a segment that are the newest of their key in the whole log."""
    newer = [s for s in state.segments if s.first_frame > victim.first_frame]
    alive: dict[tuple[bytes, int], set[int]] = {}
    for (topic, partition), keys in victim.latest.items():
        overwritten = {key for s in newer for key in s.latest.get((topic, partition), ())}
        alive[topic.encode(), partition] = {offset for key, offset in keys.items() if key not in overwritten}
    if not any(alive.values()):
        return []
    with victim.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return list(_read(mapped, victim, alive))


def _read(mapped: mmap.mmap, victim: Segment, alive: Mapping[tuple[bytes, int], set[int]]) -> list[Record]:
    found = []
    with memoryview(mapped) as data:
        at = victim.head.size
        while at < victim.size:
            checked = frame.check_frame(data, at, victim.head.salt)
            if checked is None:
                raise corrupt(victim.path, at, "a frame fails its checksum")
            for record in frame.wanted(data, at, checked[2], dict.fromkeys(alive, 0)):
                if record.value and record.offset in alive[record.topic.encode(), record.partition]:
                    found.append(  # noqa: PERF401 - the loop reads better than a nested comprehension
                        Record(
                            record.topic,
                            record.key,
                            record.value,
                            record.timestamp_ms,
                            record.partition,
                            record.headers,
                        )
                    )
            at = checked[2]
    return found
