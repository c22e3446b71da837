"""What could have been named."""

import pytest

from trainer.known_names import known_names

WORKLOADS = ("bank/ledger", "shop/audit", "shop/cart", "shop/pay", "shop/search", "shop/ship", "zoo/pets")


@pytest.mark.parametrize(
    ("name", "nearest"), [("shop/crt", "shop/cart"), ("", "bank/ledger"), ("zoo/pet", "zoo/pets"), ("ship", "shop/ship")]
)
def test_the_nearest_comes_first_and_few_are_shown(name: str, nearest: str) -> None:
    shown, more = known_names(name, WORKLOADS).split(" and ")
    assert (nearest, 5, "2 more") == (shown.split(", ")[0], len(shown.split(", ")), more)


def test_none_is_said_and_long_names_are_cut() -> None:
    assert "none" == known_names("shop/cart", [])
    assert "x" * 99 + "…" == known_names("y" * 10_000, ["x" * 10_000])
