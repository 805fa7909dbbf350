"""Small cubes with known arithmetic."""

from itertools import product

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.int64]


def full_cube(*cardinalities: int) -> Array:
    """Every combination of codes, (n_leaves, n_dims), last dimension fastest."""
    return np.array(list(product(*(range(n) for n in cardinalities))), dtype=np.int64)


def minutes(
    codes: Array,
    now_bad: Array | list[int],
    total: int | Array = 1000,
    usual_bad: int | Array = 20,
    history: int = 5,
) -> tuple[Array, Array, int]:
    """(bad, total, moment) with `history` equal minutes before the moment, which is the last column."""
    leaves = len(codes)
    totals = np.broadcast_to(np.asarray(total)[..., None], (leaves, history + 1)).copy()
    bad = np.broadcast_to(np.asarray(usual_bad)[..., None], (leaves, history + 1)).copy()
    bad[:, -1] = now_bad
    return bad, totals, history


def where(*pairs: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple(pairs)
