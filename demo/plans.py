"""What people will do, decided beforehand: a seed and a phase go in, visits made of requests come out.

Rule that lives here only: a plan depends on nothing but its seed, phase and size, so two runs send the same calls.
What only the server knows (the session cookie, an order's number) is filled in when the request is sent.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote, quote_plus, urlencode
from zlib import crc32

from demo.catalogue import BOOKS, THINGS, price, some_item
from demo.people import Person, mistyped, person

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

REGULARS = 3_000
"""People who come in every phase, in another order each time. A phase is as a day: hardly anybody comes twice."""
NEWCOMERS = 0.2
"""The share of visits that are by people who come in one phase only."""
NEWCOMERS_EACH, PHASES = 640, 24
"""How many newcomers a phase has before they come again; phases are told apart by their names."""
SALES = 200
SALE = 15
"""Of so many visits so many are made during a sale, all in a hurry."""
NIGHT = 150
"""Every so many visits somebody's nightly job comes: it reads all there is to read, without pausing."""
SHOP, BOOKINFO = "shop.demo.local", "bookinfo.demo.local"
ORDER = "{order}"
"""In a target: the number of the order that the visit's last POST /ship was answered with."""

_ADJECTIVES = ("red", "blue", "green", "small", "large", "cheap", "leather", "wooden", "summer", "kids", "vintage")
_ODD_SEARCHES = ("men's shoes", "women's scarf", "café mug", "größe 42", "crème brûlée kettle", "50% wool scarf",
                 "lamp & clock", "t-shirt (black)", "rock'n'roll shirt")  # fmt: skip
_NOTES = ("please gift wrap", "for my mother", "leave at the door", "no plastic please", "birthday present!",
          "bitte als Geschenk verpacken", "call me before delivery", "thanks :)", "the blue one, if you have it",
          "merci d'avance")  # fmt: skip
_STATIC = ("bootstrap.min.css", "site.css", "tailwind.js", "logo.png", "cover.jpg")
_ACCEPT = {"html": "text/html,application/xhtml+xml,*/*;q=0.8", "json": "application/json, text/plain, */*", "any": "*/*"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the client means to send it. `pause` is the thinking time before it, in seconds."""

    method: str
    target: str
    host: str = SHOP
    body: bytes | None = None
    content_type: str | None = None
    accept: str = _ACCEPT["json"]
    pause: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()


Step: TypeAlias = tuple[Request, ...]
"""Requests sent at the same time."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What one person does from opening the page to leaving it."""

    person: Person
    steps: tuple[Step, ...]

    @property
    def calls(self) -> int:
        """How many requests that makes."""
        return sum(len(step) for step in self.steps)


def plan(seed: int, phase: str, calls: int) -> list[Visit]:
    """Decide visits that together make at least `calls` requests (the last one may make a few more)."""
    visits: list[Visit] = []
    regulars = random.Random(f"regulars:{seed}:{phase}").sample(range(REGULARS), REGULARS)  # noqa: S311, as below
    total = newcomers = 0
    while total < calls:
        rng = random.Random(f"visit:{seed}:{phase}:{len(visits)}")  # noqa: S311, a plan, not a secret
        if rng.random() < NEWCOMERS:
            who = person(seed, REGULARS + NEWCOMERS_EACH * (crc32(phase.encode()) % PHASES) + newcomers % NEWCOMERS_EACH)
            newcomers += 1
        else:
            who = person(seed, regulars[len(visits) % REGULARS])
        story: Callable[[Person, random.Random], Iterable[Step]] = shopping if rng.random() < 0.67 else reading
        if len(visits) % NIGHT == NIGHT // 2:
            story = nightly
        elif 0 <= len(visits) % SALES - SALES // 2 < SALE:
            story = bargaining
        visits.append(Visit(who, tuple(_again(story(who, rng), rng))))
        total += visits[-1].calls
    return visits


def shopping(who: Person, rng: random.Random) -> Iterable[Step]:
    """Browse, log in, and mostly buy something; one visit in five is given up, one in five buys twice."""
    yield from _browse(rng, rng.randint(1, 3))
    yield from login(who, rng)
    for _ in range(rng.choice((1, 1, 1, 1, 2))):
        amount = 0.0
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4, 5))):
            yield from _browse(rng, rng.randint(0, 2))
            number, count = some_item(rng), min(12, 1 + int(rng.expovariate(0.6)))
            amount += price(number) * count
            yield (post("/cart", _cart_line(number, count, rng), who, _pause(rng)),)
            if rng.random() < 0.15:
                yield (Request("DELETE", f"/cart/items/{number}", pause=_pause(rng)),)
        yield (get("/cart", _pause(rng)),)
        if rng.random() < 0.2:
            return
        yield (post("/pay", _payment(who, round(amount, 2), rng), who, _pause(rng)),)
        yield (post("/ship", _shipment(who, rng), who, _pause(rng)),)
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            yield (get(f"/orders/{ORDER}", _pause(rng)),)


def bargaining(who: Person, rng: random.Random) -> Iterable[Step]:
    """Wait for a sale to begin: load the item's page again and again, then buy it as fast as one can."""
    number, count = some_item(rng), rng.randint(1, 4)
    yield (get(f"/items/{number}"),)
    yield from login(who, rng)
    for _ in range(rng.randint(3, 12)):
        yield (get(f"/items/{number}"),)
    yield (post("/cart", _cart_line(number, count, rng), who),)
    yield (get("/cart"),)
    yield (post("/pay", _payment(who, round(price(number) * count, 2), rng), who),)
    yield (post("/ship", _shipment(who, rng), who),)


def nightly(who: Person, rng: random.Random) -> Iterable[Step]:
    """Read the catalogue, all pages and some searches, as a reseller's nightly job does, and buy nothing."""
    yield (get("/items"),)
    yield from login(who, rng)
    for _ in range(rng.randint(1, 3)):
        yield (get("/catalogue"),)
    for page in range(1, 13):
        yield (get(f"/items?page={page}"),)
    for thing in rng.sample(THINGS, rng.randint(4, len(THINGS))):
        for page in range(1, rng.randint(2, 5)):
            yield (get(f"/search?q={thing}&page={page}"),)


def reading(who: Person, rng: random.Random) -> Iterable[Step]:
    """Look at books, log in at times, load the page's files as browsers do; one in six uses the API."""
    if rng.random() < 1 / 6:
        yield from _api(rng)
        return
    yield from _book_page(rng)
    if rng.random() < 0.5:
        yield (_bookinfo("/login", rng),)
        password = who.password
        if rng.random() < 0.03:
            yield (_form(who.username, mistyped(password, rng), rng),)
        yield (_form(who.username, password, rng),)
    for _ in range(rng.randint(1, 4)):
        yield from _book_page(rng)
    if rng.random() < 0.2:
        yield (_bookinfo("/logout", rng),)


def login(who: Person, rng: random.Random) -> Iterable[Step]:
    """Log in at the shop; three in a hundred get the password wrong first."""
    fields: dict[str, object] = {"username": who.username, "password": who.password}
    if rng.random() < 0.2:
        fields["remember"] = rng.random() < 0.7
    if rng.random() < 0.03:
        yield (post("/login", {**fields, "password": mistyped(who.password, rng)}, who, _pause(rng)),)
    yield (post("/login", fields, who, _pause(rng)),)


def get(target: str, pause: float = 0.0) -> Request:
    """Ask the shop for `target`, which is already encoded."""
    return Request("GET", target, pause=pause)


def post(target: str, fields: dict[str, object], who: Person, pause: float = 0.0) -> Request:
    """Send the shop a JSON object, spelled as the person's browser or app does."""
    separators = (",", ":") if who.compact_json else (", ", ": ")
    body = json.dumps(fields, ensure_ascii=False, separators=separators).encode()
    return Request("POST", target, body=body, content_type="application/json", pause=pause)


def _browse(rng: random.Random, pages: int) -> Iterable[Step]:
    for _ in range(pages):
        kind = rng.random()
        if kind < 0.3:
            page = rng.choice(("", "", "?page=1", "?page=2", "?page=3", f"?page={rng.randint(4, 12)}"))
            yield (get(f"/items{page}", _pause(rng)),)
        elif kind < 0.33:
            yield (get("/catalogue", _pause(rng)),)
        elif kind < 0.6:
            tabs = rng.choice((1, 1, 1, 2, 3))
            yield tuple(get(f"/items/{some_item(rng)}", _pause(rng)) for _ in range(tabs))
        else:
            yield (get(f"/search?{_search(rng)}", _pause(rng)),)


def _search(rng: random.Random) -> str:
    words = rng.choice(THINGS)
    if rng.random() < 0.4:
        words = f"{rng.choice(_ADJECTIVES)} {words}"
    if rng.random() < 0.02:
        words = rng.choice(_ODD_SEARCHES)
    query = f"q={(quote_plus if rng.random() < 0.8 else quote)(words)}"
    if rng.random() < 0.4:
        query += f"&page={1 + min(8, int(rng.expovariate(1.0)))}"
    if rng.random() < 0.15:
        query += f"&sort={rng.choice(('price', 'name', 'new'))}"
    return query


def _cart_line(number: int, count: int, rng: random.Random) -> dict[str, object]:
    line: dict[str, object] = {"item": number, "count": count}
    if rng.random() < 0.1:
        line["note"] = rng.choice(_NOTES)
    if rng.random() < 0.08:
        line["coupon"] = f"{rng.choice(('SAVE', 'HELLO', 'SPRING'))}{rng.choice((5, 10, 15, 20))}"
    return line


def _payment(who: Person, amount: float, rng: random.Random) -> dict[str, object]:
    method = rng.choice(("card", "card", "card", "paypal", "invoice"))
    fields: dict[str, object] = {"method": method, "amount": amount}
    if method == "card":
        fields["card"] = f"{rng.choice((4, 5))}{rng.randrange(10**15):015d}"
        if rng.random() < 0.3:
            fields["save"] = rng.random() < 0.5
    elif method == "paypal":
        fields["account"] = f"{who.username}@{rng.choice(('example.org', 'mail.example.com', 'example.net'))}"
    else:
        fields["due_days"] = rng.choice((14, 30))
    return fields


def _shipment(who: Person, rng: random.Random) -> dict[str, object]:
    fields: dict[str, object] = {"address": who.home, "express": rng.random() < 0.2}
    if who.phone is not None:
        fields["phone"] = who.phone
    if rng.random() < 0.08:
        fields["instructions"] = rng.choice(_NOTES)
    return fields


def _book_page(rng: random.Random) -> Iterable[Step]:
    query = rng.choice(("", "", "?u=normal", "?u=test", f"?product={rng.randrange(BOOKS)}"))
    yield (_bookinfo(f"/productpage{query}", rng),)
    if rng.random() < 0.4:
        files = rng.sample(_STATIC, rng.randint(1, 3))
        yield tuple(Request("GET", f"/static/{file}", BOOKINFO, accept=_ACCEPT["any"]) for file in files)


def _api(rng: random.Random) -> Iterable[Step]:
    yield (_bookinfo("/api/v1/products", rng, "json"),)
    for _ in range(rng.randint(1, 5)):
        book = rng.randrange(BOOKS)
        yield (_bookinfo(f"/api/v1/products/{book}", rng, "json"),)
        if rng.random() < 0.6:
            yield (_bookinfo(f"/api/v1/products/{book}/reviews", rng, "json"),)


def _bookinfo(target: str, rng: random.Random, accept: str = "html") -> Request:
    return Request("GET", target, BOOKINFO, accept=_ACCEPT[accept], pause=_pause(rng))


def _form(username: str, password: str, rng: random.Random) -> Request:
    body = urlencode({"username": username, "password": password}).encode()
    kind = "application/x-www-form-urlencoded"
    return Request("POST", "/login", BOOKINFO, body, kind, _ACCEPT["html"], pause=_pause(rng))


def _again(steps: Iterable[Step], rng: random.Random) -> Iterable[Step]:
    """Now and then press a button twice, or the back button: the page before is asked for once more."""
    before: Step | None = None
    for step in steps:
        yield step
        single = len(step) == 1 and step[0].method == "GET"
        if single and rng.random() < 0.01:
            yield step
        if single and before is not None and rng.random() < 0.04:
            yield before
        before = step if single and ORDER not in step[0].target else None


def _pause(rng: random.Random) -> float:
    """Thinking time, a thousand times faster than people's."""
    return min(0.1, rng.expovariate(1 / 0.012))
