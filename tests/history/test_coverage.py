import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from history.coverage import Measured, coverage
from tests.streams import coverage_reference as reference

MINUTE = 60_000
BASE = 1_700_000_040_000 // MINUTE * MINUTE
DEVICES = ("a", "b", "c")
CUSTOMERS = ("x", "y")

measured_rows = st.dictionaries(
    st.tuples(st.sampled_from(DEVICES), st.integers(0, 90)),
    st.tuples(
        st.sampled_from([0.0, 1 / 6, 0.5, 1.0]),
        st.dictionaries(st.sampled_from(CUSTOMERS), st.integers(0, 40), max_size=2),
    ),
    max_size=80,
)
drop_rows = st.dictionaries(st.tuples(st.sampled_from(DEVICES), st.integers(60, 95)), st.integers(1, 30), max_size=6)


def as_measured(rows, drops):
    boxes = sorted(rows, key=lambda key: key[1])
    traffic = [(m, DEVICES.index(d), CUSTOMERS.index(c), n) for d, m in boxes for c, n in rows[d, m][1].items()]
    lost = [(m, DEVICES.index(d), n) for (d, m), n in drops.items()]

    def ints(values):
        return np.array(values, np.int64)

    return Measured(
        devices=len(DEVICES),
        customers=len(CUSTOMERS),
        box_minute=ints([BASE + m * MINUTE for _, m in boxes]),
        box_device=ints([DEVICES.index(d) for d, _ in boxes]),
        share=np.array([rows[key][0] for key in boxes], float),
        minute=ints([BASE + t[0] * MINUTE for t in traffic]),
        device=ints([t[1] for t in traffic]),
        customer=ints([t[2] for t in traffic]),
        requests=ints([t[3] for t in traffic]),
        drop_minute=ints([BASE + t[0] * MINUTE for t in lost]),
        drop_device=ints([t[1] for t in lost]),
        dropped=ints([t[2] for t in lost]),
    )


@given(measured_rows, drop_rows, st.integers(55, 95))
@settings(max_examples=150, deadline=None)
def test_coverage_equals_the_slow_reference(rows, drops, target):
    at = BASE + target * MINUTE
    wanted = reference.coverage(
        at,
        [(d, BASE + m * MINUTE, f, requests) for (d, m), (f, requests) in rows.items()],
        [(d, BASE + m * MINUTE, n) for (d, m), n in drops.items()],
    )
    (got,) = coverage(as_measured(rows, drops), [at])
    assert {CUSTOMERS[i] for i in np.flatnonzero(got.present)} == set(wanted)
    for name, value in wanted.items():
        mine = got.coverage[CUSTOMERS.index(name)]
        assert math.isnan(mine) if math.isnan(value) else mine == pytest.approx(value, rel=1e-9)


def test_a_silent_box_is_missed_by_its_weight_until_its_hour_is_over():
    steady = {("a", m): (1.0, {"x": 30}) for m in range(150)}
    silent = {("b", m): (1.0, {"x": 10}) for m in range(60)}
    data = as_measured(steady | silent, {})
    results = coverage(data, [BASE + m * MINUTE for m in (59, 60, 118, 119)])
    assert [r.coverage[0] for r in results] == pytest.approx([1.0, 0.75, 0.75, 1.0])
    assert [int(r.boxes_placed[0]) for r in results] == [2, 2, 2, 1]
    assert [int(r.boxes_measured[0]) for r in results] == [2, 1, 1, 1]
