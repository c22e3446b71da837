"""Attacks whose every request is usual, and its place too: there are too many of them, or they cost too much."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING

from demo.beside import beside
from demo.catalogue import THINGS, some_item
from demo.people import mistyped, person
from demo.plans import ORDER, get, post

if TYPE_CHECKING:
    from demo.attack import Attack, Visitor
    from demo.plans import Request

FLOOD_SECONDS = 15.0
"""The first window and half of the next, so that what comes after the first is seen."""
NOTICED_SECONDS = 8.0
"""In dry run, where nothing stops a flood, it is enough to see that it is noticed."""
CATALOGUE = "/catalogue"


async def dos_expensive_page(attack: Attack) -> None:
    """Ask for the dearest page 120 times a second, from one client."""
    await _flood(attack, clients=6, a_second=20.0, together=True)


async def dos_from_many(attack: Attack) -> None:
    """Ask for the dearest page from 16 clients, each slower than a visitor."""
    await _flood(attack, clients=16, a_second=3.0, together=False)


async def crawler_scan(attack: Attack) -> None:
    """Take the whole shop home: every page, every item, every search."""
    async with attack.visit() as visitor:
        targets = [f"/items?page={page}" for page in range(1, 13)]
        targets += [f"/items/{some_item(attack.rng)}" for _ in range(400)]
        targets += [f"/search?q={thing}&page={page}" for thing in THINGS for page in range(1, 9)]
        targets = [target for _ in range(3) for target in targets]
        attack.rng.shuffle(targets)
        await _all(visitor, [get(target) for target in targets])


async def id_enumeration(attack: Attack) -> None:
    """Buy something, look at the order, then try other numbers to see other people's orders."""
    async with attack.visit() as visitor:
        await visitor.log_in()
        await visitor.add()
        await visitor.prepare(get("/cart"))
        await visitor.prepare(post("/pay", {"method": "invoice", "amount": 49.9, "due_days": 14}, visitor.who))
        await visitor.prepare(post("/ship", {"address": visitor.who.home, "express": False}, visitor.who))
        await visitor.prepare(get(f"/orders/{ORDER}"))
        numbers = (uuid.UUID(int=attack.rng.getrandbits(128), version=4) for _ in range(400))
        await _all(visitor, [get(f"/orders/{number}") for number in numbers])


async def credential_stuffing(attack: Attack) -> None:
    """Try stolen names and passwords, one after the other."""
    async with attack.visit() as visitor:
        await visitor.look_around()
        victims = [person(attack.seed, number) for number in range(400)]
        guesses = [{"username": one.username, "password": mistyped(one.password, attack.rng)} for one in victims]
        await _all(visitor, [post("/login", dict(guess), visitor.who) for guess in guesses])


async def _all(visitor: Visitor, requests: list[Request], at_once: int = 4) -> None:
    """Strike with all of them, a few at a time."""
    waiting = iter(requests)

    async def work() -> None:
        for request in waiting:
            await visitor.strike(request)

    await asyncio.gather(*(work() for _ in range(at_once)))


async def _flood(attack: Attack, clients: int, a_second: float, *, together: bool) -> None:
    """Let `clients` ask `a_second` times each, all from one address or each from its own, and people shop beside them."""
    seconds = FLOOD_SECONDS if attack.site.enforced else NOTICED_SECONDS

    async def flood() -> None:
        if together:
            async with attack.visit() as visitor:
                await asyncio.gather(*(_at_pace(visitor, a_second, seconds) for _ in range(clients)))
        else:
            await asyncio.gather(*(_alone(attack, a_second, seconds) for _ in range(clients)))

    attack.beside = await beside(attack, flood())


async def _alone(attack: Attack, a_second: float, seconds: float) -> None:
    async with attack.visit() as visitor:
        await visitor.look_around()
        await _at_pace(visitor, a_second, seconds)


async def _at_pace(visitor: Visitor, a_second: float, seconds: float) -> None:
    """Strike at even times, late where answers are."""
    begin = time.monotonic()
    due = begin + visitor.attack.rng.random() / a_second
    while due < begin + seconds:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await visitor.strike(get(CATALOGUE))
        due = max(due + 1 / a_second, time.monotonic())
