"""Evidence of minutes as it comes: in parts and in revisions, each row counted once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomaly.health import Evidence

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MINUTES_KEPT = 5  # revisions come until a minute closes, three minutes after its end at the latest


@dataclass(slots=True)
class _Part:
    """Of one minute and part, per box: newest revision and its counts, (n,) and (3, n)."""

    revision: Ints
    counts: Floats


class EvidenceBook:
    """What came per minute, part and box, so that a revision counts by its difference."""

    def __init__(self) -> None:
        self._parts: dict[tuple[int, int], _Part] = {}
        self._news: dict[int, list[tuple[Ints, Floats]]] = {}
        self.newest: int | None = None
        self.too_late = 0

    def add(self, minute: Ints, part: Ints, box: Ints, revision: Ints, counts: Floats, boxes: int) -> None:
        """Rows: minutes since the epoch, part, box, revision (m,), `counts` (3, m): requests, failures, expected. Rows
        that expect nothing (NaN) are no evidence; rows of minutes long over are counted in `too_late`."""
        usable = np.isfinite(counts).all(axis=0) & (counts >= 0).all(axis=0)
        for m, p in np.unique(np.stack([minute, part])[:, usable], axis=1).T.tolist():
            if self.newest is not None and m <= self.newest - MINUTES_KEPT:
                self.too_late += int((usable & (minute == m) & (part == p)).sum())
                continue
            self.newest = m if self.newest is None else max(self.newest, m)
            rows = np.flatnonzero(usable & (minute == m) & (part == p))
            # Of several revisions of a box in one batch the highest counts.
            rows = rows[np.lexsort((revision[rows], box[rows]))]
            rows = rows[np.flatnonzero(np.diff(box[rows], append=-1))]
            self._take((m, p), box[rows], revision[rows], counts[:, rows], boxes)
        self._forget()

    @property
    def complete(self) -> bool:
        """Whether every part that showed any of the minutes kept has shown the newest."""
        return {p for _, p in self._parts} == {p for m, p in self._parts if m == self.newest}

    def take(self) -> list[tuple[int, Evidence]]:
        """What is new since the last call, by minute."""
        news, self._news = self._news, {}
        result = []
        for minute in sorted(news):
            box = np.concatenate([b for b, _ in news[minute]])
            found, place = np.unique(box, return_inverse=True)
            counts = np.concatenate([c for _, c in news[minute]], axis=1)
            requests, failures, expected = (np.bincount(place, row, len(found)).astype(np.float64) for row in counts)
            result.append((minute, Evidence(found, requests, failures, expected)))
        return result

    def _take(self, key: tuple[int, int], box: Ints, revision: Ints, counts: Floats, boxes: int) -> None:
        held = self._parts.get(key)
        if held is None:
            held = self._parts[key] = _Part(np.zeros(boxes, np.int64), np.zeros((3, boxes)))
        elif (more := boxes - len(held.revision)) > 0:
            held.revision = np.concatenate([held.revision, np.zeros(more, np.int64)])
            held.counts = np.concatenate([held.counts, np.zeros((3, more))], axis=1)
        newer = revision > held.revision[box]
        box, revision, counts = box[newer], revision[newer], counts[:, newer]
        self._news.setdefault(key[0], []).append((box, counts - held.counts[:, box]))
        held.revision[box] = revision
        held.counts[:, box] = counts

    def _forget(self) -> None:
        assert self.newest is not None or not self._parts
        for key in [k for k in self._parts if k[0] <= (self.newest or 0) - MINUTES_KEPT]:
            del self._parts[key]
