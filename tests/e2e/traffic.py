"""What the normal clients of the echo services do: seeded visits of a small shop, and talk over gRPC."""

import itertools
import random
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from tests.e2e.echo import DECLINED

COLORS: Final = ("red", "blue", "green", "black")
FIRST_ITEM: Final = 1000
LAST_ITEM: Final = 1999


class Step(NamedTuple):
    """One request; `body` None is none, else it goes as JSON."""

    method: str
    path: str
    body: dict[str, Any] | None = None


_sessions = itertools.count(1)


def new_session() -> str:
    """Make a session of nobody else, with the form that all sessions have."""
    return f"s{next(_sessions):016x}"


def browse(item: int = FIRST_ITEM + 7) -> Step:
    return Step("GET", f"/items/{item}?color=red")


def add(count: int = 2, item: int = FIRST_ITEM + 7) -> Step:
    return Step("POST", "/cart", {"item": item, "count": count})


def pay(amount: float = 12.5) -> Step:
    return Step("POST", "/pay", {"amount": amount})


def ship() -> Step:
    return Step("POST", "/ship", {"express": True})


ODD: Final = Step("GET", "/items/1007?debug=true")
"""What no client ever does: a parameter nobody knows."""


def visit(rng: random.Random) -> Iterator[Step]:
    """Browse, fill the cart, pay most times, and ship only then."""
    for _ in range(rng.randrange(1, 3)):
        for _ in range(rng.randrange(0, 4)):
            query = rng.choice(["", f"?color={rng.choice(COLORS)}", f"?color={rng.choice(COLORS)}&page={rng.randrange(1, 9)}"])
            yield Step("GET", f"/items/{rng.randrange(FIRST_ITEM, LAST_ITEM + 1)}{query}")
        for _ in range(rng.randrange(1, 3)):
            yield add(rng.randrange(1, 13), rng.randrange(FIRST_ITEM, LAST_ITEM + 1))
        if rng.random() < 0.8:
            yield pay(next(amount for amount in _amounts(rng) if amount != DECLINED))
            yield ship()


def _amounts(rng: random.Random) -> Iterator[float]:
    while True:
        yield rng.randrange(100, 90_000) / 100
