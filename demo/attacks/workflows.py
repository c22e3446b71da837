"""Attacks whose every request is usual: a step is left out, somebody else calls, or what always follows doesn't."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from demo.catalogue import TEST_ITEM, some_item
from demo.plans import get, post

if TYPE_CHECKING:
    from demo.attack import Attack

TIMES = 24
ALERT_WITHIN = 2.0
"""Seconds after a call's end until something that didn't follow it must have been noticed."""
AUDIT, SHOP, DETAILS, RATINGS = "audit.shop", "shop.shop", "details.bookinfo", "ratings.bookinfo"


async def skip_payment(attack: Attack) -> None:
    """Log in, fill the cart, and have it shipped without paying."""
    for _ in range(TIMES):
        async with attack.visit() as visitor:
            await visitor.log_in()
            for _ in range(attack.rng.randint(1, 3)):
                await visitor.add()
            await visitor.prepare(get("/cart"))
            await visitor.ship()


async def skip_login(attack: Attack) -> None:
    """Fill the cart, pay and have it shipped as nobody, without ever logging in."""
    for _ in range(TIMES // 3):
        async with attack.visit() as visitor:
            await visitor.look_around()
            await visitor.look_around()
            await visitor.strike(post("/cart", {"item": some_item(attack.rng), "count": 1}, visitor.who))
            await visitor.strike(get("/cart"))
            await visitor.strike(post("/pay", {"method": "invoice", "amount": 49.9, "due_days": 14}, visitor.who))
            await visitor.ship()


async def skip_audit(attack: Attack) -> None:
    """Buy the developers' test item, which the shop forgets to report to audit; then go on shopping."""
    await asyncio.gather(*(_buy_unseen(attack) for _ in range(TIMES // 3)))


async def _buy_unseen(attack: Attack) -> None:
    async with attack.visit() as visitor:
        await visitor.log_in()
        await visitor.add()
        for count in range(1, 4):
            await visitor.strike(post("/cart", {"item": TEST_ITEM, "count": count}, visitor.who))
        await visitor.wait(ALERT_WITHIN)
        await visitor.go_on(get("/cart"))
        await visitor.go_on(post("/pay", {"method": "invoice", "amount": 49.9, "due_days": 14}, visitor.who))


async def lateral_movement(attack: Attack) -> None:
    """Call other services from inside, as a workload that was broken into, with its real certificate."""
    if RATINGS not in attack.site.inside:
        return
    async with attack.visit(inside=RATINGS) as intruder:
        for number in range(TIMES // 3):
            order = uuid.UUID(int=attack.rng.getrandbits(128), version=4)
            payment = post("/pay", {"method": "invoice", "amount": 0.01, "due_days": 30}, intruder.who)
            record = post("/audit", {"user": None, "method": "GET", "action": "/items", "status": 200}, intruder.who)
            for host, request in (
                (AUDIT, record),
                (DETAILS, get(f"/details/{number}")),
                (SHOP, payment),
                (SHOP, get(f"/orders/{order}")),
            ):
                request_id = str(uuid.UUID(int=attack.rng.getrandbits(128), version=4))
                await intruder.strike(replace(request, host=host, headers=(("x-request-id", request_id),)))
