"""The attacks: a table of scenarios, each a few words and a small function that does it.

To add one, write `async def name(attack)` with `attack.visit()`, `visitor.prepare` and `visitor.strike` in `attacks/`, and a line
in SCENARIOS that says what must come of it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from demo.attack import Attack
from demo.attacks import paces, requests, workflows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from demo.attack import Site

ATTACKERS = 20_000
"""The first number of the people who attack; everyday people have smaller ones."""
ATTACKERS_EACH = 64
PUBLIC = ("shop/shop", "bookinfo/productpage")
SHOP = ("shop/shop",)
INSIDE = ("shop/shop", "shop/audit", "bookinfo/details")


class Expected(StrEnum):
    """What must come of a scenario's strikes."""

    REFUSED = "refused"
    REFUSED_INSIDE = "refused inside the mesh"
    ALERTED = "alerted, then quarantined"
    LIMITED = "429 once too fast"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A row of the table. `workloads`: where the deny must be decided; a deny further inside doesn't count."""

    name: str
    run: Callable[[Attack], Awaitable[None]]
    workloads: tuple[str, ...] = PUBLIC
    expected: Expected = Expected.REFUSED

    @property
    def what(self) -> str:
        """What the attacker does, in words."""
        return (self.run.__doc__ or "").splitlines()[0]

    async def attack(self, site: Site, seed: int, phase: int) -> Attack:
        """Run the scenario with attackers never seen before; `phase` numbers the times it is run."""
        first = ATTACKERS + ATTACKERS_EACH * (phase * (len(SCENARIOS) + 1) + [*SCENARIOS, SPLIT].index(self))
        rng = random.Random(f"attack:{seed}:{self.name}:{phase}")  # noqa: S311, a plan, not a secret
        attack = Attack(site, seed, first, rng)
        await self.run(attack)
        return attack


SCENARIOS = (
    Scenario("negative-count", requests.negative_count, SHOP),
    Scenario("login-without-password", requests.login_without_password, SHOP),
    Scenario("sql-injection", requests.sql_injection, SHOP),
    Scenario("unknown-parameter", requests.unknown_parameter),
    Scenario("unknown-endpoint-scan", requests.unknown_endpoint_scan),
    Scenario("unusual-method", requests.unusual_method),
    Scenario("skip-payment", workflows.skip_payment, SHOP),
    Scenario("skip-login", workflows.skip_login, SHOP),
    Scenario("skip-audit", workflows.skip_audit, SHOP, Expected.ALERTED),
    Scenario("lateral-movement", workflows.lateral_movement, INSIDE, Expected.REFUSED_INSIDE),
    Scenario("crawler-scan", paces.crawler_scan, SHOP, Expected.LIMITED),
    Scenario("id-enumeration", paces.id_enumeration, SHOP, Expected.LIMITED),
    Scenario("credential-stuffing", paces.credential_stuffing, SHOP, Expected.LIMITED),
    Scenario("dos-expensive-page", paces.dos_expensive_page, SHOP, Expected.LIMITED),
    Scenario("dos-from-many", paces.dos_from_many, SHOP, Expected.LIMITED),
)

SPLIT = Scenario("session-split-over-two-servers", workflows.skip_payment, SHOP)
"""Needs a site of its own: a gateway whose calls go to two sidecars by turns, each with an authz server of its own."""
