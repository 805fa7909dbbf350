"""Refuse arrays that break the contract, naming the first offender."""

from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.localise.errors import BadInput
from anomaly.localise.model import FloatArray, IntArray

MAX_DIMENSIONS = 12
MAX_ORDER = 5


def _first(mask: npt.NDArray[np.bool_]) -> tuple[int, int | None]:
    where = np.argwhere(mask)[0]
    return int(where[0]), int(where[1]) if len(where) > 1 else None


def codes_array(codes: npt.NDArray[Any]) -> IntArray:
    """(n_leaves, n_dims) non-negative integers, 1 to 12 dimensions."""
    if codes.ndim != 2:
        raise BadInput("codes", f"expected two axes (leaf, dimension), got {codes.ndim}")
    if not np.issubdtype(codes.dtype, np.integer):
        raise BadInput("codes", f"expected integers, got {codes.dtype}")
    if not 1 <= codes.shape[1] <= MAX_DIMENSIONS:
        raise BadInput("codes", f"expected 1 to {MAX_DIMENSIONS} dimensions, got {codes.shape[1]}")
    if len(codes) and codes.min() < 0:
        row, column = _first(codes < 0)
        raise BadInput("codes", f"expected codes from 0, got {codes[row, column]}", row, column)
    return codes


def order(max_order: int) -> None:
    if not 1 <= max_order <= MAX_ORDER:
        raise BadInput("max_order", f"expected 1 to {MAX_ORDER} dimensions per cause, got {max_order}")


def count_matrix(name: str, values: npt.NDArray[Any], n_leaves: int) -> IntArray:
    """(n_leaves, n_minutes) non-negative integers."""
    if values.ndim != 2 or len(values) != n_leaves:
        raise BadInput(name, f"expected shape ({n_leaves}, minutes), got {values.shape}")
    if not np.issubdtype(values.dtype, np.integer):
        raise BadInput(name, f"expected integers, got {values.dtype}")
    if values.size and values.min() < 0:
        row, column = _first(values < 0)
        raise BadInput(name, f"expected a count of 0 or more, got {values[row, column or 0]}", row, column)
    return values


def bad_of_total(bad: IntArray, total: IntArray) -> None:
    if bad.shape != total.shape:
        raise BadInput("bad", f"expected the shape of total {total.shape}, got {bad.shape}")
    if bad.size and (bad > total).any():
        row, column = _first(bad > total)
        raise BadInput(
            "bad", f"expected at most the total {total[row, column or 0]}, got {bad[row, column or 0]}", row, column
        )


def count_vector(name: str, values: npt.NDArray[Any], n_leaves: int) -> FloatArray:
    """(n_leaves,) finite numbers of 0 or more."""
    if values.shape != (n_leaves,):
        raise BadInput(name, f"expected shape ({n_leaves},), got {values.shape}")
    if not np.issubdtype(values.dtype, np.number):
        raise BadInput(name, f"expected numbers, got {values.dtype}")
    numbers = values.astype(np.float64)
    wrong = ~(np.isfinite(numbers) & (numbers >= 0))
    if wrong.any():
        row, _ = _first(wrong)
        raise BadInput(name, f"expected a finite number of 0 or more, got {numbers[row]}", row)
    return numbers
