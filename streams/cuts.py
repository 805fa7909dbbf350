"""Reading several topics of a log so that what belongs together is there together.

A log gives records of different partitions in any order: without care a minute would be judged without another
partition's customers, or before the cells that explain it. So a reader that is behind takes one stretch of the log's
time after the other, of all partitions; one that follows says when it has read everything that was there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from contracts.protocols import Log, LogReader, StoredRecord, TopicPartition
from contracts.times import MINUTE_MS
from streams.runner import read_between

Offsets = Mapping[TopicPartition, int]

STRETCH_MS = 5 * MINUTE_MS
_MOST_POLLS = 20
_WAIT_S = 0.25  # for records that are known to be there


def ends_of(log: Log, topics: Sequence[str]) -> dict[TopicPartition, int]:
    """Next offset to be written of every partition, asked topic by topic in the given order."""
    return {(topic, p): end for topic in topics for p, end in enumerate(log.end_offsets(topic))}


def reached(positions: Offsets, ends: Offsets) -> bool:
    """Whether everything below some ends was read."""
    return all(positions[place] >= end for place, end in ends.items())


class CutReader:
    """Reads partitions from the offsets `start` on. Not thread-safe. Raises LogError.

    `since`: a time of the log that the first stretch goes beyond; None: there is nothing to catch up with. `together`:
    topics whose records explain each other, the explained one first: a writer writes it after what explains it.
    """

    def __init__(self, log: Log, start: Offsets, since: int | None, together: Sequence[str]) -> None:
        self._log = log
        self._topics = list(dict.fromkeys(topic for topic, _ in start))
        self._positions = dict(start)
        self._until = since
        self._together = together
        self._reader: LogReader | None = None if since is not None else log.reader(start)

    @property
    def behind(self) -> bool:
        """Whether it still takes stretches of what was there when it began."""
        return self._reader is None

    def read(self, take: Callable[[StoredRecord], None], most: int, timeout_s: float) -> tuple[int, bool]:
        """Give `take` what is there, waiting at most timeout_s for a first record; `most` records per poll. Returns how
        many came, and whether they are whole: nothing that belongs to them waits in the log."""
        if self._reader is None:
            return self._stretch(take), True
        count, reader = 0, self._reader
        before = ends_of(self._log, self._topics)
        for _ in range(_MOST_POLLS):
            late = not reached(reader.positions(), before)
            records = reader.poll(most, _WAIT_S if late else (0.0 if count else timeout_s))
            for record in records:
                take(record)
            count += len(records)
            if not records:
                if late:
                    return count, False
                return count, reached(reader.positions(), ends_of(self._log, self._together))
        return count, False

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset of every partition."""
        return dict(self._positions) if self._reader is None else self._reader.positions()

    def close(self) -> None:
        """Release what it holds."""
        if self._reader is not None:
            self._reader.close()

    def _stretch(self, take: Callable[[StoredRecord], None]) -> int:
        assert self._until is not None
        self._until += STRETCH_MS
        # The end is asked first and the explained topic before what explains it: a cut never parts the two.
        ends = ends_of(self._log, [*self._together, *(t for t in self._topics if t not in self._together)])
        cut = dict(ends)
        for topic in self._topics:
            for p, offset in enumerate(self._log.offsets_for_time(topic, self._until)):
                cut[topic, p] = max(self._positions[topic, p], min(offset, ends[topic, p]))
        count = 0
        for records in read_between(self._log, self._positions, cut):
            for record in records:
                take(record)
            count += len(records)
        self._positions = cut
        if reached(cut, ends):
            self._reader = self._log.reader(cut)
        return count
