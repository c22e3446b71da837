"""Bookinfo `reviews`, in three versions (`DEMO_VERSION`): v1 knows no stars, v2 and v3 ask `ratings`, v3 in red."""

from __future__ import annotations

import os

from aiohttp import web

from demo.services.common import call, start

VERSION = os.environ.get("DEMO_VERSION", "v1")
COLOR = {"v2": "black", "v3": "red"}

routes = web.RouteTableDef()


@routes.get(r"/reviews/{id:\d+}")
async def reviews(request: web.Request) -> web.Response:
    """Give the reviews of a book, with stars where this version has them."""
    book = request.match_info["id"]
    written: list[dict[str, object]] = [
        {"reviewer": "Reviewer1", "text": "An extremely entertaining play by Shakespeare."},
        {"reviewer": "Reviewer2", "text": "Absolutely fun and entertaining."},
    ]
    if VERSION in COLOR:
        status, answer = await call(request, "GET", "ratings.bookinfo", f"/ratings/{book}")
        for review in written:
            stars = answer["ratings"].get(review["reviewer"]) if status == 200 else None
            review["rating"] = {"stars": stars, "color": COLOR[VERSION]}
    return web.json_response({"id": int(book), "version": VERSION, "reviews": written})


if __name__ == "__main__":
    application = web.Application()
    application.add_routes(routes)
    start(application)
