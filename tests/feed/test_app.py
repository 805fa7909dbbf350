"""Requests to the feed."""

from __future__ import annotations

import gzip
import json
import random
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from contracts.health import BudgetState, Cell
from feed.app import FeedSettings
from feed.book import first_number
from feed.openapi import DOCUMENT
from tests.feed.builders import NOW, TOKEN, House, entry

DEVICES = "/v1/health/devices"


@pytest.fixture
def house() -> House:
    house = House()
    house.book.apply(
        [
            entry("box-1", 1),
            entry("box-2", 2, state="drain"),
            entry("box-3", 3, state="reduce", box={"model": "m2", "device_isp": "Telecom", "device_region": "Hunan"}),
        ]
    )
    return house


def names(document: dict) -> list[str]:
    return sorted(row["device"] for row in document["devices"])


def test_a_snapshot_holds_every_box_with_reasons(house: House) -> None:
    document = house.json(DEVICES)
    assert names(document) == ["box-1", "box-2", "box-3"]
    assert document["version"] == 3
    (drained,) = [row for row in document["devices"] if row["device"] == "box-2"]
    assert drained["reasons"][0]["words"].startswith("19 of 61 requests failed")


def test_a_delta_holds_what_changed(house: House) -> None:
    house.book.apply([entry("box-1", 4, state="drain")])
    assert names(house.json(f"{DEVICES}?since=3")) == ["box-1"]
    assert names(house.json(f"{DEVICES}?since=4")) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=drain", ["box-2"]), ("state=drain&state=reduce", ["box-2", "box-3"]), ("model=m2", ["box-3"]),
        ("device_isp=Unicom&state=serve", ["box-1"]), ("device_region=Nowhere", []), ("since=1&model=m1", ["box-2"]),
    ],
)  # fmt: skip
def test_filters_choose_boxes(house: House, query: str, expected: list[str]) -> None:
    assert names(house.json(f"{DEVICES}?{query}")) == expected


def test_the_brief_view_holds_what_a_placement_needs(house: House) -> None:
    row = house.json(f"{DEVICES}?view=brief&state=drain")["devices"][0]
    assert row == {
        "device": "box-2", "value": 0.2, "state": "drain", "share": 0.015, "version": 2, "expires_at": NOW + 600_000,
    }  # fmt: skip


def test_an_etag_saves_the_body_until_something_changes(house: House) -> None:
    _, headers, _ = house.get(DEVICES)
    status, _, body = house.get(DEVICES, if_none_match=headers["etag"])
    assert (status, body) == (304, b"")
    assert house.get(DEVICES, if_none_match=f'"x", W/{headers["etag"]}')[0] == 304
    assert house.get(f"{DEVICES}?state=drain", if_none_match=headers["etag"])[0] == 200
    house.book.apply([entry("box-1", 9)])
    assert house.get(DEVICES, if_none_match=headers["etag"])[0] == 200


def test_gzip_is_sent_to_who_takes_it(house: House) -> None:
    plain = house.get(DEVICES)[2]
    status, headers, body = house.get(DEVICES, accept_encoding="br, gzip;q=0.5")
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert gzip.decompress(body) == plain
    assert "content-encoding" not in house.get(DEVICES, accept_encoding="gzip;q=0")[1]


def test_arrow_holds_the_same_rows(house: House) -> None:
    _, headers, body = house.get(DEVICES, accept="application/vnd.apache.arrow.stream")
    assert headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(body).read_all()
    assert table.schema.metadata[b"version"] == b"3"
    rows = {row["device"]: row for row in table.to_pylist()}
    assert (rows["box-2"]["state"], rows["box-2"]["share"]) == ("drain", 0.015)
    assert rows["box-3"]["device_region"] == "Hunan"


def test_an_empty_book_is_an_empty_snapshot_in_both_forms() -> None:
    house = House()
    assert house.json(DEVICES) == {"version": 0, "computed_at": 0, "devices": []}
    body = house.get(DEVICES, accept="application/vnd.apache.arrow.stream")[2]
    assert pa.ipc.open_stream(body).read_all().num_rows == 0


def test_one_box_tells_its_reasons_and_its_history(house: House) -> None:
    house.book.apply([entry("box-2", 8, computed_at=NOW + 60_000)])
    document = house.json(f"{DEVICES}/box-2")
    assert document["score"]["version"] == 8
    assert [(c["at"], c["state"]) for c in document["history"]] == [(NOW + 60_000, "serve"), (NOW, "drain")]
    assert document["expired"] is False
    house.now = NOW + 3_600_000
    assert house.json(f"{DEVICES}/box-2")["expired"] is True


@pytest.mark.parametrize("device", ["box-9", "../box-1", "", "x" * 65])
def test_an_unknown_box_is_404(house: House, device: str) -> None:
    assert house.get(f"{DEVICES}/{device}")[0] == 404


def test_strata_tell_the_budget(house: House) -> None:
    cell = Cell({"device_region": "Hebei", "customer": "c1"}, 12, 0.2, 0.2, 0.5)
    house.book.budget = BudgetState(NOW, 3, 1, 1, 4, (cell, Cell({}, 3, 0.1, 0.2, 0.1)))
    document = house.json("/v1/health/strata")
    assert document["exhausted"] == [{"device_region": "Hebei", "customer": "c1"}]
    assert document["budget"]["kept"] == 4
    assert {row["device_region"]: row["drained"] for row in document["strata"]} == {"Hebei": 1, "Hunan": 0}


def test_a_release_is_answered_by_its_change(house: House) -> None:
    document = house.json("/v1/releases/change-1")
    assert (document["verdict"], document["arithmetic"]["ratio"]) == ("hold", None)
    assert document["steps"][0]["changed_total"] == 100
    assert house.get("/v1/releases/change-2")[0] == 404
    assert house.get("/v1/releases/..%2f")[0] == 404
    assert house.get("/v1/releases/change-1", "guess")[0] == 401
    house.history_is_away = True
    for path in ("/v1/releases/change-1", "/v1/releases"):
        status, headers, body = house.get(path)
        assert (status, headers["retry-after"]) == (503, "5")
        assert b"no answer" in body


def test_releases_are_listed(house: House) -> None:
    (listed,) = house.json("/v1/releases")["releases"]
    assert (listed["id"], listed["kind"], listed["end"]) == ("change-1", "firmware", None)
    assert house.get("/v1/releases", "guess")[0] == 401
    assert house.get("/v1/releases?since=3")[0] == 400
    assert house.get("/v1/releasesx")[0] == 404


@pytest.mark.parametrize("token", [None, "", "guess"])
@pytest.mark.parametrize(
    "path", [DEVICES, f"{DEVICES}/box-1", "/v1/health/stream", "/v1/health/strata", "/v1/health/x"]
)
def test_without_a_token_of_the_scope_nothing_is_told(house: House, path: str, token: str | None) -> None:
    status, headers, body = house.get(path, token)
    assert status == 401
    assert headers["www-authenticate"] == "Bearer"
    assert b"box-" not in body


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        (f"{DEVICES}?since=99", 410, "version 99 is not known here, take a snapshot"),
        (f"{DEVICES}?since=-1", 400, "since: expected an integer"),
        (f"{DEVICES}?since=1&since=2", 400, "since: expected one value, got 2"),
        (f"{DEVICES}?state=fine", 400, "state: expected one of serve, reduce, drain"),
        (f"{DEVICES}?view=all", 400, "view: expected one of full, brief"),
        (f"{DEVICES}?colour=red", 400, "colour: expected a parameter among"),
        (f"{DEVICES}?{'x' * 5000}", 400, "query: expected at most"),
        ("/v1/health/stream?since=99", 410, "take a snapshot"),
        ("/v1/health/stream?since=x", 400, "expected a version"),
        ("/v1/health/nothing", 404, "path: expected one of"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(house: House, path: str, status: int, said: str) -> None:
    got, headers, body = house.get(path)
    assert got == status
    assert headers["content-type"] == "application/problem+json"
    assert said in json.loads(body)["detail"]


def test_who_changes_over_to_another_feed_is_sent_to_a_snapshot() -> None:
    """One feed lags behind on a partition; the other one has told of a drained box already, under a lower number."""
    behind, ahead = (House(begins_at=first_number(random.Random(seed))) for seed in (1, 2))
    sick, later = entry("sick", 1_100, state="drain"), entry("well", 1_200)
    behind.book.apply([entry("sick", 1_000), later])
    ahead.book.apply([entry("sick", 1_000), sick, later, entry("other", 1_300)])
    held = behind.json(DEVICES)["version"]
    for path in (f"{DEVICES}?since={held}", f"/v1/health/stream?since={held}"):
        assert ahead.get(path)[0] == 410
    assert behind.json(f"{DEVICES}?since={held}")["devices"] == []


def test_the_first_numbers_of_feeds_are_apart_and_leave_room_to_count() -> None:
    first = [first_number(random.Random(seed)) for seed in range(100)]
    assert min(b - a for a, b in pairwise(sorted(first))) >= 2**35
    assert min(first) > 0
    assert max(first) + 2**35 <= 2**53


def test_other_methods_and_forms_are_refused(house: House) -> None:
    assert house.get(DEVICES, method="POST")[0] == 405
    assert house.get(DEVICES, accept="text/csv")[0] == 406
    assert house.get(DEVICES, method="HEAD")[::2] == (200, b"")


def test_too_many_requests_are_asked_to_wait() -> None:
    house = House(FeedSettings(requests_per_s=1.0, requests_burst=2.0))
    assert [house.get(DEVICES)[0] for _ in range(3)] == [200, 200, 429]
    assert house.get(DEVICES)[1]["retry-after"] == "1"
    house.now += 1_000
    assert house.get(DEVICES)[0] == 200


def test_a_feed_that_has_not_read_its_topic_says_so() -> None:
    status, headers, _ = House(ready=False).get(DEVICES)
    assert (status, headers["retry-after"]) == (503, "2")


@pytest.fixture(scope="module")
def shared() -> House:
    house = House()
    house.book.apply([entry(f"box-{i}", i + 1, state=("serve", "reduce", "drain")[i % 3]) for i in range(9)])
    return house


FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def served(house: House) -> Any:
    """The feed as a server would run it, life cycle included."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await house.feed(scope, receive, send)
            return
        for _ in range(2):
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})

    return app


@pytest.fixture(scope="module")
def api(shared: House) -> Any:
    return schemathesis.openapi.from_asgi("/v1/health/openapi.json", served(shared))


@pytest.mark.parametrize("path", [path for path in DOCUMENT["paths"] if path != "/v1/health/stream"])
def test_answers_are_what_the_document_says(api: Any, path: str) -> None:
    statuses = set()

    @FUZZ
    @given(case=api[path]["GET"].as_strategy())
    def conforms(case: Any) -> None:
        response = case.call(headers={"authorization": f"Bearer {TOKEN}"})
        statuses.add(response.status_code)
        case.validate_response(
            response, checks=[not_a_server_error, status_code_conformance, response_schema_conformance]
        )

    conforms()
    assert 401 not in statuses


@FUZZ
@given(
    path=st.sampled_from([*DOCUMENT["paths"], DEVICES + "/", "/v1/health/", "/"])
    | st.text(max_size=40).map("/".__add__),
    query=st.text(st.characters(max_codepoint=127), max_size=60),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]),
    headers=st.dictionaries(
        st.sampled_from(["accept", "accept_encoding", "if_none_match", "last_event_id"]),
        st.text(st.characters(max_codepoint=255), max_size=40),
    ),
)
def test_whatever_is_asked_the_feed_answers_below_500(
    shared: House, path: str, query: str, method: str, headers: dict[str, str]
) -> None:
    if path == "/v1/health/stream" and method == "GET":
        headers = {**headers, "last_event_id": "no version"}
    assert shared.get(f"{path.replace('?', '')}?{query}", method=method, **headers)[0] < 500
