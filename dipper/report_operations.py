"""Objectives and reports as operations on a deployment: arguments and answers are JSON values."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any

from contracts.errors import ContractError
from contracts.protocols import Store, StoreError
from contracts.sla import Month
from contracts.times import HOUR_MS, MINUTE_MS, rfc3339
from dipper.openslo_levels import parse_service_levels
from history.erasure import erase
from history.objectives import Version, in_force, record, retire, versions
from history.sla_causes import IncidentCauses
from history.sla_report import Asked, report, settle

logger = logging.getLogger(__name__)

Arguments = Mapping[str, Any]
WRITING = frozenset({"objectives.apply", "objectives.retire", "objectives.settle", "erase"})
SETTLE_EVERY_MS = HOUR_MS
MARGIN_MS = MINUTE_MS  # a report that was received is in the log well within this


class ReportOperations:
    """`name_of`: a customer's name for people; `complete_through`: history holds all that was received before."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], int],
        name_of: Callable[[str], str],
        complete_through: Callable[[], int],
    ) -> None:
        self._store, self._clock = store, clock
        self._name_of, self._complete_through = name_of, complete_through

    def commands(self) -> dict[str, Callable[[Arguments], Any]]:
        """By name."""
        return {
            "objectives.list": self._list,
            "objectives.apply": self._apply,
            "objectives.retire": self._retire,
            "objectives.settle": self._settle,
            "report": self._report,
            "erase": self._erase,
        }

    def _list(self, arguments: Arguments) -> Any:
        known = versions(self._store, arguments.get("customer"))
        if arguments.get("month"):
            known = in_force(known, Month.parse(arguments["month"]))
        return [_plain(version) for version in known]

    def _apply(self, arguments: Arguments) -> Any:
        levels = parse_service_levels(arguments["text"])
        if not levels:
            raise ContractError("bad_openslo", "text", "at least one document of kind SLO", "none")
        return [_plain(v) for v in record(self._store, levels, arguments["author"], self._clock())]

    def _retire(self, arguments: Arguments) -> Any:
        month = Month.parse(arguments["month"])
        return _plain(
            retire(self._store, arguments["customer"], arguments["name"], month, arguments["author"], self._clock())
        )

    def _settle(self, _: Arguments) -> Any:
        restated, sealed = settle(self._store, self._clock(), self._complete_through(), IncidentCauses(self._store))
        return {"stated": restated, "sealed": sealed}

    def _erase(self, arguments: Arguments) -> Any:
        named = {name: str(arguments[name]) for name in ("author", "reason")}
        done = erase(self._store, arguments["kind"], arguments["id"], now=self._clock(), **named)
        return {**dataclasses.asdict(done), "erased_at": rfc3339(done.erased_at)}

    def _report(self, arguments: Arguments) -> Any:
        customer = arguments["customer"]
        asked = Asked(customer, self._name_of(customer), Month.parse(arguments["month"]))
        return report(self._store, asked, self._clock(), IncidentCauses(self._store))


class Settler:
    """States ended months and seals what is due, once an hour, beside other work of a process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._next_ms = 0

    def step(self, now: int, sink_status: Callable[[], Mapping[str, Any]]) -> None:
        """Settle when it is time; when history does not answer, again in a minute: retention must not wait for it."""
        if now < self._next_ms:
            return
        self._next_ms = now + SETTLE_EVERY_MS
        try:
            through = complete_through(sink_status())
            stated, sealed = settle(self._store, now, through, IncidentCauses(self._store))
        except StoreError as error:
            self._next_ms = now + MINUTE_MS
            logger.warning("service levels: %s (will retry)", error)
            return
        if stated or sealed:
            logger.info("service levels: %d months stated, %d sealed", stated, sealed)


def complete_through(status: Mapping[str, Any]) -> int:
    """Until when history holds all that was received, by what its sink says of itself, ms UTC; 0: nobody knows yet."""
    return max(0, int(status["stored_through"]) - MARGIN_MS)


def _plain(version: Version) -> dict[str, Any]:
    return {
        **version.level.to_json(),
        "version": version.number,
        "recorded_at": rfc3339(version.recorded_at),
        "author": version.author,
        "retired": version.retired,
        "sha256": version.sha256,
    }
