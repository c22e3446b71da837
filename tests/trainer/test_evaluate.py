"""How good a bundle is on labelled calls."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.bundle import write_bundle
from authz_server.engine.errors import BundleError, StoreError
from authz_server.engine.history import IDLE_SECONDS
from authz_server.engine.observe import Observer
from authz_server.engine.record import CallRecord
from authz_server.engine.sequence import PrecedenceRule, SequenceModel
from authz_server.engine.volume import NEW_SECONDS, VolumeModel
from tests.factories_engine import NOON, WORKLOAD, endpoint_profile, normal, parameter_profile, ready, record
from trainer.evaluate import Evaluation, Rate, evaluate, evaluate_place, wilson
from trainer.store_writer import StoreWriter

READY = ready(
    {
        "GET /cart/items": endpoint_profile(
            parameters={"query:count": parameter_profile()}, combinations=frozenset({"", "query:count"})
        ),
        "POST /pay": endpoint_profile(),
        "POST /ship": endpoint_profile(),
    },
    sequence=SequenceModel(0.0, {"POST /ship": (PrecedenceRule("POST /pay", 3.0, 412),)}),
)
GOOD, BAD = "/cart/items?count=3", "/cart/items?count=-1"


def evaluated(*records: CallRecord, budget: float = 1e-3, **models: Any) -> Evaluation:
    return evaluate(records, models or {WORKLOAD: READY}, "r-2026", budget)


def benign(target: str = GOOD, **changes: Any) -> CallRecord:
    return record("GET", target, **{"label": 0, **changes})


def attack(target: str = BAD, **changes: Any) -> CallRecord:
    return record("GET", target, **{"label": 1, "attack": "range", **changes})


def test_true_and_false_positives_are_counted_and_named() -> None:
    made = evaluated(benign(), benign(), benign(BAD), attack(), attack(GOOD), attack("/admin", attack="scan"))
    assert (made.false_positives.hits, made.false_positives.n) == (1, 3)
    assert (made.true_positives.hits, made.true_positives.n) == (2, 3)
    assert {name: (rate.hits, rate.n) for name, rate in made.attacks.items()} == {"range": (1, 2), "scan": (1, 1)}
    assert made.reasons == {"benign: range": 1, "attack: range": 1, "attack: unknown_endpoint": 1}
    assert (made.revision, made.budget, made.no_model) == ("r-2026", 1e-3, 0)


def test_an_attack_without_a_name_is_counted_and_an_unlabelled_call_is_benign() -> None:
    made = evaluated(attack(attack=None), record("GET", BAD))
    assert {name: rate.hits for name, rate in made.attacks.items()} == {"unnamed": 1}
    assert (made.false_positives.hits, made.false_positives.n) == (1, 1)


def test_equal_calls_are_one_distinct_call_apart_from_cookies_and_headers() -> None:
    made = evaluated(*[benign(BAD)] * 9, benign(BAD, headers={"cookie": "a=1"}), benign(), benign("/cart/items?count=4"))
    assert (made.false_positives.hits, made.false_positives.n) == (10, 12)
    assert (made.distinct_false_positives.hits, made.distinct_false_positives.n) == (1, 3)


@pytest.mark.parametrize(("budget", "hits"), [(1e-3, 1), (2e-4, 1), (1e-4, 0), (1e-9, 0)])
def test_the_budget_decides(budget: float, hits: int) -> None:
    assert evaluated(attack(), budget=budget).true_positives.hits == hits


def test_rows_of_the_train_split_only_fill_the_histories() -> None:
    ts = NOON
    paid = record("POST", "/pay", split="train", session="s", ts=ts)
    other = record("POST", "/ship", session="other", ts=ts + 1)
    made = evaluated(record("GET", "/x", ts=ts - 2 * IDLE_SECONDS), paid, record("POST", "/ship", session="s", ts=ts + 1), other)
    assert made.false_positives.n == 3
    assert made.reasons == {"benign: unknown_endpoint": 1, "benign: precedence": 1}


def test_who_comes_while_another_floods_isnt_refused_for_it() -> None:
    volume = VolumeModel(3600.0, {}, normal(), None, normal(160.0))
    flooded = ready({"GET /cart/items": endpoint_profile()}, volume=volume)
    before = [benign("/cart/items", session=f"early {number}", ts=NOON + number * 600) for number in range(6)]
    start = NOON + 2 * NEW_SECONDS
    flood = [attack("/cart/items", session="flood", ts=start + number * 0.01) for number in range(2000)]
    others = [benign("/cart/items", session=f"other {number}", ts=start + 1 + number) for number in range(15)]
    records = sorted([*before, *flood, *others], key=lambda one: one.ts)
    made = evaluate(records, {WORKLOAD: flooded}, "r-2026", 1e-3)
    assert made.false_positives.hits == 0
    assert made.true_positives.hits > 1500


def test_errors_of_calls_that_are_refused_never_happened() -> None:
    """Who guesses a password every other second is let through again and again, as few times as its errors allow."""
    judged = {WORKLOAD: ready({"GET /cart/items": endpoint_profile()}, volume=VolumeModel(3600.0, {}, normal()))}
    guesses = [attack("/cart/items", session="guesser", status=401, ts=NOON + number * 2) for number in range(1800)]
    served = [rate.n - rate.hits for rate in (evaluate(guesses[:part], judged, "r", 1e-3).true_positives for part in (300, 1800))]
    assert 64 <= served[0] < 250
    assert 3 * served[0] < served[1] < 7 * served[0]


def test_a_call_that_failed_is_no_step() -> None:
    failed = record("POST", "/pay", status=402, session="s")
    ship = record("POST", "/ship", session="s", ts=NOON + 1)
    assert evaluated(failed, ship).false_positives.hits == 1
    assert evaluated(record("POST", "/pay", status=None, session="s"), ship).false_positives.hits == 0


def test_a_workload_without_model_is_allowed_and_counted() -> None:
    made = evaluated(attack(workload="shop/other"), benign("/admin", workload="shop/other"))
    assert (made.no_model, made.true_positives.hits, made.false_positives.hits) == (2, 0, 0)


@pytest.mark.parametrize(
    ("records", "auc"),
    [
        ([], None),
        ([benign()], None),
        ([attack()], None),
        ([benign(), attack()], 1.0),
        ([benign(BAD), attack(GOOD)], 0.0),
        ([benign(), attack(GOOD)], 0.5),
    ],
)
def test_area_under_the_curve(records: list[CallRecord], auc: float | None) -> None:
    assert evaluated(*records).auc == auc


def test_nothing_to_evaluate_says_that_nothing_is_known() -> None:
    made = evaluated()
    assert made.true_positives == made.false_positives == made.distinct_false_positives == Rate(0, 0, None, 0.0, 1.0)


WILSON = [
    (0, 10, 0.0, 0.2775),
    (10, 10, 0.7225, 1.0),
    (5, 10, 0.2366, 0.7634),
    (1, 1_000, 0.000177, 0.005643),
]
"""Values of Newcombe (1998) and of statsmodels' `proportion_confint(method="wilson")`."""


@pytest.mark.parametrize(("hits", "n", "low", "high"), WILSON)
def test_wilson_interval(hits: int, n: int, low: float, high: float) -> None:
    rate = wilson(hits, n)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=100, deadline=None)
def test_wilson_interval_holds_the_rate(counts: tuple[int, int]) -> None:
    rate = wilson(*counts)
    assert rate.rate is not None
    assert 0 <= rate.low <= rate.rate + 1e-12
    assert rate.rate - 1e-12 <= rate.high <= 1


def test_a_store_is_judged_by_its_calls_under_the_bundles_key(tmp_path: Path) -> None:
    ours, other = Observer("ours"), Observer("other")
    write_bundle(tmp_path / "bundle", [ready().model], 0.0, ours.key_id)
    for key_id, records in ((ours.key_id, [benign(), attack()]), (other.key_id, [benign()] * 3)):
        with StoreWriter(str(tmp_path / "store"), key_id) as writer:
            for one in records:
                writer.put(one)

    found = evaluate_place(str(tmp_path / "bundle"), None, str(tmp_path / "store"), 1e-3, ours)

    assert (1, 1) == (found.true_positives.n, found.false_positives.n)


def test_a_store_under_another_key_than_the_bundles_is_an_error(tmp_path: Path) -> None:
    ours, other = Observer("ours"), Observer("other")
    write_bundle(tmp_path / "bundle", [ready().model], 0.0, ours.key_id)
    with StoreWriter(str(tmp_path / "store"), other.key_id) as writer:
        writer.put(benign())

    for observer, kind in ((ours, StoreError), (other, BundleError)):
        with pytest.raises(kind) as raised:
            evaluate_place(str(tmp_path / "bundle"), None, str(tmp_path / "store"), 1e-3, observer)
        assert [True, True] == [one.key_id in str(raised.value) for one in (ours, other)]
