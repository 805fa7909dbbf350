"""What was emitted before a restart, read back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streams.tables import NO_TRAFFIC, EvidenceRow, MinuteRow, Service, read_evidence, read_minutes

Emitted = dict[Service, tuple[int, MinuteRow]]  # revision and content last emitted
EmittedEvidence = dict[str, tuple[int, EvidenceRow]]


class Restored:
    """`minutes` and `evidence`, each key at its highest revision; `newest`: latest watermark at emission."""

    def __init__(self) -> None:
        self.minutes: dict[int, Emitted] = {}
        self.evidence: dict[int, EmittedEvidence] = {}
        self.newest: int | None = None

    def add_minutes(self, batches: Iterable[Any]) -> None:
        """Record batches of quality.minutes."""
        for record_batch in batches:
            for record, emitted_at in read_minutes(record_batch):
                self.newest = max(emitted_at, self.newest or emitted_at)
                rows = self.minutes.setdefault(record.minute, {})
                if record.revision > rows.get(record.service, (0, NO_TRAFFIC))[0]:
                    rows[record.service] = (record.revision, record.row)

    def add_evidence(self, batches: Iterable[Any], part: int) -> None:
        """Record batches of device.evidence, of which one part is wanted."""
        for record_batch in batches:
            for minute, device, revision, row in read_evidence(record_batch, part):
                boxes = self.evidence.setdefault(minute, {})
                if revision > boxes.get(device, (0, row))[0]:
                    boxes[device] = (revision, row)
