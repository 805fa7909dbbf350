"""Which other combinations select the same leaves here, or nearly the same."""

from itertools import combinations

import numpy as np

from anomaly.localise.cells import select
from anomaly.localise.model import Combination, Equivalent, FloatArray, IntArray

MAX_EQUIVALENTS = 8
MAX_DIFFERING_LEAVES = 10


def equivalents(
    codes: IntArray, measures: FloatArray, where: Combination, max_order: int, tolerance: float, index: IntArray
) -> tuple[Equivalent, ...]:
    """Combinations that differ from `where` by leaves carrying at most `tolerance` of its sum, in each measure.

    codes: (n_leaves, n_dims); measures: (n_measures, n_leaves), non-negative; index: (n_leaves,) the caller's number
    of each leaf. Fewest dimensions, then fewest differing leaves first; at most `MAX_EQUIVALENTS`.

    Such a combination can only use values that hold nearly all of the cause's own leaves: at most one per
    dimension, which leaves few combinations to compare leaf by leaf.
    """
    mine = select(codes, where)
    own = measures[:, mine]
    allowed = tolerance * own.sum(axis=1) + 1e-9
    shared: dict[int, int] = dict(where)
    for dim in set(range(codes.shape[1])) - set(shared):
        values = codes[mine, dim]
        value = int(np.bincount(values, own[0] + 1e-9).argmax())
        if (own[:, values != value].sum(axis=1) <= allowed).all():
            shared[dim] = value
    found: list[Equivalent] = []
    for order in range(1, max_order + 1):
        for dims in combinations(sorted(shared), order):
            other_where = tuple((d, shared[d]) for d in dims)
            other = select(codes, other_where)
            differ = mine ^ other
            if other_where == where or (measures[:, differ].sum(axis=1) > allowed).any():
                continue
            first = np.flatnonzero(differ)[:MAX_DIFFERING_LEAVES]
            found.append(
                Equivalent(
                    other_where, int((mine & ~other).sum()), int((other & ~mine).sum()), tuple(map(int, index[first]))
                )
            )
    found.sort(key=lambda e: (len(e.where), e.leaves_only_in_cause + e.leaves_only_in_equivalent, e.where))
    return tuple(found[:MAX_EQUIVALENTS])
