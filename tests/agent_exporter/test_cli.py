"""The command line: enroll, check, status, and a real agent process that is killed, restarted and stopped."""

from __future__ import annotations

import gzip
import json
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_exporter.cli import main
from contracts.auth import Envelope, verify
from contracts.decode import decode
from contracts.report import Report
from tests.agent_exporter.builders import KEY, Box, access, encoded, served
from tests.agent_exporter.conftest import Sink


def configure(root: Path, server: str, extra: str = "") -> Path:
    """A box at 1 s intervals with key and configuration in place."""
    (root / "key").write_text(json.dumps({"device": KEY.device, "key_id": KEY.key_id, "key": KEY.key.hex()}))
    config = root / "agent.toml"
    config.write_text(
        f'server = "{server}"\nkey_file = "{root}/key"\nstate_dir = "{root}/state"\ninterval_s = 1\n{extra}'
        f'[[log]]\nkind = "nginx"\npath = "{root}/access.log"\n'
        "[sender]\nspread = 0.0\nbackoff_max_s = 0.2\nbacklog_reports_per_s = 200\n"
    )
    return config


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.02)


def reports_of(sink: Sink) -> list[Report]:
    """What arrived, each name once, signatures checked."""
    found = {}
    for path, headers, body in list(sink.requests):
        assert path == "/v1/telemetry"
        envelope = Envelope(
            headers["dipper-device"],
            headers["dipper-boot"],
            int(headers["dipper-seq"]),
            int(headers["dipper-sent-at"]),
            headers["dipper-signature"],
        )
        assert verify(KEY.key, envelope, body)
        before = found.setdefault((envelope.boot, envelope.seq), body)
        assert before == body
    return [decode(gzip.decompress(body)) for body in found.values()]


class Process:
    """An agent process; `err` is what it says."""

    def __init__(self, config: Path) -> None:
        self.err = config.parent / f"stderr-{now_ms()}"
        with self.err.open("wb") as err:
            command = [sys.executable, "-m", "agent_exporter", "run", "--config", str(config)]
            self.process = subprocess.Popen(command, stderr=err, cwd=Path(__file__).parents[2])
        wait_for(lambda: "ready:" in self.err.read_text())

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


def test_killed_and_restarted_agent_delivers_each_line_once(tmp_path: Path, sink: Sink) -> None:
    config = configure(tmp_path, sink.url)
    log = tmp_path / "access.log"
    written = 0

    def write(count: int) -> None:
        nonlocal written
        with log.open("ab") as f:
            for _ in range(count):
                written += 1
                f.write(encoded(access(now_ms(), server_customer=f"c{written}")) + b"\n")

    def arrived() -> int:
        return len(served(reports_of(sink)))

    write(20)
    agent = Process(config)
    wait_for(lambda: arrived() == 20)
    write(20)
    assert agent.end(signal.SIGKILL) == -signal.SIGKILL
    log.rename(tmp_path / "access.log.1")
    write(20)
    sink.answer = lambda *_: (503, {}, b"")
    agent = Process(config)
    write(20)
    wait_for(lambda: "cannot deliver" in agent.err.read_text())
    sink.requests.clear()
    agent.end(signal.SIGKILL)
    sink.answer = lambda *_: (200, {}, b"")
    agent = Process(config)
    write(20)
    assert agent.end(signal.SIGTERM) == 0
    # What arrived before the requests were cleared is known: the first 20.
    assert served(reports_of(sink)).keys() >= {f"c{n}" for n in range(41, 101)}
    assert set(served(reports_of(sink)).values()) == {1}
    assert "stopped: waiting=0" in agent.err.read_text()


def test_second_agent_on_the_same_state_is_refused(tmp_path: Path, sink: Sink) -> None:
    config = configure(tmp_path, sink.url)
    agent = Process(config)
    second = subprocess.run(
        [sys.executable, "-m", "agent_exporter", "run", "--config", str(config)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert agent.end(signal.SIGTERM) == 0
    assert second.returncode == 2
    assert "in use by another agent" in second.stderr
    assert "Traceback" not in second.stderr


def test_check_finds_everything_in_order(tmp_path: Path, sink: Sink, capsys: pytest.CaptureFixture[str]) -> None:
    config = configure(tmp_path, sink.url)
    (tmp_path / "access.log").write_bytes(encoded(access(now_ms())) + b"\n")
    sink.answer = lambda *_: (200, {"dipper-server-time": str(now_ms()), "dipper-versions": "1"}, b"")
    assert main(["check", "--config", str(config)]) == 0
    out = capsys.readouterr().out
    assert "last 1 lines parse; customers: acme" in out
    [report] = reports_of(sink)
    assert (report.totals.requests, len(report.slices)) == (0, 0)


@pytest.mark.parametrize(
    ("status", "text"),
    [(401, "refuses the key k1"), (503, "expected 2xx, got 503")],
)
def test_check_says_what_the_server_minds(
    tmp_path: Path, sink: Sink, capsys: pytest.CaptureFixture[str], status: int, text: str
) -> None:
    config = configure(tmp_path, sink.url)
    sink.answer = lambda *_: (status, {}, b"")
    assert main(["check", "--config", str(config), "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)
    assert any(text in f["detail"] and not f["ok"] for f in findings)


def test_check_points_at_the_line_that_does_not_parse(
    tmp_path: Path, sink: Sink, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(tmp_path, sink.url)
    (tmp_path / "access.log").write_text('127.0.0.1 - - "GET / HTTP/1.1" 200\n')
    assert main(["check", "--config", str(config)]) == 1
    assert "1 of the last 1 lines do not parse: line: expected a JSON object" in capsys.readouterr().out


def test_status_shows_what_was_written_down(tmp_path: Path, sink: Sink, capsys: pytest.CaptureFixture[str]) -> None:
    config = configure(tmp_path, sink.url)
    assert main(["status", "--config", str(config)]) == 2
    assert "nothing down yet" in capsys.readouterr().err
    box = Box(tmp_path)
    box.write(access(box.now), b"junk")
    box.tick()
    box.crash()
    before = sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "state/spool").iterdir())
    assert main(["status", "--config", str(config), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["requests"], status["waiting_reports"], status["dropped_requests"]) == (2, 1, {"line_malformed": 1})
    assert sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "state/spool").iterdir()) == before


def test_configuration_error_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configure(tmp_path, "https://h", "modell = 1\n")
    assert main(["run", "--config", str(config)]) == 2
    assert capsys.readouterr().err.strip().endswith("modell: no such setting; did you mean model?")


ANSWER = {"device": "box-9", "key_id": "k7", "key": "cd" * 32}


def test_enrolment_stores_the_key_for_its_owner_only(tmp_path: Path, sink: Sink) -> None:
    sink.answer = lambda *_: (201, {}, json.dumps(ANSWER).encode())
    key_file = tmp_path / "key"
    arguments = ["enroll", "--server", sink.url, "--token", "t1", "--device", "box-9", "--key-file", str(key_file)]
    assert main(arguments) == 0
    [(path, _, body)] = sink.requests
    assert (path, json.loads(body)) == ("/v1/enroll", {"device": "box-9", "token": "t1"})
    assert json.loads(key_file.read_text()) == ANSWER
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, b'{"detail":"token used"}', "got 401"),
        (201, b"{}", "expected an answer"),
        (201, json.dumps(ANSWER | {"device": "other"}).encode(), "expected a key for 'box-9'"),
        (201, json.dumps(ANSWER | {"key": "cd"}).encode(), "expected 32 bytes"),
    ],
)
def test_failed_enrolment_leaves_the_old_key_alone(
    tmp_path: Path, sink: Sink, capsys: pytest.CaptureFixture[str], status: int, body: bytes, message: str
) -> None:
    sink.answer = lambda *_: (status, {}, body)
    key_file = tmp_path / "key"
    key_file.write_text("old")
    arguments = ["enroll", "--server", sink.url, "--token", "t", "--device", "box-9", "--key-file", str(key_file)]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert key_file.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


def test_enrolment_in_the_clear_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["enroll", "--server", "http://gateway.example", "--token", "t", "--device", "b"]
    assert main([*arguments, "--key-file", str(tmp_path / "k")]) == 2
    assert "expected https" in capsys.readouterr().err
