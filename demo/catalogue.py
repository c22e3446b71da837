"""What the shop sells and the books say: data made up by number, the same for services and clients in every run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

ITEMS = 120
TEST_ITEM = 113
"""An item that the shop's developers made for their tests: it isn't listed, and nobody buys it."""
BOOKS = 40
THINGS = ("shirt", "shoes", "lamp", "mug", "chair", "clock", "scarf", "kettle", "backpack", "rug")


def number_from(text: str, below: int) -> int:
    """Make up a number that is always the same for the same text: services need data, and no database."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % below


def price(number: int) -> float:
    """The price of an item, in the shop's currency."""
    return 5 + number_from(f"price {number}", 20_000) / 100


def some_item(rng: random.Random) -> int:
    """Choose one of the items that are for sale."""
    number = rng.randint(1, ITEMS - 1)
    return number if number != TEST_ITEM else ITEMS


def item(number: int) -> dict[str, object]:
    """Describe one of the things sold, by its number from 1 to ITEMS."""
    return {"id": number, "name": f"{THINGS[number % len(THINGS)]} {number}", "price": price(number)}
