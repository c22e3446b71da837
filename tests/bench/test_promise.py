"""Cutting training data into what is learned and what is held out, and whether the budget was kept."""

import random

import msgspec
import pytest

from authz_server.engine.observe import Observer
from authz_server.engine.record import CallRecord
from bench import novelty
from bench.promise import PARTS, Kept, Options, cuts, measure
from tests.factories_engine import record
from trainer.evaluate import wilson


def anonymous(calls: int) -> list[CallRecord]:
    one = msgspec.structs.replace(record(), session="", address="", principal="")
    return [msgspec.structs.replace(one, id=f"r{number}") for number in range(calls)]


def test_each_call_is_held_out_once_by_each_cut() -> None:
    for _, parts in cuts(anonymous(103), seeds=3, seed=1):
        for first in range(0, len(parts), PARTS):
            assert list(range(103)) == sorted(number for part in parts[first : first + PARTS] for number in part)


def test_the_cut_in_time_order_holds_out_what_is_contiguous() -> None:
    _, parts = next(iter(cuts(anonymous(100), seeds=1, seed=1)))
    assert [(0, 19), (20, 39), (40, 59), (60, 79), (80, 99)] == [(min(part), max(part)) for part in parts]


def test_a_random_cut_follows_from_its_seed() -> None:
    one, again, other = (list(cuts(anonymous(200), seeds=1, seed=seed))[1] for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_the_calls_of_a_caller_stay_together() -> None:
    rng = random.Random(5)
    records = [record(record_id=f"r{number}", session=f"s{rng.randrange(80)}") for number in range(400)]
    _, parts = list(cuts(records, seeds=1, seed=1))[1]
    assert all(len({records[number].session for number in part} & others) == 0 for part, others in _with_others(records, parts))


def _with_others(records: list[CallRecord], parts: list[frozenset[int]]) -> list[tuple[frozenset[int], set[str]]]:
    return [(part, {one.session for number, one in enumerate(records) if number not in part}) for part in parts]


@pytest.mark.parametrize(("refused", "held"), [(0, True), (1, True), (3, True), (10, False)])
def test_a_promise_is_broken_where_the_whole_interval_is_above_the_budget(refused: int, held: bool) -> None:
    assert held is Kept("x", "in time order", 0.001, wilson(refused, 2_000), wilson(0, 10), 5, 0).held


def test_every_call_is_judged_by_a_model_that_had_not_seen_it() -> None:
    """Were it otherwise, nothing at all would be refused of traffic to which something new comes all the time."""
    records = novelty.records(3, 1_000, Observer(), named=False)
    (time,) = measure("made-up", records, Options((0.05,), seeds=0))
    assert (len(records), PARTS) == (time.refused.n, time.parts)
    assert 0 < time.refused.hits <= 0.05 * len(records)


def test_generated_traffic_follows_from_its_seed() -> None:
    one, again, other = (novelty.records(seed, 200, Observer(), named=True) for seed in (1, 1, 2))
    assert one == again
    assert one != other
