"""Cells by the hour and by the day: once, when over; again after late rows; found again after a crash."""

import random

from history.cell_rollups import CellRollups
from history.sink import Sink, SinkSettings
from history.versions import Versions
from tests.history.builders import MINUTE, T0, Box, make_slice, random_fleet, send

HOUR, DAY = 60 * MINUTE, 1440 * MINUTE
PROMPT = SinkSettings(flush_every_ms=0, live_refresh_ms=None, late_refresh_ms=0)
SUMS = "SELECT sum(requests) AS n, sum(arraySum(latency_count)) AS l FROM {} FINAL"


def sums(store, table):
    rows = store.query(SUMS.format(table))
    return rows["n"][0], rows["l"][0]


def starts(store, table, column):
    return store.query(f"SELECT DISTINCT {column} AS at FROM {table} ORDER BY at")["at"]


def test_an_hour_is_rolled_up_when_its_last_minute_has_ended_even_a_silent_one(store, log):
    sink = Sink(log, store, PROMPT)
    send(log, *random_fleet(random.Random(1), boxes=2, minutes=3))
    sink.drain(T0 + 5 * MINUTE)
    assert starts(store, "cell_hours", "hour") == []
    box = Box("late-box")
    send(log, box.report(T0 + 70 * MINUTE, [make_slice(requests=7)]))
    sink.drain(T0 + 72 * MINUTE)
    assert starts(store, "cell_hours", "hour") == [T0]
    first = store.query("SELECT sum(requests) AS n FROM minutes FINAL WHERE minute < {t:Int64}", {"t": T0 + HOUR})["n"][
        0
    ]
    assert sums(store, "cell_hours") == (first, first)


def test_a_day_follows_its_hours_and_late_rows_restate_both(store, log):
    sink = Sink(log, store, PROMPT)
    one, two = Box("box-1"), Box("box-2", firmware="2.4.0")
    early = two.report(T0 + 10_000, [make_slice(requests=5)])
    send(log, one.report(T0, [make_slice(requests=3)]), one.report(T0 + DAY + MINUTE, [make_slice(requests=2)]))
    sink.drain(T0 + DAY + 5 * MINUTE)
    assert (sums(store, "cell_hours"), sums(store, "cell_days")) == ((3, 3), (3, 3))
    send(log, early)
    sink.drain(T0 + DAY + 6 * MINUTE)
    assert (sums(store, "cell_hours"), sums(store, "cell_days")) == ((8, 8), (8, 8))
    cells = store.query("SELECT firmware, sum(requests) AS n FROM cell_days FINAL GROUP BY firmware ORDER BY firmware")
    assert dict(zip(*cells.values(), strict=True)) == {"2.3.1": 3, "2.4.0": 5}


def test_what_is_owed_is_found_again_after_a_crash(store, log):
    sink = Sink(log, store, PROMPT)
    box = Box("box-1")
    send(log, *[box.report(T0 + h * HOUR, [make_slice(requests=4)]) for h in range(25)])
    sink.drain(T0 + 24 * HOUR + 5 * MINUTE)
    for table in ("cell_hours", "cell_days"):
        store.execute(f"TRUNCATE TABLE {table}")  # as if it had died before, or as a store of an older version
    rollups = CellRollups(store, Versions(store))
    closed_through = T0 + 24 * HOUR + 3 * MINUTE
    assert rollups.step(closed_through, {T0 + 5 * MINUTE}) == 1  # the oldest that nothing waits for
    assert starts(store, "cell_hours", "hour") == [T0 + HOUR]
    assert rollups.step(closed_through, (), most=None) == 24  # the other hours but the running one, and the day
    assert (sums(store, "cell_hours"), sums(store, "cell_days")) == ((96, 96), (96, 96))
    assert rollups.step(closed_through, ()) == 0
    assert CellRollups(store, Versions(store)).step(closed_through, ()) == 0
