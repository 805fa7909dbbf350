"""`dipper objectives` and `dipper report` as people use them, on a data directory."""

import json
from zoneinfo import ZoneInfo

import pytest

from contracts.entities import Customer, DeviceAttributes
from contracts.sla import Month
from dipper.cli import main
from dipper.paths import Paths
from history.chdb_store import ChdbStore
from ingest.registry import SqliteRegistry
from tests.dipper.test_openslo_levels import DOCUMENT
from tests.history.sla_world import MINUTE, Row, fill

FAILURES = DOCUMENT.replace("slow_requests, threshold: 400", "failures").replace("2026-10-01", "2026-01-01")
START, END = Month(2026, 9).span(ZoneInfo("Asia/Shanghai"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data directory with ten minutes of September, three of them bad, and an objective."""
    folder = tmp_path_factory.mktemp("report") / "data"
    paths = Paths(folder)
    folder.mkdir()
    with ChdbStore(paths.history, min_free_bytes=0) as store:
        fill(store, [Row(START + i * MINUTE, failures=50 if i in (3, 4, 7) else 0) for i in range(10)])
    registry = SqliteRegistry(paths.registry)
    registry.add_customer(Customer("acme", "Acme 视频", "Asia/Shanghai"))
    registry.close()
    file = folder / "acme.yaml"
    file.write_text(FAILURES)
    assert main(["objectives", "apply", str(file), "--data", str(folder)]) == 0
    return folder


def ran(capsys, *arguments):
    code = main([str(a) for a in arguments])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_objectives_are_listed_and_applied_once(data, capsys):
    assert ran(capsys, "objectives", "apply", data / "acme.yaml", "--data", data)[:2] == (
        0,
        "nothing new: all of it holds already\n",
    )
    code, out, _ = ran(capsys, "objectives", "list", "--month", "2026-09", "--json", "--data", data)
    assert code == 0
    assert [(v["name"], v["target"], v["version"]) for v in json.loads(out)] == [("acme-vod-slow", 0.999, 1)]
    assert ran(capsys, "objectives", "list", "--customer", "beta", "--data", data)[1] == "no objectives\n"


def test_the_report_comes_in_every_form(data, capsys, tmp_path):
    code, out, _ = ran(capsys, "report", "acme", "2026-09", "--format", "json", "--data", data)
    assert code == 0
    document = json.loads(out)
    assert (document["name"], document["objectives"][0]["minutes"]["bad"]) == ("Acme 视频", 3)
    for form, start in (("pdf", b"%PDF"), ("html", b"<!doctype html>"), ("csv", b"row,customer")):
        file = tmp_path / f"report.{form}"
        arguments = ("report", "acme", "2026-09", "--format", form, "--language", "zh", "--out", file, "--data", data)
        assert ran(capsys, *arguments)[:2] == (0, f"{file}\n")
        assert file.read_bytes().startswith(start)


def test_a_sealed_report_can_be_checked_by_whoever_has_it(data, capsys, tmp_path):
    file = tmp_path / "september.json"
    assert ran(capsys, "report", "acme", "2026-09", "--format", "json", "--out", file, "--data", data)[0] == 0
    assert ran(capsys, "report", "--verify", file)[:2] == (0, "acme-vod-slow: not sealed yet\n")
    assert "sealed" in ran(capsys, "objectives", "settle", "--data", data)[1]
    assert ran(capsys, "report", "acme", "2026-09", "--format", "json", "--out", file, "--data", data)[0] == 0
    document = json.loads(file.read_text())
    assert document["status"] == "sealed"
    code, out, _ = ran(capsys, "report", "--verify", file)
    assert (code, document["objectives"][0]["seal"]["sha256"] in out) == (0, True)
    document["objectives"][0]["minutes"]["bad"] = 0
    file.write_text(json.dumps(document))
    code, out, _ = ran(capsys, "report", "--verify", file)
    assert (code, out.startswith("acme-vod-slow: NOT what was sealed as")) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody", "2026-09"), "nobody has an objective (it has none: dipper objectives apply FILE)"),
        (("acme", "2025-09"), "one for which acme has an objective (the first is 2026-01), got '2025-09'"),
        (("acme", "2999-01"), "month: expected"),
        (("acme", "September"), "YYYY-MM: expected a month such as 2026-10, got 'September'"),
        (("a b", "2026-09"), "CUSTOMER: expected 1 to 64 of"),
        (("acme",), "report: expected CUSTOMER and YYYY-MM, or --verify FILE"),
        (("--verify", "/nothing"), "/nothing: expected a report in JSON"),
    ],
)
def test_wrong_input_is_named(data, capsys, arguments, message):
    code, _, err = ran(capsys, "report", *arguments, "--data", data)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_objectives_that_overlap_or_rewrite_the_past_are_refused(data, capsys, tmp_path):
    file = tmp_path / "other.yaml"
    file.write_text(FAILURES.replace("name: acme-vod-slow\n  annotations", "name: other\n  annotations"))
    code, _, err = ran(capsys, "objectives", "apply", file, "--data", data)
    assert (code, "one objective for acme vod failures; acme-vod-slow holds it" in err) == (2, True)
    file.write_text(FAILURES.replace("target: 0.999", "target: 0.9999"))
    code, _, err = ran(capsys, "objectives", "apply", file, "--data", data)
    assert (code, "a change never rewrites the past" in err) == (2, True)
    code, _, err = ran(capsys, "objectives", "apply", tmp_path / "none.yaml", "--data", data)
    assert (code, "none.yaml: expected a readable file" in err) == (2, True)


def test_who_left_is_erased_with_a_record_and_only_on_purpose(data, capsys):
    code, _, err = ran(capsys, "erase", "customer", "acme", "--data", data)
    assert (code, "expected --reason TEXT and --yes" in err) == (2, True)
    arguments = ("erase", "customer", "acme", "--reason", "contract ended", "--yes", "--json", "--data", data)
    code, out, _ = ran(capsys, *arguments)
    assert code == 0
    assert json.loads(out)["rows"]["minutes"] == 10
    assert ran(capsys, "objectives", "list", "--data", data)[1] == "no objectives\n"
    assert "acme has an objective (it has none" in ran(capsys, "report", "acme", "2026-09", "--data", data)[2]


def test_an_erased_device_cannot_report_any_more(data, capsys):
    with SqliteRegistry(Paths(data).registry) as registry:
        registry.add_device("box-1", DeviceAttributes(0, "telecom", "hebei", "full_cone", "stable", 30.0), 0)
        registry.add_key("box-1", 0)
    arguments = ("erase", "device", "box-1", "--reason", "owner asked", "--yes", "--json", "--data", data)
    code, out, _ = ran(capsys, *arguments)
    assert (code, json.loads(out)["revoked"]) == (0, True)
    with SqliteRegistry(Paths(data).registry) as registry:
        assert registry.device("box-1").revoked_at is not None
    arguments = ("erase", "device", "box-2", "--reason", "unknown", "--yes", "--data", data)
    assert "keys and open tokens end" not in ran(capsys, *arguments)[1]
