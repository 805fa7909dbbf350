"""The histogram against a reference that shares no code with it: exact decimals and bisection."""

from __future__ import annotations

import math
from bisect import bisect_left
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import histogram
from contracts.histogram import (
    CELLS,
    OVERFLOW,
    RELATIVE_ERROR,
    UNDERFLOW,
    cell_of,
    count_above,
    effective_threshold,
    merge,
    middle_of,
    quantile,
    threshold_cell,
    upper_bounds,
)
from tests.contracts.strategies import sparse

BASES = (
    histogram.DELIVERY_LATENCY_BASE_MS,
    histogram.COMPUTE_DURATION_BASE_MS,
    histogram.THROUGHPUT_BASE_KB_PER_S,
)
bases = st.sampled_from(BASES)


def exact_power(eighths: int) -> Decimal:
    """2**(eighths/8) to 40 digits."""
    with localcontext() as context:
        context.prec = 40
        return Decimal(2) ** (Decimal(eighths) / 8)


EXACT_BOUNDS = [exact_power(i) for i in range(129)]


def exact_cell(value: float, base: float) -> int:
    """The cell by definition: how many upper bounds lie below the value."""
    return bisect_left(EXACT_BOUNDS, Decimal(value) / Decimal(base))


@pytest.mark.parametrize("base", BASES)
def test_bounds_are_the_powers_of_the_layout_to_one_unit_in_the_last_place(base: float) -> None:
    bounds = upper_bounds(base)
    assert len(bounds) == 129
    for bound, exact in zip(bounds, EXACT_BOUNDS, strict=True):
        assert abs(Decimal(bound) - exact * Decimal(base)) <= Decimal(math.ulp(bound))


@pytest.mark.parametrize("base", BASES)
def test_a_bound_belongs_to_its_cell_and_the_next_float_does_not(base: float) -> None:
    for i, bound in enumerate(upper_bounds(base)):
        assert cell_of(bound, base) == i
        assert cell_of(math.nextafter(bound, math.inf), base) == i + 1
        assert cell_of(math.nextafter(bound, 0.0), base) == i


@given(value=st.floats(0.0, 1e9), base=bases)
def test_any_value_lies_in_the_cell_of_the_definition(value: float, base: float) -> None:
    near_a_bound = any(math.isclose(value, b, rel_tol=1e-15) for b in upper_bounds(base))
    if not near_a_bound:
        assert cell_of(value, base) == exact_cell(value, base)


@given(value=st.floats(0.0, allow_nan=False, allow_infinity=True), base=bases)
def test_a_cell_lies_between_its_bounds(value: float, base: float) -> None:
    cell, bounds = cell_of(value, base), upper_bounds(base)
    assert 0 <= cell < CELLS
    assert cell == OVERFLOW or value <= bounds[cell]
    assert cell == UNDERFLOW or value > bounds[cell - 1]


def test_cells_by_hand() -> None:
    values = {0.0: 0, 0.5: 0, 1.0: 0, 1.01: 1, 1.0905: 1, 1.0906: 2, 2.0: 8, 2.0001: 9, 1000.0: 80, 65_536.0: 128,
              65_537.0: 129}  # fmt: skip
    assert {value: cell_of(value, 1.0) for value in values} == values
    assert cell_of(2_000.0, 1000.0) == 8


@pytest.mark.parametrize("value", [-1.0, -math.inf, math.nan])
def test_what_cannot_be_measured_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="histogram value"):
        cell_of(value, 1.0)


def test_base_of_the_latency_depends_on_the_service() -> None:
    assert histogram.latency_base_ms("compute") == 1000.0
    assert histogram.latency_base_ms("video") == 1.0


@given(a=sparse, b=sparse, c=sparse)
def test_merge_is_associative_commutative_and_keeps_every_count(
    a: dict[int, int], b: dict[int, int], c: dict[int, int]
) -> None:
    assert merge([merge([a, b]), c]) == merge([a, merge([b, c])]) == merge([c, b, a])
    assert merge([a]) == a == merge([a, {}])
    merged = merge([a, b, c])
    for cell in range(CELLS):
        assert merged.get(cell, 0) == a.get(cell, 0) + b.get(cell, 0) + c.get(cell, 0)


def test_merge_does_not_touch_what_it_merges() -> None:
    a, b = {1: 2}, {1: 3}
    assert merge([a, b]) == {1: 5}
    assert (a, b) == ({1: 2}, {1: 3})
    assert merge([]) == {}


samples = st.lists(st.floats(0.0, 1e8), min_size=1, max_size=80)


@given(values=samples, q=st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0]), base=bases)
def test_a_quantile_is_the_nearest_rank_within_the_stated_error(values: list[float], q: float, base: float) -> None:
    counts = merge({cell_of(v, base): 1} for v in values)
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    found = quantile(counts, q, base)
    assert found is not None
    if found.exact_within is None:
        assert exact <= base or exact > base * 65_536
    else:
        assert found.exact_within == RELATIVE_ERROR
        assert abs(found.value - exact) <= exact * (RELATIVE_ERROR + 1e-12)


def test_quantiles_agree_with_numpy_on_a_large_skewed_sample() -> None:
    values = np.random.default_rng(5).lognormal(4.0, 1.2, 100_001)
    counts = merge({cell_of(float(v), 1.0): 1} for v in values)
    for q in (0.5, 0.9, 0.95, 0.99):
        exact = float(np.quantile(values, q, method="inverted_cdf"))
        found = quantile(counts, q, 1.0)
        assert found is not None
        assert found.value == pytest.approx(exact, rel=0.0443)


def test_quantiles_by_hand() -> None:
    counts = {8: 3, 16: 1}  # three values up to 2, one up to 4
    medians = [quantile(counts, q, 1.0) for q in (0.0, 0.5, 0.75, 0.76, 1.0)]
    assert [m and round(m.value, 4) for m in medians] == [1.9152, 1.9152, 1.9152, 3.8304, 3.8304]
    assert quantile({}, 0.5, 1.0) is None
    assert quantile({3: 0}, 0.5, 1.0) is None
    for q in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="q: expected"):
            quantile(counts, q, 1.0)


def test_off_the_scale_no_error_is_promised() -> None:
    low, high = quantile({UNDERFLOW: 1}, 0.5, 1000.0), quantile({OVERFLOW: 1}, 0.5, 1000.0)
    assert low is not None
    assert high is not None
    assert (low.value, low.exact_within) == (1000.0, None)
    assert (high.value, high.exact_within) == (65_536_000.0, None)


def test_the_stated_error_is_below_what_the_contract_promises() -> None:
    assert 0.044 < RELATIVE_ERROR <= 0.045
    for cell in range(1, OVERFLOW):
        low, high = EXACT_BOUNDS[cell - 1], EXACT_BOUNDS[cell]
        middle = Decimal(middle_of(cell, 1.0))
        assert max(high / middle, middle / low) - 1 <= Decimal(RELATIVE_ERROR) + Decimal("1e-15")


@given(threshold=st.floats(1e-3, 1e9), base=bases)
def test_a_threshold_acts_at_the_nearest_bound(threshold: float, base: float) -> None:
    effective = effective_threshold(threshold, base)
    bounds = upper_bounds(base)
    assert effective == bounds[threshold_cell(threshold, base) - 1]
    distance = abs(math.log(threshold / effective))
    assert distance <= min(abs(math.log(threshold / b)) for b in bounds) + 1e-9
    if base <= threshold <= bounds[-1]:
        assert distance <= math.log1p(RELATIVE_ERROR) + 1e-9


@given(values=samples, threshold=st.floats(0.5, 1e8), base=bases)
def test_count_above_counts_the_values_above_the_effective_threshold(
    values: list[float], threshold: float, base: float
) -> None:
    counts = merge({cell_of(v, base): 1} for v in values)
    effective = effective_threshold(threshold, base)
    assert count_above(counts, threshold, base) == sum(v > effective for v in values)


def test_thresholds_by_hand() -> None:
    assert threshold_cell(800.0, 1.0) == 78  # 2**(77/8) = 789.6 is nearer than 2**(78/8) = 861.1
    assert effective_threshold(800.0, 1.0) == pytest.approx(789.6, abs=0.05)
    assert threshold_cell(0.1, 1.0) == 1
    assert threshold_cell(1e9, 1.0) == OVERFLOW
    assert count_above({0: 7, 77: 5, 78: 3, OVERFLOW: 1}, 800.0, 1.0) == 4


@pytest.mark.parametrize("threshold", [math.nan, math.inf, -1.0, 0.0])
def test_a_threshold_that_is_no_positive_number_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        threshold_cell(threshold, 1.0)
