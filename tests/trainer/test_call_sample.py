"""A sample that doesn't depend on how the calls were cut."""

import random
from functools import partial

import pytest

from tests.factories_engine import call
from tests.partition import merged, parts_of
from trainer.call_sample import CallSample

CALLS = [call("GET", f"/cart/items?count={number}") for number in range(300)]


def sample(limit: int, numbers: list[int]) -> CallSample:
    made = CallSample(limit)
    for number in numbers:
        made.update(f"id-{number}", partial(CALLS.__getitem__, number), "GET /cart/items", number % 32)
    return made


def test_all_calls_are_kept_up_to_the_limit() -> None:
    found = list(sample(300, list(range(300))))
    assert sorted(call.parameters[0].number or 0 for call in CALLS) == sorted(one.call.parameters[0].number or 0 for one in found)
    assert all(one.call == CALLS[int(one.call.parameters[0].number or 0)] for one in found)


@pytest.mark.parametrize("limit", [0, 1, 20, 300])
def test_a_sample_is_bounded(limit: int) -> None:
    assert limit == len(sample(limit, list(range(300))))


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_is_the_same_however_the_calls_are_cut(seed: int) -> None:
    rng = random.Random(seed)
    shuffled = rng.sample(range(300), 300)
    together = merged(
        lambda: CallSample(20),
        lambda learner, number: learner.update(
            f"id-{number}", partial(CALLS.__getitem__, number), "GET /cart/items", number % 32
        ),
        parts_of(shuffled, 4, rng),
        rng,
    )
    assert list(sample(20, list(range(300)))) == list(together)


def test_a_sample_is_spread_over_the_calls() -> None:
    numbers = [one.call.parameters[0].number or 0 for one in sample(60, list(range(300)))]
    assert 100 < sum(numbers) / len(numbers) < 200


def test_merging_leaves_the_other_as_it_is() -> None:
    first, second = sample(20, list(range(100))), sample(20, list(range(100, 200)))
    before = list(second)
    first.merge(second)
    assert before == list(second)
