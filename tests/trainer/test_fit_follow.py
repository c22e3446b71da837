"""Learning what must follow."""

from typing import Any

from authz_server.engine.follow import Follows
from authz_server.engine.record import CallRecord
from tests.factories_engine import record
from trainer.fit_follow import FollowLearner

SHOP, AUDIT = "td/ns/shop/sa/shop", "shop/audit"


def cart(number: int, status: int | None = 201, **changes: Any) -> CallRecord:
    values: dict[str, Any] = {"workload": "shop/shop", "request_id": f"r{number}", "ts": float(number), "status": status}
    return record("POST", "/cart", **{**values, **changes})


def audit(number: int, source: str = f"spiffe://{SHOP}", **changes: Any) -> CallRecord:
    values: dict[str, Any] = {"workload": AUDIT, "request_id": f"r{number}", "ts": number + 0.01, "source": source}
    return record("POST", "/records", **{**values, **changes})


def learn(calls: list[CallRecord]) -> dict[str, Follows]:
    learner = FollowLearner()
    for call in sorted(calls, key=lambda made: made.ts):
        learner.update(call, f"{call.method} {call.path}")
    return learner.finish()


def audited(n: int) -> list[CallRecord]:
    return [call for number in range(n) for call in (cart(number), audit(number))]


def test_what_always_follows_is_learned_by_outcome() -> None:
    failed = [cart(number, 402) for number in range(1000, 1200)]
    (rule,) = learn([*audited(400), *failed])["shop/shop"]["POST /cart"]["2xx"]
    assert (AUDIT, "POST /records", 400) == (rule.workload, rule.endpoint, rule.n)
    assert rule.surprise > 3.0
    assert set(learn([*audited(400), *failed])["shop/shop"]["POST /cart"]) == {"2xx"}


def test_what_follows_often_is_no_rule() -> None:
    assert {} == learn([*audited(300), *[cart(number) for number in range(300, 330)]])


def test_a_few_lost_records_make_a_rule_weaker_not_wrong() -> None:
    whole, holed = learn(audited(1000)), learn([*audited(1000), cart(2000), cart(2001)])
    strength = [found["shop/shop"]["POST /cart"]["2xx"][0].surprise for found in (whole, holed)]
    assert strength[0] > strength[1] > 2.0


def test_what_follows_only_with_something_else_is_learned_with_that_condition() -> None:
    calls = []
    for n in range(1_000):
        calls.append(cart(n))
        if n % 2:
            calls += [
                audit(n),
                record("GET", "/stock", workload="shop/stock", request_id=f"r{n}", ts=n + 0.02, source=f"spiffe://{SHOP}"),
            ]
    rules = learn(calls)["shop/shop"]["POST /cart"]["2xx"]
    expected = [(AUDIT, (("shop/stock", "GET /stock"),), 500), ("shop/stock", ((AUDIT, "POST /records"),), 500)]
    assert expected == [(rule.workload, rule.given, rule.n) for rule in rules]


def test_calls_whose_outcome_nobody_told_have_rules_of_their_own() -> None:
    calls = [call for n in range(200) for call in (cart(n, status=None), audit(n))]
    assert {""} == set(learn(calls)["shop/shop"]["POST /cart"])


def test_too_few_calls_say_nothing() -> None:
    assert {} == learn(audited(99))


def test_calls_of_others_under_the_same_request_id_are_not_caused() -> None:
    stranger = "spiffe://td/ns/x/sa/y"
    assert {} == learn([call for n in range(200) for call in (cart(n), audit(n, stranger))])


def test_calls_before_it_are_not_caused() -> None:
    assert {} == learn([call for n in range(200) for call in (cart(n), audit(n, ts=n - 0.5))])


def test_calls_without_request_id_or_endpoint_teach_nothing() -> None:
    learner = FollowLearner()
    for n in range(200):
        learner.update(cart(n, request_id=""), "POST /cart")
        learner.update(cart(n), "")
    assert {} == learner.finish()


def test_request_ids_under_way_are_bounded_and_still_counted() -> None:
    learner = FollowLearner()
    for n in range(25_000):
        learner.update(cart(n), "POST /cart")
        learner.update(audit(n), "POST /records")
    assert len(learner._under_way) <= 20_000
    assert learner.finish()["shop/shop"]["POST /cart"]["2xx"][0].n == 25_000


def test_one_request_id_for_everything_is_bounded() -> None:
    learner = FollowLearner()
    for n in range(5_000):
        learner.update(cart(n, request_id="same"), "POST /cart")
    assert len(learner._under_way["same"]) <= 256
