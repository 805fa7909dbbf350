"""From open to sealed: late data restates until the seal, and nothing changes a month after it."""

from dataclasses import replace

import pytest

from contracts.errors import ContractError
from contracts.sla import Month
from contracts.times import HOUR_MS, from_rfc3339, rfc3339
from history.objectives import record, versions
from history.sink import Sink, SinkSettings
from history.sla_account import Cause
from history.sla_report import Asked, report, settle
from history.sla_seal import SealBroken, seal, sealed, statements, verify
from tests.history.builders import Box, make_slice, send
from tests.history.sla_world import MINUTE, Row, fill, level

OCT, NOV = Month(2026, 10), Month(2026, 11)
END = from_rfc3339("2026-11-01T00:00:00Z")
START = END - 6 * MINUTE
DUE = END + 48 * HOUR_MS
ASKED = Asked("acme", "Acme Video", OCT)
PROMPT = SinkSettings(flush_every_ms=0, late_refresh_ms=0)


def served(box, minutes, failing=()):
    """Reports of a box, 100 requests each 10 s; half of them fail in the minutes `failing`."""
    found = []
    for minute in minutes:
        bad = 50 if minute in failing else 0
        row = make_slice(service="vod", requests=100, s2xx=100 - bad, s5xx=bad, f_server=bad)
        found += [box.report(START + minute * MINUTE + k * 10_000, [row]) for k in range(6)]
    return found


@pytest.fixture
def month(store, log):
    """The last minutes of October: two boxes, of which one falls silent half-way and sends the rest later."""
    record(store, [level()], "ana", 0)
    one, two = Box("box-1"), Box("box-2", "boot-2")
    send(log, *served(one, range(6), failing=(1,)), *served(two, range(3), failing=(1,)))
    sink = Sink(log, store, PROMPT)
    sink.drain(END + 5 * MINUTE)
    return store, log, sink, served(two, range(3, 6))


def first(document):
    return document["objectives"][0]


def minutes(document):
    return {name: n for name, n in first(document)["minutes"].items() if n and name != "no_traffic"}


def refusal(do, *arguments):
    with pytest.raises(ContractError) as refused:
        do(*arguments)
    return str(refused.value)


def test_late_data_narrows_the_interval_and_every_restatement_is_logged(month):
    store, log, sink, late = month
    before = report(store, ASKED, END + 10 * MINUTE, issue=True)
    assert before["status"] == "provisional"
    assert minutes(before) == {"good": 2, "bad": 1, "unmeasured": 3}
    assert first(before)["attainment"] == {"lower": pytest.approx(2 / 6), "upper": pytest.approx(5 / 6)}
    assert first(before)["coverage"] == pytest.approx(9 / 12)
    assert first(before)["restated"] == {"times": 0, "minutes": 0, "last": None}
    send(log, *late)
    sink.drain(END + HOUR_MS)
    after = report(store, ASKED, END + 2 * HOUR_MS, issue=True)
    assert minutes(after) == {"good": 5, "bad": 1}
    assert first(after)["coverage"] == 1.0
    assert first(after)["restated"] == {"times": 3, "minutes": 3, "last": rfc3339(END + HOUR_MS)}
    report(store, ASKED, END + 3 * HOUR_MS, issue=True)
    told = first(after)["statements"]
    assert [(s["stated_at"], s["good"], s["unmeasured"]) for s in told] == [
        (rfc3339(END + 10 * MINUTE), 2, 3),
        (rfc3339(END + 2 * HOUR_MS), 5, 0),
    ]
    assert len(statements(store, "acme", "acme-vod", OCT)) == 2  # the third said nothing new


def test_looking_states_nothing(month):
    store, *_ = month
    report(store, ASKED, END + 10 * MINUTE)
    assert statements(store, "acme", "acme-vod", OCT) == []


def test_an_open_month_is_open_and_states_nothing(month):
    store, *_ = month
    document = report(store, ASKED, END - MINUTE, issue=True)
    assert document["status"] == "open"
    assert first(document)["minutes"]["pending"] == 1
    assert statements(store, "acme", "acme-vod", OCT) == []


def test_a_seal_waits_for_all_that_may_still_come(month):
    store, log, sink, late = month
    (version,) = versions(store)
    early = refusal(seal, store, version, OCT, DUE - 1, DUE)
    assert early == f"month: expected one that ended 48 h ago; it can be sealed from {rfc3339(DUE)} on, got '2026-10'"
    behind = refusal(seal, store, version, OCT, DUE, DUE - 1)
    assert f"it holds what was received before {rfc3339(DUE - 1)}" in behind
    send(log, *late)
    Sink(log, store, replace(PROMPT, late_refresh_ms=10**12)).step(DUE)
    assert "3 are waiting" in refusal(seal, store, version, OCT, DUE, DUE)
    sink.close()
    Sink(log, store, PROMPT).drain(DUE)
    document = seal(store, version, OCT, DUE, DUE)
    assert document["minutes"]["good"] == 5


def test_nothing_changes_a_sealed_month(month):
    store, *_ = month
    (version,) = versions(store)
    document = seal(store, version, OCT, DUE, DUE)
    assert verify(document)
    assert document["seal"]["sealed_at"] == rfc3339(DUE)
    fill(store, [Row(START + i * MINUTE, failures=100) for i in range(6)], version=2**62)
    record(store, [level(target=0.5, valid_from=Month(2027, 1))], "ben", DUE)
    assert seal(store, version, OCT, DUE + HOUR_MS, DUE + HOUR_MS) == document
    told = report(store, ASKED, DUE + HOUR_MS, issue=True)
    assert (told["status"], first(told)["seal"], minutes(told)) == (
        "sealed",
        document["seal"],
        minutes({"objectives": [document]}),
    )
    assert verify(first(told))
    assert settle(store, DUE + HOUR_MS, DUE + HOUR_MS)[0] <= 1  # November may be stated, October not again
    assert [s.stated_at for s in statements(store, "acme", "acme-vod", OCT)] == [DUE]


def test_a_tampered_seal_is_noticed(month):
    store, *_ = month
    (version,) = versions(store)
    document = seal(store, version, OCT, DUE, DUE)
    handed_out = {**document, "minutes": {**document["minutes"], "bad": 0}}
    assert not verify(handed_out)
    store.execute("ALTER TABLE sla_seals UPDATE document = replace(document, '\"bad\":1', '\"bad\":0') WHERE 1"
                  " SETTINGS mutations_sync = 2")  # fmt: skip
    with pytest.raises(SealBroken, match=f"expected the account sealed as {document['seal']['sha256']}"):
        sealed(store, "acme", "acme-vod", OCT)
    with pytest.raises(SealBroken):
        report(store, ASKED, DUE + 1)


def test_settling_states_and_seals_what_is_due(month):
    store, *_ = month
    record(store, [level(name="future", service="live", valid_from=Month(2027, 1))], "ana", 0)
    assert settle(store, END - MINUTE, END - MINUTE) == (0, 0)
    assert settle(store, END + HOUR_MS, END + HOUR_MS) == (1, 0)
    assert settle(store, END + 2 * HOUR_MS, END + 2 * HOUR_MS) == (0, 0)
    assert settle(store, DUE, DUE - MINUTE) == (0, 0)  # history is behind
    assert settle(store, DUE, DUE) == (0, 1)
    assert settle(store, DUE + HOUR_MS, DUE + HOUR_MS) == (0, 0)
    assert sealed(store, "acme", "acme-vod", OCT)["seal"]["sealed_at"] == rfc3339(DUE)


def test_a_month_that_history_has_not_caught_up_with_is_not_stated(store, log):
    record(store, [level()], "ana", 0)
    send(log, *served(Box("box-1"), range(9)))
    sink = Sink(log, store, PROMPT)
    sink.drain(END - 2 * MINUTE)  # the last two minutes of October have not ended for history
    assert settle(store, END + MINUTE, END - 2 * MINUTE) == (0, 0)
    report(store, ASKED, END + MINUTE, issue=True)
    assert statements(store, "acme", "acme-vod", OCT) == []
    sink.drain(END + 3 * MINUTE)
    assert settle(store, END + 3 * MINUTE, END + 3 * MINUTE) == (1, 0)
    assert [(s.stated_at, s.good) for s in statements(store, "acme", "acme-vod", OCT)] == [(END + 3 * MINUTE, 6)]


def test_lost_minutes_name_their_incidents_also_when_sealed(month):
    store, *_ = month
    asked = []

    def causes(customer, service, measure, start, end, unmeasured):
        asked.append((customer, service, measure, start, end, unmeasured))
        return [Cause("inc-7", start, None, "quality.diffuse", {"factor": 4.1})]

    (version,) = versions(store)
    (lost,) = seal(store, version, OCT, DUE, DUE, causes)["lost"]
    assert asked == [("acme", "vod", "failures", START + MINUTE, END, 3)]
    assert (lost["bad"], lost["unmeasured"]) == (1, 3)
    assert lost["causes"] == [
        {
            "id": "inc-7",
            "start": rfc3339(START + MINUTE),
            "end": None,
            "key": "quality.diffuse",
            "params": {"factor": 4.1},
        }
    ]
    assert first(report(store, ASKED, DUE))["lost"][0]["causes"] == lost["causes"]


def test_what_cannot_be_told_says_why(month):
    store, *_ = month
    unknown = refusal(report, store, Asked("nobody", "Nobody", OCT), DUE)
    assert "nobody has an objective (it has none: dipper objectives apply FILE), got '2026-10'" in unknown
    assert "(the first is 2026-01), got '2025-12'" in refusal(report, store, replace(ASKED, month=Month(2025, 12)), DUE)
    assert "month: expected 2026-11 or earlier" in refusal(report, store, replace(ASKED, month=Month(2027, 3)), DUE)


def test_the_worst_objective_comes_first(month):
    store, *_ = month
    # Stalls have no trials; half of the requests may fail in a minute.
    record(store, [level(name="a-stalls", measure="stalled_sessions")], "ana", 0)
    record(store, [level(name="half", service="live", measure="failures", minute_target=0.4)], "ana", 0)
    fill(store, [Row(START + i * MINUTE, service="live", failures=40) for i in range(6)])
    document = report(store, ASKED, END + 10 * MINUTE)
    assert [o["objective"]["name"] for o in document["objectives"]] == ["acme-vod", "half", "a-stalls"]
