"""Refusals are found again, and replayed without doubling anything."""

import asyncio
import json

import pytest

from contracts.entities import Customer
from contracts.report import Totals
from ingest.errors import IngestError
from ingest.rejected import NotRejected, list_rejected, replay, show
from tests.ingest.builders import KEY, NOW, START, House, body_of, make_report, make_slices, signed

SLICES, REPORTS, REJECTED = "telemetry.slices", "telemetry.reports", "telemetry.rejected"
LATER = NOW + 3_600_000


def refuse_rows(house, seq=1, customers=("acme", "new", "newer")):
    body = body_of(make_report(seq, slices=make_slices(3, 4, 5, customer=list(customers))))
    assert house.post(body, signed(body, seq=seq))[0] == 200


def kept(house):
    return [show(house.log, row["id"]) for row in list_rejected(house.log, state="kept")]


def again(house, rows):
    return replay(house.log, house.gateway.pipeline, rows, LATER)


def stored_rows(house):
    return sorted((r["seq"], r["row"], r["customer"]) for r in house.rows(SLICES))


def test_rows_of_a_customer_added_since_are_stored_and_the_others_stay(house):
    refuse_rows(house)
    house.registry.known["new"] = Customer("new", "New")
    [row] = kept(house)
    [done] = again(house, [row])
    assert (done.state, done.stored_rows, done.reason) == ("replayed", 1, "unknown_customer")
    assert stored_rows(house) == [(1, 0, "acme"), (1, 1, "new")]
    [rest] = kept(house)
    assert (rest["id"], json.loads(rest["rows"]), rest["requests"]) == (done.remainder, [2], 5)
    assert [r["rejected_slices"] for r in house.rows(REPORTS)] == [2, 1]
    assert {r["received_at"] for r in house.rows(SLICES)} == {NOW}
    assert {r.timestamp_ms for r in house.records(SLICES)} == {NOW, LATER}


def test_replaying_again_doubles_nothing(house):
    refuse_rows(house)
    house.registry.known |= {"new": Customer("new", "New"), "newer": Customer("newer", "Newer")}
    [row] = kept(house)
    assert again(house, [row])[0].stored_rows == 2
    assert again(house, [row])[0].state == "already_stored"
    assert again(house, [{**row, "state": "replayed"}])[0].state == "replayed"
    assert stored_rows(house) == [(1, 0, "acme"), (1, 1, "new"), (1, 2, "newer")]
    assert kept(house) == []
    [listed] = list_rejected(house.log)
    assert (listed["id"], listed["state"]) == (row["id"], "replayed")


def test_what_is_still_refused_changes_nothing(house):
    refuse_rows(house)
    before = house.log.end_offsets(REJECTED), house.log.end_offsets(REPORTS)
    [done] = again(house, kept(house))
    assert (done.state, done.reason, done.stored_rows) == ("kept", "unknown_customer", 0)
    assert (house.log.end_offsets(REJECTED), house.log.end_offsets(REPORTS)) == before


def test_a_whole_report_is_judged_as_of_its_receipt(house):
    # Refused because the totals ran backwards; after a restart without that memory it fits.
    house.send(make_report(5, totals=Totals(100, 10)))
    report = make_report(4, totals=Totals(101, 9), start=START - 20_000, end=START - 10_000)
    assert house.send(report, sent_at=NOW - 10_000)[0] == 422
    [row] = kept(house)
    assert again(house, [row])[0].state == "kept"
    house.gateway.pipeline.known._boots.clear()
    [done] = again(house, [row])
    assert (done.state, done.stored_rows) == ("replayed", 2)
    stored = [r for r in house.rows(REPORTS) if r["seq"] == 4]
    assert [(r["received_at"], r["shift_ms"], r["start"]) for r in stored] == [(NOW, 10_000, START - 10_000)]
    assert house.send(report, sent_at=NOW - 10_000)[2] == b'{"status":"duplicate"}'


def test_a_report_that_was_accepted_meanwhile_is_left_alone(house):
    house.send(make_report(5, totals=Totals(100, 10)))
    assert house.send(make_report(6, totals=Totals(99, 11)))[0] == 422
    assert house.send(make_report(6, totals=Totals(120, 12)))[0] == 200
    assert again(house, kept(house))[0].state == "already_stored"


@pytest.mark.parametrize("body", [b"\x1f\x8bcut", b"[]", body_of(make_report(2))])
def test_what_no_registry_mends_stays_refused(house, body):
    assert house.post(body)[0] == 400
    [row] = kept(house)
    assert again(house, [row])[0].state == "kept"
    assert house.records(REPORTS) == []


def test_list_filters_and_shows_newest_first_without_bodies(house):
    for seq in (1, 2, 3):
        body = f"[{seq}]".encode()
        house.post(body, signed(body, seq=seq))
    refuse_rows(house, seq=4)
    rows = list_rejected(house.log, limit=3)
    assert sum(r["seq"] == 4 for r in rows) == 1
    assert len(rows) == 3
    assert "body" not in rows[0]
    assert [r["seq"] for r in list_rejected(house.log, reason="unknown_customer")] == [4]
    assert list_rejected(house.log, device="d-2") == []
    assert {r["seq"] for r in list_rejected(house.log, state="kept")} == {1, 2, 3, 4}


def test_show_has_the_document_when_it_can_be_read(house):
    refuse_rows(house)
    [row] = kept(house)
    assert json.loads(row["document"])["seq"] == 1
    cut = b"\x1f\x8bcut"
    house.post(cut, signed(cut, seq=2))
    [broken] = list_rejected(house.log, reason="malformed")
    assert show(house.log, broken["id"])["document"] is None
    with pytest.raises(NotRejected, match="nothing"):
        show(house.log, "nothing")


def test_the_same_refusal_again_has_the_same_id(house):
    for _ in range(2):
        house.post(b"[]")
    assert len(house.rows(REJECTED)) == 2
    assert len(list_rejected(house.log)) == 1


def test_a_row_without_the_columns_is_refused_by_name(house):
    with pytest.raises(IngestError, match="body"):
        again(house, [{"id": "x"}])


def test_refusals_survive_a_restart(house, tmp_path):
    refuse_rows(house)
    house.close()
    house = House(tmp_path)
    house.registry.known["new"] = Customer("new", "New")
    asyncio.run(house.gateway.start())
    assert again(house, kept(house))[0].stored_rows == 1
    assert house.send(make_report(2, slices=make_slices(1), totals=Totals(50, 50)), key=KEY)[0] == 200
    house.close()
