"""A whole service in a process of its own: doors, commands, stopping, refusals of unsafe addresses."""

import json
import urllib.error
import urllib.request

import pytest

from tests.e2e.deployment import Server
from tests.e2e.processes import free_port, python, run_to_end, until


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    public = free_port()
    server = Server(folder, "--public", f"127.0.0.1:{public}")
    try:
        yield server.start(), f"http://127.0.0.1:{public}"
    finally:
        server.process.stop()


def test_pages_and_gateway_answer_on_one_address(served):
    server, _ = served
    status, page = get(server.url + "/")
    assert status == 200
    assert b"<html" in page
    until(lambda: get(server.url + "/readyz")[0] == 200, 60, "ready")  # the feed first reads what was published before
    status, ready = get(server.url + "/readyz")
    said = json.loads(ready)
    assert (status, said["status"], said["process"], said["reasons"]) == (200, "ready", "up", [])
    status, metrics = get(server.url + "/metrics")
    assert status == 200
    assert b"\ndipper_ready 1.0\n" in metrics
    assert b"\ndipper_silent 0.0\n" in metrics
    assert b"\ndipper_gateway_flushes_total " in metrics


def test_commands_reach_the_running_process(served):
    server, _ = served
    assert server.ledger()["balanced"] is True
    assert server.quality() == {}
    findings = server.run("doctor", "--running")
    assert {f["check"] for f in findings} >= {"running", "streams", "health", "sink", "keeper", "history"}
    assert all(f["ok"] for f in findings)


def test_the_public_listener_opens_only_doors_that_authenticate(served):
    _, public = served
    paths = ("/healthz", "/", "/metrics", "/openapi.json", "/readyz", "/v1/telemetry")
    assert [get(public + path)[0] for path in paths] == [200, 404, 404, 404, 404, 405]


def test_a_second_owner_of_the_data_is_refused_with_a_sentence(served):
    server, _ = served
    code, _, errors = run_to_end(python("-m", "dipper", "up", "--data", server.data, "--port", "0"))
    assert code == 1
    assert f"in use by process {server.process.pid}" in errors
    assert "Traceback" not in errors


def test_a_signal_ends_it_in_order(tmp_path):
    server = Server(tmp_path).start()
    assert server.process.stop() == 0
    assert not (server.data / "control.sock").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "0.0.0.0"], "pages"),
        (["--port", "http"], "DIPPER_PORT: expected a port"),
        (["--public", "somewhere"], "DIPPER_PUBLIC: expected HOST:PORT"),
        (["--policy", "/nowhere.toml"], "/nowhere.toml: expected a readable TOML file"),
    ],
)
def test_unsafe_or_wrong_settings_are_refused_by_name(tmp_path, arguments, sentence):
    code, _, errors = run_to_end(python("-m", "dipper", "up", "--data", tmp_path / "data", "--port", "0", *arguments))
    assert code == 2
    assert sentence in errors
    assert "Traceback" not in errors


def test_commands_on_an_empty_folder_say_how_to_start(tmp_path):
    code, _, errors = run_to_end(python("-m", "dipper", "ledger", "--data", tmp_path / "nothing"))
    assert code == 1
    assert "no Dipper data here" in errors


def test_the_feed_answers_holders_of_a_token_on_the_local_listener_only(served):
    server, public = served
    token = server.run("tokens", "add", "scheduler", "--scope", "feed:read")["token"]
    other = server.run("tokens", "add", "robot", "--scope", "changes:write")["token"]

    def ask(url, secret):
        request = urllib.request.Request(url, headers={"authorization": f"Bearer {secret}"})
        return get(request)

    status, body = ask(server.url + "/v1/health/devices", token)
    assert (status, json.loads(body)["devices"]) == (200, [])
    assert ask(server.url + "/v1/health/devices", other)[0] == 401
    assert get(server.url + "/v1/health/strata")[0] == 401
    assert get(server.url + "/v1/health/openapi.json")[0] == 200
    assert ask(public + "/v1/health/devices", token)[0] == 404


def test_an_open_stream_does_not_hold_up_the_end(tmp_path):
    server = Server(tmp_path).start()
    token = server.run("tokens", "add", "scheduler", "--scope", "feed:read")["token"]
    headers = {"authorization": f"Bearer {token}"}
    with urllib.request.urlopen(urllib.request.Request(server.url + "/v1/health/stream", headers=headers)) as stream:
        assert stream.readline().startswith(b"retry:")
        assert server.process.stop() == 0
