"""Metrics beyond the machine: only with the token, and only with one that is worth the name."""

import asyncio
import urllib.error
import urllib.request

import pytest

from dipper.guarded import Guarded
from dipper.parts import Base
from dipper.settings import Listener, SettingsError, from_environment
from dipper.shell import Shell
from dipper.watch import Watch
from ingest.http import call
from tests.e2e.processes import free_port

TOKEN = "correct-horse-battery"


def watch():
    return Watch("test", [Base("part")], lambda: 1_000_000)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"bearer  {TOKEN} "}, 200),
        ({"authorization": TOKEN}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
    ],
)
def test_the_token_opens_the_door_and_nothing_else_does(header, status):
    answer = asyncio.run(call(Guarded(watch(), TOKEN), "GET", "/metrics", headers=header))
    assert answer[0] == status
    assert (answer[1].get("www-authenticate") is None) == (status == 200)
    assert (b"dipper_ready" in answer[2]) == (status == 200)


def test_a_listener_for_scrapers_needs_a_token_that_is_worth_the_name():
    assert from_environment({}).metrics is None
    given = {"DIPPER_METRICS": "0.0.0.0:9410", "DIPPER_METRICS_TOKEN": TOKEN}
    settings = from_environment(given)
    assert settings.metrics == Listener("0.0.0.0", 9410)
    assert TOKEN not in repr(settings)
    for token in ("", "short"):
        with pytest.raises(SettingsError, match=r"DIPPER_METRICS_TOKEN: expected 16 characters or more, got"):
            from_environment({**given, "DIPPER_METRICS_TOKEN": token})


def test_a_process_serves_scrapers_beside_its_own_listener():
    port = free_port()
    settings = from_environment(
        {"DIPPER_PORT": "0", "DIPPER_METRICS": f"127.0.0.1:{port}", "DIPPER_METRICS_TOKEN": TOKEN}
    )
    seen = []

    def get(**headers):
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"http://127.0.0.1:{port}/readyz", headers=headers), timeout=10
            ) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    async def ask(shell):
        seen.append(await asyncio.to_thread(get))
        seen.append(await asyncio.to_thread(get, Authorization=f"Bearer {TOKEN}"))
        shell.stop()

    asyncio.run(Shell(settings, watch()).run(background=ask))
    assert seen == [401, 200]
