"""A recorded path is decided as the path itself would have been, or not at all."""

import random

import pytest

from authz_server.engine.canonical import RawCall, to_call
from authz_server.engine.observe import Observer
from trainer.policies.meaning.masked_path import MaskedPath, matches_masked
from trainer.policies.meaning.values import matches_path

OBSERVER = Observer("of the test")
PARTS = (
    "items",
    "7",
    "4711",
    "a1b2c3d4e5",
    "",
    "cart",
    "x.y",
    "7;v=1",
    "a%20b",
    "a:b",
    "%24x",
    "joe@x.test",
    "A",
    "a",
    "v1",
    "~me",
)
WANTED = ("items", "7", "8", "4711", "", "cart", "{*}", "7;v=1", "a:b", "a1b2c3d4e5", "b1b2c3d4e5", "%24x", "A", "x.y", "v1")


def masked(path: str) -> MaskedPath:
    return MaskedPath(to_call(RawCall(0.0, "GET", path, {}), OBSERVER).segments)


def test_masks_never_contradict_the_path_they_were_made_of() -> None:
    rng = random.Random(6)
    decided = 0
    for _ in range(20_000):
        path = "/" + "/".join(rng.choices(PARTS, k=rng.randint(1, 4)))
        value = "/" + "/".join(rng.choices(WANTED, k=rng.randint(1, 4)))
        if "{*}" in value:
            value = rng.choice((value, "/items/{**}", "/{**}/items", "/{*}/{**}"))
        else:
            cut = rng.randint(1, len(value))
            value = rng.choice((value, path, value[:cut] + "*", "*" + value[cut:], path[: len(path) // 2] + "*", "*" + path[-3:]))
        found = matches_masked(value, masked(path))
        decided += found is not None
        assert found in (None, matches_path(value, path)), (value, path)
    assert decided > 12_000


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        ("/orders/{*}", "/orders/3f2b8c1e-0000-4000-8000-000000000001", True),
        ("/orders/7", "/orders/7", True),
        ("/orders/7", "/orders/07", False),
        ("/orders/ab1", "/orders/ab2", False),
        ("/orders/8", "/orders/7", False),
        ("/orders/12345678901234567890", "/orders/12345678901234567891", None),
        ("/orders/*", "/orders/12345678901234567891", True),
        ("/orders/1*", "/orders/12345678901234567891", None),
        ("/orders/a*", "/orders/12345678901234567891", False),
        ("/orders/{*}", "/orders/a%20b", True),
        ("/orders/{*}", "/orders/a|b", None),
    ],
)
def test_what_a_mask_tells(value: str, path: str, expected: bool | None) -> None:
    assert expected == matches_masked(value, masked(path))
