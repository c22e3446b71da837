"""Bookinfo `productpage`: the entry page, which always calls `details` and `reviews`; a login form and a small API."""

from __future__ import annotations

import asyncio
import html
from collections import Counter

from aiohttp import web

from demo.accounts import password_of, token_of
from demo.services.common import call, start

PRODUCTS = 40
STATIC = {"bootstrap.min.css": "text/css", "site.css": "text/css", "tailwind.js": "text/javascript",
          "logo.png": "image/png", "cover.jpg": "image/jpeg"}  # fmt: skip

routes = web.RouteTableDef()
logins: Counter[str] = Counter()


def page(title: str, body: str) -> web.Response:
    """Wrap a body in the page's frame."""
    text = f"<!doctype html><title>{html.escape(title)}</title><h1>{html.escape(title)}</h1>{body}"
    return web.Response(text=text, content_type="text/html")


@routes.get("/")
async def index(_request: web.Request) -> web.Response:
    """Say where the pages are."""
    return page("Bookinfo", '<a href="/productpage">the book</a> <a href="/login">log in</a>')


@routes.get("/productpage")
async def product_page(request: web.Request) -> web.Response:
    """Show one book with its details and reviews; a part that can't be had is missing, the page is not."""
    book = request.query.get("product", "0")
    (detail_status, detail), (review_status, review) = await asyncio.gather(
        call(request, "GET", "details.bookinfo", f"/details/{book}"),
        call(request, "GET", "reviews.bookinfo", f"/reviews/{book}"),
    )
    facts = html.escape(str(detail)) if detail_status == 200 else "no details"
    texts = html.escape(str(review)) if review_status == 200 else "no reviews"
    return page("The Comedy of Errors", f"<p>{facts}</p><p>{texts}</p>")


@routes.get("/login")
async def login_form(_request: web.Request) -> web.Response:
    """Show the login form."""
    return page("Log in", '<form method="post"><input name="username"><input name="password"></form>')


@routes.post("/login")
async def login(request: web.Request) -> web.Response:
    """Check the password; a cookie and back to the book, or 401."""
    form = await request.post()
    username, password = str(form.get("username", "")), str(form.get("password", ""))
    if not username or password != password_of(username):
        raise web.HTTPUnauthorized(text="wrong user name or password")
    logins[username] += 1
    answer = web.HTTPFound("/productpage")
    answer.set_cookie("session", token_of("bookinfo", username, logins[username]), httponly=True)
    raise answer


@routes.get("/logout")
async def logout(_request: web.Request) -> web.Response:
    """Forget the cookie and go back to the book."""
    answer = web.HTTPFound("/productpage")
    answer.del_cookie("session")
    raise answer


@routes.get("/static/{file}")
async def static(request: web.Request) -> web.Response:
    """Give one of the page's files."""
    name = request.match_info["file"]
    if name not in STATIC:
        raise web.HTTPNotFound
    return web.Response(body=name.encode() * 40, content_type=STATIC[name])


@routes.get("/api/v1/products")
async def products(_request: web.Request) -> web.Response:
    """List the books."""
    return web.json_response([{"id": book, "title": f"Book {book}"} for book in range(PRODUCTS)])


@routes.get(r"/api/v1/products/{id:\d+}")
async def product(request: web.Request) -> web.Response:
    """Give the details of one book."""
    status, answer = await call(request, "GET", "details.bookinfo", f"/details/{request.match_info['id']}")
    return web.json_response(answer, status=status)


@routes.get(r"/api/v1/products/{id:\d+}/reviews")
async def product_reviews(request: web.Request) -> web.Response:
    """Give the reviews of one book."""
    status, answer = await call(request, "GET", "reviews.bookinfo", f"/reviews/{request.match_info['id']}")
    return web.json_response(answer, status=status)


if __name__ == "__main__":
    application = web.Application()
    application.add_routes(routes)
    start(application)
