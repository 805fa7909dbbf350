"""The closed loop: the same seed and faults with and without the feed, and what the feed was worth.

Boxes fall ill one by one, and once a whole region and ISP does. The simulated scheduler places requests; each minute's
requests become evidence by the quality job's own arithmetic, the health job scores it 25 s after the minute, its
records go through the feed's book and the client's copy, and the shares found there steer the next placement. Boxes,
gateway and log between them are left out: this run is about decisions, and takes seconds for hours.

What a fault did is counted where requests are drawn, so "caused by ill boxes" is exact in both runs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from contracts.arrow import batch
from contracts.columns import COUNT_NAMES, DEVICE_EVIDENCE, FAILURE_NAMES
from contracts.health import BUDGET, DRAIN, SERVE, score_from_json
from contracts.times import DAY_MS, DEFAULT_INTERVAL_MS, MINUTE_MS
from dipper.loop_budget import BREACHED_ABOVE, UsualCells
from feed.book import Book, entry_of
from feed.client import Copy
from simulator.faults import Effect, Fault
from simulator.fleet import Fleet
from simulator.schedule import FaultSpec, resolve
from simulator.scheduler import Scheduler
from simulator.settings import Settings
from simulator.world import World, build_world
from streams.evidence import evidence
from streams.health import HealthOperator
from streams.settings import QualitySettings

MINUTES = 240
MOST_BOXES = 300  # enough for the figures; more only take longer
QUIET_MINUTES = 30
ILL_SHARE = 0.06  # of the boxes fall ill, each once
ILL_MINUTES = (25, 90)
FAILURE_RATIO = (0.08, 0.5)
REGION_MINUTES = 25
REGION_FAILURE_RATIO = 0.25
TELLS_AFTER_INTERVALS = 3  # scores of a minute steer from half a minute after it
AFTERMATH_MS = 3 * MINUTE_MS  # a removal this long after the end of an illness was right when it was decided
LEAST_BAD = 20  # an illness that did not make so many requests fail cannot be told from chance


@dataclass(slots=True)
class Run:
    """One run. `removals`: (time, device index) of boxes that left full service, `drains` of those that were drained;
    `ill`: (device index, start, end, failures it caused); `place`: devices of the place that failed as a whole, start,
    end. `breaches`: minutes of cells of which more was out than the budget may be taken for, by what boxes usually
    serve, not by what the job measured; `cell_removed_max`: the most of such a cell that was out."""

    bad: int = 0
    requests: int = 0
    ill: list[tuple[int, int, int, int]] = field(default_factory=list)
    removals: list[tuple[int, int]] = field(default_factory=list)
    drains: list[tuple[int, int]] = field(default_factory=list)
    breaches: int = 0
    removed_max: float = 0.0
    cell_removed_max: float = 0.0
    place: tuple[frozenset[int], int, int] = (frozenset(), 0, 0)
    scheduler: Scheduler | None = None


def faults_of(world: World, start_ms: int, seed: int) -> tuple[tuple[Fault, ...], dict[str, int]]:
    """Illnesses of single boxes, and one of a whole region and ISP; with the box of each by fault id."""
    rng = np.random.default_rng((seed, 8))
    n = len(world.devices)
    count = max(1, round(ILL_SHARE * n))
    specs, box_of = [], {}
    for k, i in enumerate(rng.choice(n, count, replace=False).tolist()):
        lasts = int(rng.integers(*ILL_MINUTES))
        begin = int(rng.integers(QUIET_MINUTES, MINUTES - lasts))
        ratio = float(np.exp(rng.uniform(*np.log(FAILURE_RATIO))))
        box_of[f"ill-{k}"] = i
        specs.append(
            FaultSpec(
                kind="degradation",
                id=f"ill-{k}",
                start=start_ms + begin * MINUTE_MS,
                end=start_ms + (begin + lasts) * MINUTE_MS,
                scope={"device": world.devices[i].id},
                effect=Effect(f_reset=0.6 * ratio, f_incomplete=0.4 * ratio),
            )
        )
    places: dict[tuple[str, str], int] = {}
    for device in world.devices:
        key = (device.attributes.device_isp, device.attributes.device_region)
        places[key] = places.get(key, 0) + 1
    isp, region = max(sorted(places), key=places.__getitem__)
    begin = start_ms + MINUTES // 2 * MINUTE_MS
    specs.append(
        FaultSpec(
            kind="degradation",
            id="region",
            start=begin,
            end=begin + REGION_MINUTES * MINUTE_MS,
            scope={"device_isp": isp, "device_region": region},
            effect=Effect(f_timeout=REGION_FAILURE_RATIO),
        )
    )
    return resolve(world, specs), box_of


def simulate(settings: Settings, *, feed: bool) -> Run:
    """One run of MINUTES."""
    world = build_world(settings.seed, settings.devices, settings.customers, start_ms=settings.start_ms)
    faults, box_of = faults_of(world, settings.start_ms, settings.seed)
    fleet = Fleet(world, faults, settings.seed)
    loop = _Loop(world, fleet) if feed else None
    run = Run(scheduler=None if loop is None else loop.scheduler)
    harmed = np.zeros(len(faults), np.int64)
    columns = [COUNT_NAMES.index(name) for name in FAILURE_NAMES]
    per_minute = MINUTE_MS // DEFAULT_INTERVAL_MS
    for k in range(MINUTES * per_minute):
        now = settings.start_ms + (k + 1) * DEFAULT_INTERVAL_MS
        interval = fleet.traffic(now)
        run.requests += int(interval.counts[0].sum())
        run.bad += int(interval.counts[columns].sum())
        for harm in interval.harms:
            harmed[harm.fault] += int(harm.bad_added[:, 0].sum())
        if loop is not None:
            loop.count(interval.rows, interval.counts[0], interval.counts[columns].sum(axis=0))
            if (k + 1) % per_minute == 0:
                loop.score(now)
            if k % per_minute == TELLS_AFTER_INTERVALS - 1:
                loop.tell(run, now)
    for k, fault in enumerate(faults):
        if fault.id in box_of:
            run.ill.append((box_of[fault.id], fault.start, fault.end, int(harmed[k])))
        else:
            run.place = (_within(world, fault), fault.start, fault.end)
    return run


def _within(world: World, fault: Fault) -> frozenset[int]:
    """The boxes of a fault's place."""
    return frozenset(
        i
        for i, device in enumerate(world.devices)
        if all(getattr(device.attributes, name) == value for name, value in fault.scope.items())
    )


class _Loop:
    """Health job, feed and scheduler around a fleet."""

    def __init__(self, world: World, fleet: Fleet) -> None:
        self._devices = [d.id for d in world.devices]
        self._world = world
        self._rows = fleet.rows
        self._ranks = np.argsort(np.argsort(np.array(self._devices))).astype(np.int64)
        self._ordered = sorted(self._devices)
        self._index = {device: i for i, device in enumerate(self._devices)}
        self._book = Book()
        self._copy = Copy()
        self._at = 0
        self._sums = np.zeros((2, len(self._rows)), np.int64)
        self._states = [SERVE] * len(self._devices)
        self.operator = HealthOperator()
        self.scheduler = fleet.scheduler = Scheduler(self._rows, self._devices)
        self._usual = np.bincount(self._rows.device, self._rows.weight, len(self._devices))
        least_boxes = self.operator.settings.budget.least_boxes
        self._cells = UsualCells([d.attributes for d in world.devices], self._rows, least_boxes)

    def count(self, rows: Any, requests: Any, failures: Any) -> None:
        """Requests of an interval."""
        self._sums[0, rows] += requests
        self._sums[1, rows] += failures

    def score(self, end: int) -> None:
        """A minute is over: evidence, scores, the feed's book."""
        requests, failures = self._sums
        rows = np.flatnonzero(requests)
        r = self._rows
        keys = np.stack([self._ranks[r.device[rows]], r.customer[rows], r.client_isp[rows], r.client_region[rows]])
        found = evidence(keys, requests[rows], failures[rows], QualitySettings().prior_requests)
        boxes = [self._world.devices[self._index[self._ordered[d]]] for d in found.device.tolist()]
        n = len(boxes)
        self.operator.evidence(
            batch(
                DEVICE_EVIDENCE,
                {
                    "minute": [end - MINUTE_MS] * n,
                    "device": [b.id for b in boxes],
                    "part": [0] * n,
                    "revision": [1] * n,
                    "requests": found.requests,
                    "failures": found.failures,
                    "expected_failures": found.expected,
                    "model": [b.model for b in boxes],
                    "firmware": [b.firmware for b in boxes],
                    "nat_type": [b.attributes.nat_type for b in boxes],
                    "cohort": [b.attributes.cohort for b in boxes],
                    "device_isp": [b.attributes.device_isp for b in boxes],
                    "device_region": [b.attributes.device_region for b in boxes],
                },
                pa,
            )
        )
        customers = np.array([self.operator.placement.customers.of(c.id) for c in self._world.customers])
        codes = np.array([self.operator.boxes.devices.of(d) for d in self._devices])
        self.operator.boxes.grow()
        self.operator.placement.add(codes[r.device[rows]], customers[r.customer[rows]], requests[rows])
        self._sums[:] = 0
        for record in self.operator.advance(end + 25_000):
            if record.headers["kind"] != BUDGET:
                self._book.apply([entry_of(score_from_json(record.value), record.value)])

    def tell(self, run: Run, now: int) -> None:
        """The scheduler's copy follows the book; it places by what it finds there."""
        entries, self._at = self._book.since(self._at)
        self._copy.apply(self._at, iter([json.loads(e.brief) for e in entries]), now)
        self._copy.fade(now)
        self.scheduler.share = np.array([self._copy.share(d, 1.0) for d in self._devices])
        removed = float(((1 - self.scheduler.share) * self._usual).sum() / self._usual.sum())
        run.removed_max = max(run.removed_max, removed)
        out = self._cells.out(self.scheduler.share)
        run.breaches += int((out > BREACHED_ABOVE).sum())
        run.cell_removed_max = max(run.cell_removed_max, float(out.max(initial=0.0)))
        for i, device in enumerate(self._devices):
            known = self._copy.known(device)
            state = SERVE if known is None else known.state
            before, self._states[i] = self._states[i], state
            if state != SERVE and before == SERVE:
                run.removals.append((now, i))
            if state == DRAIN and before != DRAIN:
                run.drains.append((now, i))


def judged(without: Run, with_feed: Run, devices: int) -> dict[str, Any]:
    """loop.json from two runs. `avoidable`: failures that single ill boxes caused without the feed. A removal is right
    when the box was ill itself or stood in the place that failed as a whole; only the first are to be found."""
    ill = {box: (start, end) for box, start, end, _ in with_feed.ill}
    in_place, place_start, place_end = with_feed.place

    def was_ill(now: int, box: int) -> bool:
        start, end = ill.get(box, (now + 1, now))
        return start <= now <= end + AFTERMATH_MS

    def was_failing(now: int, box: int) -> bool:
        return was_ill(now, box) or (box in in_place and place_start <= now <= place_end + AFTERMATH_MS)

    avoidable, left = (sum(bad for *_, bad in run.ill) for run in (without, with_feed))
    right = sum(was_failing(now, box) for now, box in with_feed.drains)
    tellable = [box for box, *_, bad in without.ill if bad >= LEAST_BAD]
    drained = {box for now, box in with_feed.drains if was_ill(now, box)}
    removed_once: set[int] = set()
    flaps = 0
    for now, box in with_feed.removals:
        flaps += not was_failing(now, box) or box in removed_once
        removed_once.add(box)
    box_days = devices * MINUTES * MINUTE_MS / DAY_MS
    return {
        "bad_requests": {
            "without_feed": without.bad,
            "with_feed": with_feed.bad,
            "avoidable": avoidable,
            "caused_by_ill_boxes_with_feed": left,
            "avoided_share": round((avoidable - left) / avoidable, 4) if avoidable else None,
        },
        "drains": {
            "precision": round(right / len(with_feed.drains), 4) if with_feed.drains else None,
            "recall": round(len(drained & set(tellable)) / len(tellable), 4) if tellable else None,
            "count": len(with_feed.drains),
            "of_the_failing_place": sum(was_failing(*d) and not was_ill(*d) for d in with_feed.drains),
            "ill_boxes": len(with_feed.ill),
            "tellable_ill_boxes": len(tellable),
        },
        "flaps_per_100_box_days": round(100 * flaps / box_days, 3),
        "budget_breaches": with_feed.breaches,
        "capacity_removed_max": round(with_feed.removed_max, 4),
        "cell_removed_max": round(with_feed.cell_removed_max, 4),
        "minutes": MINUTES,
        "box_days": round(box_days, 1),
        "requests": {"without_feed": without.requests, "with_feed": with_feed.requests},
        "exploration_assignments": sum(a.exploration for a in with_feed.scheduler.log) if with_feed.scheduler else 0,
    }


def write(settings: Settings, out: Path) -> Mapping[str, Any]:
    """Run both and write `loop.json` and the log of assignments, `assignments.json`."""
    settings = dataclasses.replace(settings, devices=min(settings.devices, MOST_BOXES), script=None)
    without, with_feed = simulate(settings, feed=False), simulate(settings, feed=True)
    result = judged(without, with_feed, settings.devices)
    (out / "loop.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    assert with_feed.scheduler is not None
    lines = (json.dumps(dataclasses.asdict(a), separators=(",", ":")) for a in with_feed.scheduler.log)
    (out / "assignments.json").write_text("[" + ",\n".join(lines) + "]\n", encoding="utf-8")
    return result


def in_words(result: Mapping[str, Any]) -> str:
    """One line for people."""
    bad, drains = result["bad_requests"], result["drains"]
    if bad["avoided_share"] is None:
        return "closed loop: no box that fell ill made a request fail"
    avoided = f"the feed avoided {bad['avoided_share']:.0%} of {bad['avoidable']} failures of ill boxes"
    removed = f"{drains['count']} drains, at most {result['capacity_removed_max']:.1%} of capacity out"
    return f"closed loop of {result['minutes']} min: {avoided}; {removed}"
