"""What a user could have named, in an error about a name that doesn't exist: the nearest first, and only a few."""

from collections.abc import Collection
from difflib import SequenceMatcher
from typing import Final

from authz_server.engine.errors import cut

__all__ = ["known_names"]

_SHOWN: Final = 5


def known_names(name: str, known: Collection[str]) -> str:
    """List known names, those that look most like `name` first; empty: in their order.

    >>> known_names("shop/crat", ["bank/pay", "shop/cart"])
    'shop/cart, bank/pay'
    >>> known_names("", [])
    'none'
    """
    matcher = SequenceMatcher(b=name[:100], autojunk=False)  # what it compares with is prepared once

    def unlike(one: str) -> tuple[float, str]:
        matcher.set_seq1(one[:100])
        return -matcher.ratio(), one

    ordered = sorted(known, key=unlike)
    more = len(ordered) - _SHOWN
    return ", ".join([cut(one) for one in ordered[:_SHOWN]]) + (f" and {more:,} more" if more > 0 else "") or "none"
