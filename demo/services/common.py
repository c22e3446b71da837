"""What every service of the sample mesh shares: how it is started and how it calls another one.

Rule that lives here only: an internal call carries the caller's x-request-id and nothing else of the outside request,
least of all its cookie.
"""

from __future__ import annotations

import argparse
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

CALL_TIMEOUT = ClientTimeout(total=5.0)
KEEPALIVE = 3600.0
"""Longer than Envoy keeps an idle connection, so that no request meets a connection that is just being closed."""

_SESSION = web.AppKey("session", ClientSession)
_MESH = web.AppKey("mesh", str)


def start(app: web.Application) -> None:
    """Serve `app` on 127.0.0.1: `--port` to listen on, `--mesh` the sidecar's outbound address for internal calls."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mesh", default="", help="host:port of the sidecar's outbound listener")
    options = parser.parse_args()
    app[_MESH] = f"http://{options.mesh}"
    app.cleanup_ctx.append(_open_session)
    web.run_app(app, host="127.0.0.1", port=options.port, access_log=None, print=lambda *_: None, keepalive_timeout=KEEPALIVE)


async def _open_session(app: web.Application) -> Any:
    app[_SESSION] = ClientSession(timeout=CALL_TIMEOUT, connector=TCPConnector(limit=64))
    yield
    await app[_SESSION].close()


async def call(request: web.Request, method: str, host: str, path: str, body: object = None) -> tuple[int, Any]:
    """Call another workload by its mesh name; return its status and JSON answer (None unless the status is 200).

    A workload that can't be reached is status 503, never an exception: a page with a hole beats no page.
    """
    headers = {"host": host}
    if request_id := request.headers.get("x-request-id"):
        headers["x-request-id"] = request_id
    url = request.app[_MESH] + path
    try:
        async with request.app[_SESSION].request(method, url, json=body, headers=headers) as response:
            if response.status != 200:
                return response.status, None
            return 200, await response.json()
    except (ClientError, TimeoutError):
        return 503, None
