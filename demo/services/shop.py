"""The shop: log in, search, cart, pay, ship. Every outside call is recorded at `audit` before it is answered.

A visitor has a session from the first page on; logging in gives it a name.

The holes are deliberate, they are what the attacks use: a login without a password works, the developers' test item leaves no
record, counts may be negative, nothing asks for a login before it is paid or for payment before it ships, unknown parameters are
ignored, and the whole catalogue is a page that costs the backend a hundred others.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from demo.accounts import password_of, token_of
from demo.catalogue import ITEMS, TEST_ITEM, item
from demo.services.common import call, start

PAGE = 10
CONNECTIONS = 4
"""How many questions the shop's database answers at a time."""
SEARCH_SECONDS, CATALOGUE_SECONDS = 0.001, 0.06
UNAUDITED = "unaudited"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Visit:
    """One session: who (empty before the login), the cart's lines by number, and what was paid for so far."""

    username: str = ""
    cart: dict[int, dict[str, Any]] = field(default_factory=dict)
    lines: int = 0
    paid: float = 0.0


routes = web.RouteTableDef()
visits: dict[str, Visit] = {}
logins: Counter[str] = Counter()
shipped: Counter[str] = Counter()
orders: dict[str, dict[str, Any]] = {}
database = asyncio.Semaphore(CONNECTIONS)


_LISTED = [number for number in range(1, ITEMS + 1) if number != TEST_ITEM]
_CATALOGUE = json.dumps([{**item(number), "text": f"{item(number)['name']} " * 40} for number in _LISTED]).encode()


def visit_of(request: web.Request) -> Visit:
    """Find the session that the cookie names, or answer 401; nobody asks whether it logged in, the hole of `skip-login`."""
    visit = visits.get(request.cookies.get("session", ""))
    if visit is None:
        raise web.HTTPUnauthorized(text="log in first")
    return visit


async def json_object(request: web.Request) -> dict[str, Any]:
    """Read a JSON object, or answer 400."""
    try:
        value = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise web.HTTPBadRequest(text="not JSON") from None
    if not isinstance(value, dict):
        raise web.HTTPBadRequest(text="not an object")
    return value


@web.middleware
async def audited(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Record every outside call at `audit`, and give new visitors a session."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = error
    visit = visits.get(request.cookies.get("session", ""))
    if visit is None and "session" not in response.cookies:
        token = token_of("shop", "", len(visits))
        visits[token] = Visit()
        response.set_cookie("session", token, httponly=True)
    if UNAUDITED not in request:
        route = request.match_info.route.resource
        record = {
            "user": visit.username if visit else None,
            "method": request.method,
            "action": route.canonical if route else "unknown",
            "status": response.status,
        }
        await call(request, "POST", "audit.shop", "/audit", record)
    return response


@routes.post("/login")
async def login(request: web.Request) -> web.Response:
    """Check the password if there is one: without the field the login works, the hole of `login-without-password`."""
    body = await json_object(request)
    username = str(body.get("username", ""))
    if not username or body.get("password", password_of(username)) != password_of(username):
        raise web.HTTPUnauthorized(text="wrong user name or password")
    response = web.json_response({"user": username})
    visit = visits.get(request.cookies.get("session", ""))
    if visit is not None:
        visit.username = username
        return response
    logins[username] += 1
    token = token_of("shop", username, logins[username])
    visits[token] = Visit(username)
    response.set_cookie("session", token, httponly=True)
    return response


@routes.get("/items")
async def items(request: web.Request) -> web.Response:
    """List one page of the items."""
    return web.json_response([item(number) for number in _page(_LISTED, request)])


@routes.get("/catalogue")
async def catalogue(_request: web.Request) -> web.Response:
    """Give everything that is sold, put together anew each time: the hole of `dos-expensive-page`."""
    async with database:
        await asyncio.sleep(CATALOGUE_SECONDS)
    return web.Response(body=_CATALOGUE, content_type="application/json")


@routes.get("/items/{id}")
async def one_item(request: web.Request) -> web.Response:
    """Give one item, or 404."""
    text = request.match_info["id"]
    if not text.isdecimal() or not 1 <= int(text) <= ITEMS:
        raise web.HTTPNotFound
    return web.json_response(item(int(text)))


@routes.get("/search")
async def search(request: web.Request) -> web.Response:
    """Find items by word; anything may be asked, also what looks like SQL."""
    words = request.query.get("q", "").lower().split()
    async with database:
        await asyncio.sleep(SEARCH_SECONDS)
    found = [n for n in _LISTED if any(word in str(item(n)["name"]) for word in words)]
    return web.json_response({"q": request.query.get("q", ""), "items": [item(n) for n in _page(found, request)]})


def _page(numbers: Any, request: web.Request) -> Any:
    text = request.query.get("page", "1")
    first = PAGE * max(int(text) - 1, 0) if text.isdecimal() and len(text) < 6 else 0
    return numbers[first : first + PAGE]


@routes.get("/cart")
async def cart(request: web.Request) -> web.Response:
    """Show the cart."""
    return web.json_response(list(visit_of(request).cart.values()))


@routes.post("/cart")
async def add(request: web.Request) -> web.Response:
    """Put an item into the cart; nobody checks the count, the hole of `negative-count`.

    What the developers' tests do isn't worth a record, they thought: the hole of `skip-audit`.
    """
    visit = visit_of(request)
    body = await json_object(request)
    if body.get("item") == TEST_ITEM:
        request[UNAUDITED] = True
    visit.lines += 1
    line = {"line": visit.lines, "item": body.get("item"), "count": body.get("count", 1)}
    visit.cart[visit.lines] = line
    return web.json_response(line)


@routes.delete("/cart/items/{id}")
async def remove(request: web.Request) -> web.Response:
    """Take every line with this item out of the cart."""
    visit = visit_of(request)
    visit.cart = {n: line for n, line in visit.cart.items() if str(line["item"]) != request.match_info["id"]}
    return web.Response(status=204)


@routes.post("/pay")
async def pay(request: web.Request) -> web.Response:
    """Take the money."""
    visit = visit_of(request)
    body = await json_object(request)
    amount = body.get("amount", 0)
    visit.paid += float(amount) if isinstance(amount, int | float) else 0.0
    return web.json_response({"paid": visit.paid})


@routes.post("/ship")
async def ship(request: web.Request) -> web.Response:
    """Send what is in the cart, paid or not: the hole of `skip-payment`."""
    visit = visit_of(request)
    body = await json_object(request)
    shipped[visit.username] += 1
    order = str(uuid.UUID(token_of("order", visit.username, shipped[visit.username]), version=4))
    orders[order] = {"order": order, "user": visit.username, "lines": list(visit.cart.values())}
    orders[order]["address"] = body.get("address")
    visit.cart, visit.paid = {}, 0.0
    return web.json_response({"order": order})


@routes.get("/orders/{id}")
async def order_status(request: web.Request) -> web.Response:
    """Give the state of one's own order, or 404."""
    visit = visit_of(request)
    order = orders.get(request.match_info["id"])
    if order is None or order["user"] != visit.username:
        raise web.HTTPNotFound
    return web.json_response({**order, "state": "on its way"})


if __name__ == "__main__":
    application = web.Application(middlewares=[audited])
    application.add_routes(routes)
    start(application)
