"""What is counted beside what is normal: calls, times, outcomes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from authz_server.engine.record import CallRecord
from tests.factories_engine import JSON, NOON, record
from tests.factories_trainer import batches
from trainer.description import Description, Spread
from trainer.description_learner import DescriptionLearner

KEYS = {"POST /cart": frozenset({"body:/items/*/id", "header:authorization", "query:page"}), "GET /x": frozenset[str]()}


def described(records: list[CallRecord], endpoint: str = "POST /cart") -> DescriptionLearner:
    learner = DescriptionLearner()
    for batch in batches(records):
        learner.learn(batch, [endpoint] * len(batch.targets), np.array([status != 500 for status in batch.status]))
    return learner


def made(number: int = 0, status: int | None = 200) -> CallRecord:
    headers = {**JSON, "authorization": ["Bearer abc", "Basic YTpi", "Digest x=1", "AWS4-HMAC-SHA256 a"][number % 4]}
    body = b'{"items":[{"id":1},{"id":2}],"new":1}'
    return record(
        "POST", "/cart", headers=headers, body=body, body_size=len(body), ts=NOON + number, status=status, resp_size=number
    )


def test_values_count_each_time_and_calls_once() -> None:
    facts = described([made(n) for n in range(8)]).finish("w", KEYS).endpoints["POST /cart"]
    items = facts.parameters["body:/items/*/id"]
    assert (items.calls, items.values, items.first_ts, items.last_ts) == (8, 16, NOON, NOON + 7)
    assert facts.schemes == {"bearer": 4, "basic": 2, "other": 2}
    assert facts.body_size == Spread(8, 37, 37, 37, 37)


def test_parameters_that_the_model_does_not_know_are_left_out() -> None:
    facts = described([made()]).finish("w", KEYS).endpoints["POST /cart"]
    assert facts.parameters.keys() == {"body:/items/*/id", "header:authorization"}


def test_calls_that_do_not_teach_count_by_their_outcome_alone() -> None:
    facts = described([made(), made(1, 500), made(2, None), made(3, 0)]).finish("w", KEYS).endpoints["POST /cart"]
    assert (facts.calls, facts.taught) == (4, 3)
    assert {status: response.calls for status, response in facts.responses.items()} == {"200": 1, "500": 1, "": 1, "0": 1}
    assert facts.parameters["header:authorization"].calls == 3


def test_calls_at_no_endpoint_are_counted() -> None:
    assert described([made(), made()], "").finish("w", KEYS) == Description("w", {}, 2)


def test_what_a_client_can_multiply_is_bounded() -> None:
    many = [record("POST", f"/cart?p{n}=1", source=f"spiffe://s{n}", status=n, ts=NOON) for n in range(3000)]
    learner = described(many)
    keys = {"POST /cart": frozenset(f"query:p{n}" for n in range(3000))}
    facts = learner.finish("w", keys).endpoints["POST /cart"]
    assert len(facts.parameters) <= 1024
    assert len(facts.principals) <= 64
    assert len(facts.responses) <= 64


@given(st.permutations(range(24)), st.integers(0, 24), st.integers(0, 24))
def test_the_result_does_not_depend_on_order_or_partition(order: list[int], one: int, other: int) -> None:
    records = [made(n, [200, 500, None][n % 3]) for n in range(24)]
    whole = described(records).finish("w", KEYS)
    low, high = sorted([one, other])
    parts = [[records[n] for n in order[a:b]] for a, b in ((0, low), (low, high), (high, 24))]
    together = DescriptionLearner()
    for part in parts:
        together.merge(described(part))
    assert whole == together.finish("w", KEYS)
