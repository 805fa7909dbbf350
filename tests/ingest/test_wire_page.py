"""docs/wire.md tells what the code does."""

import json
import re
from pathlib import Path

from contracts import auth
from contracts.decode import decode
from contracts.entities import change_from_json
from ingest.openapi import DOCUMENT

PAGE = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()


def example(first):
    """The indented JSON example that begins with some text."""
    at = PAGE.index("    " + first)
    return json.loads(re.split(r"\n\n(?=\S)", PAGE[at:], maxsplit=1)[0])


def test_the_example_report_is_valid():
    report = decode(json.dumps(example('{"v": 1')).encode())
    assert (report.device, len(report.slices)) == ("box-0001", 1)


def test_the_example_change_is_valid():
    assert change_from_json(example('{"id": "fw-2.1-wave-3"')).kind == "firmware"


def test_the_example_problem_has_every_field_of_a_problem():
    assert set(example('{"type": "urn:dipper:problem')) == set(
        DOCUMENT["components"]["schemas"]["Problem"]["properties"]
    )


def test_every_route_and_header_is_on_the_page():
    for path in DOCUMENT["paths"]:
        assert path in PAGE
    for name in (auth.DEVICE_HEADER, auth.BOOT_HEADER, auth.SEQ_HEADER, auth.SENT_AT_HEADER, auth.SIGNATURE_HEADER):
        assert name in PAGE


def test_every_answer_of_telemetry_is_on_the_page():
    for status in DOCUMENT["paths"]["/v1/telemetry"]["post"]["responses"]:
        assert status in PAGE
