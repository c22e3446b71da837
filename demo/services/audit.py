"""Shop `audit`: keeps the last records of what happened outside; only the shop calls it."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from aiohttp import web

from demo.services.common import start

KEEP = 10_000

routes = web.RouteTableDef()
records: deque[dict[str, Any]] = deque(maxlen=KEEP)


@routes.post("/audit")
async def record(request: web.Request) -> web.Response:
    """Keep one record and say how many there are."""
    try:
        records.append(await request.json())
    except json.JSONDecodeError:
        raise web.HTTPBadRequest from None
    return web.json_response({"records": len(records)})


if __name__ == "__main__":
    application = web.Application()
    application.add_routes(routes)
    start(application)
