"""How numbers are spread, in buckets."""

import random

import pytest

from trainer.description import Spread
from trainer.spreader import Spreader


def spreader(numbers: list[int]) -> Spreader:
    found = Spreader()
    for number in numbers:
        found.add(number)
    return found


def test_quantiles_are_within_two_percent() -> None:
    rng = random.Random(3)
    sizes = [int(rng.lognormvariate(6, 2)) for _ in range(2000)]
    spread = spreader(sizes).finish()
    assert spread is not None
    ordered = sorted(sizes)
    assert (2000, ordered[0], ordered[-1]) == (spread.n, spread.low, spread.high)
    assert pytest.approx(ordered[999], rel=0.02) == spread.p50
    assert pytest.approx(ordered[1979], rel=0.02) == spread.p99


def test_merging_is_counting_together() -> None:
    merged = spreader([1, 20, 300])
    merged.merge(spreader([0, 7]))
    assert spreader([0, 1, 7, 20, 300]).finish() == merged.finish()


def test_nothing_and_zeros_have_their_answers() -> None:
    assert None is Spreader().finish()
    assert Spread(3, 0.0, 0.0, 0.0, 0.0) == spreader([0, 0, 0]).finish()
