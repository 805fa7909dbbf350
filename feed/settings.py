"""Policy numbers of the feed, with the reason for each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """`requests_per_s`, `requests_burst`: per token. `most_streams`: subscribers at a time, `streams_per_token` of one
    token. `stalled_s`: a subscriber that takes nothing for so long is dropped. `beat_s`: a comment line to a stream
    that has nothing to tell, so that both sides notice a dead connection; as often its token is checked again.
    `event_rows`: most rows of an event."""

    requests_per_s: float = 10.0
    requests_burst: float = 50.0
    most_streams: int = 500
    streams_per_token: int = 250
    stalled_s: float = 15.0
    beat_s: float = 15.0
    event_rows: int = 250
