"""In which order records are appended that speak of each other: what tells that something is stored comes after it."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.protocols import Log, Record
from contracts.topics import REPORTS


def stages(log: Log, records: Sequence[Record], marks: Sequence[Record] = ()) -> list[list[Record]]:
    """Records as calls of submit in order; make each only once the one before it is durable. No call is empty.

    A header in telemetry.reports says that its report is stored: gateways answer `duplicate` by it and the sink expects
    its slices. So headers follow everything else, and `marks`, which say that the rest was done, come last. An atomic
    log takes all in one call."""
    if log.atomic:
        parts = [[*records, *marks]]
    else:
        headers = [record for record in records if record.topic == REPORTS.name]
        others = [record for record in records if record.topic != REPORTS.name]
        parts = [others, headers, list(marks)]
    return [part for part in parts if part]
