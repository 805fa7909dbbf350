"""The dispatcher: who gets what, and the order of start and stop."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from streamlit import config

from dashboards.server import SCRIPT, mount


class Recorder:
    """An ASGI application that writes down what it was called with."""

    def __init__(self, events: list[str], name: str) -> None:
        self.events, self.name = events, name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.events.append(f"{self.name} {scope['type']} {scope.get('path', '')}")

    def lifespan(self) -> Any:
        @asynccontextmanager
        async def live(app: object) -> AsyncIterator[None]:
            assert app is self
            self.events.append(f"{self.name} up")
            yield
            self.events.append(f"{self.name} down")

        return live


def call(app: Any, kind: str, path: str) -> None:
    async def nothing(*_: object) -> None:
        raise AssertionError("nobody asked")

    asyncio.run(app({"type": kind, "path": path}, nothing, nothing))


@pytest.mark.parametrize(
    ("kind", "path", "who"),
    [
        ("http", "/v1/telemetry", "gateway"),
        ("http", "/v1/changes", "gateway"),
        ("http", "/v1/", "gateway"),
        ("http", "/openapi.json", "gateway"),
        ("http", "/healthz", "gateway"),
        ("http", "/readyz", "gateway"),
        ("http", "/metrics", "gateway"),
        ("http", "/", "pages"),
        ("http", "/v1", "pages"),
        ("http", "/v1x", "pages"),
        ("http", "/customer", "pages"),
        ("http", "/metrics/", "pages"),
        ("websocket", "/_stcore/stream", "pages"),
        ("websocket", "/v1/telemetry", "pages"),
    ],
)
def test_paths_find_their_application(kind: str, path: str, who: str) -> None:
    events: list[str] = []
    call(mount(Recorder(events, "gateway"), Recorder(events, "pages")), kind, path)  # type: ignore[arg-type]
    assert events == [f"{who} {kind} {path}"]


def live(app: Any) -> list[str]:
    sent: list[str] = []
    incoming = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, str]:
        return {"type": next(incoming)}

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    asyncio.run(app({"type": "lifespan"}, receive, send))
    return sent


def test_the_owners_lifespan_wraps_the_pages() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def owner() -> AsyncIterator[None]:
        events.append("owner up")
        yield
        events.append("owner down")

    app = mount(Recorder(events, "gateway"), Recorder(events, "pages"), owner)  # type: ignore[arg-type]
    assert live(app) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert events == ["owner up", "pages up", "pages down", "owner down"]


def test_a_failed_start_is_reported_and_undone() -> None:
    events: list[str] = []

    class Broken(Recorder):
        def lifespan(self) -> Any:
            @asynccontextmanager
            async def fail(_: object) -> AsyncIterator[None]:
                raise OSError("no room")
                yield

            return fail

    @asynccontextmanager
    async def owner() -> AsyncIterator[None]:
        events.append("owner up")
        yield
        events.append("owner down")

    app = mount(Recorder(events, "gateway"), Broken(events, "pages"), owner)  # type: ignore[arg-type]
    assert live(app) == ["lifespan.startup.failed"]
    assert events == ["owner up", "owner down"]


def test_a_run_of_a_page_does_not_collect_the_whole_processs_garbage() -> None:
    """That Streamlit knows the setting is checked too: an unknown name would do nothing."""
    settings = tomllib.loads((SCRIPT.parent / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert "postScriptGC" in config.get_options_for_section("runner")
    assert settings["runner"]["postScriptGC"] is False
