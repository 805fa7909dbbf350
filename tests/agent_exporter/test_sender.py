"""The sender's decisions, step by step, with clock, randomness and server under control."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agent_exporter.clock import Clock
from agent_exporter.config import DeviceKey
from agent_exporter.entries import Entry
from agent_exporter.errors import SendError
from agent_exporter.sender import Sender, shifted
from agent_exporter.spool import Spool
from agent_exporter.transport import Answer, Headers
from contracts.auth import Envelope, verify
from contracts.decode import decode
from contracts.report import Report, Totals, encode
from tests.agent_exporter.builders import KEY, T0, settings_for

Reply = Callable[[dict[str, str], bytes], Answer]


def answer(status: int, **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, b'{"detail":"why"}')


class Rig:
    """A sender before a scripted server. `seconds` is its monotonic clock."""

    def __init__(self, root: Path, reply: Reply | None = None, **settings: Any) -> None:
        self.seconds = 100.0
        self.connecting_s = 0.0
        self.system = T0
        self.spool = Spool(root / "spool", 2**24)
        self.spool.begin_boot("b")
        self.clock = Clock(lambda: self.system)
        self.reply: Reply = reply or (lambda headers, body: answer(200))
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.said: list[str] = []
        self.new_key: DeviceKey | None = None
        self.seq = 0
        self.sender = Sender(
            settings_for(root, **{"spread": 0.0, "backlog_reports_per_s": 2.0, "backoff_max_s": 60.0} | settings),
            KEY,
            self.spool,
            self.clock,
            self,
            monotonic_s=lambda: self.seconds,
            random=Random(3),
            log=self.said.append,
            reload_key=lambda: self.new_key,
        )

    def post(self, path: str, body: bytes, headers_when_connected: Headers) -> Answer:
        assert path == "/v1/telemetry"
        self.seconds += self.connecting_s
        self.system += round(1000 * self.connecting_s)
        headers = dict(headers_when_connected())
        self.posts.append((headers, body))
        return self.reply(headers, body)

    def close(self) -> None:
        """Nothing to close."""

    def put(self, count: int = 1, *, ticks: int = 1) -> None:
        for _ in range(ticks):
            reports = []
            for i in range(count):
                self.seq += 1
                at = T0 + self.seq * 10_000
                exemplar = {
                    "at": [at],
                    "customer": ["c"],
                    "service": ["s"],
                    "client_isp": ["i"],
                    "client_region": ["r"],
                }
                exemplar |= {"sched_rule": ["x"], "path_hash": ["0"], "status": [1], "latency_ms": [1], "failure": [""]}
                report = Report("box-1", "b", self.seq, at, at + 10_000, 1, "m", "f", "a", Totals(), exemplars=exemplar)
                body = gzip.compress(encode(report), mtime=0)
                reports.append((Entry("b", self.seq, 0, 0, self.clock.correction_ms, i == count - 1), body))
            self.spool.commit(reports, {}, {})

    def sent(self) -> list[int]:
        return [int(headers["dipper-seq"]) for headers, _ in self.posts]


def test_the_time_a_report_states_is_that_of_sending_however_long_connecting_took(tmp_path: Path) -> None:
    # the gateway takes what lies between the stated time and receipt for an error of the box's clock
    rig = Rig(tmp_path)
    rig.connecting_s = 7.0
    rig.put()
    rig.sender.step()
    [(headers, body)] = rig.posts
    assert int(headers["dipper-sent-at"]) == T0 + 7_000
    envelope = Envelope("box-1", "b", 1, T0 + 7_000, headers["dipper-signature"])
    assert verify(KEY.key, envelope, body)


def test_request_is_signed_over_the_body_as_sent(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.put()
    rig.sender.step()
    [(headers, body)] = rig.posts
    envelope = Envelope("box-1", "b", 1, int(headers["dipper-sent-at"]), headers["dipper-signature"])
    assert verify(KEY.key, envelope, body)
    assert envelope.sent_at == T0
    assert headers["Content-Encoding"] == "gzip"
    assert rig.spool.waiting() == 0


def test_newest_goes_first_and_the_backlog_follows_at_its_rate(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.put(ticks=4)
    assert rig.sender.step() == 0
    assert rig.sender.step() == 0
    assert rig.sent() == [4, 1]
    assert 0 < rig.sender.step() <= 0.5
    assert rig.sent() == [4, 1]
    rig.put()
    rig.sender.step()  # a new interval does not wait for the backlog
    rig.seconds += 0.5
    rig.sender.step()
    assert rig.sent() == [4, 1, 5, 2]


def test_live_sends_are_spread_over_the_interval(tmp_path: Path) -> None:
    rig = Rig(tmp_path, spread=0.9)
    rig.put()
    due = []
    while not rig.posts:
        rig.seconds += max(0.01, rig.sender.step())
        due.append(rig.seconds)
    phase = due[-1] - 100.0
    assert phase == pytest.approx(Random(3).uniform(0, 9.0), abs=0.6)


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_refused_for_good_is_let_go_and_counted(tmp_path: Path, status: int) -> None:
    rig = Rig(tmp_path, lambda *_: answer(status))
    rig.put()
    rig.sender.step()
    assert rig.spool.waiting() == 0
    assert (rig.sender.stats.let_go, rig.sender.stats.answers) == (1, {str(status): 1})
    assert any("why" in said for said in rig.said)


@pytest.mark.parametrize("status", [301, 401, 403, 404, 429, 500, 503])
def test_other_refusals_keep_the_report_and_back_off(tmp_path: Path, status: int) -> None:
    rig = Rig(tmp_path, lambda *_: answer(status))
    rig.put()
    rig.sender.step()
    assert rig.spool.waiting() == 1
    assert rig.sender.is_blocked
    rig.sender.step()
    assert len(rig.posts) == 1


def test_same_bytes_go_out_on_each_attempt(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda *_: answer(503))
    rig.put()
    for _ in range(5):
        rig.sender.step()
        rig.seconds += 100
        rig.system += 100_000
    assert len({body for _, body in rig.posts}) == 1
    assert len({headers["dipper-sent-at"] for headers, _ in rig.posts}) == 5


def test_backoff_doubles_with_full_jitter_up_to_its_limit(tmp_path: Path) -> None:
    waits: list[list[float]] = [[] for _ in range(9)]
    for run in range(60):
        rig = Rig(tmp_path / str(run), lambda *_: answer(500))
        rig.sender._random = Random(run)
        rig.put()
        for n in range(9):
            rig.sender.step()
            wait = rig.sender.step()
            waits[n].append(wait)
            rig.seconds += wait
    for n, seen in enumerate(waits):
        ceiling = min(60.0, 2.0**n)
        assert max(seen) <= ceiling
        assert max(seen) > 0.7 * ceiling
        assert min(seen) < 0.3 * ceiling


def test_success_ends_the_backoff(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda *_: answer(500))
    rig.put()
    for _ in range(6):
        rig.sender.step()
        rig.seconds += 60
    rig.reply = lambda *_: answer(200)
    rig.sender.step()
    rig.reply = lambda *_: answer(500)
    rig.put()
    rig.sender.step()
    assert rig.sender.step() <= 1.0


def test_retry_after_is_the_least_pause(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda *_: answer(429, retry_after="120"))
    rig.put()
    rig.sender.step()
    assert rig.sender.step() >= 120


def test_no_answer_keeps_the_report(tmp_path: Path) -> None:
    def unreachable(*_: Any) -> Answer:
        raise SendError("no answer: refused")

    rig = Rig(tmp_path, unreachable)
    rig.put()
    rig.sender.step()
    assert rig.spool.waiting() == 1
    assert rig.sender.stats.answers == {"none": 1}


def test_clock_out_of_the_window_is_corrected_by_the_servers(tmp_path: Path) -> None:
    true_time = T0 + 7_203_000

    def gateway(headers: dict[str, str], body: bytes) -> Answer:
        good = abs(int(headers["dipper-sent-at"]) - true_time) <= 300_000
        return answer(200 if good else 401, dipper_server_time=str(true_time))

    rig = Rig(tmp_path, gateway)
    rig.put()
    rig.sender.step()
    assert not rig.sender.is_blocked
    rig.sender.step()
    assert rig.spool.waiting() == 0
    assert rig.clock.correction_ms == 7_200_000
    assert rig.clock.offset_ms == 7_203_000
    # The report was made before the clock was known to be wrong; its times were moved with it.
    report = decode(gzip.decompress(rig.posts[-1][1]))
    assert (report.start, report.end) == (T0 + 7_210_000, T0 + 7_220_000)
    assert report.exemplars["at"] == [T0 + 7_210_000]


def test_correction_ends_when_the_clock_is_set_right(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda *_: answer(401, dipper_server_time=str(T0 + 3_600_000)))
    rig.put()
    rig.sender.step()
    assert rig.clock.correction_ms == 3_600_000
    rig.system = T0 + 3_600_000  # NTP
    rig.sender.step()
    assert rig.clock.correction_ms == 0


def test_wrong_key_backs_off_instead_of_touching_the_clock(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda *_: answer(401, dipper_server_time=str(T0 + 20_000)))
    rig.put()
    rig.sender.step()
    assert rig.clock.correction_ms == 0
    assert rig.sender.is_blocked
    assert rig.spool.waiting() == 1


def test_rotated_key_is_read_again_after_a_refusal(tmp_path: Path) -> None:
    new = DeviceKey("box-1", "k2", b"n" * 32)

    def gateway(headers: dict[str, str], body: bytes) -> Answer:
        envelope = Envelope("box-1", "b", 1, int(headers["dipper-sent-at"]), headers["dipper-signature"])
        return answer(200 if verify(new.key, envelope, body) else 401)

    rig = Rig(tmp_path, gateway)
    rig.new_key = new
    rig.put()
    rig.sender.step()
    rig.sender.step()
    assert rig.spool.waiting() == 0


def test_report_that_may_have_arrived_is_never_rewritten(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda *_: answer(503))
    rig.put()
    rig.sender.step()
    rig.clock.correction_ms = 3_600_000
    rig.seconds += 100
    rig.sender.step()
    assert rig.posts[0][1] == rig.posts[1][1]


def test_shifting_is_repeatable_and_stays_valid(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.put()
    entry = rig.spool.live()
    assert entry is not None
    body = rig.spool.take(entry)
    assert body is not None
    assert shifted(body, 20_000) == shifted(body, 20_000)
    assert decode(gzip.decompress(shifted(shifted(body, 20_000), -20_000))) == decode(gzip.decompress(body))


def test_server_that_no_longer_reads_this_version_is_reported(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda *_: answer(200, dipper_versions="2, 3"))
    rig.put(ticks=2)
    rig.sender.step()
    rig.sender.step()
    assert sum("update the agent" in said for said in rig.said) == 1


def test_server_that_reads_newer_versions_too_is_fine(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda *_: answer(200, dipper_versions="1, 2"))
    rig.put()
    rig.sender.step()
    assert rig.said == []


def test_status_figures_are_json(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.put()
    rig.sender.step()
    figures = json.loads(json.dumps(rig.sender.stats.to_dict()))
    assert (figures["delivered"], figures["last_delivered_at"]) == (1, T0)
    assert figures["sent_bytes"] == len(rig.posts[0][1])
