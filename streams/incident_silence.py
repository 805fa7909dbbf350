"""Silence and its kinds: which boxes are not heard any more, whether they have something in common, and why, as far as
their return tells. Pure: reports and vitals in, incidents in the book.

While a box is silent nobody can know why: it is called off until it comes back. With the same boot it only could not
send (uplink); with a new boot on a machine that ran on, or that served meanwhile, its agent was dead; else the machine
was off. Some single box is off for a minute or two at any time, which is nobody's business; half of a place is said
within two minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.incidents import (
    SELF_LAG,
    SILENCE_AGENT,
    SILENCE_BOX,
    SILENCE_REGION,
    SILENCE_UPLINK,
    Incident,
    Sentence,
    Severity,
)
from contracts.self_test import DEVICE_PREFIX
from contracts.times import MINUTE_MS, SECOND_MS
from streams.incident_book import IncidentBook
from streams.incident_settings import IncidentSettings, SilenceSettings
from streams.incident_severity import level_of

SINGLE_KINDS = (SILENCE_BOX, SILENCE_UPLINK, SILENCE_AGENT)
_SETTLE_MS = 20_000  # boxes of a region cross the limit within two intervals
_VITALS_WAIT_MS = 30_000  # how long a returned box's vitals may lag behind its report
_BACK_SHARE = 0.25  # part of a region's boxes still silent at which the region is back
_UNMEASURED_WEIGHT = 0.5  # unmeasured traffic is half as bad as failed traffic: most of it was served elsewhere
_MAX_DEVICES = 500
_RATE_REPORTS = 30
_SERVED_MS = 15 * MINUTE_MS  # whom boxes served so long before they fell silent: as coverage counts it
_MOST_ASKED = 5  # times, a minute apart, until somebody knows whom silent boxes served

Served = Callable[[Sequence[str], int, int], Sequence[str]]
"""Customers that boxes served in [start, end), most requests first; empty when nobody knows now."""


@dataclass(slots=True)
class _Box:
    heard: int
    boot: str
    isp: str = ""
    region: str = ""
    requests: float = 0.0  # per report, slowly moving
    silent: bool = False
    incident: str | None = None
    back_at: int | None = None  # heard again, kind not known yet
    boot_before: str = ""
    silent_since: int = 0
    uptime_since: int | None = None  # when its machine started, as vitals of the present boot say
    served: bool = False  # reports of the new boot tell of traffic while it was silent


@dataclass(slots=True)
class _Group:
    """Boxes of an incident since it began or came back, however many it names: `left` are still silent."""

    left: set[str] = field(default_factory=set)
    all: set[str] = field(default_factory=set)


class SilenceWatch:
    """Works on the book's incidents of silence. `served`: whom boxes served; without it incidents name no customers."""

    def __init__(
        self, book: IncidentBook, settings: SilenceSettings, incident: IncidentSettings, served: Served | None = None
    ) -> None:
        self._book = book
        self._served = served
        self._asked: dict[str, tuple[int, tuple[str, ...], int]] = {}  # incident -> times, devices, next time
        self._settings = settings
        self._levels = incident.levels
        self._return_within_ms = incident.return_within_ms
        self._boxes: dict[str, _Box] = {}
        self._groups: dict[str, _Group] = {}  # by incident, while a box of it is silent
        self._placed: Counter[tuple[str, str]] = Counter()  # boxes by ISP and region
        self._trusted_from = 0
        self.blind = False
        for one in book.active(*SINGLE_KINDS, SILENCE_REGION):
            for device in one.devices:
                self._boxes[device] = _Box(one.onset, "", silent=True, silent_since=one.onset)
                self._placed["", ""] += 1
                self._tag(device, one.id)

    def reports(self, rows: Any) -> None:
        """A RecordBatch of headers of reports."""
        names = ("device", "boot", "received_at", "device_isp", "device_region", "requests", "start")
        columns = [rows.column(name).to_pylist() for name in names]
        for device, boot, received_at, isp, region, requests, start in zip(*columns, strict=True):
            if device.startswith(DEVICE_PREFIX):
                continue  # that the self-test does not run is said otherwise
            box = self._boxes.get(device)
            if box is None:
                box = self._boxes[device] = _Box(received_at, boot, requests=requests)
                self._placed["", ""] += 1
            if box.silent and box.back_at is None:
                box.back_at, box.boot_before, box.uptime_since, box.served = received_at, box.boot, None, False
            if box.back_at is not None and box.silent_since < start < box.back_at - MINUTE_MS and requests:
                box.served = True
            box.heard = max(box.heard, received_at)
            if (box.isp, box.region) != (isp, region):
                self._placed[box.isp, box.region] -= 1
                self._placed[isp, region] += 1
            box.boot, box.isp, box.region = boot, isp, region
            box.requests += (requests - box.requests) / _RATE_REPORTS

    def vitals(self, rows: Any) -> None:
        """A RecordBatch of vitals: since when a machine has been up."""
        columns = [rows.column(name).to_pylist() for name in ("device", "boot", "start", "uptime_s")]
        for device, boot, start, uptime_s in zip(*columns, strict=True):
            box = self._boxes.get(device)
            if box is not None and uptime_s is not None and uptime_s == uptime_s and boot == box.boot:
                box.uptime_since = int(start - uptime_s * SECOND_MS)

    def tick(self, now: int, *, frozen: bool) -> None:
        """Time has come to `now` (event time). `frozen`: our own pipeline is late, so nobody is called silent, nor for
        as long afterwards as a silence takes to be noticed."""
        if frozen:
            self._trusted_from = now + self._settings.silent_after_ms
        for device, box in self._boxes.items():
            if box.back_at is not None:
                self._back(device, box, now)
        if now < self._trusted_from:
            self.blind = self.blind and self._is_blind(now, [])  # being blind is what froze us: it must be able to end
            return
        fresh = self._newly_silent(now)
        self.blind = self._is_blind(now, fresh)
        if not self.blind:
            while (dark := self._darkest(now)) is not None:
                self._region(*dark, now)
            for device in self._due(now, self._settings.single_after_ms):
                self._single(device, now)
        self._leave(now)
        self._name_customers(now)

    # -- who is silent

    def _newly_silent(self, now: int) -> list[str]:
        fresh = []
        for device, box in self._boxes.items():
            if not box.silent and now - box.heard > self._settings.silent_after_ms:
                box.silent, box.silent_since = True, box.heard
                fresh.append(device)
        return fresh

    def _is_blind(self, now: int, fresh: list[str]) -> bool:
        lost = [b for b in self._boxes.values() if b.silent and self._together(b, now)]
        if self.blind:
            return len(lost) >= self._settings.blind_boxes and len(lost) >= self._settings.blind_share * len(
                self._boxes
            )
        enough = len(lost) >= max(self._settings.blind_boxes, self._settings.blind_share * len(self._boxes))
        return bool(fresh) and enough

    def _together(self, box: _Box, now: int) -> bool:
        return box.silent_since >= now - self._settings.silent_after_ms - self._settings.together_ms

    def _due(self, now: int, silent_ms: int) -> list[str]:
        """Boxes silent for so long that no incident has."""
        return sorted(
            d for d, b in self._boxes.items()
            if b.silent and b.incident is None and b.back_at is None and now - b.silent_since >= silent_ms
        )  # fmt: skip

    def _darkest(self, now: int) -> tuple[dict[str, str], list[str]] | None:
        """The group of boxes that fell silent together best: an ISP, a region, or an ISP in a region, as many boxes as
        possible and as few others as possible. None when there is none, or every silent box has an incident. Others
        have had the time to fall silent with the first of them."""
        if not self._due(now, self._settings.silent_after_ms + _SETTLE_MS):
            return None
        lost = {d: b for d, b in self._boxes.items() if b.silent and self._together(b, now)}
        best: tuple[float, dict[str, str], list[str]] | None = None
        for names in (("device_isp",), ("device_region",), ("device_isp", "device_region")):
            members: Counter[tuple[str, ...]] = Counter()
            for place, boxes in self._placed.items():
                members[_named(place, names)] += boxes
            groups: dict[tuple[str, ...], list[str]] = {}
            for device, box in lost.items():
                groups.setdefault(_named((box.isp, box.region), names), []).append(device)
            for key, silent in sorted(groups.items()):
                free = sorted(d for d in silent if self._boxes[d].incident is None)
                enough = len(silent) >= max(self._settings.region_boxes, self._settings.region_share * members[key])
                worth = len(silent) ** 2 / members[key]
                if free and enough and all(key) and (best is None or worth > best[0]):
                    best = worth, dict(zip(names, key, strict=True)), free
        return best and best[1:]

    # -- incidents

    def _tag(self, device: str, incident_id: str) -> _Group:
        group = self._groups.setdefault(incident_id, _Group())
        group.left.add(device)
        group.all.add(device)
        self._boxes[device].incident = incident_id
        return group

    def _untag(self, device: str, box: _Box) -> _Group:
        incident_id, box.incident = box.incident, None
        group = self._groups.get(incident_id or "", _Group())
        group.left.discard(device)
        if not group.left:
            self._groups.pop(incident_id or "", None)
        return group

    def _region(self, where: dict[str, str], devices: list[str], now: int) -> None:
        same = next((i for i in self._book.active(SILENCE_REGION) if dict(i.where) == where), None)
        if same is None:
            recent = self._book.resolved_since(now - self._return_within_ms, SILENCE_REGION)
            same = next((i for i in recent if dict(i.where) == where and not i.closed_by_people), None)
            if same is not None:
                self._book.come_back(same.id, now, "dark again")
        if same is None:
            onset = min(self._boxes[d].silent_since for d in devices)
            same = self._open(SILENCE_REGION, devices, onset, now, where)
            for device in devices:
                self._tag(device, same.id)
            return
        for device in devices:
            self._tag(device, same.id)
        self._extend(same, devices, now)

    def _extend(self, incident: Incident, devices: Iterable[str], now: int) -> None:
        """More boxes of an incident; it names some of them and counts all."""
        everybody = self._groups[incident.id].all
        known = set(incident.devices)
        named = (*incident.devices, *(d for d in devices if d not in known))[:_MAX_DEVICES]
        said = self._said(incident.kind, named, len(everybody), incident.onset, dict(incident.where))
        self._book.change(incident.id, devices=named, headline=said, severity=self._severity(everybody), newest=now)

    def _single(self, device: str, now: int) -> None:
        for old in self._book.resolved_since(now - self._return_within_ms, *SINGLE_KINDS):
            if old.devices == (device,) and not old.closed_by_people:
                self._book.come_back(old.id, now, "silent again")
                self._tag(device, old.id)
                return
        open_now = [i for i in self._book.active(SILENCE_BOX) if not i.where]
        if len(open_now) >= self._settings.most_single:
            last = open_now[-1]
            self._tag(device, last.id)
            self._extend(last, [device], now)
            return
        self._tag(device, self._open(SILENCE_BOX, [device], self._boxes[device].silent_since, now, {}).id)

    def _open(self, kind: str, devices: list[str], onset: int, now: int, where: dict[str, str]) -> Incident:
        return self._book.open(
            kind, now, onset, self._said(kind, devices, len(devices), onset, where), self._severity(devices),
            devices=tuple(devices[:_MAX_DEVICES]), where=where, newest=now,
        )  # fmt: skip

    def _name_customers(self, now: int) -> None:
        """Customers that the boxes of open incidents served before. History may not have those minutes yet, or not
        answer now: it is asked again a minute later, a few times."""
        if self._served is None:
            return
        open_now = {i.id: i for i in self._book.active(*SINGLE_KINDS, SILENCE_REGION)}
        self._asked = {key: asked for key, asked in self._asked.items() if key in open_now}
        for incident in open_now.values():
            times, devices, again = self._asked.get(incident.id, (0, (), 0))
            if devices != incident.devices:
                times, again = 0, 0
            elif incident.customers:
                continue
            if times < _MOST_ASKED and now >= again:
                found = self._served(incident.devices, incident.onset - _SERVED_MS, incident.onset)
                self._asked[incident.id] = times + 1, incident.devices, now + MINUTE_MS
                if found:
                    self._book.change(incident.id, customers=tuple(found))

    def _said(self, kind: str, devices: Sequence[str], boxes: int, onset: int, where: dict[str, str]) -> Sentence:
        if kind != SILENCE_REGION:
            return Sentence(kind, {"boxes": boxes, "device": devices[0], "since": onset})
        members = [b for b in self._boxes.values() if _inside(b, where)]
        share = sum(b.silent for b in members) / max(1, len(members))
        return Sentence(kind, {"boxes": boxes, "where": where, "share": share, "since": onset})

    def _severity(self, devices: Iterable[str]) -> Severity:
        """Traffic of the boxes before they fell silent, a report every ten seconds."""
        mine = 6 * sum(self._boxes[d].requests for d in devices if d in self._boxes)
        total = 6 * sum(b.requests for b in self._boxes.values())
        share = mine / total if total else 0.0
        level = level_of(share * _UNMEASURED_WEIGHT, self._levels)
        return Severity(level=level, at_stake_per_minute=mine, traffic_share=share)

    # -- who is back

    def _back(self, device: str, box: _Box, now: int) -> None:
        kind = self._kind_of(box, now)
        if kind is None:
            return
        incident = self._book.get(box.incident) if box.incident else None
        back_at = box.back_at or now
        box.silent, box.back_at = False, None
        group = self._untag(device, box)
        if incident is None or not incident.active:
            return
        if incident.kind == SILENCE_REGION:
            if len(group.left) > _BACK_SHARE * len(group.all):
                return
            for straggler in sorted(group.left):  # an incident of its own, should it stay silent
                self._untag(straggler, self._boxes[straggler])
        elif group.left:
            return
        elif len(incident.devices) == 1 and incident.kind != kind:
            said = self._said(kind, [device], 1, incident.onset, {})
            incident = self._book.change(incident.id, kind=kind, headline=said)
        self._book.change(incident.id, newest=back_at)
        self._book.end(incident.id, max(back_at, incident.detected_at), "heard again")

    def _kind_of(self, box: _Box, now: int) -> str | None:
        """Why it was silent; None while its vitals may still come."""
        if not box.boot_before or box.boot == box.boot_before:
            return SILENCE_UPLINK
        if box.served:
            return SILENCE_AGENT
        if box.uptime_since is not None:
            return SILENCE_AGENT if box.uptime_since < box.silent_since else SILENCE_BOX
        return None if now - (box.back_at or now) < _VITALS_WAIT_MS else SILENCE_BOX

    def _leave(self, now: int) -> None:
        """Boxes that have been silent for a day are gone: their incidents end, and they count no more."""
        for device in [d for d, b in self._boxes.items() if now - b.heard > self._settings.forget_ms]:
            gone = self._boxes.pop(device)
            self._placed[gone.isp, gone.region] -= 1
            incident = self._book.get(gone.incident) if gone.incident else None
            group = self._untag(device, gone)
            group.all.discard(device)
            if incident is not None and incident.active and not group.left:
                self._book.end(incident.id, now, "not heard for a day: taken as gone")


def _named(place: tuple[str, str], names: Sequence[str]) -> tuple[str, ...]:
    values = dict(zip(("device_isp", "device_region"), place, strict=True))
    return tuple(values[name] for name in names)


def _inside(box: _Box, where: dict[str, str]) -> bool:
    values = {"device_isp": box.isp, "device_region": box.region}
    return all(values.get(name) == value for name, value in where.items())


class OwnLag:
    """Whether our own pipeline can be trusted, as one incident about ourselves. `late`: everything else is frozen."""

    def __init__(self, book: IncidentBook, settings: IncidentSettings) -> None:
        self._book = book
        self._limit_ms = settings.lag_limit_ms

    @property
    def late(self) -> bool:
        """Whether such an incident is open."""
        return next(self._book.active(SELF_LAG), None) is not None

    def look(self, now: int, seen_until: int, *, blind: bool) -> None:
        """`seen_until`: gateway's time up to which we know everything; `blind`: nearly all boxes are silent at once."""
        lag_ms = now - seen_until
        incident = next(self._book.active(SELF_LAG), None)
        if incident is None and (lag_ms > self._limit_ms or blind):
            onset = min(seen_until, now)
            said = Sentence(SELF_LAG, {"lag_s": lag_ms / SECOND_MS, "since": onset})
            self._book.open(SELF_LAG, now, onset, said, Severity("critical", traffic_share=1.0), newest=now)
        elif incident is not None and lag_ms < self._limit_ms / 2 and not blind:
            self._book.end(incident.id, now, f"up to date again, {lag_ms / SECOND_MS:.0f} s behind")
        elif incident is not None and now - incident.newest >= MINUTE_MS:
            said = Sentence(SELF_LAG, {"lag_s": lag_ms / SECOND_MS, "since": incident.onset})
            self._book.change(incident.id, newest=now, headline=said)
