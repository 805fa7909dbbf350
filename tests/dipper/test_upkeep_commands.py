"""`dipper settings` and `dipper notify` on a Dipper that runs, and on one that does not."""

import contextlib
import json
import os
import signal
import subprocess
import urllib.request

import pytest

from contracts.topics import INCIDENTS
from dipper.cli import main
from dipper.clock import wall_clock
from ingest.log.kafka import KafkaLog
from tests.dipper.notify.builders import T0, ended, incident, listening, write
from tests.e2e.deployment import Server
from tests.e2e.processes import ROOT, Process, python, until
from tests.services.kafka import create_topics


def dipper(*arguments, **environment):
    done = subprocess.run(
        python("-m", "dipper", *arguments), capture_output=True, text=True, cwd=ROOT, timeout=120,
        env={**os.environ, **environment},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("upkeep")
    policy = folder / "policy.toml"
    policy.write_text("[gateway]\nflush_ms = 50\n")
    with listening() as there:
        (folder / "notify.toml").write_text(f'[[receiver]]\nname = "ops"\nkind = "slack"\nurl = "{there.url}"\n')
        server = Server(folder, "--policy", policy)
        try:
            yield server.start(), policy, there
        finally:
            server.process.stop()


@pytest.mark.verify
def test_settings_are_shown_checked_and_reloaded_while_it_runs(served):
    server, policy, _ = served
    data = ["--data", str(server.data)]
    shown = json.loads(dipper("settings", "show", "--json", *data)[1])
    assert shown["policy"]["gateway"]["flush_ms"] == 50
    assert shown["file"] == str(policy)
    code, out, _ = dipper("settings", "show", *data)
    assert (code, "* flush_ms = 50" in out, "  heartbeat_ms = 1000" in out) == (0, True, True)
    text = "[gateway]\nflush_ms = 70\n[incident]\nend_after_ms = 240000\n"
    new = policy.with_name("new.toml")
    new.write_text(text)
    code, out, _ = dipper("settings", "check", str(new), *data)
    assert code == 0
    assert "gateway.flush_ms: 50 -> 70  (at the next start)" in out
    assert "incident.end_after_ms: 300000 -> 240000\n" in out
    policy.write_text(text)
    code, out, _ = dipper("settings", "reload", "--author", "ana", *data)
    assert code == 0
    assert "at the next start: gateway.flush_ms: 50 -> 70" in out

    def in_force():
        return json.loads(dipper("settings", "show", "--json", *data)[1])["policy"]["incident"]["end_after_ms"]

    until(lambda: in_force() == 240_000, 120, "the next minute begins")
    (change,) = server.run("changes")
    assert "incident.end_after_ms: 300000 -> 240000" in change["note"]


@pytest.mark.verify
def test_a_signal_reloads_and_what_is_refused_stays_visible(served):
    server, policy, _ = served
    data = ["--data", str(server.data)]
    policy.write_text("[incident]\nend_after_ms = 0\n")
    os.kill(server.process.pid, signal.SIGHUP)

    def refused():
        return json.loads(dipper("settings", "show", "--json", *data)[1])["refused"]

    until(refused, 30, "the refusal is shown")
    assert "incident.end_after_ms: expected above 0, got 0" in refused()["why"]
    code, _, errors = dipper("settings", "reload", *data)
    assert code == 1
    assert "incident.end_after_ms: expected above 0" in errors
    assert "settings refused" in (server.data / "audit.log").read_text()
    assert server.process.running()


@pytest.mark.verify
def test_receivers_are_checked_tried_and_reported(served):
    server, policy, there = served
    named = {"DIPPER_NOTIFY": str(policy.with_name("notify.toml"))}
    data = ["--data", str(server.data)]
    code, out, _ = dipper("notify", "check", *data, **named)
    assert (code, there.url in out) == (0, True)
    assert dipper("notify", "test", "ops", *data, **named)[:2] == (0, "ops: arrived\n")
    assert "inc-test-" in there.got[-1].json["blocks"][0]["text"]["text"]
    there.answers = [(404, {}, b"no_team")]
    code, out, _ = dipper("notify", "test", *data, **named)
    assert (code, out) == (1, f"ops: {there.url}: answered 404: no_team\n")
    code, _, errors = dipper("notify", "test", "nobody", *data, **named)
    assert (code, "receiver: expected one of ops, got 'nobody'" in errors) == (2, True)
    code, out, _ = dipper("notify", "status", *data)
    assert code == 0
    assert out.splitlines()[1].split()[:6] == ["ops", "0", "0", "0", "0", "0"]
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=20) as answer:
        assert b'\ndipper_notify_waiting{receiver="ops"} 0.0\n' in answer.read()


def said(capsys, *arguments):
    code = main(arguments)
    out, errors = capsys.readouterr()
    return code, out, errors


def test_without_a_running_dipper_commands_say_what_they_can(tmp_path, capsys):
    data = ["--data", str(tmp_path)]
    code, out, _ = said(capsys, "notify", "status", *data)
    assert (code, out.startswith("nobody is told anything")) == (0, True)
    code, _, errors = said(capsys, "notify", "check", *data)
    assert (code, "no notify.toml" in errors) == (1, True)
    code, _, errors = said(capsys, "settings", "reload", *data)
    assert (code, "nothing runs on this data" in errors) == (1, True)
    code, out, _ = said(capsys, "settings", "show", *data)
    assert (code, "  flush_ms = 100" in out) == (0, True)
    wrong = tmp_path / "policy.toml"
    wrong.write_text("[silence]\nblind_share = 7.0\n")
    code, _, errors = said(capsys, "settings", "check", str(wrong), *data)
    assert (code, "silence.blind_share: expected 0 to 1, got 7" in errors) == (2, True)
    wrong.write_text("[silence]\nblind_share = 0.7\n[sink]\nflush_every_ms = 2000\n")
    code, out, _ = said(capsys, "settings", "check", str(wrong), *data)
    assert code == 0
    assert "silence.blind_share: 0.6 -> 0.7\n" in out
    assert "sink.flush_every_ms: 3000 -> 2000  (at the next start)" in out


def test_a_made_up_incident_is_sent_to_those_who_are_asked(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOOK_KEY", "0123456789abcdef0123")
    data = ["--data", str(tmp_path)]
    with listening() as there:
        (tmp_path / "notify.toml").write_text(
            '[network]\nallow_hosts = ["127.0.0.1"]\n'
            f'[[receiver]]\nname = "ops"\nkind = "webhook"\nurl = "{there.url}"\n'
            f'[[receiver]]\nname = "am"\nkind = "alertmanager"\nurl = "{there.url}"\n'
            f'[customer.acme]\nurl = "{there.url}"\nsecret_env = "HOOK_KEY"\n'
        )
        assert said(capsys, "notify", "test", "ops", *data)[:2] == (0, "ops: arrived\n")
        assert there.got[0].json["test"] is True
        assert there.got[0].json["events"][0]["incident"]["id"].startswith("inc-test-")
        there.answers = [(200, {}, b""), (200, {}, b""), (410, {}, b"gone")]
        code, out, _ = said(capsys, "notify", "test", *data)
        assert (code, out.splitlines()) == (
            1, ["ops: arrived", "am: arrived", f"customer:acme: {there.url}: answered 410: gone"],
        )  # fmt: skip
        assert there.got[-1].json["customer"] == "acme"
        code, out, _ = said(capsys, "notify", "check", "--json", *data)
        assert [row["receiver"] for row in json.loads(out)] == ["ops", "am", "customer:acme"]
        code, _, errors = said(capsys, "notify", "test", "nobody", *data)
        assert (code, "receiver: expected one of ops, am, customer:acme, got 'nobody'" in errors) == (2, True)


def test_a_wrong_notify_file_stops_the_start_with_a_sentence(tmp_path, capsys):
    (tmp_path / "notify.toml").write_text("[[receiver]]\nname = 'ops'\n")
    code, _, errors = said(capsys, "up", "--data", str(tmp_path), "--port", "0")
    assert (code, "receiver ops.kind: expected a text, got nothing" in errors) == (2, True)


@pytest.mark.verify
def test_a_clusters_notifications_are_a_process_that_can_be_killed(tmp_path, kafka):
    create_topics(kafka.settings, {INCIDENTS.name: 1})
    log = KafkaLog(kafka.settings, client_id="test")
    try:
        with listening() as there, contextlib.ExitStack() as stack:
            (tmp_path / "notify.toml").write_text(
                f'[[receiver]]\nname = "ops"\nkind = "webhook"\nurl = "{there.url}"\ngroup_wait_s = 0\n'
                "group_interval_s = 0\n"
            )
            command = python("-m", "dipper", "notify", "run", "--data", tmp_path / "told", "--port", "0")
            named = {**kafka.environment, "DIPPER_NOTIFY": str(tmp_path / "notify.toml")}
            process = Process(command, tmp_path / "notify.out", named)
            stack.callback(process.stop)
            process.start()
            write(log, incident(), at=wall_clock())
            until(lambda: there.events() == [("opened", "inc-1", "open")], 60, process.tail())
            process.kill()
            write(log, ended(incident(), T0), at=wall_clock())
            process.start()
            until(lambda: len(there.events()) == 2, 60, process.tail())
            assert process.stop() == 0
            assert [event for event, _, _ in there.events()] == ["opened", "resolved"]
    finally:
        log.close()
