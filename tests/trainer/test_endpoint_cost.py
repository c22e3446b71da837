"""What endpoints cost, and who is heavy."""

import pytest

from authz_server.engine.volume import own_key
from tests.factories_engine import record
from trainer.endpoint_cost import CostLearner


def test_cost_is_bytes_and_time_against_the_average() -> None:
    costs = CostLearner()
    for number in range(10):
        costs.update(record(record_id=str(number), resp_size=100, duration_ms=10.0), "GET /cheap")
    for number in range(10):
        costs.update(record(record_id=str(number), resp_size=300, duration_ms=190.0), "GET /dear")
    costs.update(record(status=None), "GET /unknown")
    assert {"GET /cheap": (0.5 + 0.1) / 2, "GET /dear": (1.5 + 1.9) / 2} == pytest.approx(costs.finish())


def test_who_makes_more_than_a_64th_of_the_calls_is_heavy_and_nobody_counts_twice() -> None:
    costs = CostLearner()
    made = [record(session="gateway" if number % 50 == 0 else f"s{number}", address="") for number in range(1000)]
    for one in made:
        costs.update(one, "GET /cart/items")
    assert {own_key("session", made[0].session)} == costs.heavy()
