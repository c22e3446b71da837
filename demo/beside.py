"""What people notice of a flood: the same kind of visits in quiet and beside it, and what reached the backend.

Comes in: a flood to run. Goes out: two latencies from one run on one machine, which are to be compared with each other and with
nothing else.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from demo.clients import run_visits
from demo.measure import Latency, latency_of
from demo.plans import plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence

    from demo.attack import Attack
    from demo.clients import Answer
    from demo.plans import Visit

WINDOW_SECONDS = 10.0
"""The shorter of the volume model's windows (`authz_server.engine.pace.SHORT`)."""
QUIET_SECONDS = 6.0
PEOPLE = 3
"""Visits at a time."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What people waited in quiet and during a flood, and how many of the flood's calls reached the backend.

    `during` is all of the flood, also what it does before it is noticed; `after` is of what began after its first window, and so
    are `flood` and `reached`, which count the flood's calls.
    """

    quiet: Latency
    during: Latency
    after: Latency
    calls: int
    refused: int
    flood: int
    reached: int

    @property
    def slower(self) -> float:
        """How many times their quiet p99 the others' p99 was."""
        return self.during.p99_ms / self.quiet.p99_ms

    @property
    def slower_after(self) -> float:
        """The same after the flood's first window."""
        return self.after.p99_ms / self.quiet.p99_ms

    @property
    def share_reached(self) -> float:
        """The share of the flood that reached the backend after the first window; NaN: it ended before."""
        return self.reached / self.flood if self.flood else math.nan

    def to_json(self) -> dict[str, object]:
        """The figures as summary.json has them."""
        reached = None if math.isnan(self.share_reached) else round(self.share_reached, 4)
        return {
            "quiet": self.quiet.to_json(),
            "during": self.during.to_json(),
            "after_first_window": self.after.to_json(),
            "calls": self.calls,
            "refused": self.refused,
            "flood_after_first_window": self.flood,
            "share_reached": reached,
        }


async def beside(attack: Attack, flood: Awaitable[None]) -> Beside:
    """Measure people's visits in quiet, then beside the flood; an attack's strikes are the flood's calls."""
    quiet = await _people(attack, "quiet", asyncio.sleep(QUIET_SECONDS))
    during = await _people(attack, "during", flood)
    noticed = min((answer.ended - answer.seconds for answer in attack.struck), default=0.0) + WINDOW_SECONDS
    after = [answer for answer in attack.struck if answer.ended - answer.seconds >= noticed]
    return Beside(
        quiet=latency_of(quiet),
        during=latency_of(during),
        after=latency_of([answer for answer in during if answer.ended - answer.seconds >= noticed]),
        calls=len(during),
        refused=sum(answer.denied for answer in during),
        flood=len(after),
        reached=sum(not answer.denied for answer in after),
    )


async def _people(attack: Attack, name: str, until: Awaitable[None]) -> list[Answer]:
    """Let people visit until something else is over."""
    over = asyncio.Event()
    visits = plan(attack.seed, f"{name} {attack.first_attacker}", 6_000)

    async def watch() -> None:
        try:
            await until
        finally:
            over.set()

    task = asyncio.create_task(watch())
    answers = await run_visits(attack.site.gateway, _while_not(over, visits), lambda _: None, PEOPLE)
    await task
    return answers


def _while_not(over: asyncio.Event, visits: Sequence[Visit]) -> Iterator[Visit]:
    for visit in visits:
        if over.is_set():
            return
        yield visit
