"""Recovery from LogCorrupt: keep every whole frame, put the damage aside, say what is lost.

    python -m ingest.log.salvage FOLDER

The log must be closed. A damaged segment is copied beside itself as NAME.damaged before it is rewritten. Offsets do not
move: where records are lost their offsets are missing, and readers go on with the next. What is lost shows up in the
ledger as `lost`, by device and seq.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts import topics
from contracts.protocols import LogCorrupt, LogError
from ingest.log import frame, segment
from ingest.log.embedded import lock
from ingest.log.segment import name_of
from ingest.log.state import State


@dataclass(frozen=True, slots=True)
class Salvaged:
    """One damaged place: frames `first_lost`..`last_lost` (both included) and their bytes are gone."""

    path: Path
    position: int
    first_lost: int
    last_lost: int
    lost_bytes: int


def salvage(folder: Path) -> list[Salvaged]:
    """Mend every damaged segment of a closed log; returns the damage, oldest first. Raises LogLocked, LogError."""
    descriptor = lock(folder)
    try:
        return _salvage(folder)
    finally:
        os.close(descriptor)


def _salvage(folder: Path) -> list[Salvaged]:
    damage: list[Salvaged] = []
    paths = sorted(folder.glob("*.seg"))
    expected: int | None = None
    for path in paths:
        first = int(path.stem)
        if expected is not None and first > expected:
            damage.append(Salvaged(path, 0, expected, first - 1, 0))
            _write_gap(folder, expected, first)
        found, expected = _mend(path, last=path == paths[-1])
        damage += found
    lost_bytes = sum(d.lost_bytes for d in damage if d.path == paths[-1])
    if lost_bytes:
        _leap_over_lost_offsets(folder, lost_bytes)
    return damage


def _mend(path: Path, *, last: bool) -> tuple[list[Salvaged], int]:
    """Damage of one segment and the number of the frame after it."""
    data = path.read_bytes()
    head = frame.decode_head(data)
    sidecar = None if head is None else segment.read_sidecar(path, head)
    try:
        segment.load_sealed(path)
        whole, _ = segment.scan(path, last=last and sidecar is None)
        return [], int(path.stem) if whole is None else whole.next_frame
    except LogCorrupt:
        pass
    if head is None:
        raise LogError(f"{path}: the segment's head is damaged, its frames cannot be checked; restore it from a backup")
    damage, kept, expected, at = [], [data[: head.size]], head.first_frame, head.size
    stop = _first_frame_after(path, sidecar)
    for start, end, number in [*_whole_frames(data, head), (len(data), len(data), stop)]:
        beyond = number if number is not None else expected
        if start > at or beyond > expected:
            damage.append(Salvaged(path, at, expected, beyond - 1, start - at))
        if beyond > expected:
            kept.append(frame.encode_frame(head.salt, beyond - 1, beyond - 1, []))
        kept.append(data[start:end])
        expected, at = beyond + (end > start), end
    if sidecar is not None and sidecar["size"] > len(data):
        damage.append(Salvaged(path, len(data), expected, expected - 1, sidecar["size"] - len(data)))
    _replace(path, b"".join(kept))
    return damage, expected


def _first_frame_after(path: Path, sidecar: dict[str, Any] | None) -> int | None:
    """Number of the first frame that is not in a segment, from its sidecar or the next file; None: unknown."""
    if sidecar is not None:
        return int(sidecar["next_frame"])
    return min((int(p.stem) for p in path.parent.glob("*.seg") if p.name > path.name), default=None)


def _leap_over_lost_offsets(folder: Path, lost_bytes: int) -> None:
    """Begin a segment whose offsets lie above any that the lost bytes of the newest one may have held: no offset is
    ever given twice."""
    newest = max(folder.glob("*.seg"))
    head = frame.decode_head(newest.read_bytes())
    assert head is not None
    state = State(folder, int(str(head.state["partitions"])))
    state.load()
    leap = lost_bytes // frame.LEAST_RECORD_BYTES + 1
    for topic in topics.ALL:
        for partition in range(state.partitions(topic.name)):
            state.ends[topic.name, partition] = state.ends.get((topic.name, partition), 0) + leap
    segment.write_sidecar(state.segments[-1])
    segment.create(folder, state.segments[-1].next_frame, state.state_for_head())


def _whole_frames(data: bytes, head: frame.SegmentHead) -> Iterator[tuple[int, int, int]]:
    """(start, end, number) of every undamaged frame, in order."""
    at, least = head.size, head.first_frame
    while 0 <= at < len(data):
        checked = frame.check_frame(data, at, head.salt)
        if checked is not None and checked[0] >= least:
            yield at, checked[2], checked[0]
            least, at = checked[0] + 1, checked[2]
        else:
            at = data.find(frame.FRAME_MAGIC, at + 1)


def _write_gap(folder: Path, expected: int, first: int) -> None:
    """A segment that stands for lost ones. It takes its state from the segment after them."""
    following = frame.decode_head((folder / name_of(first)).read_bytes())
    state = dict(following.state) if following is not None else {}
    made = segment.create(folder, expected, state)
    with made.path.open("ab") as file:
        file.write(frame.encode_frame(made.head.salt, first - 1, first - 1, []))
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, data: bytes) -> None:
    shutil.copy2(path, path.with_suffix(".seg.damaged"))
    path.with_suffix(".idx").unlink(missing_ok=True)
    fresh = path.with_suffix(".seg.new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    segment.sync_folder(path.parent)


def main(arguments: list[str]) -> int:
    """Salvage the log in a folder and print what was lost."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m ingest.log.salvage FOLDER", file=sys.stderr)
        return 2
    try:
        damage = salvage(Path(arguments[0]))
    except LogError as error:
        print(error, file=sys.stderr)
        return 1
    for place in damage:
        print(
            f"{place.path} at byte {place.position}: frames {place.first_lost}..{place.last_lost} lost, "
            f"{place.lost_bytes} bytes"
        )
    print(f"{len(damage)} damaged places; the log can be opened")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
