"""What a box did and what its strata would have made expect.

A stratum is customer x client_isp x client_region: who was served, not who served. For each stratum a box served, the
failure ratio is estimated from everybody else ("leave self out": a bad box must not raise its own expectation, and a
box that carries most of a stratum must not be compared with itself). Small strata are mixed with `prior_requests` (k)
requests of the next wider group, in turn without the box:

    r_fleet   = F / N                              all other boxes, all customers
    r_customer = (F_c + k * r_fleet) / (N_c + k)    other boxes, this customer
    r_stratum = (F_s + k * r_customer) / (N_s + k) other boxes, this stratum
    expected  = sum over the box's strata of its requests * r_stratum

With no other box in the minute there is nothing to compare with, and the expectation is NaN, not 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streams.kernel import Ints, aggregate, ascending, factorise, starts_of_runs, sums

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Per box: `device` codes, `requests`, `failures` (n,) int64, `expected` (n,) float64 failures or NaN."""

    device: Ints
    requests: Ints
    failures: Ints
    expected: Floats


def evidence(keys: Ints, requests: Ints, failures: Ints, prior_requests: float) -> Evidence:
    """Evidence of a minute. `keys` (4, n) int64: device, customer, client_isp, client_region, by ranks of their
    names, so that float sums do not depend on the order of arrival; `requests`, `failures` (n,) int64."""
    cells = aggregate(list(keys), [requests, failures], [])
    cells = cells.take(ascending(list(cells.keys)))
    device, customer, isp, region = cells.keys
    n, f = cells.counts
    box_starts = starts_of_runs([device])
    box = _run_of_row(box_starts, len(n))
    all_n, all_f = int(n.sum()), int(f.sum())
    box_n, box_f = np.add.reduceat(n, box_starts), np.add.reduceat(f, box_starts)
    other_n, other_f = all_n - box_n[box], all_f - box_f[box]
    fleet = np.divide(other_f, other_n, out=np.full(len(n), np.nan), where=other_n > 0)
    # Rows are ordered by device and customer: what a box itself has of a customer is a run of rows, of a stratum a row.
    run_starts = starts_of_runs([device, customer])
    run = _run_of_row(run_starts, len(n))
    own_n, own_f = np.add.reduceat(n, run_starts)[run], np.add.reduceat(f, run_starts)[run]
    rate_customer = _mixed([customer], (n, f), (own_n, own_f), fleet, prior_requests)
    rate = _mixed([customer, isp, region], (n, f), (n, f), rate_customer, prior_requests)
    expected: Floats = np.bincount(box, n * rate, len(box_starts)).astype(np.float64)
    return Evidence(device[box_starts], box_n, box_f, expected)


def _mixed(
    group: list[Ints], counts: tuple[Ints, Ints], own: tuple[Ints, Ints], wider: Floats, prior_requests: float
) -> Floats:
    """Failure ratio of each row's group without the row's own box, mixed with the wider group's ratio. `counts`:
    requests and failures of each row; `own`: those that its box has in the group."""
    ids, distinct = factorise(group)
    other_n, other_f = (
        sums(ids, values, distinct.shape[1])[ids] - mine for values, mine in zip(counts, own, strict=True)
    )
    rate: Floats = (other_f + prior_requests * wider) / (other_n + prior_requests)
    return rate


def _run_of_row(starts: Ints, rows: int) -> Ints:
    return np.repeat(np.arange(len(starts)), np.diff(starts, append=rows))
