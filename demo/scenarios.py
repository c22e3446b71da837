"""The attacks: a table of scenarios, each a few words and a small function that does it.

A scenario's preparatory calls are what any visitor does and must pass; its strikes are what must be refused. To add one,
write `async def name(attack)` with `attack.visit()`, `attack.prepare` and `attack.strike`, and a line in SCENARIOS.
"""

from __future__ import annotations

import random
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from demo.catalogue import ITEMS
from demo.clients import Answer, Client
from demo.people import Person, person
from demo.plans import BOOKINFO, Request, get, post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ATTACKERS = 60_000
"""The first number of the people who attack; everyday people have smaller ones."""
ATTACKERS_EACH = 64
PUBLIC = ("shop/shop", "bookinfo/productpage")


class PreparationRefusedError(Exception):
    """A preparatory call was denied, so what follows would prove nothing."""


@dataclass(slots=True)
class Attack:
    """One run of a scenario: where to call, who attacks, and what was answered."""

    gateway: str
    seed: int
    first_attacker: int
    rng: random.Random
    prepared: list[Answer] = field(default_factory=list)
    struck: list[Answer] = field(default_factory=list)
    visits: int = 0

    @asynccontextmanager
    async def visit(self) -> AsyncIterator[Visitor]:
        """Come to the mesh as somebody new; a refused preparation ends the visit, not the attack."""
        who = person(self.seed, self.first_attacker + self.visits)
        self.visits += 1
        async with Client(self.gateway, who) as client:
            with suppress(PreparationRefusedError):
                yield Visitor(self, client, who)


@dataclass(slots=True)
class Visitor:
    """An attacker with a browser."""

    attack: Attack
    client: Client
    who: Person

    async def prepare(self, request: Request) -> Answer:
        """Do what any visitor does; raise PreparationRefusedError if that is denied."""
        answer = await self.client.send(request)
        self.attack.prepared.append(answer)
        if answer.denied:
            raise PreparationRefusedError
        return answer

    async def strike(self, request: Request) -> Answer:
        """Do what must be refused."""
        answer = await self.client.send(request)
        self.attack.struck.append(answer)
        return answer

    async def log_in(self) -> None:
        """Look around and log in at the shop as people do, with the right password."""
        await self.prepare(get(f"/items/{self.attack.rng.randint(1, ITEMS)}"))
        await self.prepare(post("/login", {"username": self.who.username, "password": self.who.password}, self.who))

    async def add(self) -> None:
        """Put something into the cart."""
        rng = self.attack.rng
        await self.prepare(post("/cart", {"item": rng.randint(1, ITEMS), "count": rng.randint(1, 3)}, self.who))


async def negative_count(attack: Attack) -> None:
    """Lower the bill with counts below zero."""
    async with attack.visit() as visitor:
        await visitor.log_in()
        for count in (-1, -1, -2, -3, -5, *range(-50, -8, 2)):
            fields: dict[str, object] = {"item": attack.rng.randint(1, ITEMS), "count": count}
            await visitor.strike(post("/cart", fields, visitor.who))


async def login_without_password(attack: Attack) -> None:
    """Log in as other people by leaving the password out."""
    for number in range(24):
        async with attack.visit() as visitor:
            await visitor.prepare(get("/items"))
            victim: dict[str, object] = {"username": person(attack.seed, number).username}
            await visitor.strike(post("/login", victim, visitor.who))


async def sql_injection(attack: Attack) -> None:
    """Try the usual SQL in searches, item numbers and JSON fields."""
    async with attack.visit() as visitor:
        await visitor.prepare(get("/items"))
        for text in _SQL:
            await visitor.strike(get(f"/search?q={quote_plus(text)}"))
        for text in _SQL[:8]:
            await visitor.strike(get(f"/items/{attack.rng.randint(1, ITEMS)}{quote(text, safe='')}"))
    async with attack.visit() as visitor:
        await visitor.log_in()
        for text in _SQL[:6]:
            await visitor.strike(post("/cart", {"item": f"1{text}", "count": 1}, visitor.who))
        for text in _SQL[:6]:
            fields: dict[str, object] = {"username": f"admin{text}", "password": text}
            await visitor.strike(post("/login", fields, visitor.who))


async def unknown_parameter(attack: Attack) -> None:
    """Guess parameters that developers leave behind."""
    async with attack.visit() as visitor:
        await visitor.log_in()
        for target in ("/items", "/items/7", "/search?q=lamp", "/cart"):
            for extra in ("debug=true", "admin=1", "test=1", "internal=yes"):
                await visitor.strike(get(f"{target}{'&' if '?' in target else '?'}{extra}"))
        for name, value in (("isAdmin", True), ("price", 0.01), ("discount", 100), ("userId", 1), ("role", "admin")):
            line: dict[str, object] = {"item": attack.rng.randint(1, ITEMS), "count": 1, name: value}
            await visitor.strike(post("/cart", line, visitor.who))
        for extra in ("debug=true", "admin=1", "preview=1"):
            await visitor.strike(Request("GET", f"/productpage?{extra}", BOOKINFO))


async def unknown_endpoint_scan(attack: Attack) -> None:
    """Look for doors with a scanner's word list, at both hosts."""
    async with attack.visit() as visitor:
        await visitor.prepare(get("/items"))
        for target in _DOORS:
            await visitor.strike(get(target))
        for target in _DOORS[:8]:
            await visitor.strike(Request("GET", target, BOOKINFO))


async def unusual_method(attack: Attack) -> None:
    """Use methods that nobody uses here, WebDAV's and others that Envoy lets pass."""
    async with attack.visit() as visitor:
        await visitor.log_in()
        for method in _METHODS:
            await visitor.strike(Request(method, "/items"))
            await visitor.strike(Request(method, "/productpage", BOOKINFO))


async def skip_payment(attack: Attack) -> None:
    """Log in, fill the cart, and have it shipped without paying."""
    for _ in range(24):
        async with attack.visit() as visitor:
            await visitor.log_in()
            for _ in range(attack.rng.randint(1, 3)):
                await visitor.add()
            await visitor.prepare(get("/cart"))
            address: dict[str, object] = {"address": visitor.who.home, "express": False}
            await visitor.strike(post("/ship", address, visitor.who))


@dataclass(frozen=True, slots=True)
class Scenario:
    """A row of the table. `workloads`: where the deny must be decided; a deny further inside doesn't count."""

    name: str
    run: Callable[[Attack], Awaitable[None]]
    workloads: tuple[str, ...] = PUBLIC

    @property
    def what(self) -> str:
        """What the attacker does, in words."""
        return (self.run.__doc__ or "").splitlines()[0]

    async def attack(self, gateway: str, seed: int, phase: int) -> Attack:
        """Run the scenario with attackers never seen before; `phase` numbers the times it is run."""
        first = ATTACKERS + ATTACKERS_EACH * (phase * len(SCENARIOS) + SCENARIOS.index(self))
        rng = random.Random(f"attack:{seed}:{self.name}:{phase}")  # noqa: S311, a plan, not a secret
        attack = Attack(gateway, seed, first, rng)
        await self.run(attack)
        return attack


SCENARIOS = (
    Scenario("negative-count", negative_count, workloads=("shop/shop",)),
    Scenario("login-without-password", login_without_password, workloads=("shop/shop",)),
    Scenario("sql-injection", sql_injection, workloads=("shop/shop",)),
    Scenario("unknown-parameter", unknown_parameter),
    Scenario("unknown-endpoint-scan", unknown_endpoint_scan),
    Scenario("unusual-method", unusual_method),
    Scenario("skip-payment", skip_payment, workloads=("shop/shop",)),
)

_SQL = (
    "' OR '1'='1",
    "' OR 1=1 --",
    "1; DROP TABLE items; --",
    "' UNION SELECT username, password FROM users --",
    "') AND SLEEP(5) AND ('a'='a",
    '" OR ""="',
    "' AND 1=CONVERT(int, (SELECT @@version)) --",
    "'; EXEC xp_cmdshell('dir'); --",
    "lamp' AND (SELECT COUNT(*) FROM sysobjects) > 0 --",
    "x'||(SELECT password FROM users WHERE username='admin')||'",
)
_DOORS = (
    "/admin", "/.git/config", "/wp-login.php", "/.env", "/phpmyadmin/index.php", "/server-status", "/actuator/env",
    "/console/", "/backup.zip", "/api/v2/users", "/cgi-bin/test.cgi", "/.aws/credentials", "/config.json", "/graphql",
    "/metrics", "/debug/pprof/", "/xmlrpc.php", "/old/", "/owa/auth/logon.aspx", "/robots.txt", "/items/../admin",
    "/users/1", "/.svn/entries", "/solr/admin/info/system",
)  # fmt: skip
_METHODS = ("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "SEARCH", "REPORT", "PURGE", "TRACE",
            "PATCH", "PUT", "OPTIONS")  # fmt: skip
