"""What the gateway answers, and what the log holds then."""

import asyncio
import gzip
import json
import zlib

import pytest

from contracts.entities import DeviceAttributes, change_from_json
from contracts.protocols import LogFull, LogUnavailable
from contracts.report import EarlierBoot, Histograms, Totals, encode
from contracts.topics import partition_of
from ingest.errors import IngestError
from ingest.gateway import GatewaySettings
from ingest.http import call
from ingest.registry.errors import RegistryUnavailable
from tests.ingest.builders import (
    KEY,
    NOW,
    OPERATOR_TOKEN,
    START,
    House,
    MemoryRegistry,
    body_of,
    make_report,
    make_slices,
    signed,
)

SLICES, REPORTS, REJECTED, VITALS = "telemetry.slices", "telemetry.reports", "telemetry.rejected", "telemetry.vitals"


def outcome(answer):
    """(status, reason or body's status) of an answer."""
    status, _, body = answer
    document = json.loads(body)
    return status, document.get("reason") or document["status"]


def raw(document):
    return gzip.compress(json.dumps(document).encode(), mtime=0)


def document_of(report):
    return json.loads(encode(report))


# --- what is stored ---


def test_stored_slices_carry_identity_dimensions_counts_and_histograms(house):
    report = make_report(
        7,
        slices=make_slices(
            4,
            2,
            latency=Histograms([2, 1], [10, 12, 40], [1, 3, 2]),
            throughput=Histograms([0, 1], [5], [2]),
            bytes=[100, 200],
        ),
    )
    assert outcome(house.send(report)) == (200, "stored")
    first, second = house.rows(SLICES)
    assert (first["device"], first["boot"], first["seq"], first["row"]) == ("d-1", "boot-1", 7, 0)
    assert (second["seq"], second["row"], second["requests"], second["bytes"]) == (7, 1, 2, 200)
    assert (first["latency_cell"], first["latency_count"]) == ([10, 12], [1, 3])
    assert (first["throughput_cell"], second["throughput_cell"]) == ([], [5])
    assert (first["customer"], first["service"], first["sched_rule"]) == ("acme", "service-1", "sched_rule-1")
    assert (first["device_isp"], first["nat_type"], first["model"], first["firmware"]) == (
        "isp-a", "full-cone", "m1", "fw-1.0",
    )  # fmt: skip
    assert (first["start"], first["end"], first["received_at"]) == (START, START + 10_000, NOW)


def test_stored_header_carries_totals_drops_and_earlier_boots(house):
    totals = Totals(100, 10, {"spool_full": 20, "slice_limit": 5}, {"spool_full": 2}, {"spool_full": 1})
    house.send(make_report(3, totals=totals, earlier_boots=[EarlierBoot("boot-0", None, 1, 30, 3)]))
    [row] = house.rows(REPORTS)
    assert (row["requests"], row["slices"], row["total_requests"], row["total_slices"]) == (8, 2, 100, 10)
    assert (row["dropped_requests"], row["dropped_slices"], row["dropped_reports"]) == (25, 2, 1)
    assert (row["spool_dropped_requests"], row["spool_dropped_slices"]) == (20, 2)
    assert json.loads(row["dropped_by_cause"]) == {
        "requests": {"slice_limit": 5, "spool_full": 20}, "slices": {"spool_full": 2}, "reports": {"spool_full": 1},
    }  # fmt: skip
    assert json.loads(row["earlier_boots"]) == [
        {
            "boot": "boot-0", "oldest_spooled_seq": None, "dropped_reports": 1, "dropped_requests": 30,
            "dropped_slices": 3,
        }
    ]  # fmt: skip
    assert (row["rejected_requests"], row["clock_offset_ms"], row["shift_ms"]) == (0, 0, 0)


def test_an_idle_report_is_stored_without_slices(house):
    assert outcome(house.send(make_report(1, slices=make_slices(), vitals={}))) == (200, "stored")
    assert len(house.rows(REPORTS)) == 1
    assert house.rows(SLICES) == []
    assert house.records(VITALS) == []


def test_vitals_and_exemplars_are_told_apart_and_missing_measures_are_null(house):
    exemplars = {
        "at": [START + 5], "customer": ["acme"], "service": ["web"], "client_isp": ["i"], "client_region": ["r"],
        "sched_rule": ["rule@1"], "path_hash": ["0123456789abcdef"], "status": [500], "latency_ms": [12],
        "failure": [""],
    }  # fmt: skip
    house.send(make_report(1, vitals={"load1": 1, "temperature_c": 51.5}, exemplars=exemplars))
    [vitals] = house.rows(VITALS, "vitals")
    assert (vitals["load1"], vitals["temperature_c"], vitals["cpu_ratio"]) == (1.0, 51.5, None)
    [exemplar] = house.rows(VITALS, "exemplars")
    assert (exemplar["at"], exemplar["status"], exemplar["failure"]) == (START + 5, 500, "")


def test_each_customer_goes_to_its_partition_in_one_message_per_flush(house):
    house.registry.known |= {f"c{i}": object() for i in range(12)}
    customers = [f"c{i}" for i in range(12)]
    pairs = []
    for seq in range(1, 4):
        body = body_of(make_report(seq, slices=make_slices(*[1] * 12, customer=customers)))
        pairs.append((signed(body, seq=seq), body))
    assert [outcome(a) for a in house.run(house.post_all(*pairs))] == [(200, "stored")] * 3
    records = house.records(SLICES)
    assert len({r.partition for r in records}) == len(records) > 1
    for row in house.rows(SLICES):
        [home] = [r.partition for r in records if r.partition == partition_of(row["customer"].encode(), 4)]
        assert home == partition_of(row["customer"].encode(), 4)
    assert len(house.rows(SLICES)) == 36


def test_plain_json_is_read_too(house):
    body = encode(make_report(1))
    assert outcome(house.post(body, signed(body, **{"content-encoding": "identity"}))) == (200, "stored")


def test_every_answer_tells_time_and_versions(house):
    for path, method in (("/v1/telemetry", "POST"), ("/nowhere", "GET"), ("/healthz", "GET"), ("/v1/enroll", "PUT")):
        _, headers, _ = house.run(house.request(method, path))
        assert headers["dipper-server-time"] == str(NOW)
        assert headers["dipper-versions"] == "1"


# --- clocks ---


@pytest.mark.parametrize(
    ("offset", "shift"), [(0, 0), (4_999, 0), (5_000, 10_000), (-14_000, -10_000), (299_000, 300_000)]
)
def test_times_move_by_the_clock_offset_in_whole_grid_steps(house, offset, shift):
    exemplars = {n: ["x"] for n in ("customer", "service", "client_isp", "client_region", "sched_rule", "path_hash")}
    exemplars |= {"at": [START], "status": [200], "latency_ms": [1], "failure": [""]}
    house.send(make_report(1, exemplars=exemplars), sent_at=NOW - offset)
    [row] = house.rows(REPORTS)
    assert (row["clock_offset_ms"], row["shift_ms"], row["sent_at"]) == (offset, shift, NOW - offset)
    assert (row["start"], row["end"]) == (START + shift, START + 10_000 + shift)
    assert house.rows(SLICES)[0]["start"] == START + shift
    assert house.rows(VITALS, "exemplars")[0]["at"] == START + shift


@pytest.mark.parametrize(("waited", "offset", "shift"), [(6_000, 0, 0), (6_000, 14_000, 10_000), (-1, 0, 0)])
def test_a_wait_before_a_busy_gateway_is_not_taken_for_a_clock_that_is_behind(house, waited, offset, shift):
    """`waited`: as the server tells; a time to come is not believed."""
    report = make_report(1)
    headers = signed(body_of(report), sent_at=NOW - max(0, waited) - offset)

    async def behind_a_server(scope, receive, send):
        await gateway({**scope, "state": {"arrived_at": NOW - waited}}, receive, send)

    gateway = house.gateway
    house.app = behind_a_server
    assert house.post(body_of(report), headers)[0] == 200
    [row] = house.rows(REPORTS)
    assert (row["received_at"], row["clock_offset_ms"], row["shift_ms"]) == (NOW - max(0, waited), offset, shift)


@pytest.mark.parametrize("offset", [300_001, -300_001])
def test_a_clock_out_of_window_is_told_the_time_and_nothing_is_kept(house, offset):
    answer = house.send(make_report(1), sent_at=NOW - offset)
    assert outcome(answer) == (401, "clock_out_of_window")
    assert answer[1]["dipper-server-time"] == str(NOW)
    assert house.records(REPORTS) == house.records(REJECTED) == []


def test_reports_of_the_future_and_before_the_seal_are_refused_and_kept(house):
    late, ancient = NOW + 310_000, NOW - 48 * 3_600_000 - 10_000
    for seq, start, reason in ((1, late, "in_future"), (2, ancient, "after_seal")):
        report = make_report(seq, start=start - start % 10_000, end=start - start % 10_000 + 10_000)
        assert outcome(house.send(report)) == (422, reason)
    assert [r["reason"] for r in house.rows(REJECTED)] == ["in_future", "after_seal"]


def test_received_at_never_goes_back(house):
    house.send(make_report(1))
    house.time = NOW - 60_000
    house.send(make_report(2))
    assert [r["received_at"] for r in house.rows(REPORTS)] == [NOW, NOW]


# --- the registry ---


def test_attributes_are_those_of_the_corrected_start(house):
    house.registry.rows["d-1"] = [
        DeviceAttributes(0, "old", "north", "", "c1", 1.0),
        DeviceAttributes(START + 10_000, "new", "north", "", "c1", 1.0),
    ]
    house.send(make_report(1))
    house.send(make_report(2), sent_at=NOW - 10_000)
    assert [r["device_isp"] for r in house.rows(REPORTS)] == ["old", "new"]
    assert {r["nat_type"] for r in house.rows(SLICES)} == {"unknown"}


def test_a_device_without_attributes_is_unknown_everywhere(house):
    house.registry.rows.clear()
    house.send(make_report(1))
    row = house.rows(SLICES)[0]
    assert {row[n] for n in ("device_isp", "device_region", "nat_type", "cohort")} == {"unknown"}


def test_rows_of_an_unknown_customer_are_refused_and_the_rest_is_stored(house):
    slices = make_slices(3, 4, 5, customer=["acme", "nobody", "bolt"])
    body = body_of(make_report(1, slices=slices))
    answer = house.post(body)
    assert (answer[0], json.loads(answer[2])) == (200, {"status": "stored", "rejected_rows": 1})
    assert [(r["row"], r["customer"], r["requests"]) for r in sorted(house.rows(SLICES), key=lambda r: r["row"])] == [
        (0, "acme", 3), (2, "bolt", 5),
    ]  # fmt: skip
    [header] = house.rows(REPORTS)
    assert (header["requests"], header["slices"]) == (12, 3)
    assert (header["rejected_requests"], header["rejected_slices"]) == (4, 1)
    [refused] = house.rows(REJECTED)
    assert (refused["reason"], json.loads(refused["rows"])) == ("unknown_customer", [1])
    assert (refused["requests"], refused["slices"], refused["body"]) == (4, 1, body)
    assert "nobody" in refused["detail"]


def test_a_report_of_unknown_customers_only_still_has_its_header(house):
    assert house.send(make_report(1, slices=make_slices(3, customer="nobody")))[0] == 200
    assert house.rows(REPORTS)[0]["rejected_slices"] == 1
    assert house.rows(SLICES) == []


def test_an_unreachable_registry_is_503(house, monkeypatch):
    def fail(*_):
        raise RegistryUnavailable("registry: locked")

    monkeypatch.setattr(house.registry, "customer", fail)
    answer = house.send(make_report(1))
    assert outcome(answer) == (503, "log_unavailable")
    monkeypatch.setattr(house.registry, "keys", fail)
    assert outcome(house.send(make_report(1))) == (503, "registry_unavailable")


# --- who sends ---


@pytest.mark.parametrize(
    "change",
    [
        {"dipper-signature": "0" * 64},
        {"dipper-signature": ""},
        {"dipper-signature": "é"},
        {"dipper-device": "d-2"},
        {"dipper-boot": "boot-2"},
        {"dipper-seq": "2"},
        {"dipper-sent-at": str(NOW + 1)},
    ],
    ids=lambda c: next(iter(c)),
)
def test_a_signature_that_does_not_fit_is_401_and_kept_nowhere(house, change):
    body = body_of(make_report(1))
    assert outcome(house.post(body, signed(body) | change)) == (401, "unauthenticated")
    assert house.records(REJECTED) == []


@pytest.mark.parametrize("name", ["dipper-device", "dipper-boot", "dipper-seq", "dipper-sent-at"])
@pytest.mark.parametrize("value", [None, "", "-1", "1.5", "01", "１", "9" * 30, "x" * 65])
def test_headers_that_name_no_report_are_401_by_name(house, name, value):
    body = body_of(make_report(1))
    headers = signed(body)
    if value is None:
        del headers[name]
    elif name in ("dipper-device", "dipper-boot") and value in ("01", "1.5", "9" * 30):
        return  # good ids
    else:
        headers[name] = value
    status, _, answer = house.post(body, headers)
    assert (status, json.loads(answer)["field"]) == (401, name)


def test_either_key_of_a_rotation_is_accepted_and_a_revoked_one_not(house):
    new = b"\x09" * 32
    house.registry.device_keys["d-1"].append(type(house.registry.device_keys["d-1"][0])("k2", new))
    assert house.send(make_report(1), key=KEY)[0] == 200
    assert house.send(make_report(2), key=new)[0] == 200
    house.registry.device_keys["d-1"] = []
    assert house.send(make_report(3), key=new)[0] == 401


def test_a_flipped_bit_in_the_body_fails_the_signature(house):
    body = body_of(make_report(1))
    damaged = bytes([*body[:20], body[20] ^ 1, *body[21:]])
    assert house.post(damaged, signed(body))[0] == 401


def test_names_in_body_and_headers_must_agree(house):
    body = body_of(make_report(1))
    answer = house.post(body, signed(body, seq=2))
    assert outcome(answer) == (400, "identity_mismatch")
    [kept] = house.rows(REJECTED)
    assert (kept["device"], kept["seq"], kept["body"], kept["sent_at"]) == ("d-1", 2, body, NOW)


# --- again ---


def test_the_same_report_again_is_a_duplicate_and_stored_once(house):
    report = make_report(1)
    assert [outcome(house.send(report)) for _ in range(3)] == [(200, "stored"), (200, "duplicate"), (200, "duplicate")]
    assert len(house.rows(REPORTS)) == 1


def test_the_same_report_twice_at_once_is_stored_once(house):
    body = body_of(make_report(1))
    pair = (signed(body), body)
    answers = house.run(house.post_all(pair, pair, pair))
    assert sorted(outcome(a) for a in answers) == [(200, "duplicate"), (200, "duplicate"), (200, "stored")]
    assert len(house.rows(REPORTS)) == 1


def test_another_content_under_the_same_name_is_a_conflict_and_kept(house):
    house.send(make_report(1))
    other = body_of(make_report(1, 9))
    assert outcome(house.post(other)) == (409, "conflict")
    assert [(r["reason"], r["body"]) for r in house.rows(REJECTED)] == [("conflict", other)]


def test_two_contents_under_one_name_at_once_store_one_and_refuse_the_other(house):
    bodies = [body_of(make_report(1, n)) for n in (1, 2)]
    answers = house.run(house.post_all(*((signed(b), b) for b in bodies)))
    assert sorted(a[0] for a in answers) == [200, 409]


def test_a_refused_name_may_come_again_with_good_content(house):
    bad = raw({**document_of(make_report(1)), "start": -1})
    assert house.post(bad)[0] == 422
    assert outcome(house.send(make_report(1))) == (200, "stored")


def test_duplicates_are_known_after_a_restart(house, tmp_path):
    report = make_report(1)
    house.send(report)
    house.close()
    again = House(tmp_path)
    assert outcome(again.send(report)) == (200, "duplicate")
    assert outcome(again.send(make_report(1, 9))) == (409, "conflict")
    assert outcome(again.send(make_report(2, totals=Totals(9, 9)))) == (200, "stored")
    again.close()


def test_totals_that_run_backwards_are_refused_in_either_order(house):
    assert house.send(make_report(5, totals=Totals(100, 10)))[0] == 200
    assert outcome(house.send(make_report(6, totals=Totals(99, 11)))) == (422, "totals_backwards")
    assert outcome(house.send(make_report(4, totals=Totals(101, 9)))) == (422, "totals_backwards")
    assert outcome(house.send(make_report(4, totals=Totals(90, 9)))) == (200, "stored")
    assert outcome(house.send(make_report(7, totals=Totals(100, 10)))) == (200, "stored")
    assert [r["seq"] for r in house.rows(REJECTED)] == [6, 4]


def test_totals_start_again_with_a_boot(house):
    house.send(make_report(5, totals=Totals(100, 10)))
    assert house.send(make_report(1, boot="boot-2"))[0] == 200


def test_totals_are_compared_inside_one_flush_too(house):
    reports = [make_report(1, totals=Totals(50, 5)), make_report(2, totals=Totals(40, 6))]
    bodies = [body_of(r) for r in reports]
    answers = house.run(house.post_all(*((signed(b, seq=i + 1), b) for i, b in enumerate(bodies))))
    assert [a[0] for a in answers] == [200, 422]


# --- size and form ---


def test_a_gzip_bomb_is_cut_off_and_kept(house):
    bomb = gzip.compress(b" " * 100_000_000, mtime=0)
    assert outcome(house.post(bomb)) == (413, "too_large")
    assert house.rows(REJECTED)[0]["reason"] == "too_large"


def test_a_body_above_the_limit_is_kept_cut_when_it_is_signed(house):
    big = b"\x00" * (256 * 1024 + 1)
    assert outcome(house.post(big)) == (413, "too_large")
    assert len(house.rows(REJECTED)[0]["body"]) == 256 * 1024


def test_a_declared_length_far_above_the_limit_is_refused_unread(house):
    async def post():
        async def receive():
            raise AssertionError("the body must not be read")

        sent = []

        async def send(message):
            sent.append(message)

        headers = signed(b"") | {"content-length": "10000000"}
        pairs = [(k.encode(), v.encode()) for k, v in headers.items()]
        await house.gateway(
            {"type": "http", "method": "POST", "path": "/v1/telemetry", "headers": pairs}, receive, send
        )
        return sent[0]["status"]

    assert house.run(post()) == 413


def test_a_streamed_body_is_counted_and_put_together(house):
    body = body_of(make_report(1))

    def post(chunks):
        async def run():
            rest = iter(chunks)
            sent = []

            async def receive():
                chunk = next(rest, None)
                return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

            async def send(message):
                sent.append(message)

            pairs = [(k.encode(), v.encode()) for k, v in signed(body).items()]
            scope = {"type": "http", "method": "POST", "path": "/v1/telemetry", "headers": pairs}
            task = asyncio.ensure_future(house.gateway(scope, receive, send))
            while not task.done():
                await asyncio.sleep(0)
                await house.gateway.flush()
            return sent[0]["status"]

        return house.run(run())

    assert post([body[:10], body[10:20], body[20:]]) == 200
    assert post([b"\x00" * 100_000] * 6) == 413


def test_a_client_that_goes_away_gets_nothing_and_breaks_nothing(house):
    async def leave():
        async def receive():
            return {"type": "http.disconnect"}

        async def send(message):
            raise AssertionError("nobody listens")

        pairs = [(k.encode(), v.encode()) for k, v in signed(b"").items()]
        await house.gateway(
            {"type": "http", "method": "POST", "path": "/v1/telemetry", "headers": pairs}, receive, send
        )

    house.run(leave())
    assert house.send(make_report(1))[0] == 200


def test_a_slow_body_is_408(tmp_path):
    house = House(tmp_path, body_timeout_s=0.05)

    async def crawl():
        async def receive():
            if not begun:
                begun.append(1)
                return {"type": "http.request", "body": b"x", "more_body": True}
            return await asyncio.Future()

        begun, sent = [], []

        async def send(message):
            sent.append(message)

        pairs = [(k.encode(), v.encode()) for k, v in signed(b"").items()]
        await house.gateway(
            {"type": "http", "method": "POST", "path": "/v1/telemetry", "headers": pairs}, receive, send
        )
        return sent[0]["status"]

    assert house.run(crawl()) == 408
    house.close()


MALFORMED = {
    "cut gzip": body_of(make_report(1))[:-9],
    "gzip with garbage behind": body_of(make_report(1)) + b"x",
    "two gzip members": body_of(make_report(1)) * 2,
    "damaged gzip": b"\x1f\x8b" + b"\x00" * 30,
    "no JSON": gzip.compress(b"{"),
    "empty": b"",
    "a list": gzip.compress(b"[]"),
    "not UTF-8": gzip.compress(b'{"v":"\xff"}'),
    "NaN": gzip.compress(encode(make_report(1)).replace(b'"load1":0.5', b'"load1":NaN')),
    "deep": gzip.compress(b'{"v":1,"device":' + b"[" * 100_000),
    "deflate": zlib.compress(b"{}"),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_what_cannot_be_read_is_400_and_kept(house, body):
    assert outcome(house.post(body)) == (400, "malformed")
    assert [(r["reason"], r["body"]) for r in house.rows(REJECTED)] == [("malformed", body)]


def test_other_kinds_of_bodies_are_415(house):
    body = body_of(make_report(1))
    assert house.post(body, signed(body, **{"content-type": "text/csv"}))[0] == 415
    assert house.post(body, signed(body, **{"content-encoding": "br"}))[0] == 415
    assert house.post(body, signed(body, **{"content-type": "application/json; charset=utf-8"}))[0] == 200


def test_wrong_paths_and_methods(house):
    assert outcome(house.run(house.request("GET", "/v1/nothing"))) == (404, "not_found")
    assert outcome(house.run(house.request("GET", "/v1/telemetry"))) == (405, "method")
    assert outcome(house.run(house.request("POST", "/healthz"))) == (405, "method")
    assert house.run(house.request("HEAD", "/healthz"))[2] == b""


BROKEN = {
    "unsupported_version": {"v": 2},
    "bad_id": {"device": "no spaces"},
    "bad_field": {"firmware": ""},
    "bad_interval": {"start": START + 5_000, "end": START + 15_000},
    "bad_totals": {"totals": {"requests": 1, "slices": 2}},
    "bad_slices": {"slices": {}},
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_contract_is_422_with_its_field_and_kept(house, reason):
    body = raw({**document_of(make_report(1)), **BROKEN[reason]})
    status, headers, answer = house.post(body)
    problem = json.loads(answer)
    assert (status, problem["reason"], problem["type"]) == (422, reason, f"urn:dipper:problem:{reason}")
    assert headers["content-type"] == "application/problem+json"
    assert problem["status"] == 422
    assert problem["field"]
    assert problem["title"]
    assert "expected" in problem["detail"]
    assert [r["detail"] for r in house.rows(REJECTED)] == [problem["detail"]]


ROWS = {
    "no traffic": ({"requests": [0, 5], "s2xx": [0, 5]}, "slices.requests[0]"),
    "more answers than requests": ({"s4xx": [1, 0]}, "slices.s2xx+s3xx+s4xx+s5xx[0]"),
    "more hits than requests": ({"cache_hits": [0, 6]}, "slices.cache_hits[1]"),
    "more stalls than sessions": ({"sessions": [1, 1], "stalled_sessions": [1, 2]}, "slices.stalled_sessions[1]"),
    "histogram does not add up": ({"latency": Histograms([1, 1], [40, 40], [3, 4])}, "slices.latency[1]"),
    "cells fall": ({"latency": Histograms([1, 2], [40, 40, 39], [3, 4, 1])}, "slices.latency.cells[2]"),
    "too much throughput": ({"throughput": Histograms([1, 1], [9, 9], [4, 5])}, "slices.throughput[0]"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_broken_row_refuses_its_report_and_not_its_neighbours(house, case):
    overrides, field = ROWS[case]
    slices = make_slices(3, 5, **overrides)
    bad, good = make_report(1, slices=slices), make_report(2, totals=Totals(50, 50))
    pairs = [(signed(b, seq=r.seq), b) for r in (bad, good) for b in [body_of(r)]]
    refused, stored = house.run(house.post_all(*pairs))
    assert (refused[0], json.loads(refused[2])["field"]) == (422, field)
    assert outcome(stored) == (200, "stored")
    assert {r["seq"] for r in house.rows(SLICES)} == {2}
    assert [(r["seq"], r["rows"]) for r in house.rows(REJECTED)] == [(1, "[]")]


# --- limits ---


def test_quota_of_requests_is_per_device_and_refills(tmp_path):
    house = House(tmp_path, MemoryRegistry(devices=("d-1", "d-2")), requests_per_s=0.5, requests_burst=2)
    assert [house.send(make_report(s))[0] for s in (1, 2, 3)] == [200, 200, 429]
    assert house.send(make_report(1, device="d-2"))[0] == 200
    answer = house.send(make_report(3))
    assert answer[1]["retry-after"] == "2"
    house.time += 2_000
    assert house.send(make_report(3), sent_at=house.time)[0] == 200
    assert house.records(REJECTED) == []
    house.close()


def test_quota_of_bytes(tmp_path):
    size = len(body_of(make_report(1)))
    house = House(tmp_path, bytes_per_s=100, bytes_burst=size * 1.5)
    assert [house.send(make_report(s))[0] for s in (1, 2)] == [200, 429]
    house.close()


def test_a_full_log_is_503_and_the_report_is_new_afterwards(house, monkeypatch):
    def fail(records):
        raise LogFull("no space")

    with monkeypatch.context() as patched:
        patched.setattr(house.log, "submit", fail)
        answer = house.send(make_report(1))
        assert outcome(answer) == (503, "log_unavailable")
        assert int(answer[1]["retry-after"]) > 0
        assert house.run(house.request("GET", "/readyz"))[0] == 503
        assert house.post(b"")[0] == 503  # a refusal that could not be kept is not given either
    assert outcome(house.send(make_report(1))) == (200, "stored")
    assert house.run(house.request("GET", "/readyz"))[0] == 200


def test_too_much_waiting_is_503(tmp_path):
    house = House(tmp_path, max_pending_bytes=100)
    assert outcome(house.send(make_report(1))) == (503, "log_unavailable")
    house.close()


def test_an_answer_waits_for_the_disk(house):
    async def post():
        body = body_of(make_report(1))
        task = asyncio.ensure_future(call(house.gateway, "POST", "/v1/telemetry", signed(body), body))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not task.done()
        assert house.log.end_offsets(REPORTS) == [0] * 4
        assert await house.gateway.flush() == 1
        return await task

    assert house.run(post())[0] == 200
    assert sum(house.log.end_offsets(REPORTS)) == 1


def test_a_report_that_breaks_the_program_is_refused_alone_and_kept(house, monkeypatch):
    real = house.registry.attributes

    def attributes(device, at_ms):
        if at_ms == START - 10_000:
            raise ZeroDivisionError
        return real(device, at_ms)

    monkeypatch.setattr(house.registry, "attributes", attributes)
    poison, good = make_report(1, start=START - 10_000, end=START), make_report(2)
    pairs = [(signed(b, seq=r.seq), b) for r in (poison, good) for b in [body_of(r)]]
    answers = house.run(house.post_all(*pairs))
    assert [outcome(a) for a in answers] == [(422, "unprocessable"), (200, "stored")]
    assert [r["seq"] for r in house.rows(REJECTED)] == [1]


def test_before_start_and_after_stop_reports_are_told_to_wait(house):
    body = body_of(make_report(1))
    assert asyncio.run(call(house.gateway, "POST", "/v1/telemetry", signed(body), body))[0] == 503
    assert house.send(make_report(1))[0] == 200
    asyncio.run(house.gateway.stop())
    assert asyncio.run(call(house.gateway, "POST", "/v1/telemetry", signed(body), body))[0] == 503


def test_without_manual_flushes_and_heartbeats_come_by_themselves(tmp_path):
    house = House(tmp_path, manual=False, flush_ms=5, heartbeat_ms=20)

    async def run():
        await house.gateway.start()
        body = body_of(make_report(1))
        answer = await asyncio.wait_for(call(house.gateway, "POST", "/v1/telemetry", signed(body), body), 20)
        async with asyncio.timeout(20):
            while house.gateway.metrics.value("dipper_gateway_heartbeats_total") < 8:
                await asyncio.sleep(0.01)
        await house.gateway.stop()
        return answer

    assert outcome(asyncio.run(run())) == (200, "stored")
    house.close()


def test_a_heartbeat_goes_to_idle_partitions_only_and_carries_the_time(house):
    house.send(make_report(1))
    busy = partition_of(b"acme", 4)

    async def beat(now):
        return await house.gateway.heartbeat(now)

    assert house.run(beat(NOW + 1_000)) == 3
    assert house.run(beat(NOW + 2_000)) == 4
    beats = [r for r in house.records(SLICES) if r.headers.get("kind") == "heartbeat"]
    assert {r.value for r in beats} == {b""}
    assert sorted(r.partition for r in beats if r.timestamp_ms == NOW + 1_000) == [p for p in range(4) if p != busy]


def test_a_gateway_serves_lifespan_events(house):
    async def run():
        events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
        sent = []

        async def receive():
            return next(events)

        async def send(message):
            sent.append(message["type"])

        await house.gateway({"type": "lifespan"}, receive, send)
        return sent

    assert asyncio.run(run()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_metrics_count_answers_by_reason(house):
    house.send(make_report(1))
    house.send(make_report(1))
    house.post(b"", {})
    text = house.run(house.request("GET", "/metrics"))[2].decode()
    assert "dipper_gateway_reports_stored_total 1" in text
    assert "dipper_gateway_reports_duplicate_total 1" in text
    line = 'dipper_gateway_answers_total{route="/v1/telemetry",status="401",reason="missing_credentials"} 1'
    assert line in text


def test_settings_name_the_field_that_is_wrong():
    with pytest.raises(IngestError, match=r"gateway\.flush_ms"):
        GatewaySettings(flush_ms=0)


# --- operators ---

CHANGE = {"id": "fw-2-rollout", "kind": "firmware", "scope": {"firmware": "fw-2"}, "start": "2026-01-01T00:00:00+01:00"}
BEARER = {"authorization": f"Bearer {OPERATOR_TOKEN}"}


def test_a_change_is_stored_with_the_token_as_author(house):
    answer = house.post(json.dumps(CHANGE).encode(), BEARER, "/v1/changes")
    assert outcome(answer) == (200, "stored")
    [record] = house.records("changes")
    change = change_from_json(json.loads(record.value))
    assert (change.id, change.author, dict(change.scope), change.end) == (
        "fw-2-rollout", "ops", {"firmware": "fw-2"}, None,
    )  # fmt: skip
    assert change.start == 1_767_222_000_000
    assert record.partition == partition_of(record.key, 4)


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, CHANGE, (401, "bad_token")),
        ({"authorization": "Bearer wrong"}, CHANGE, (401, "bad_token")),
        ({"authorization": f"Basic {OPERATOR_TOKEN}"}, CHANGE, (401, "bad_token")),
        (BEARER, {**CHANGE, "kind": "party"}, (422, "bad_change")),
        (BEARER, {**CHANGE, "start": "2026-01-01T00:00:00"}, (422, "bad_change")),
        (BEARER, [], (422, "bad_change")),
        (BEARER, {**CHANGE, "note": "x" * 70_000}, (413, "too_large")),
    ],
)
def test_a_bad_change_is_refused(house, headers, body, expected):
    assert outcome(house.post(json.dumps(body).encode(), headers, "/v1/changes")) == expected
    assert house.records("changes") == []


def test_a_token_is_exchanged_for_a_key_once(house):
    body = json.dumps({"device": "d-new", "token": "token-1"}).encode()
    status, headers, answer = house.post(body, {}, "/v1/enroll")
    document = json.loads(answer)
    assert (status, document["device"], document["key_id"]) == (201, "d-new", "k1")
    assert headers["cache-control"] == "no-store"
    key = bytes.fromhex(document["key"])
    assert house.send(make_report(1, device="d-new"), key=key)[0] == 200
    assert outcome(house.post(body, {}, "/v1/enroll")) == (401, "bad_token")


@pytest.mark.parametrize("body", [b"[]", b'{"device":"x"}', b'{"device":"x","token":5}', b'{"device":"","token":"t"}'])
def test_a_bad_enrolment_is_422(house, body):
    assert house.post(body, {}, "/v1/enroll")[0] == 422


def test_guessing_tokens_is_slowed_down(tmp_path):
    house = House(tmp_path, enroll_per_s=1, enroll_burst=3)
    body = b'{"device":"d-new","token":"guess"}'
    assert [house.post(body, {}, "/v1/enroll")[0] for _ in range(4)] == [401, 401, 401, 429]
    house.close()


def test_a_log_that_is_away_is_503_for_changes(house, monkeypatch):
    def fail(records):
        raise LogUnavailable("away")

    monkeypatch.setattr(house.log, "submit", fail)
    assert house.post(json.dumps(CHANGE).encode(), BEARER, "/v1/changes")[0] == 503
