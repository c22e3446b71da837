"""What a replay says of each policy by itself."""

from typing import Any

import pytest

from authz_server.engine.record import CallRecord
from tests.factories import call, raw_call, record
from tests.trainer.policies.cluster.pushed import policy
from trainer.policies.policy import AuthorizationPolicy, from_object
from trainer.policies.promotion import replayed
from trainer.policies.promotion.replayed import Tally, replay_each


def allowing(app: str, path: str, **changes: Any) -> AuthorizationPolicy:
    thing = policy(app, app, paths=[path], **changes)
    thing["spec"]["rules"][0]["to"][0]["operation"]["methods"] = ["POST"]
    return from_object(thing)


def at(ts: float, workload: str = "shop/cart", **changes: Any) -> CallRecord:
    return record(ts=ts, workload=workload, status=200, **changes)


CART = allowing("cart", "/cart/{*}/items")
PAY = allowing("pay", "/elsewhere")


def test_each_policy_is_told_of_the_calls_to_its_own_workload() -> None:
    calls = [at(10.0), at(12.0), at(13.0, "shop/pay"), at(14.0, "shop/unguarded")]
    tally = replay_each([CART, PAY], calls, {}, 0.0)
    assert Tally(2, 0, 0, 10.0, 12.0) == tally(CART)
    assert Tally(1, 1, 0, 13.0, 13.0) == tally(PAY)
    assert Tally() == tally(allowing("nobody", "/"))


def test_calls_before_the_days_in_question_do_not_count() -> None:
    tally = replay_each([PAY], [at(10.0, "shop/pay"), at(20.0, "shop/pay")], {}, 15.0)
    assert Tally(1, 1, 0, 20.0, 20.0) == tally(PAY)


def test_a_dry_run_is_held_as_if_it_were_promoted_and_attacks_do_not_count() -> None:
    assert PAY.dry_run
    attack = at(10.0, "shop/pay", label=1)
    failed = record(ts=11.0, workload="shop/pay", status=500)
    assert Tally(2, 0, 0, 10.0, 11.0) == replay_each([PAY], [attack, failed], {}, 0.0)(PAY)


def test_what_cannot_be_told_is_counted() -> None:
    unknown = at(10.0, principal="", verdict=None)
    assert Tally(1, 0, 1, 10.0, 10.0) == replay_each([CART], [unknown], {}, 0.0)(CART)


def test_only_so_many_workloads_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replayed, "_MAX_WORKLOADS", 1)
    tally = replay_each([CART, PAY], [at(10.0), at(11.0, "shop/pay")], {}, 0.0)
    assert (1, 0) == (tally(CART).calls, tally(PAY).calls)


def test_the_factories_call_is_what_these_tests_take_it_for() -> None:
    assert ("POST", "cluster.local/ns/shop/sa/web") == (call().method, call().caller.principal)
    assert raw_call().target.startswith("/cart/17/items")
