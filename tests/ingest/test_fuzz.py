"""Whatever is sent, the gateway answers below 500 and goes on; whatever was signed is stored or kept."""

import asyncio
import gzip
import json
import re

import pytest
import schemathesis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core import NotSet
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from ingest.openapi import DOCUMENT
from tests.ingest.builders import NOW, OPERATOR_TOKEN, House, body_of, make_report, signed

FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
HEADER_NAMES = [
    "content-type", "content-encoding", "content-length", "dipper-device", "dipper-boot", "dipper-seq",
    "dipper-sent-at", "dipper-signature", "authorization",
]  # fmt: skip
GOOD = body_of(make_report(1))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("fuzz"))
    yield house
    house.close()


@FUZZ
@given(
    headers=st.dictionaries(st.sampled_from(HEADER_NAMES), st.text(max_size=80) | st.sampled_from(["1", str(NOW)])),
    path=st.sampled_from([*DOCUMENT["paths"], "/", "/v1", "/v1/telemetry/"]),
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH"]),
    body=st.binary(max_size=300) | st.just(GOOD),
)
def test_any_headers_path_and_method(shared, headers, path, method, body):
    assert shared.run(shared.request(method, path, headers, body))[0] < 500


@FUZZ
@given(body=st.binary(max_size=2_000) | st.binary(max_size=500).map(gzip.compress), seq=st.integers(1, 2**53 - 1))
@example(body=b"", seq=1)
def test_any_signed_body_is_refused_and_kept(shared, body, seq):
    before = sum(shared.log.end_offsets("telemetry.rejected"))
    status, _, _ = shared.post(body, signed(body, seq=seq))
    assert status in (400, 413, 422)
    assert sum(shared.log.end_offsets("telemetry.rejected")) == before + 1


@FUZZ
@given(data=st.data())
def test_a_damaged_but_signed_body_is_refused_or_stored_never_lost(shared, data):
    seq = data.draw(st.integers(1, 10**9))
    body = bytearray(body_of(make_report(seq, boot=f"boot-{seq}")))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    body = bytes(body[: data.draw(st.integers(0, len(body)))])
    kept = sum(shared.log.end_offsets("telemetry.rejected")) + sum(shared.log.end_offsets("telemetry.reports"))
    status, _, answer = shared.post(body, signed(body, boot=f"boot-{seq}", seq=seq))
    now = sum(shared.log.end_offsets("telemetry.rejected")) + sum(shared.log.end_offsets("telemetry.reports"))
    assert status < 500
    assert now == kept + (json.loads(answer).get("status") != "duplicate")


def test_every_bit_of_a_small_report_flipped_is_answered(shared):
    body = gzip.compress(b'{"v":1,"device":"d-1"}', mtime=0)

    async def post_all():
        pairs = []
        for bit in range(len(body) * 8):
            damaged = bytearray(body)
            damaged[bit // 8] ^= 1 << bit % 8
            pairs.append((signed(bytes(damaged), boot="bits", seq=bit + 1), bytes(damaged)))
        return await shared.post_all(*pairs)

    assert {a[0] for a in shared.run(post_all())} <= {400, 422}


class Driven:
    """The gateway as schemathesis calls it, over ASGI, with its flushes driven and telemetry signed when asked."""

    def __init__(self, house):
        self.house = house

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.house.gateway(scope, receive, send)
            return
        task = asyncio.ensure_future(self.house.gateway(scope, receive, send))
        while not task.done():
            await asyncio.sleep(0)
            await self.house.gateway.flush()
        await task


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("schemathesis"), enroll_per_s=1e6, enroll_burst=1e6)
    asyncio.run(house.gateway.start())
    yield schemathesis.openapi.from_asgi("/openapi.json", Driven(house))
    house.close()


def prepare(case):
    """Body and headers of what schemathesis made, signed, so that it gets behind the door."""
    body = b"" if isinstance(case.body, NotSet) else json.dumps(case.body).encode()
    if case.path != "/v1/telemetry":
        return body, {"authorization": f"Bearer {OPERATOR_TOKEN}", "content-type": "application/json"}
    document = case.body if isinstance(case.body, dict) else {}
    seq, boot = document.get("seq"), document.get("boot")
    names = {
        "boot": boot if isinstance(boot, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", boot) else "b",
        "seq": seq if type(seq) is int and 0 < seq < 2**53 else 1,
    }
    return body, {**signed(body, **names), "content-encoding": "identity"}


@pytest.mark.parametrize(("path", "method"), [(p, m.upper()) for p, item in DOCUMENT["paths"].items() for m in item])
def test_the_gateway_behaves_as_its_openapi_document_says(api, path, method):
    statuses = set()

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=api[path][method].as_strategy())
    def conforms(case):
        body, headers = prepare(case)
        response = case.call(headers=headers, **({"data": body} if body else {}))
        statuses.add(response.status_code)
        case.validate_response(
            response, checks=[not_a_server_error, status_code_conformance, response_schema_conformance]
        )

    conforms()
    assert 401 not in statuses or path == "/v1/enroll"  # every case got behind the door
