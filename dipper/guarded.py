"""An application behind one bearer token (RFC 6750): for programs, which can be given a secret, such as scrapers."""

from __future__ import annotations

import hmac
import json
from typing import Any

BEARER = "bearer "


class Guarded:
    """Answers 401 to every HTTP request without the token, before `app` sees it; websockets are closed."""

    def __init__(self, app: Any, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self._shown(scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _refuse(send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _shown(self, scope: Any) -> bool:
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(values) != 1 or values[0][: len(BEARER)].lower() != BEARER.encode():
            return False
        return hmac.compare_digest(values[0][len(BEARER) :].strip(), self._token)


async def _refuse(send: Any) -> None:
    body = json.dumps({"detail": "authorization: expected `Bearer` and the token of DIPPER_METRICS_TOKEN"}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"www-authenticate", b'Bearer realm="metrics"'),
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})
