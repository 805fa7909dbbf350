"""Requests that came after their minute had closed, per minute, customer and service."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from contracts.columns import COUNT_NAMES
from streams.kernel import Ints, aggregate
from streams.rows import SliceRows
from streams.tables import Service

_REQUESTS = COUNT_NAMES.index("requests")
_NOTHING: Mapping[Service, int] = {}


class LateRequests:
    """Counts up; repeated rows count again, their identities are gone."""

    def __init__(self) -> None:
        self._counts: dict[int, dict[Service, int]] = {}
        self._fresh: set[int] = set()

    def start(self, minute: int, service: Service, requests: int) -> None:
        """What has been told already."""
        self._counts.setdefault(minute, {})[service] = requests

    def add(self, rows: SliceRows, minutes: Ints) -> set[int]:
        """Count rows, each of the given minute; returns the minutes that have more now."""
        grown = set()
        customer, service = rows.text["customer"], rows.text["service"]
        groups = aggregate([minutes, customer.codes, service.codes], [rows.counts[_REQUESTS]], [])
        for (minute, c, s), requests in zip(groups.keys.T.tolist(), groups.counts[0].tolist(), strict=True):
            if not requests:
                continue  # sessions without a request: nothing to tell
            counts = self._counts.setdefault(minute, {})
            key = (customer.values[c], service.values[s])
            counts[key] = counts.get(key, 0) + requests
            grown.add(minute)
        self._fresh |= grown
        return grown

    def of(self, minute: int) -> Mapping[Service, int]:
        """Requests per customer and service."""
        return self._counts.get(minute, _NOTHING)

    def take_fresh(self, before: int) -> list[int]:
        """Minutes before the given one that have more since this was last asked, in order."""
        taken = sorted(minute for minute in self._fresh if minute < before)
        self._fresh.difference_update(taken)
        return taken

    def forget(self, upto: int) -> None:
        """Give up minutes up to and with the given one."""
        self._counts = {minute: counts for minute, counts in self._counts.items() if minute > upto}
        self._fresh.intersection_update(self._counts)


def requests_of(rows: SliceRows, which: np.typing.NDArray[np.bool_]) -> int:
    """Sum over the rows chosen."""
    return int(rows.counts[_REQUESTS][which].sum())
