"""Accounts of months from the tables: against the definition; zones, maintenance, silence, tenants."""

import random
from dataclasses import replace

import pytest

from contracts.sla import CreditTier, Month, Once, Weekly
from contracts.times import DAY_MS, rfc3339
from history import sla
from history.maintenance import expire
from history.objectives import record, versions
from history.query_fleet import freshness
from history.query_intake import stages
from history.sink import Sink, SinkSettings
from history.sla_account import account
from history.sla_minutes import known_through
from tests.history.builders import Box, make_slice, send
from tests.history.sla_world import HOUR, MINUTE, OCT, Row, fill, letter, level

START, END = OCT.span(level().zone)


def judged(store, promised, through=END, month=OCT):
    record(store, [promised], "ana", 0)
    version = next(v for v in versions(store, promised.customer) if v.level == promised)
    return account(store, version, month, through)


def letters(document):
    return [sla.LETTERS[c] for c in sla.read(document["classes"])]


MEASURES = [
    {"measure": "failures"},
    {"measure": "stalled_sessions", "minute_target": 0.9},
    {"measure": "cache_misses", "minute_target": 0.3},
    {"measure": "slow_requests", "threshold": 400.0, "minute_target": 0.9},
    {"measure": "low_throughput", "threshold": 80.0, "minute_target": 0.9},
]


@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: m["measure"])
def test_every_minute_is_judged_by_the_definition(store, measure):
    chance = random.Random(str(measure))
    rows = []
    for i in range(400):
        requests = chance.choice((0, 3, 100, 1000))
        heard = chance.choice((10, 10, 9, 1, None if not requests else 10))
        sessions = chance.randint(0, requests)
        rows.append(
            Row(
                START + i * MINUTE,
                requests,
                chance.randint(0, requests) if chance.random() < 0.3 else requests // 100,
                heard,
                sessions=sessions,
                stalled=chance.randint(0, sessions),
                hits=chance.randint(0, requests),
                latency=((60, requests // 10), (70, requests - requests // 10)) if i % 2 else ((60, requests),),
                throughput=((40, requests),) if chance.random() < 0.5 else ((52, requests),),
            )
        )
    fill(store, rows)
    fill(store, [Row(row.minute, customer="beta") for row in rows])  # the network is heard all the time
    promised = level(**measure)
    found = letters(judged(store, promised, through=START + 400 * MINUTE))
    wanted = [letter(row, promised, rows[max(0, i - 59) : i + 1]) for i, row in enumerate(rows)]
    assert {"g", "b", "n"} <= set(wanted)
    assert found[:400] == wanted
    assert set(found[400:]) == {"p"}


def test_figures_follow_from_the_minutes(store):
    rows = [Row(START + i * MINUTE, failures=(i % 4 == 0 and 50) or 0, heard=5 if i == 1 else 10) for i in range(40)]
    fill(store, rows)
    tiers = (CreditTier(0.999, 0.1), CreditTier(0.8, 0.5))
    document = judged(store, level(credits=tiers), through=START + 40 * MINUTE)
    assert document["minutes"] == {
        "good": 29, "bad": 10, "unmeasured": 1, "no_traffic": 0, "excluded": 0, "pending": 44_600,
    }  # fmt: skip
    assert document["attainment"] == {"lower": 0.725, "upper": 0.75}
    assert document["verdict"] == "undecided"  # the rest of the month may save it
    assert document["trials"] == {"total": 4_000, "bad": 500, "unmeasured": 100.0}
    assert document["coverage"] == pytest.approx(4_000 / 4_100)
    assert document["budget"] == {"allowed": pytest.approx(44.64), "spent": 10, "spent_at_most": 11}
    assert document["credits"] == {"due": 0.5, "at_most": 0.5}
    assert [d["bad"] for d in document["days"]] == [10] + [0] * 30
    (episode,) = document["lost"]
    assert (episode["start"], episode["end"]) == (rfc3339(START), rfc3339(START + 37 * MINUTE))
    assert (episode["bad"], episode["unmeasured"]) == (10, 1)
    assert episode["boxes"] == {"placed": 10, "measured": 5}
    assert episode["trials"] == {"total": 1_100, "bad": 500, "unmeasured": 100.0}


def test_days_are_the_zones_and_hold_every_minute(store):
    promised = level(timezone="Europe/Berlin")
    start, end = OCT.span(promised.zone)
    fill(store, [Row(t) for t in range(start - HOUR, start + HOUR, MINUTE)])
    document = judged(store, promised, through=end)
    lengths = [sum(n for name, n in day.items() if name != "date") for day in document["days"]]
    assert lengths == [1500 if day["date"] == "2026-10-25" else 1440 for day in document["days"]]
    assert document["days"][0]["good"] == document["minutes"]["good"] == 60
    assert (document["days"][0]["date"], document["days"][-1]["date"]) == ("2026-10-01", "2026-10-31")


def test_maintenance_is_counted_apart_and_not_held_against_anyone(store):
    windows = (Weekly(3, 10, 20), Once(START + 15 * MINUTE, START + 30 * MINUTE))  # 1 October 2026 is a Thursday
    fill(store, [Row(START + i * MINUTE, failures=100 if 10 <= i < 30 else 0) for i in range(60)])
    document = judged(store, level(maintenance=windows), through=START + 60 * MINUTE)
    # Minutes 10 to 30 of the first Thursday, 10 on each of the four others.
    assert document["minutes"]["excluded"] == 20 + 4 * 10
    assert (document["minutes"]["good"], document["minutes"]["bad"]) == (40, 0)
    assert document["trials"]["bad"] == 0


def test_silence_of_a_customers_boxes_is_unmeasured(store):
    rows = [Row(START + i * MINUTE) for i in range(10)]
    rows += [Row(START + i * MINUTE, requests=0, heard=0) for i in range(10, 20)]
    rows += [Row(START + i * MINUTE, requests=0, heard=None, placed=0) for i in range(20, 25)]
    rows += [Row(START + i * MINUTE, customer="beta") for i in range(30)]
    fill(store, rows)
    document = judged(store, level(), through=START + 30 * MINUTE)
    # Nothing expected while others were heard: no traffic.
    assert letters(document)[:30] == ["g"] * 10 + ["u"] * 10 + ["n"] * 10
    assert document["trials"]["unmeasured"] == pytest.approx(1_000)


def both(i, heard, vod=700, compute=300):
    """A minute of two services on boxes of their own, seven and three."""
    rows = [Row(START + i * MINUTE, vod, heard=heard), Row(START + i * MINUTE, compute, heard=heard, service="compute")]
    return [row for row in rows if row.requests]


def test_silence_of_one_services_boxes_is_unmeasured_while_another_service_is_heard(store):
    rows = [row for i in range(10) for row in both(i, heard=10)]
    rows += [row for i in range(10, 70) for row in both(i, heard=7, compute=0)]
    rows += [row for i in range(70, 80) for row in both(i, heard=10)]
    fill(store, rows, per_box=100.0)
    compute = judged(store, level(name="acme-compute", service="compute"), START + 80 * MINUTE)
    # Placement, and with it what is expected, is remembered for an hour.
    assert compute["classes"].startswith("10g59u1n10g")


def test_a_service_that_stops_while_its_boxes_report_has_no_traffic(store):
    rows = [row for i in range(10) for row in both(i, heard=10)]
    rows += [row for i in range(10, 80) for row in both(i, heard=10, compute=0)]
    fill(store, rows, per_box=100.0)
    compute = judged(store, level(name="acme-compute", service="compute"), START + 80 * MINUTE)
    assert compute["classes"].startswith("10g70n")


def test_a_service_with_a_request_now_and_then_is_not_expected_of_one_silent_box_in_a_thousand(store):
    rows = []
    for i in range(60):
        cover = {"heard": 999, "placed": 1000}
        rows.append(Row(START + i * MINUTE, 10_000, **cover))
        if i % 10 == 0:
            rows.append(Row(START + i * MINUTE, 20, service="live", **cover))
    fill(store, rows)
    live = judged(store, level(name="acme-live", service="live"), START + 60 * MINUTE)
    assert live["classes"].startswith("1g9n" * 6)


def test_silence_of_the_whole_network_is_unmeasured_however_long(store):
    fill(store, [Row(START + i * MINUTE) for i in (*range(5, 10), *range(300, 310))])
    document = judged(store, level(), through=START + 310 * MINUTE)
    assert document["classes"].startswith("5n5g290u10g")  # before its first traffic nothing was expected
    assert document["coverage"] == pytest.approx(15 / 305)


def test_silence_of_the_whole_network_is_unmeasured_also_when_the_services_first_minutes_are_forgotten(store):
    fill(store, [Row(START - 420 * DAY_MS)])
    expire(store, START - 10 * DAY_MS)
    assert store.query("SELECT count() AS n FROM minutes")["n"] == [0]
    fill(store, [Row(START + i * MINUTE) for i in (*range(10), *range(300, 310))])
    document = judged(store, level(), through=START + 310 * MINUTE)
    assert document["classes"].startswith("10g290u10g")


@pytest.mark.parametrize(
    ("dark", "classes"), [(range(0), "5g65n20g"), (range(30, 50), "5g25n20u20n20g")], ids=["heard", "dark for a while"]
)
def test_a_lull_is_without_traffic_as_long_as_boxes_report(store, log, dark, classes):
    box, vod = Box(), make_slice(service="vod")
    for i in range(90):
        report = [] if i in range(5, 70) else [vod]
        sent = [box.report(START + i * MINUTE + k * 10_000, report) for k in range(6)]
        send(log, *([] if i in dark else sent))
    sink = Sink(log, store, SinkSettings(flush_every_ms=0))
    sink.drain(START + 91 * MINUTE)
    assert judged(store, level(), through=START + 90 * MINUTE)["classes"].startswith(classes)


def test_history_is_known_through_a_lull(store, log):
    box = Box()
    sink = Sink(log, store, SinkSettings(flush_every_ms=0))
    assert known_through(store) == 0
    send(log, *(box.report(START + k * 10_000, [make_slice()] if k < 6 else []) for k in range(6 * 100)))
    sink.drain(START + 100 * MINUTE + 20_000)
    assert known_through(store) == START + 100 * MINUTE
    assert freshness(store).closed_through == START + 99 * MINUTE
    assert stages(store, START + 100 * MINUTE + 20_000).closed == START + 100 * MINUTE


def test_what_was_heard_of_expires_with_the_minutes(store, log):
    send(log, *(Box().report(START + k * 10_000, [make_slice()]) for k in range(6)))
    Sink(log, store, SinkSettings(flush_every_ms=0)).drain(START + 2 * MINUTE)
    counted = "SELECT sum(boxes) AS boxes FROM heard_minutes FINAL"
    assert store.query(counted)["boxes"] == [1]
    expire(store, START + 399 * DAY_MS)
    assert store.query(counted)["boxes"] == [1]
    expire(store, START + 401 * DAY_MS)
    assert store.query(counted)["boxes"] == [0]


def test_a_service_that_had_no_traffic_lately_is_not_expected_in_silence(store):
    rows = [Row(START + i * MINUTE) for i in range(10)]
    rows += [Row(START + i * MINUTE, service="live") for i in range(5)]
    rows += [Row(START + i * MINUTE, requests=0, heard=0) for i in range(10, 100)]
    rows += [Row(START + i * MINUTE, customer="beta") for i in range(100)]
    fill(store, rows)
    vod, live = judged(store, level()), judged(store, level(name="acme-live", service="live"))
    assert letters(vod)[10:69] == ["u"] * 59
    assert letters(live)[:6] == ["g"] * 5 + ["n"]
    assert letters(live)[10:63] == ["u"] * 53  # it had traffic within the hour
    assert set(letters(live)[65:100]) == {"n"}


def test_what_came_before_the_month_tells_what_silence_holds(store):
    rows = [Row(START - i * MINUTE) for i in range(1, 20)]
    rows += [Row(START + i * MINUTE, requests=0, heard=0) for i in range(10)]
    rows += [Row(START + i * MINUTE, customer="beta") for i in range(-20, 20)]
    fill(store, rows)
    assert judged(store, level(), through=START + 10 * MINUTE)["minutes"]["unmeasured"] == 10


def test_other_customers_change_nothing(store):
    rows = [Row(START + i * MINUTE, failures=i) for i in range(30)]
    fill(store, rows)
    alone = judged(store, level(), through=START + 30 * MINUTE)
    fill(store, [replace(r, customer="beta", failures=100, heard=1) for r in rows])
    fill(store, [replace(r, customer="acme-2", failures=100) for r in rows])
    assert judged(store, level(), through=START + 30 * MINUTE) == alone
    other = judged(store, level(customer="beta"), through=START + 30 * MINUTE)
    assert other["minutes"]["bad"] == 30


def test_a_month_without_data_is_no_data(store):
    document = judged(store, level(), month=Month(2026, 11), through=Month(2026, 11).span(level().zone)[1])
    assert document["verdict"] == "no_data"
    assert document["attainment"] == {"lower": None, "upper": None}
    assert document["coverage"] is None
    assert document["credits"] == {"due": 0.0, "at_most": 0.0}
    assert document["lost"] == []
