"""`dipper history import`: what is taken, what is refused and in which words, and that detectors learn it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.times import MINUTE_MS, rfc3339
from dipper.cli import main
from dipper.clock import wall_clock
from dipper.engine import open_engine
from dipper.past import past_minutes
from dipper.paths import OwnerLock, Paths
from dipper.settings import load_policy
from history.imported import imported
from streams.detect import DetectOperator
from streams.detect_measures import Promises
from streams.incident_settings import DetectorSettings

NOW = wall_clock() // MINUTE_MS * MINUTE_MS
T0 = NOW - 2 * 24 * 60 * MINUTE_MS
HEADER = "minute,customer,service,measure,bad,total,label\n"


def line(n: int, bad: int = 5, label: str = "") -> str:
    return f"{rfc3339(T0 + n * MINUTE_MS)},acme,video,failures,{bad},1000,{label}\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment without anything in it; its process has ended."""
    folder = tmp_path_factory.mktemp("import") / "data"
    with OwnerLock(Paths(folder)):
        open_engine(Paths(folder), load_policy(), wall_clock, manual=True, live=False).close()
    return folder


def run(capsys: Any, data: Path, file: Path) -> tuple[int, str, str]:
    code = main(["history", "import", str(file), "--data", str(data)])
    out, err = capsys.readouterr()
    return code, out, err


def written(path: Path, kind: str, rows: int) -> Path:
    """The same minutes in each format; the last one was trouble."""
    documents: list[dict[str, Any]] = [
        {
            "minute": rfc3339(T0 + n * MINUTE_MS), "customer": "acme", "service": "video", "measure": "failures",
            "bad": 5 if n < rows - 1 else 900, "total": 1000, "label": "ok" if n < rows - 1 else "trouble",
        }
        for n in range(rows)
    ]  # fmt: skip
    file = path / f"past.{kind}"
    if kind == "csv":
        file.write_text(HEADER + "".join(",".join(map(str, d.values())) + "\n" for d in documents))
    elif kind == "jsonl":
        file.write_text("".join(json.dumps(d) + "\n" for d in documents))
    else:
        stamps = pa.array([T0 + n * MINUTE_MS for n in range(rows)], pa.timestamp("ms", "UTC"))
        pq.write_table(pa.Table.from_pylist(documents).set_column(0, "minute", stamps), file)
    return file


def rows_of(data: Path) -> dict[str, list[Any]]:
    with OwnerLock(Paths(data)):
        engine = open_engine(Paths(data), load_policy(), wall_clock, manual=True, live=False)
        try:
            return imported(engine.store, 0, NOW)
        finally:
            engine.close()


def test_every_format_gives_the_same_rows_and_again_changes_nothing(capsys: Any, data: Path, tmp_path: Path) -> None:
    for kind in ("csv", "jsonl", "parquet", "csv"):
        code, out, err = run(capsys, data, written(tmp_path, kind, 200))
        assert code == 0, err
        assert out == "200 rows are imported; detectors learn them at the next start\n"
        found = rows_of(data)
        assert found["minute"] == [T0 + n * MINUTE_MS for n in range(200)]
        assert found["bad"] == [5] * 199 + [900]
        assert found["label"] == ["ok"] * 199 + ["trouble"]


def test_detectors_learn_what_was_usual_and_not_what_was_trouble(capsys: Any, data: Path, tmp_path: Path) -> None:
    assert run(capsys, data, written(tmp_path, "csv", 200))[0] == 0
    settings = DetectorSettings()
    promises = Promises((), settings)
    detect = DetectOperator(settings)
    with OwnerLock(Paths(data)):
        engine = open_engine(Paths(data), load_policy(), wall_clock, manual=True, live=False)
        try:
            past = list(past_minutes(engine.store, 0, NOW, promises))
        finally:
            engine.close()
    assert [minute for minute, _ in past] == [T0 + n * MINUTE_MS for n in range(200)]
    for minute, services in past[:-1]:
        detect.learn(minute, services, promises)
    (trouble,) = [
        s for s in detect.judge(past[-1][0], past[-1][1], promises) if s.series == ("acme", "video", "failures")
    ]
    assert trouble.evidence.verdict.name == "FROZEN"
    usual = past[0][1]
    (after,) = [
        s for s in detect.judge(T0 + 200 * MINUTE_MS, usual, promises) if s.series == ("acme", "video", "failures")
    ]
    assert after.evidence.verdict.name == "OK"
    assert after.evidence.baseline.name == "OVERALL"
    assert after.evidence.expected == pytest.approx(5.0, rel=0.2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEADER + line(0) + line(1, bad=1001), "line 3: bad: expected a whole number from 0 to 1000"),
        (HEADER + line(0, label="odd"), "line 2: label: expected one of ok, trouble"),
        (HEADER + line(0).replace("failures", "moods"), "line 2: measure: expected one of failures, slow_requests"),
        (HEADER + line(0).replace("acme", "a c"), "line 2: customer: expected 1 to 64 of"),
        (HEADER + line(0).replace("1000", "many"), "line 2: total: expected a whole number from 0 to"),
        (HEADER + line(10**6), "line 2: minute: expected in the past"),
        (HEADER + line(0).replace(":00.000Z", ":30.000Z"), "line 2: minute: expected the start of a whole minute"),
        (HEADER + line(0).replace("Z,", ","), "line 2: minute: expected the start of a whole minute"),
        (HEADER + "1,2\n", "line 2: expected 7 values, got 2"),
        ("minute,customer\n", "line 1: expected the columns minute, customer, service, measure, bad, total"),
        (HEADER + line(0).replace(",video,", ",,"), "line 2: service: expected a value"),
        (HEADER + "x" * 5_000, "line 2: expected at most 4096 characters"),
    ],
)
def test_a_wrong_row_is_named_with_its_field_and_nothing_is_taken(
    capsys: Any, data: Path, tmp_path: Path, text: str, says: str
) -> None:
    before = rows_of(data)
    file = tmp_path / "wrong.csv"
    file.write_text(text)
    code, _, err = run(capsys, data, file)
    assert code == 2
    assert says in err
    assert "Traceback" not in err
    assert rows_of(data) == before


def test_only_the_first_wrong_rows_are_told(capsys: Any, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "wrong.csv"
    file.write_text(HEADER + "".join(line(n, bad=2_000) for n in range(50)))
    err = run(capsys, data, file)[2]
    assert err.count("bad: expected") == 20
    assert "and perhaps more" in err


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("past.txt", b"x", "expected a file .csv, .jsonl, .ndjson or .parquet, got .txt"),
        ("past.jsonl", b"[1]\n", "line 1: expected a JSON object"),
        ("past.jsonl", b"{\n", "line 1: expected a JSON object"),
        ("past.jsonl", b'{"moon": 1}\n', "line 1: moon: expected fields minute, customer"),
        ("past.parquet", b"x", "expected readable parquet"),
        ("past.csv", b"\xff\xfe", "expected readable csv"),
    ],
)
def test_a_file_nobody_can_read_is_refused(
    capsys: Any, data: Path, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    code, _, err = run(capsys, data, file)
    assert code == 2
    assert says in err


def test_a_file_that_is_not_there_is_refused(capsys: Any, data: Path, tmp_path: Path) -> None:
    code, _, err = run(capsys, data, tmp_path / "none.csv")
    assert code == 2
    assert "expected a file of past minutes" in err
