"""What customers read: their own, whole, and nothing of another, on every path there is."""

import asyncio
import json
from dataclasses import replace
from itertools import product

import pytest

from contracts.entities import Customer
from contracts.times import DAY_MS, HOUR_MS, from_rfc3339
from feed.customers import OPENAPI, REFUSALS_BURST, REQUESTS_BURST, CustomerApi
from feed.customers_openapi import DOCUMENT
from history.chdb_store import ChdbStore
from history.objectives import record
from simulator.asgi import call
from tests.history.sla_world import MINUTE, Row, fill, level
from tests.history.test_sla_causes import incident, series, store_incidents

START = from_rfc3339("2026-10-08T10:00:00Z")
NOW = START + 2 * HOUR_MS
TOKENS = {"token-a": "customer:acme", "token-b": "customer:beta", "staff": "history:read", "robot": "changes:write"}


class People:
    """A registry of two customers and the tokens above."""

    def check_api_token(self, token, scope):
        return token if TOKENS.get(token) == scope else None

    def customer(self, customer_id):
        names = {"acme": "Acme Video", "beta": "Beta Live"}
        return Customer(customer_id, names[customer_id]) if customer_id in names else None


def of_customer(name, failing):
    """Two hours of a customer's service `NAME-vod`: so many failures of 100 requests from the second hour on."""
    return [
        Row(START + i * MINUTE, failures=failing if i >= 60 else 0, customer=name, service=f"{name}-vod")
        for i in range(120)
    ]


def promised(name):
    return level(customer=name, name=f"{name}-failures", service=f"{name}-vod")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with ChdbStore(tmp_path_factory.mktemp("customers"), min_free_bytes=0) as opened:
        fill(opened, of_customer("acme", 7))
        record(opened, [promised("acme")], "ana", 0)
        yield opened


@pytest.fixture(scope="module")
def alone(store):
    """What acme reads on every path before beta's data comes; then beta's data comes."""
    seen = {path: ask(store, path, "token-a") for path in paths("acme")}
    fill(store, of_customer("beta", 61))
    record(store, [promised("beta")], "ana", 0)
    own = replace(series("beta", service="beta-vod"), onset=START)
    store_incidents(
        store,
        incident("inc-beta", customers=("beta",), series=(own,), onset=START, newest=NOW, detected_at=START + MINUTE),
    )
    return seen


def paths(customer):
    """Every path of the document with every sensible set of parameters, and some that name the other customer."""
    found = []
    for template, operations in DOCUMENT["paths"].items():
        path = template.replace("{id}", customer)
        choices = []
        for parameter in operations["get"]["parameters"][1:]:
            some = {
                "start": ["2026-10-08T10:00:00Z"],
                "end": ["2026-10-08T12:00:00Z"],
                "step": ["1m", "1h"],
                "service": [f"{customer}-vod", "beta-vod", "' OR 1=1 --"],
                "month": ["2026-10", "2026-09"],
            }[parameter["name"]]
            choices.append([None, *(f"{parameter['name']}={value}" for value in some)])
        for chosen in product(*choices):
            query = "&".join(part.replace(" ", "%20").replace("'", "%27") for part in chosen if part)
            found.append(f"{path}?{query}" if query else path)
    return found


def ask(store, path, token=None, *, now=NOW, audit=None, method="GET", api=None):
    api = api or CustomerApi(store, People(), lambda: now, audit or (lambda *entry: None))
    headers = {"authorization": f"Bearer {token}"} if token else {}
    status, _, body = asyncio.run(call(api, method, path, headers))
    return status, body


def test_every_path_answers_its_customer_and_says_nothing_of_another(store, alone):
    assert len(alone) > 50
    answered = {path.partition("?")[0] for path, (status, _) in alone.items() if status == 200}
    assert answered == {path.replace("{id}", "acme") for path in DOCUMENT["paths"]}
    for path, before in alone.items():
        after = ask(store, path, "token-a")
        assert after == before, path  # with and without the other customer's data: the same bytes
        assert b"Beta" not in after[1]
        if "beta-vod" not in path:
            assert b"beta" not in after[1], path


def test_the_other_customers_paths_are_closed_and_look_as_if_nobody_were_there(store, alone):
    for path in paths("beta"):
        status, body = ask(store, path, "token-a")
        assert status == 401
        nobody = ask(store, path.replace("/beta/", "/nobody/"), "token-a")
        assert (status, body) == nobody
    for path, token in product(paths("acme")[:3], (None, "robot", "token-b", "token-a'; DROP", "")):
        assert ask(store, path, token)[0] == 401


def test_staff_reads_every_customer_and_unknown_ones_are_named(store, alone):
    assert ask(store, "/v1/customers/beta/services", "staff") == (200, b'{"customer":"beta","services":["beta-vod"]}')
    status, body = ask(store, "/v1/customers/gamma/services", "staff")
    assert (status, json.loads(body)["detail"]) == (404, "customer: gamma is not registered")


def test_quality_adds_up(store, alone):
    query = "start=2026-10-08T10:00:00Z&end=2026-10-08T12:00:00Z&step=1h"
    status, body = ask(store, f"/v1/customers/acme/quality?{query}", "token-a")
    steps = json.loads(body)["steps"]
    assert status == 200
    minutes = json.loads(ask(store, f"/v1/customers/acme/quality?{query[:-2]}1m", "token-a")[1])["steps"]
    assert sum(s["requests"] for s in minutes) == 120 * 100
    assert sum(s["failures"] for s in minutes) == 60 * 7
    assert (len(steps), len(minutes)) == (2, 120)
    assert {s["coverage"] for s in minutes} == {1.0}


def test_sla_is_the_report_of_the_month(store, alone):
    status, body = ask(store, "/v1/customers/acme/sla", "token-a")
    document = json.loads(body)
    assert (status, document["name"], document["month"], document["status"]) == (200, "Acme Video", "2026-10", "open")
    (account,) = document["objectives"]
    assert (account["minutes"]["good"], account["minutes"]["bad"]) == (60, 60)


def test_incidents_are_told_without_other_customers(store, alone):
    shared = incident(
        "inc-shared", onset=START + HOUR_MS, newest=NOW, detected_at=START + HOUR_MS, resolved_at=NOW,
        series=(series("acme", service="acme-vod"), series("beta", service="beta-vod")),
    )  # fmt: skip
    store_incidents(store, shared)
    query = "start=2026-10-08T10:00:00Z&end=2026-10-08T12:00:00Z"
    _, body = ask(store, f"/v1/customers/acme/incidents?{query}", "token-a")
    (told,) = json.loads(body)["incidents"]
    assert told["id"] == "inc-shared"
    assert told["headline"]["params"]["customers"] == ["acme"]
    assert [s["service"] for s in told["series"]] == ["acme-vod"]
    assert b"beta" not in body
    assert b"box-9" not in body


def test_a_long_list_of_incidents_is_cut_at_the_customers_own_and_says_so(store, alone, monkeypatch):
    monkeypatch.setattr("history.tenant.MOST_INCIDENTS", 2)
    early = START - DAY_MS

    def one(i, name):
        own = series(name, service=f"{name}-vod")
        return incident(
            f"inc-{name}-{i}", customers=(name,), series=(own,), onset=early, detected_at=early + i * MINUTE,
            newest=early + i * MINUTE, resolved_at=early + HOUR_MS,
        )  # fmt: skip

    store_incidents(store, one(1, "acme"), *(one(i, "beta") for i in range(2, 22)))
    path = "/v1/customers/acme/incidents?start=2026-10-07T10:00:00Z&end="

    def told(end):
        document = json.loads(ask(store, path + end, "token-a")[1])
        return [i["id"] for i in document["incidents"]], document["truncated"], document["oldest"]

    assert told("2026-10-08T09:00:00Z") == (["inc-acme-1"], False, None)
    store_incidents(store, one(22, "acme"), one(23, "acme"))
    assert told("2026-10-08T09:00:00Z") == (["inc-acme-23", "inc-acme-22"], True, "2026-10-07T10:22:00.000Z")
    assert told("2026-10-07T10:22:00.001Z") == (["inc-acme-22", "inc-acme-1"], False, None)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("quality?step=2m", 400, "step: expected one of 5m, 1m, 1h, 1d, got '2m'"),
        ("quality?start=yesterday", 400, "start: time: expected RFC 3339"),
        ("quality?start=2026-10-08T12:00:00Z&end=2026-10-08T10:00:00Z", 400, "start: expected before end"),
        ("quality?start=2026-01-01T00:00:00Z&step=1m", 400, "at most 1500 steps of 1m"),
        ("quality?customer=beta", 400, "customer: expected a parameter among start, end, step, service"),
        ("sla?month=October", 400, "month: expected a month such as 2026-10, got 'October'"),
        ("sla?month=2999-01", 400, "month: expected"),
        ("sla?month=2025-01", 400, "the first is 2026-01"),
        ("everything", 404, "path: expected one of"),
    ],
)
def test_wrong_input_is_named(store, alone, path, status, words):
    got, body = ask(store, f"/v1/customers/acme/{path}", "token-a")
    assert got == status
    assert words in json.loads(body)["detail"]


def test_a_token_that_asks_too_much_waits_and_others_do_not(store, alone):
    api = CustomerApi(store, People(), lambda: NOW, lambda *entry: None)
    path = "/v1/customers/acme/months"
    statuses = [ask(store, path, "token-a", api=api)[0] for _ in range(int(REQUESTS_BURST) + 1)]
    assert statuses == [200] * int(REQUESTS_BURST) + [429]
    assert ask(store, path, "staff", api=api)[0] == 200


def test_every_answer_about_a_customer_is_audited(store, alone):
    entries = []
    ask(store, "/v1/customers/acme/services", "token-a", audit=lambda *entry: entries.append(entry))
    ask(store, "/v1/customers/beta/sla", "token-a", audit=lambda *entry: entries.append(entry))
    assert entries == [
        ("token-a", "acme", "GET /v1/customers/acme/services", 200),
        ("nobody", "beta", "GET /v1/customers/beta/sla", 401),
    ]


def test_refusals_of_whoever_has_no_token_are_noted_up_to_a_limit_and_then_counted(store, alone):
    entries, now = [], [NOW]
    api = CustomerApi(store, People(), lambda: now[0], lambda *entry: entries.append(entry))
    path = "/v1/customers/acme/services"
    statuses = {ask(store, path, api=api)[0] for _ in range(1000)}
    assert statuses == {401}  # told no different for it
    assert entries == [("nobody", "acme", f"GET {path}", 401)] * int(REFUSALS_BURST)
    entries.clear()
    ask(store, path, "token-a", api=api)
    assert entries == [("token-a", "acme", f"GET {path}", 200)]  # an answer is noted, whatever others do meanwhile
    entries.clear()
    now[0] += 2 * MINUTE
    ask(store, path, api=api)
    assert entries == [
        ("nobody", "", f"{1000 - int(REFUSALS_BURST)} more refusals, not listed", 401),
        ("nobody", "acme", f"GET {path}", 401),
    ]


def test_a_token_that_goes_on_after_its_quota_fills_no_log_either(store, alone):
    entries = []
    api = CustomerApi(store, People(), lambda: NOW, lambda *entry: entries.append(entry))
    for _ in range(500):
        ask(store, "/v1/customers/acme/months", "token-a", api=api)
    assert len(entries) == int(REQUESTS_BURST) + int(REFUSALS_BURST)


def test_the_document_is_open_and_other_methods_are_not(store, alone):
    status, body = ask(store, OPENAPI)
    assert (status, json.loads(body)) == (200, DOCUMENT)
    assert ask(store, "/v1/customers/acme/sla", "token-a", method="DELETE")[0] == 405
