"""One run of an attack: where it strikes, who does it, and what was answered.

A scenario's preparatory calls are what any visitor does and must pass; its strikes are what must be noticed. Where a strike can
only be noticed afterwards, the calls of its caller from then on are what must be refused.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from demo.catalogue import some_item
from demo.clients import Answer, Client
from demo.people import Person, person
from demo.plans import Request, get, post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from demo.beside import Beside


@dataclass(frozen=True, slots=True)
class Site:
    """Where an attacker can call, as host:port: the gateway, and from inside, by workload, its sidecar's outbound listener.

    `enforced`: whether what is abnormal is refused there.
    """

    gateway: str
    inside: Mapping[str, str] = field(default_factory=dict)
    enforced: bool = False


class PreparationRefusedError(Exception):
    """A preparatory call was denied, so what follows would prove nothing."""


@dataclass(slots=True)
class Attack:
    """One run of a scenario: what was answered, and what else was measured while it ran.

    `struck` in the order of the answers; `later`: the calls after a strike that should have been noticed by then. `callers` names
    for each strike, by its place, who made it.
    """

    site: Site
    seed: int
    first_attacker: int
    rng: random.Random
    prepared: list[Answer] = field(default_factory=list)
    struck: list[Answer] = field(default_factory=list)
    later: list[Answer] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)
    visits: int = 0
    beside: Beside | None = None

    @asynccontextmanager
    async def visit(self, inside: str = "") -> AsyncIterator[Visitor]:
        """Come to the mesh as somebody new, or as the workload `inside`; a refused preparation ends the visit, not the attack."""
        who = person(self.seed, self.first_attacker + self.visits)
        self.visits += 1
        async with Client(self.site.inside[inside] if inside else self.site.gateway, who, plain=bool(inside)) as client:
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
        """Do what must be noticed."""
        answer = await self.client.send(request)
        self.attack.struck.append(answer)
        self.attack.callers.append(self.who.address)
        return answer

    async def go_on(self, request: Request) -> Answer:
        """Do what any visitor does, after a strike that must have been noticed by now."""
        answer = await self.client.send(request)
        self.attack.later.append(answer)
        return answer

    async def look_around(self) -> None:
        """Open a page as people do."""
        await self.prepare(get(f"/items/{some_item(self.attack.rng)}"))

    async def log_in(self) -> None:
        """Look around and log in at the shop as people do, with the right password."""
        await self.look_around()
        await self.prepare(post("/login", {"username": self.who.username, "password": self.who.password}, self.who))

    async def add(self) -> None:
        """Put something into the cart."""
        rng = self.attack.rng
        await self.prepare(post("/cart", {"item": some_item(rng), "count": rng.randint(1, 3)}, self.who))

    async def ship(self) -> Answer:
        """Have the cart shipped, as a strike."""
        fields: dict[str, object] = {"address": self.who.home, "express": False}
        return await self.strike(post("/ship", fields, self.who))

    async def wait(self, seconds: float) -> None:
        """Do nothing for a while."""
        await asyncio.sleep(seconds)
