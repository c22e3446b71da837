"""Exact counts, and a sample that doesn't depend on the order of the calls."""

import random

import pytest

from authz_server.engine.errors import TrainingError
from tests.trainer.study.traffic import browse, keyed, sampled, shop
from trainer.study.sample import OTHER, draw_sample


def test_all_calls_are_counted_and_some_are_kept_in_time_order() -> None:
    found = sampled(shop(60), 20)
    assert (60, {"GET": 40, "POST": 20}, {"200": 40, "201": 20}) == (
        found.traffic.calls,
        found.traffic.methods,
        found.traffic.statuses,
    )
    times = [call.ts for call in found.calls]
    assert (20, sorted(times)) == (len(times), times)


@pytest.mark.parametrize("seed", range(3))
def test_the_sample_is_the_same_whatever_the_order(seed: int) -> None:
    records = shop(60)
    shuffled = random.Random(seed).sample(records, 60)
    assert sampled(records, 20).calls == sampled(shuffled, 20).calls


def test_another_seed_is_another_sample() -> None:
    assert sampled(shop(60), 20).calls != sampled(shop(60), 20, seed=1).calls


def test_only_the_workload_asked_for_is_counted() -> None:
    records = [*shop(9), browse(100, workload="shop/pay")]
    found = sampled(records, workload="shop/pay")
    assert (1, {"shop/pay": 1}, 1) == (found.traffic.calls, found.traffic.workloads, len(found.calls))


@pytest.mark.parametrize(
    ("records", "workload", "message"),
    [
        ([], None, "expected recorded calls to study, found none"),
        ([browse()], "shop/pay", r"workload: expected one that calls were recorded of \(shop/cart\), got shop/pay"),
        ([], "shop/pay", r"workload: expected .* \(none\), got shop/pay"),
    ],
)
def test_nothing_to_study_is_an_error_that_says_what_there_is(records: list[object], workload: str | None, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        draw_sample(keyed(records), 10, 0, workload)  # type: ignore[arg-type]


def test_invented_names_are_counted_together_beyond_a_bound() -> None:
    found = sampled([browse(number, workload=f"w{number}") for number in range(1_200)], 10)
    assert (1_001, 200) == (len(found.traffic.workloads), found.traffic.workloads[OTHER])
