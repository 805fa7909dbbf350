"""One interval of the whole fleet at once: every request drawn by itself, then counted per row.

Drawing requests one by one (as arrays) makes a fault's harm exact: the same request is judged before and after each
active fault, and what turned bad is that fault's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from contracts.columns import COUNT_NAMES, FAILURE_NAMES, STATUS_NAMES
from contracts.histogram import CELLS, OVERFLOW, latency_base_ms
from contracts.times import DEFAULT_INTERVAL_MS
from simulator.catalogue import PROFILES, SERVICES
from simulator.conditions import Strength
from simulator.faults import Effect, Fault
from simulator.placement import Floats, Ints, Placement
from simulator.scope import Bools

Floats32 = NDArray[np.float32]

FAILURE_MIX = (0.35, 0.25, 0.22, 0.18)  # of what fails without a fault, in the order of FAILURE_NAMES
SERVER, TIMEOUT, RESET, INCOMPLETE = range(1, 5)  # codes of a request's failure; 0: none
REDIRECTS, CLIENT_ERRORS = 0.02, 0.01
MEASURED_TRANSFERS = 0.4  # share of good transfers that are long enough to tell a throughput
SESSIONS_PER_REQUEST = 0.3
EXEMPLARS_PER_BOX = 3
HIT_SPREAD_BYTES = 0.3
MEASURES = ("failures", "slow_requests", "stalled_sessions", "low_throughput")
_COLUMN = {name: i for i, name in enumerate(COUNT_NAMES)}

_PROFILES = [PROFILES[s] for s in SERVICES]
_LATENCY_BASE_MS = np.array([latency_base_ms(s) for s in SERVICES])
_LOG2_E = np.log2(np.e)
_LATENCY_SPREAD = np.array([p.latency_sigma for p in _PROFILES]) * _LOG2_E
_THROUGHPUT_SPREAD = np.array([p.throughput_sigma for p in _PROFILES]) * _LOG2_E
_TIMEOUT = np.log2(np.array([p.timeout_latency for p in _PROFILES]) / _LATENCY_BASE_MS)
_HIT = np.array([p.cache_hit for p in _PROFILES])
_BYTES = np.array([p.mean_bytes for p in _PROFILES])
_PLAYS = np.array([p.plays for p in _PROFILES])
_TRANSFERS = np.array([p.transfers for p in _PROFILES])
_COMPUTE = np.array([s == "compute" for s in SERVICES])


@dataclass(frozen=True, slots=True)
class Sparse:
    """A histogram per row, sparse as on the wire; `at` (n_rows + 1): where each row's cells begin."""

    lengths: Ints
    cells: Ints
    counts: Ints
    at: Ints


@dataclass(frozen=True, slots=True)
class Exemplars:
    """Requests worth showing, sorted by box: `row` indexes Interval.rows, times in ms from the interval's start."""

    row: Ints
    device: Ints
    after_ms: Ints
    path: Ints
    status: Ints
    latency_ms: Ints
    failure: Ints


@dataclass(frozen=True, slots=True)
class Harm:
    """What an active fault did: by customer, bad added per measure (n_customers, len(MEASURES)), requests in scope
    (n_customers)."""

    fault: int
    bad_added: Ints
    in_scope: Ints


@dataclass(frozen=True, slots=True)
class Interval:
    """All slices of the fleet in one interval. `rows`: indices into the placement, ascending, so sorted by box;
    `counts` (len(COUNT_NAMES), n_rows); `bounds` (n_devices + 1): where each box's rows begin."""

    start: int
    rows: Ints
    bounds: Ints
    counts: Ints
    latency: Sparse
    throughput: Sparse
    exemplars: Exemplars
    harms: tuple[Harm, ...] = field(default=())


@dataclass(slots=True)
class _Requests:
    """The requests of one interval while faults are applied: `of`: row of each; `latency`, `throughput`: log2."""

    of: Ints
    failure: NDArray[np.int8]
    latency: Floats32
    throughput: Floats32
    measured: Bools  # tells a throughput, unless it fails

    def bad(self, slow_at: Ints, low_at: Ints) -> tuple[Bools, Bools, Bools]:
        """Failed, slower than the threshold, below the threshold; bounds as log2 in eighths."""
        slow = self.latency * 8 > slow_at[self.of]
        low = self.measured & (self.failure == 0) & (self.throughput * 8 <= low_at[self.of])
        return self.failure > 0, slow, low


def generate(
    rng: Generator,
    placement: Placement,
    n_devices: int,
    n_customers: int,
    start_ms: int,
    mean_requests: Floats,
    failure_factor: Floats,
    latency_shift: Floats,
    faults: Sequence[Fault] = (),
    strengths: Sequence[Strength] = (),
) -> Interval:
    """Draw an interval. `mean_requests`, `failure_factor`, `latency_shift` (log2) per row of the placement."""
    drawn = rng.poisson(mean_requests)
    rows = np.flatnonzero(drawn)
    n = rows.size
    requests = drawn[rows]
    service = placement.service[rows]
    customer = placement.customer[rows]
    slow_at, low_at = placement.slow_cell[rows] - 1, placement.low_cell[rows] - 1
    q = _draw(rng, placement, rows, requests, failure_factor[rows], latency_shift[rows])
    sessions, stalled = _sessions(rng, requests, _PLAYS[service], placement.stall[rows])

    harms = []
    for strength in strengths:
        effect = faults[strength.fault].effect
        intensity = strength.intensity[rows]
        before = q.bad(slow_at, low_at)
        _apply(rng, effect, intensity, q, service)
        after = q.bad(slow_at, low_at)
        more = rng.binomial(sessions - stalled, np.clip(effect.stall * intensity, 0.0, 1.0))
        stalled = stalled + more
        whose = customer[q.of]
        added = [np.bincount(whose[b], minlength=n_customers) for b in after]
        kept = [np.bincount(whose[b], minlength=n_customers) for b in before]
        by_sessions = np.bincount(customer, weights=more, minlength=n_customers).astype(np.int64)
        harm = np.stack([added[0] - kept[0], added[1] - kept[1], by_sessions, added[2] - kept[2]], axis=1)
        scope = np.bincount(customer, weights=requests * strength.in_scope[rows], minlength=n_customers)
        harms.append(Harm(strength.fault, harm, scope.astype(np.int64)))

    counts = np.zeros((len(COUNT_NAMES), n), dtype=np.int64)
    counts[0] = requests
    status = _statuses(rng, q.failure, _COMPUTE[service][q.of])
    by_status = np.bincount(q.of * 5 + status, minlength=n * 5).reshape(n, 5).T
    by_failure = np.bincount(q.of * 5 + q.failure, minlength=n * 5).reshape(n, 5).T
    for k, name in enumerate(STATUS_NAMES):
        counts[_COLUMN[name]] = by_status[k + 1]
    for k, name in enumerate(FAILURE_NAMES):
        counts[_COLUMN[name]] = by_failure[k + 1]
    _row_counts(rng, counts, service, sessions, stalled)

    transfers = np.flatnonzero(q.measured & (q.failure == 0))
    device = placement.device[rows]
    return Interval(
        start=start_ms,
        rows=rows,
        bounds=np.searchsorted(device, np.arange(n_devices + 1)),
        counts=counts,
        latency=_histogram(q.of, _cells(q.latency), n),
        throughput=_histogram(q.of[transfers], _cells(q.throughput[transfers]), n),
        exemplars=_exemplars(rng, q, status, slow_at, service, device),
        harms=tuple(harms),
    )


def _draw(
    rng: Generator, placement: Placement, rows: Ints, requests: Ints, failure_factor: Floats, latency_shift: Floats
) -> _Requests:
    of = np.repeat(np.arange(rows.size), requests)
    n = of.size
    service = placement.service[rows]
    p_fail = np.minimum(placement.failure[rows] * failure_factor, 0.5).astype(np.float32)
    failure = np.zeros(n, dtype=np.int8)
    failed = np.flatnonzero(rng.random(n, dtype=np.float32) < p_fail[of])
    failure[failed] = rng.choice(4, failed.size, p=FAILURE_MIX) + 1
    spread = _LATENCY_SPREAD[service].astype(np.float32)[of]
    latency = (placement.latency[rows] + latency_shift).astype(np.float32)[of]
    latency += spread * rng.standard_normal(n, dtype=np.float32)
    throughput = placement.throughput[rows].astype(np.float32)[of]
    throughput += _THROUGHPUT_SPREAD[service].astype(np.float32)[of] * rng.standard_normal(n, dtype=np.float32)
    measured = (rng.random(n, dtype=np.float32) < MEASURED_TRANSFERS) & _TRANSFERS[service][of]
    q = _Requests(of, failure, latency, throughput, measured)
    _time_out(q, failed[failure[failed] == TIMEOUT], service)
    return q


def _sessions(rng: Generator, requests: Ints, plays: Bools, p_stall: Floats) -> tuple[Ints, Ints]:
    sessions = np.where(plays, 1 + rng.binomial(requests - 1, SESSIONS_PER_REQUEST), 0)
    return sessions, rng.binomial(sessions, np.minimum(p_stall, 1.0))


def _time_out(q: _Requests, which: Ints, service: Ints) -> None:
    """A request that timed out took as long as the time-out."""
    q.latency[which] = np.maximum(q.latency[which], _TIMEOUT[service[q.of[which]]].astype(np.float32))


def _apply(rng: Generator, effect: Effect, intensity: Floats32, q: _Requests, service: Ints) -> None:
    """What an effect does to the requests of rows with an intensity above 0."""
    strength = intensity[q.of]
    hit = np.flatnonzero(strength > 0)
    s = strength[hit]
    if effect.latency_factor != 1.0:
        q.latency[hit] += np.log2(1 + (effect.latency_factor - 1) * s)
    if effect.throughput_factor != 1.0:
        q.throughput[hit] -= np.log2(1 + (1 / effect.throughput_factor - 1) * s)
    if not any(effect.failures):
        return
    # One draw per request: below the cumulated probabilities it fails, by class; failed ones stay as they are.
    edges = np.cumsum(effect.failures)
    with np.errstate(divide="ignore"):
        u = rng.random(hit.size, dtype=np.float32) / s
    code = np.searchsorted(edges, u, side="right") + 1
    fails = (code <= len(FAILURE_NAMES)) & (q.failure[hit] == 0)
    q.failure[hit[fails]] = code[fails]
    _time_out(q, hit[fails & (code == TIMEOUT)], service)


def _statuses(rng: Generator, failure: NDArray[np.int8], task: Bools) -> NDArray[np.int8]:
    """Status class of each request: 1..4 for 2xx..5xx, 0 for a task, which has none. A connection that breaks had
    already answered 200."""
    u = rng.random(failure.size, dtype=np.float32)
    status = np.where(u < REDIRECTS, 2, np.where(u < REDIRECTS + CLIENT_ERRORS, 3, 1)).astype(np.int8)
    status[failure > 0] = 1
    status[(failure == SERVER) | (failure == TIMEOUT)] = 4
    status[task] = 0
    return status


def _row_counts(rng: Generator, counts: Ints, service: Ints, sessions: Ints, stalled: Ints) -> None:
    """The columns that are drawn per row: bytes, cache hits, sessions and their times."""
    requests = counts[_COLUMN["requests"]]
    n = requests.size
    size = _BYTES[service] * np.exp(HIT_SPREAD_BYTES * rng.standard_normal(n))
    counts[_COLUMN["bytes"]] = requests * size
    counts[_COLUMN["cache_hits"]] = rng.binomial(requests, _HIT[service])
    counts[_COLUMN["sessions"]] = sessions
    counts[_COLUMN["stalled_sessions"]] = stalled
    stall = stalled * rng.integers(400, 4_000, n)
    counts[_COLUMN["stall_ms"]] = stall
    counts[_COLUMN["play_ms"]] = sessions * rng.integers(8_000, DEFAULT_INTERVAL_MS, n) - stall


def _cells(log2_ratio: Floats32) -> Ints:
    """Histogram cells of values given as log2(value / base)."""
    return np.clip(np.ceil(log2_ratio * 8), 0, OVERFLOW).astype(np.int64)


def _histogram(of: Ints, cells: Ints, n_rows: int) -> Sparse:
    key = np.sort(of * CELLS + cells)
    first = np.flatnonzero(np.diff(key, prepend=-1))
    row, cell = np.divmod(key[first], CELLS)
    lengths = np.bincount(row, minlength=n_rows)
    at = np.concatenate(([0], np.cumsum(lengths)))
    return Sparse(lengths, cell, np.diff(first, append=key.size), at)


def _exemplars(
    rng: Generator, q: _Requests, status: NDArray[np.int8], slow_at: Ints, service: Ints, device: Ints
) -> Exemplars:
    """The first few requests of each box that failed or were slower than the objective."""
    notable = np.flatnonzero((q.failure > 0) | (q.latency * 8 > slow_at[q.of]))
    box = device[q.of[notable]]
    nth = np.arange(notable.size) - np.searchsorted(box, box)
    chosen = notable[nth < EXEMPLARS_PER_BOX]
    row = q.of[chosen]
    http = np.array([0, 200, 304, 404, 502])[status[chosen]]
    http[(http == 502) & (q.failure[chosen] == TIMEOUT)] = 504
    return Exemplars(
        row=row,
        device=device[row],
        after_ms=rng.integers(0, DEFAULT_INTERVAL_MS, chosen.size),
        path=rng.integers(0, 2**62, chosen.size),
        status=http,
        latency_ms=(np.exp2(q.latency[chosen].astype(np.float64)) * _LATENCY_BASE_MS[service[row]]).astype(np.int64),
        failure=q.failure[chosen].astype(np.int64),
    )
