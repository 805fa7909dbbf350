import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.histogram import CELLS, merge, quantile
from history.quantiles import dense, quantiles

cells = st.dictionaries(st.integers(0, CELLS - 1), st.integers(1, 50), max_size=8)


@given(st.lists(st.lists(cells, max_size=3), min_size=1, max_size=4), st.sampled_from([1.0, 1000.0]))
@settings(max_examples=150, deadline=None)
def test_quantiles_of_merged_histograms_equal_the_contract_one_by_one(groups, base):
    entries = [(g, c, n) for g, parts in enumerate(groups) for part in parts for c, n in part.items()]
    group, cell, count = (np.array([e[i] for e in entries], np.int64) for i in range(3))
    qs = (0.0, 0.5, 0.95, 0.99, 1.0)
    got = quantiles(dense(len(groups), group, cell, count), qs, base)
    for g, parts in enumerate(groups):
        for i, q in enumerate(qs):
            wanted = quantile(merge(parts), q, base)
            if wanted is None:
                assert np.isnan(got[g, i])
            else:
                assert got[g, i] == pytest.approx(wanted.value, rel=1e-12)


def test_each_histogram_may_have_its_own_base():
    histograms = dense(2, np.array([0, 1]), np.array([9, 9]), np.array([1, 1]))
    got = quantiles(histograms, (0.5,), np.array([1.0, 1000.0]))
    assert got[1, 0] == pytest.approx(1000 * got[0, 0])
