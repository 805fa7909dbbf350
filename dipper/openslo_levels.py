"""Service levels in OpenSLO v1: monthly promises, with credits and maintenance in annotations.

    apiVersion: openslo/v1
    kind: SLO
    metadata:
      name: acme-vod-failures
      annotations:
        dipper/credits: |
          below 99.9%: 10%
          below 99%: 25%
        dipper/maintenance: |
          Sun 02:00-04:00
          2026-10-08T01:00:00+08:00/2026-10-08T03:00:00+08:00 storage moves
    spec:
      service: vod
      budgetingMethod: Timeslices
      timeWindow:
        - duration: 1M
          isRolling: false
          calendar: {startTime: "2026-10-01 00:00:00", timeZone: Asia/Shanghai}
      indicator: (as in dipper.openslo)
      objectives:
        - {target: 0.999, timeSliceTarget: 0.99, timeSliceWindow: 1m}

The promise holds from the month of `startTime` on. `timeSliceTarget` decides whether a minute is good, `target` is the
share of good minutes. Weekly maintenance goes by the clock of `timeZone`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from contracts.errors import ContractError
from contracts.sla import WEEKDAYS, CreditTier, Month, Once, ServiceLevel, Weekly
from contracts.times import from_rfc3339
from dipper.openslo import measured_by, only_objective, refuse, slos_of, target_of
from dipper.openslo_text import Node

CREDITS, MAINTENANCE = "dipper/credits", "dipper/maintenance"
_PERCENT = r"(\d{1,3}(?:\.\d{1,6})?)%"
_TIER = re.compile(rf"below {_PERCENT}: {_PERCENT}", re.ASCII)
_WEEKLY = re.compile(rf"({'|'.join(WEEKDAYS)}) ([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", re.ASCII)
_ONCE = re.compile(r"([^\s/]+)/([^\s/]+)(?: (.+))?")
_MONTH_START = re.compile(r"(\d{4}-\d\d)-01 00:00:00", re.ASCII)

_T = TypeVar("_T")


def parse_service_levels(text: str) -> tuple[ServiceLevel, ...]:
    """Service levels of all SLO documents, in their order. Raises ContractError: `bad_openslo` with a path, or what
    ServiceLevel itself refuses, with the document's number before its field. What would be ignored is refused."""
    slos, indicators = slos_of(text)
    levels: list[ServiceLevel] = []
    names: dict[tuple[str, str, Month], str] = {}
    measures: dict[tuple[str, str, str, Month], str] = {}
    for slo in slos:
        level = _level(slo, indicators)
        name = level.customer, level.name, level.valid_from
        if name in names:
            raise ContractError("bad_openslo", slo.path, f"another name or start than {names[name]} has", level.name)
        measure = level.customer, level.service, level.measure, level.valid_from
        if measure in measures:
            expected = f"another service, measure or start than {measures[measure]} has"
            got = f"{level.customer} {level.service} {level.measure} from {level.valid_from}"
            raise ContractError("bad_openslo", slo.path, expected, got)
        names[name] = measures[measure] = slo.path
        levels.append(level)
    return tuple(levels)


def _level(slo: Node, indicators: Mapping[str, Node]) -> ServiceLevel:
    metadata, spec = slo.child("metadata"), slo.child("spec")
    spec.one_of("budgetingMethod", ("Timeslices",))
    refuse(spec, ("alertPolicies",), "to be left out: rules are Dipper's own")
    measured = measured_by(slo, indicators)
    timezone, valid_from = _calendar(spec)
    objective = only_objective(spec)
    refuse(objective, ("op", "value"), "to be left out for a ratio of time slices")
    objective.one_of("timeSliceWindow", ("1m",))
    minute_target = objective.number("timeSliceTarget")
    if not 0 < minute_target < 1:
        raise objective.wrong("timeSliceTarget", "above 0 and below 1", minute_target)
    notes = metadata.child("annotations") if "annotations" in metadata.fields else Node(slo.path, {})
    for name in notes.fields:
        if name.startswith("dipper/") and name not in (CREDITS, MAINTENANCE):
            raise notes.wrong(name, f"{CREDITS} or {MAINTENANCE}", name)
    credits_ = _lines(notes, CREDITS, "below 99.9%: 10%", _tier)
    maintenance = _lines(notes, MAINTENANCE, "Sun 02:00-04:00, or two times with a zone and a slash between", _window)
    try:
        return ServiceLevel(
            customer=measured.customer,
            name=metadata.text("name"),
            service=measured.service,
            measure=measured.measure,
            minute_target=minute_target,
            target=target_of(objective),
            timezone=timezone,
            valid_from=valid_from,
            threshold=measured.threshold,
            credits=credits_,
            maintenance=maintenance,
        )
    except ContractError as error:
        raise error if error.reason == "bad_openslo" else error.below(f"{slo.path}: ") from None


def _calendar(spec: Node) -> tuple[str, Month]:
    listed = spec.fields.get("timeWindow")
    if not isinstance(listed, list) or len(listed) != 1:
        raise spec.wrong("timeWindow", "a list of exactly one window", listed)
    window = Node(f"{spec.path}.timeWindow[0]", listed[0])
    window.one_of("duration", ("1M",))
    if window.fields.get("isRolling", False) is not False:
        raise window.wrong("isRolling", "false: months of the calendar are judged", window.fields["isRolling"])
    calendar = window.child("calendar")
    start = calendar.text("startTime")
    found = _MONTH_START.fullmatch(start)
    if found is None:
        raise calendar.wrong("startTime", 'the start of a month, such as "2026-10-01 00:00:00"', start)
    return calendar.text("timeZone"), Month.parse(found[1], f"{calendar.path}.startTime")


def _lines(notes: Node, name: str, form: str, read: Callable[[str], _T]) -> tuple[_T, ...]:
    """What the lines of an annotation say."""
    if name not in notes.fields:
        return ()
    found = []
    for line in filter(None, map(str.strip, notes.text(name).splitlines())):
        try:
            found.append(read(line))
        except ContractError as error:
            raise notes.wrong(name, error.expected, line) from None
        except ValueError:
            raise notes.wrong(name, f"lines such as: {form}", line) from None
    return tuple(found)


def _tier(line: str) -> CreditTier:
    found = _TIER.fullmatch(line)
    if found is None:
        raise ValueError
    return CreditTier(round(float(found[1]) / 100, 12), round(float(found[2]) / 100, 12))


def _window(line: str) -> Weekly | Once:
    weekly = _WEEKLY.fullmatch(line)
    if weekly:
        hours, minutes, end_hours, end_minutes = map(int, weekly.groups()[1:])
        return Weekly(WEEKDAYS.index(weekly[1]), hours * 60 + minutes, end_hours * 60 + end_minutes)
    once = _ONCE.fullmatch(line)
    if once is None:
        raise ValueError
    return Once(from_rfc3339(once[1]), from_rfc3339(once[2]), once[3] or "")
