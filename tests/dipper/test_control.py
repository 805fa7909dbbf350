import asyncio
import socket

import pytest

from dipper.control import ControlError, NotRunning, ask, serve


def converse(path, *questions):
    """Serve a handler on `path`, put the questions from a thread, return the answers or errors in order."""

    def handle(command, arguments):
        if command == "add":
            return arguments["a"] + arguments["b"]
        if command == "break":
            raise RuntimeError("engine away")
        raise ValueError(f"command: expected add or break, got {command!r}")

    def put(question):
        try:
            return ask(path, *question)
        except ControlError as error:
            return error

    async def run():
        server = await serve(path, handle)
        async with server:
            return [await asyncio.to_thread(put, q) for q in questions]

    return asyncio.run(run())


def test_a_command_is_answered(tmp_path):
    assert converse(tmp_path / "control.sock", ("add", {"a": 2, "b": 3})) == [5]


def test_a_deep_directory_does_not_exceed_the_socket_name_limit(tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    assert converse(deep / "control.sock", ("add", {"a": 1, "b": 1})) == [2]


def test_errors_come_back_as_sentences_and_the_server_lives_on(tmp_path):
    unknown, missing, broken, fine = converse(
        tmp_path / "control.sock", ("frobnicate", {}), ("add", {"a": 1}), ("break", {}), ("add", {"a": 1, "b": 1})
    )
    assert str(unknown) == "command: expected add or break, got 'frobnicate'"
    assert str(missing) == "argument missing: 'b'"
    assert str(broken) == "RuntimeError: engine away"
    assert fine == 2


def test_only_the_owner_may_connect(tmp_path):
    path = tmp_path / "control.sock"

    async def mode():
        async with await serve(path, lambda *_: None):
            return path.stat().st_mode & 0o777

    assert asyncio.run(mode()) == 0o600


def test_nobody_listening_is_told_apart_from_an_error(tmp_path):
    with pytest.raises(NotRunning):
        ask(tmp_path / "control.sock", "add", {})
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "stale.sock"))
    with pytest.raises(NotRunning):
        ask(tmp_path / "stale.sock", "add", {})
