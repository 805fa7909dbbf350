"""The fleet: one call per interval gives every report the boxes send; answers go back in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.entities import Change, SchedulingRule
from contracts.times import DAY_MS, DEFAULT_INTERVAL_MS, MINUTE_MS
from simulator.box import Attempt, Box, Held
from simulator.conditions import Conditions, Scenario
from simulator.encode import NOTHING, Body, FleetEncoder, vitals_json
from simulator.errors import SimulatorError
from simulator.faults import Fault
from simulator.placement import Floats, Placement
from simulator.rhythm import PEAK_LATENCY_LOG2, Rhythm, traffic_factors
from simulator.scheduler import Scheduler
from simulator.scope import Bools
from simulator.traffic import Interval, generate
from simulator.truth import Truth
from simulator.vitals import Vitals
from simulator.world import World

MOST_TAKEN_OVER = 1.5  # the other boxes take over the traffic of dark ones, up to this factor
INTERVALS_PER_DAY = DAY_MS / DEFAULT_INTERVAL_MS


@dataclass(frozen=True, slots=True)
class Habits:
    """What happens to boxes on an ordinary day. Ratios are per report sent."""

    answer_lost_ratio: float = 0.002  # the gateway took it, the box does not know and sends it again
    sent_twice_ratio: float = 0.001
    restarts_per_box_day: float = 0.2  # of the agent
    flaps_per_box_day: float = 1.0  # short losses of the way to the gateway
    flap_mean_intervals: float = 3.0
    spool_reports: int = 360  # an hour
    backlog_per_interval: int = 20  # reports beside the newest

    def __post_init__(self) -> None:
        if self.spool_reports < 1 or self.backlog_per_interval < 1:
            raise SimulatorError("habits", "spool and backlog of at least 1 report", self)


class Fleet:
    """Boxes of a world under a list of faults. Traffic depends on seed, time and faults, never on what the gateway
    answers. Not thread-safe."""

    def __init__(self, world: World, faults: Sequence[Fault] = (), seed: int = 0, habits: Habits | None = None) -> None:
        self.world = world
        self.faults = tuple(faults)
        self.habits = habits or Habits()
        self.truth = Truth(world, self.faults)
        self._seed = seed
        self._scenario = Scenario(world, self.faults)
        rows = self._scenario.rows
        self._encoder = FleetEncoder(rows, [c.id for c in world.customers])
        self._totals = np.bincount(rows.customer, world_weights(self._scenario), len(world.customers))
        rng = np.random.default_rng((seed, 5))
        n = len(world.devices)
        self._rhythm = Rhythm(rng, len(world.customers), n)
        self._vitals = Vitals(rng, world)
        up_since = world.start_ms - rng.integers(MINUTE_MS, 60 * DAY_MS, n)
        self.boxes = [
            Box(d, seed, self.habits.spool_reports, int(t)) for d, t in zip(world.devices, up_since, strict=True)
        ]
        self._flap_until = np.zeros(n, dtype=np.int64)
        self.scheduler: Scheduler | None = None
        self._before: Conditions | None = None
        self._silent: Bools = np.zeros(n, dtype=bool)  # cannot send now
        self._announced = -1

    def step(self, now_ms: int, spread_ms: int = 0, grain_ms: int = 1) -> list[Attempt]:
        """The interval that ended at `now_ms` (rounded down to the grid): generate it, report it, and what is sent
        after it, in order of time. Sends are spread over `spread_ms` from now_ms on, in steps of `grain_ms`. Call in
        order, once per interval."""
        end = now_ms - now_ms % DEFAULT_INTERVAL_MS
        start = end - DEFAULT_INTERVAL_MS
        rng = np.random.default_rng((self._seed, 6, start))
        now = self._scenario.at(start)
        self._transitions(rng, now, start)
        interval = self._generate(rng, now, start)
        self.truth.count(interval, self._scenario.rows)
        self._report(rng, interval, now)
        flapping = self._flap_until > start
        self._silent = now.off | now.uplink | now.path | now.agent | flapping
        self._before = now
        return self._send(rng, now_ms, spread_ms // grain_ms, grain_ms)

    @property
    def rows(self) -> Placement:
        """Who serves whom: the rows that intervals index."""
        return self._scenario.rows

    def traffic(self, now_ms: int) -> Interval:
        """The requests of the interval that ended at `now_ms` alone, for runs that need no reports. Use this or `step`,
        not both. A `scheduler` set on the fleet steers it."""
        end = now_ms - now_ms % DEFAULT_INTERVAL_MS
        start = end - DEFAULT_INTERVAL_MS
        interval = self._generate(np.random.default_rng((self._seed, 6, start)), self._scenario.at(start), start)
        self.truth.count(interval, self._scenario.rows)
        return interval

    def settle(self, now_ms: int) -> list[Attempt]:
        """Like `step` without new traffic: every silence is over, boxes send what they hold. Empty: all is sent."""
        rng = np.random.default_rng((self._seed, 7, now_ms))
        self._silent = np.zeros(len(self.boxes), dtype=bool)
        for i, box in enumerate(self.boxes):
            if box.log:
                box.start_agent()
                self._read_log(i, self._before)
        attempts = self._send(rng, now_ms, 0, 1)
        if not attempts and any(box.held for box in self.boxes):
            for box in self.boxes:
                box.retry_at_ms = 0
            attempts = self._send(rng, now_ms, 0, 1)
        return attempts

    def answer(self, attempt: Attempt, status: int, headers: Mapping[str, str], now_ms: int) -> None:
        """The gateway's answer to an attempt; status 0: none came. Header names in lower case."""
        held, device = attempt.held, attempt.device
        if 200 <= status < 300 and not held.accepted:
            held.accepted = True
            self.truth.accepted(device, held)
        if attempt.answer_lost:
            held.in_flight = False
        elif attempt.box.answer(attempt, status, headers, now_ms) and not held.accepted:
            self.truth.refused(device, held)

    def answer_and_go_on(self, attempt: Attempt, status: int, headers: Mapping[str, str], now_ms: int) -> list[Attempt]:
        """Like `answer`, for who can send at any moment: what the box sends now, without waiting for the next
        interval, because this answer ended its back-off."""
        failures = attempt.box.failures
        self.answer(attempt, status, headers, now_ms)
        if failures and not attempt.box.failures:
            return attempt.box.backlog(now_ms, self.habits.backlog_per_interval)
        return []

    def announcements(self, now_ms: int) -> tuple[list[Change], list[SchedulingRule]]:
        """Changes that began, and rule versions that became valid, since the last call."""
        since, self._announced = self._announced, now_ms
        changes = [c for f in self.faults for c in f.changes if since < c.start <= now_ms]
        rules = [f.rule for f in self.faults if f.rule and since < f.rule.valid_from <= now_ms]
        return sorted(changes, key=lambda c: c.id), rules

    def sign(self, attempt: Attempt, at_ms: int) -> None:
        """Stamp and sign an attempt anew, for a sender that is later or earlier than planned."""
        attempt.box.sign(attempt, at_ms)

    def unsent(self) -> int:
        """Reports that boxes hold and the gateway has not taken, and intervals no agent has read yet."""
        return sum(sum(not h.accepted for h in box.held.values()) + len(box.log) for box in self.boxes)

    def _transitions(self, rng: np.random.Generator, now: Conditions, start: int) -> None:
        """Restarts: after power or agent came back, after a new firmware, and now and then."""
        n = len(self.boxes)
        restart = rng.random(n) < self.habits.restarts_per_box_day / INTERVALS_PER_DAY
        flap = rng.random(n) < self.habits.flaps_per_box_day / INTERVALS_PER_DAY
        lasts = rng.geometric(1 / self.habits.flap_mean_intervals, n) * DEFAULT_INTERVAL_MS
        self._flap_until = np.where(flap, start + lasts, self._flap_until)
        powered = np.zeros(n, dtype=bool)
        revived = np.zeros(n, dtype=bool)
        if self._before is not None:
            alive = ~now.off
            powered = alive & (self._before.off | (now.firmware != self._before.firmware))
            revived = alive & ~now.agent & self._before.agent
        agent_starts = (revived | restart) & ~now.off & ~now.agent
        for i in np.flatnonzero(powered | agent_starts).tolist():
            if powered[i]:
                self.boxes[i].power_on(start)
            else:
                self.boxes[i].start_agent()
            if not now.agent[i]:
                self._read_log(i, now)

    def _read_log(self, i: int, now: Conditions | None) -> None:
        """A new boot of the agent reports what was served while there was none."""
        log, self.boxes[i].log = self.boxes[i].log, []
        for body in log:
            self._spool(i, body, now)

    def _generate(self, rng: np.random.Generator, now: Conditions, start: int) -> Interval:
        rows, n_customers = self._scenario.rows, len(self.world.customers)
        traffic, failures, latency = self._rhythm.advance(rng)
        rhythm = traffic_factors(start)[rows.service, rows.client_region]
        serving = ~(now.off | now.uplink)[rows.device]
        weight = now.weight * serving
        if self.scheduler is not None:
            weight = self.scheduler.steer(usual := weight)
            self.scheduler.note(start, usual, weight)
        left = np.bincount(rows.customer, weight, n_customers)
        with np.errstate(divide="ignore", invalid="ignore"):
            takeover = np.where(left > 0, np.minimum(self._totals / left, MOST_TAKEN_OVER), 0.0)
        mean = weight * rhythm * (traffic * takeover)[rows.customer] * (DEFAULT_INTERVAL_MS / MINUTE_MS)
        return generate(
            rng,
            rows,
            len(self.boxes),
            n_customers,
            start,
            mean,
            failures[rows.device],
            latency[rows.device] + PEAK_LATENCY_LOG2 * np.clip(rhythm - 1, 0.0, 1.5),
            self.faults,
            now.strengths,
        )

    def _report(self, rng: np.random.Generator, interval: Interval, now: Conditions) -> None:
        """Every box that has power and an agent writes a report; without an agent its log grows."""
        names = self._scenario.rule_names
        slices = self._encoder.slices(interval, now.rule, names)
        exemplars = self._encoder.exemplars(interval, now.rule, names)
        device = self._scenario.rows.device[interval.rows]
        requests = np.bincount(device, interval.counts[0], len(self.boxes)).astype(np.int64).tolist()
        size = np.diff(interval.bounds).tolist()
        vitals = self._vitals.measure(rng, interval, self._scenario.rows, now.leak, self.boxes)
        for i in np.flatnonzero(~now.off).tolist():
            box = self.boxes[i]
            if now.agent[i]:
                if size[i]:
                    # What an agent reads afterwards has no vitals: nobody measured them.
                    box.log.append(Body(interval.start, requests[i], size[i], NOTHING, slices[i], exemplars.get(i, ())))
                continue
            measured = vitals_json(vitals[i], box.clock_offset_ms)
            body = Body(interval.start, requests[i], size[i], measured, slices[i], exemplars.get(i, ()))
            self._spool(i, body, now)

    def _spool(self, i: int, body: Body, now: Conditions | None) -> Held:
        box = self.boxes[i]
        firmware = box.device.firmware if now is None else self._scenario.firmware_names[now.firmware[i]]
        held, dropped = box.report(body, box.device.model, firmware)
        self.truth.reported(box.device.id, held)
        for lost in dropped:
            self.truth.dropped(box.device.id, lost)
        return held

    def _send(self, rng: np.random.Generator, now_ms: int, grains: int, grain_ms: int) -> list[Attempt]:
        n = len(self.boxes)
        at_ms = (now_ms + (rng.random(n) * grains).astype(np.int64) * grain_ms).tolist()
        lost = rng.random(n) < self.habits.answer_lost_ratio
        twice = rng.random(n) < self.habits.sent_twice_ratio
        attempts = []
        for i in rng.permutation(n).tolist():
            if self._silent[i]:
                continue
            box = self.boxes[i]
            if at_ms[i] < box.retry_at_ms:  # its back-off may end later in this interval
                at_ms[i] = min(now_ms - (now_ms - box.retry_at_ms) // grain_ms * grain_ms, now_ms + grains * grain_ms)
            for held in box.due(at_ms[i], self.habits.backlog_per_interval):
                attempts.append(box.attempt(held, at_ms[i]))
                if twice[i]:
                    attempts.append(box.attempt(held, at_ms[i]))
                attempts[-1].answer_lost = bool(lost[i])
        attempts.sort(key=lambda a: a.at_ms)
        return attempts


def world_weights(scenario: Scenario) -> Floats:
    """Weight of every row when no fault is active."""
    return np.where(scenario.far_of < 0, scenario.rows.weight, 0.0)
