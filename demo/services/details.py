"""Bookinfo `details`: facts about one book."""

from __future__ import annotations

from aiohttp import web

from demo.catalogue import number_from
from demo.services.common import start

routes = web.RouteTableDef()


@routes.get(r"/details/{id:\d+}")
async def details(request: web.Request) -> web.Response:
    """Give author, year and pages of a book."""
    book = request.match_info["id"]
    facts = {
        "id": int(book),
        "author": ("William Shakespeare", "Jane Austen", "Leo Tolstoy")[number_from(book, 3)],
        "year": 1590 + number_from(f"year {book}", 300),
        "pages": 120 + number_from(f"pages {book}", 700),
        "language": "English",
    }
    return web.json_response(facts)


if __name__ == "__main__":
    application = web.Application()
    application.add_routes(routes)
    start(application)
