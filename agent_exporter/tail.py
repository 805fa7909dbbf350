"""Follows one log through rotation and truncation, so that each line is read once.

`follow` finds the files to read, oldest first; reading and deciding what belongs to a tick is the collector's. What
cannot be known is documented in `docs/agent.md` ("What can be lost").
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent_exporter.logfile import REPLACED, SAME, SHORTENED, LogFile, Position

# A rotated file is read on until it has been silent this long and its successor has lines: nginx writes into the
# renamed file until it is told to reopen.
LINGER_MS = 30_000
MAX_FILES = 16
ROTATED_SUFFIX = re.compile(r"[.-][0-9][0-9_.T:-]*(\.gz)?\Z")

MTIME_SLACK_MS = 1_000  # the kernel stamps files with a coarse clock
UNREADABLE = (OSError, EOFError, zlib.error)  # the last two: a damaged or unfinished .gz

TimeOf = Callable[[bytes], int | None]


class Tail:
    """The files of one log. `time_of` gives a line's time in ms, None for a malformed one. `notices` collects
    sentences about what could not be followed exactly."""

    def __init__(self, path: Path, start_at: str, time_of: TimeOf, saved: dict[str, Any] | None = None) -> None:
        self.path = path
        self.files: list[LogFile] = []
        self.notices: list[str] = []
        self.last_at = 0  # newest time among the lines consumed, ms
        self._start_at = start_at
        self._time_of = time_of
        self._saved = saved
        self._looked_at = 0  # system clock of the last committed look, ms
        self._started = False

    def follow(self, now: int) -> list[LogFile]:
        """Files to read, oldest first, the current one last. `now`: system clock, ms."""
        try:
            if not self._started:
                self.close()
                self.files.clear()
                self._start(now)
                self._started = True
            for log_file in list(self.files):
                self._check(log_file, now)
            self._look_for_rotation(now)
            self._adopt_missed(now)
        except UNREADABLE as error:
            self.notices.append(f"{self.path}: {error}")
        return self.files

    def give_up(self, log_file: LogFile, error: Exception) -> None:
        """A rotated file turned out unreadable, such as a damaged .gz: leave it behind, and say so."""
        self.notices.append(f"{log_file.path}: {error}; the rest of it is lost")
        log_file.done = not log_file.position.current

    def to_dict(self, now: int) -> dict[str, Any]:
        """What the spool keeps. Files that are done are left out."""
        for log_file in self.files:
            log_file.settle()
        return {
            "files": [f.position.to_list() for f in self.files if not f.done],
            "last_at": self.last_at,
            "looked_at": now,
        }

    def retire(self, now: int) -> int:
        """Mark rotated files that are finished; returns how many ended in an unfinished line. Call after reading."""
        current = self.files[-1] if self.files and self.files[-1].position.current else None
        if current is None:
            return 0
        unfinished = 0
        successor_has_lines = current.position.offset > 0 or current.size > 0
        for i, log_file in enumerate(self.files[:-1]):
            silent_ms = now - log_file.grown_at
            finished = silent_ms >= LINGER_MS and successor_has_lines
            crowded = silent_ms > 2 * MTIME_SLACK_MS and len(self.files) - i > MAX_FILES
            try:
                if not log_file.done and (finished or crowded) and log_file.peek() is None:
                    log_file.done = True
                    unfinished += log_file.leftover()
            except UNREADABLE as error:
                self.give_up(log_file, error)
        return unfinished

    def commit(self, now: int) -> None:
        """The tick is durable: forget what is done."""
        self._looked_at = now
        for log_file in self.files:
            if log_file.done:
                log_file.close()
            else:
                log_file.commit()
        self.files = [f for f in self.files if not f.done]

    def rollback(self, last_at: int) -> None:
        """The tick was not kept."""
        self.last_at = last_at
        for log_file in self.files:
            log_file.rollback()

    def close(self) -> None:
        """Close all files."""
        for log_file in self.files:
            log_file.close()

    def _start(self, now: int) -> None:
        if self._saved is None:
            if self.path.exists():
                first = LogFile.open(self.path, now)
                if self._start_at == "end":
                    first.move_to(self.path.stat().st_size)
                    first.commit()
                self.files.append(first)
            return
        self.last_at = int(self._saved["last_at"])
        self._looked_at = int(self._saved["looked_at"])
        positions = [Position.from_list(values) for values in self._saved["files"]]
        for position in positions:
            found = self._find(position, now)
            if found is not None:
                self.files.append(found)
            elif position.current and position.head_length:
                self.notices.append(f"{self.path}: the file read last is gone; what was unread in it is lost")

    def _find(self, position: Position, now: int) -> LogFile | None:
        """The file of a saved position: by inode and content, else by content (a copy, or compressed since)."""
        candidates = [p for p in (self.path, *self._rotated()) if p.exists()]
        candidates.sort(key=lambda p: p.stat().st_ino != position.inode)
        taken = {f.path for f in self.files}
        for path in candidates:
            same_inode = path.stat().st_ino == position.inode
            if path in taken or (position.head_length == 0 and not same_inode):
                continue
            found, state = _compare(path, now, position)
            if found is not None and (state == SAME or (state == SHORTENED and same_inode)):
                found.position.current = path == self.path
                return found
            if found is not None:
                found.close()
        return None

    def _check(self, log_file: LogFile, now: int) -> None:
        state = log_file.check()
        if state == SHORTENED:
            log_file.move_to(self._offset_after(log_file, self.last_at))
            self.notices.append(f"{log_file.path}: shorter than what was read; resumed by the lines' times")
        elif state == REPLACED:
            self._follow_copy(log_file, now)
            log_file.move_to(0)
        log_file.refresh(now)

    def _follow_copy(self, log_file: LogFile, now: int) -> None:
        """copytruncate: the unread rest is in a copy beside the truncated file."""
        inodes = {f.position.inode for f in self.files}
        for path in self._rotated():
            copy, state = _compare(path, now, log_file.position)
            if copy is None:
                continue
            if state == SAME:
                if copy.position.inode in inodes:
                    copy.close()  # found before, in a tick that was not kept
                    return
                copy.position.current = False
                copy.refresh(now)
                self.files.insert(self.files.index(log_file), copy)
                return
            copy.close()
        self.notices.append(f"{log_file.path}: truncated, and no copy found; what was unread in it is lost")

    def _look_for_rotation(self, now: int) -> None:
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            return
        current = self.files[-1] if self.files and self.files[-1].position.current else None
        if current is not None and current.position.inode == inode:
            return
        if current is not None:
            current.position.current = False
            current.grown_at = now
            # By now the path names another file, so this one is found under its new name.
            current.path = next((p for p in self._rotated() if p.stat().st_ino == current.position.inode), current.path)
        opened = LogFile.open(self.path, now)
        opened.refresh(now)
        self.files.append(opened)

    def _adopt_missed(self, now: int) -> None:
        """Rotated files that came between two looks: written to since the last one, and none of the known."""
        since = self._looked_at - MTIME_SLACK_MS
        known = [f.position for f in self.files]
        inodes = {position.inode for position in known}
        missed = [p for p in self._rotated() if p.stat().st_mtime * 1000 > since > 0]
        for path in sorted(missed, key=lambda p: p.stat().st_mtime):
            inode = path.stat().st_ino
            found = _compare(path, now, Position(inode))[0] if inode not in inodes else None
            if found is None:
                continue
            if any(found.begins_like(position) for position in known):
                found.close()
                continue
            found.position.current = False
            found.refresh(now)
            before_current = len(self.files) - bool(self.files and self.files[-1].position.current)
            self.files.insert(before_current, found)

    def _rotated(self) -> list[Path]:
        """Files beside the log that bear its name and a number or date; compressed ones only once the plain is gone."""
        name = self.path.name
        try:
            names = {entry.name for entry in os.scandir(self.path.parent) if entry.name.startswith(name)}
        except FileNotFoundError:
            return []
        return [
            self.path.parent / n
            for n in sorted(names)
            if ROTATED_SUFFIX.match(n[len(name) :]) and not (n.endswith(".gz") and n[:-3] in names)
        ]

    def _offset_after(self, log_file: LogFile, last_at: int) -> int:
        """Offset of the first line later than a time, found by reading from the beginning."""
        log_file.move_to(0)
        while (line := log_file.peek()) is not None:
            at = self._time_of(line)
            if at is not None and at > last_at:
                break
            log_file.take()
        return log_file.position.offset


def _compare(path: Path, now: int, position: Position) -> tuple[LogFile | None, str]:
    """A file opened at a copy of a position, and how it compares with it; None when it cannot be read."""
    opened = None
    try:
        opened = LogFile.open(path, now, Position.from_list(position.to_list()))
        return opened, opened.check()
    except UNREADABLE:
        if opened is not None:
            opened.close()
        return None, REPLACED
