"""Token buckets: a lasting rate and a burst, per name, in bounded memory."""

from __future__ import annotations

import math
from collections import OrderedDict

MAX_NAMES = 200_000


class Quota:
    """A bucket per name. `rate`: units per second, `burst`: units at once. Names that were idle longest are forgotten
    first, which makes their buckets full again."""

    def __init__(self, rate: float, burst: float, max_names: int = MAX_NAMES) -> None:
        self._rate_ms = rate / 1000
        self._burst = burst
        self._max_names = max_names
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def take(self, name: str, amount: float, now: int) -> int:
        """Take an amount; 0, or when the bucket lacks it the whole seconds until it will have it (nothing is taken).
        An amount above the burst passes when the bucket is full. `now`: ms."""
        level, at = self._buckets.get(name, (self._burst, now))
        level = min(self._burst, level + max(0, now - at) * self._rate_ms)
        needed = min(amount, self._burst)
        if level < needed:
            self._buckets[name] = (level, now)
            return max(1, math.ceil((needed - level) / self._rate_ms / 1000))
        self._buckets[name] = (level - amount, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > self._max_names:
            self._buckets.popitem(last=False)
        return 0
