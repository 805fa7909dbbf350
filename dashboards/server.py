"""The pages as an ASGI application, and the dispatcher that puts them beside the gateway in one server.

The dispatcher is outermost and looks only at the path, so that a box's POST never passes through the pages' middleware.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

from streamlit.starlette import App

from dashboards.access import Access
from dashboards.gate import Gate

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Lifespan = Callable[[], AbstractAsyncContextManager[Any]]

SCRIPT = Path(__file__).with_name("app.py")
GATEWAY_PREFIX = "/v1/"
GATEWAY_PATHS = frozenset({"/openapi.json", "/healthz", "/readyz", "/metrics"})

_log = logging.getLogger(__name__)


def streamlit_app(secrets: Mapping[str, Any] | None = None) -> App:
    """The pages. One per process (Streamlit's rule); call `dashboards.context.set_context` before serving. `secrets`:
    what `st.login` needs (`oidc.Oidc.secrets`)."""
    return App(SCRIPT, secrets=secrets, on_script_error=_on_script_error)


def mount(gateway: ASGIApp, app: App, lifespan: Lifespan | None = None, access: Access | None = None) -> ASGIApp:
    """One ASGI application: /v1/*, /openapi.json, /healthz, /readyz and /metrics go to the gateway, all else to the
    pages, through a gate that asks who somebody is if `access` is given. `lifespan`, when given, is entered before the
    pages start and left after they stopped; the gateway is sent no lifespan events of its own."""
    app_lifespan = app.lifespan()
    pages: ASGIApp = app if access is None else Gate(app, access)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            path = scope["path"]
            if path.startswith(GATEWAY_PREFIX) or path in GATEWAY_PATHS:
                await gateway(scope, receive, send)
                return
            await pages(scope, receive, send)
        elif kind == "websocket":
            await pages(scope, receive, send)
        elif kind == "lifespan":
            await _live(receive, send, lifespan, lambda: app_lifespan(app))

    return dispatch


async def _live(receive: Receive, send: Send, *lifespans: Lifespan | None) -> None:
    """Serve the lifespan protocol: enter in order at start-up, leave in reverse at shutdown."""
    await receive()
    stack = AsyncExitStack()
    try:
        for lifespan in lifespans:
            if lifespan is not None:
                await stack.enter_async_context(lifespan())
    except Exception as error:
        _log.exception("start-up of the web application failed")
        await stack.aclose()
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    try:
        await stack.aclose()
    except Exception as error:
        _log.exception("shutdown of the web application failed")
        await send({"type": "lifespan.shutdown.failed", "message": str(error)})
        return
    await send({"type": "lifespan.shutdown.complete"})


def _on_script_error(error: Exception) -> bool:
    """Errors outside a page's own frame: logged here, and Streamlit shows nothing of them."""
    _log.error("a page's script failed", exc_info=error)
    return True
