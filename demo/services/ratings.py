"""Bookinfo `ratings`: the stars reviewers gave a book."""

from __future__ import annotations

from aiohttp import web

from demo.catalogue import number_from
from demo.services.common import start

routes = web.RouteTableDef()


@routes.get(r"/ratings/{id:\d+}")
async def ratings(request: web.Request) -> web.Response:
    """Give each reviewer's stars for a book."""
    book = request.match_info["id"]
    stars = {reviewer: 1 + number_from(f"{reviewer} {book}", 5) for reviewer in ("Reviewer1", "Reviewer2")}
    return web.json_response({"id": int(book), "ratings": stars})


if __name__ == "__main__":
    application = web.Application()
    application.add_routes(routes)
    start(application)
