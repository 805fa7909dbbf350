"""How far behind the present history and the streams are, as anybody who can query sees it."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.protocols import Store
from contracts.times import HOUR_MS, MINUTE_MS

STREAM_LOOKBACK_MS = 6 * HOUR_MS  # an older stream minute says no more than "long ago"
_STATE = """SELECT (SELECT max(last_seen) FROM devices) AS newest_end,
    (SELECT max(minute) FROM stream_minutes WHERE minute >= {since:Int64}) AS newest_stream_minute"""


@dataclass(frozen=True, slots=True)
class PipelineState:
    """Times in ms UTC. `newest_end`: end of the newest interval that queries see; `stream_through`: end of the newest
    minute the streams emitted, of the last hours. None: nothing yet."""

    newest_end: int | None
    stream_through: int | None


def pipeline_state(store: Store, now: int) -> PipelineState:
    """The state as of `now`."""
    row = {name: values[0] for name, values in store.query(_STATE, {"since": now - STREAM_LOOKBACK_MS}).items()}
    minute = row["newest_stream_minute"]
    return PipelineState(row["newest_end"] or None, minute + MINUTE_MS if minute else None)
