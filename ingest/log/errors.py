"""What the embedded log raises beside contracts.protocols.LogError and its kinds."""

from __future__ import annotations

from pathlib import Path

from contracts.protocols import LogCorrupt, LogError


class LogLocked(LogError):
    """Another process has the log open. The embedded log belongs to one process at a time."""


def corrupt(path: Path, position: int, what: str) -> LogCorrupt:
    """LogCorrupt with file, position and what to do."""
    return LogCorrupt(
        f"{path} at byte {position}: {what}; restore the file from a backup, or run ingest.log.salvage on the folder "
        "(it keeps every whole frame and reports what is lost)"
    )
