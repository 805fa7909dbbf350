"""Topics of the log: names, keys, what they hold. Partition = crc32(key) mod P."""

from __future__ import annotations

import zlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic; `partitions` None means the deployment's default; `table` names its columns in `columns.TABLES`."""

    name: str
    key: str
    holds: str
    table: str | None = None
    partitions: int | None = None
    compacted: bool = False


REPORTS = Topic("telemetry.reports", "device", "headers of accepted reports", "reports")
SLICES = Topic("telemetry.slices", "customer", "enriched slices", "slices")
VITALS = Topic("telemetry.vitals", "device", "vitals and exemplars (record header `kind` tells)")
RAW = Topic("telemetry.raw", "device", "reports of trusted nodes that write to the log themselves")
REJECTED = Topic("telemetry.rejected", "device", "refused bytes with reason", "rejected")
CHANGES = Topic("changes", "scope", "what people did to the network: JSON, one change per record")
INCIDENT_ACTIONS = Topic("incident.actions", "incident", "what operators did to incidents: JSON", partitions=1)
QUALITY_MINUTES = Topic("quality.minutes", "customer", "provisional customer minutes", "quality_minutes")
QUALITY_CUBE = Topic("quality.cube", "customer", "counts per cell of dimensions", "quality_cube")
DEVICE_EVIDENCE = Topic("device.evidence", "device", "observed and expected bad per minute", "device_evidence")
QUALITY_MEMORY = Topic(
    "quality.memory", "customer", "what a worker that starts again needs of closed minutes", "quality_memory"
)
SIGNALS = Topic("signals", "series", "what the detector says of each series and minute", "signals", partitions=1)
INCIDENTS = Topic("incidents", "incident", "current state of incidents: JSON", partitions=1, compacted=True)
HEALTH_SCORES = Topic("health.scores", "device", "current health scores", compacted=True)
REGISTRY = Topic("registry", "entity", "devices, customers, rules, tokens: JSON", partitions=1, compacted=True)

ALL = (
    REPORTS,
    SLICES,
    VITALS,
    RAW,
    REJECTED,
    CHANGES,
    INCIDENT_ACTIONS,
    QUALITY_MINUTES,
    QUALITY_CUBE,
    DEVICE_EVIDENCE,
    QUALITY_MEMORY,
    SIGNALS,
    INCIDENTS,
    HEALTH_SCORES,
    REGISTRY,
)
BY_NAME = {topic.name: topic for topic in ALL}


def partition_of(key: bytes, partitions: int) -> int:
    """Partition of a key: crc32 mod P, the same in every language and process."""
    return zlib.crc32(key) % partitions
