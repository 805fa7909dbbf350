"""The embedded log: one write-ahead log of segment files for all topics, in one process."""

from ingest.log.embedded import EmbeddedLog
from ingest.log.errors import LogLocked
from ingest.log.salvage import Salvaged, salvage

__all__ = ["EmbeddedLog", "LogLocked", "Salvaged", "salvage"]
