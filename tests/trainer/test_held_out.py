"""Claims of surprises, held against held-out calls, and what is learned where calls are refused again and again."""

import math
import random
from collections.abc import Iterator

import pytest

from authz_server.engine.decide import to_score
from authz_server.engine.edges import EdgeModel, Edges
from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.model import ReadyModel, WorkloadModel
from authz_server.engine.record import CallRecord, to_parsed_call
from tests.factories_engine import JSON, NOON, PRINCIPAL, endpoint_profile, judge, model, parameter_profile, record, surprise
from trainer.calibrate import PARTS, CalibrationLearner
from trainer.held_out import HeldOut, OddCall, capped, to_odd_call
from trainer.support import Quorum
from trainer.train import train_calls

CART = "POST /cart"
LACKS_ID = (CART, FindingCode.MISSING_PARAMETER, "body:/id")
LACKS_COUNT = (CART, FindingCode.MISSING_PARAMETER, "body:/count")
QUORUM = Quorum(windows=2)
MISSING = surprise(code=FindingCode.MISSING_PARAMETER, key="body:/id", amount=4.9)


def claiming(amount: float) -> WorkloadModel:
    """A model in which each surprise there can be is of this amount."""
    one = {FindingCode.RANGE: amount, FindingCode.UNKNOWN_PARAMETER: amount}
    return model(
        {
            CART: endpoint_profile(
                parameters={"body:/id": parameter_profile(surprises=one)}, surprises=one, required=_both(amount)
            )
        },
        shared=endpoint_profile(surprises={FindingCode.UNKNOWN_HEADER: amount}),
        surprises={FindingCode.UNKNOWN_ENDPOINT: amount},
        edges=EdgeModel(9, {PRINCIPAL: 9}, amount, {CART: Edges(9, {PRINCIPAL: 9}, amount)}),
    )


def _both(amount: float) -> dict[str, float]:
    return {"body:/id": amount, "body:/count": amount}


def held_out(*found: Surprise, odd: int = 100, calls: int = 10_000, callers: int = 100, parts: int = PARTS) -> HeldOut:
    """So many odd calls of all at one endpoint, evenly spread over the first `parts` of the traffic."""
    held = HeldOut()
    held.count(CART, calls - odd)
    for number in range(odd):
        caller = f"c{number % callers}"
        held.update(to_odd_call(CART, number % 5, number * parts // odd, caller, f"{caller} odd", list(found)))
    return held


def rarity(count: int, calls: int) -> float:
    return -math.log10((count + 1 + math.sqrt(count + 0.75)) / calls)


def test_what_comes_far_more_often_than_it_claims_is_cut_to_what_came() -> None:
    caps = held_out(MISSING).caps([claiming(4.9)] * 5, QUORUM)
    assert caps == {LACKS_ID: pytest.approx(rarity(100, 10_000), abs=1e-3)}


def test_what_comes_together_claims_together_what_came() -> None:
    """A call without its body lacks all that is in one: each by itself at its share, they would still claim the product."""
    other = surprise(code=FindingCode.MISSING_PARAMETER, key="body:/count", amount=4.9)
    caps = held_out(MISSING, other).caps([claiming(4.9)] * 5, QUORUM)
    assert caps.keys() == {LACKS_ID, LACKS_COUNT}
    assert sum(caps.values()) == pytest.approx(rarity(100, 10_000), abs=1e-3)


@pytest.mark.parametrize(
    ("held", "claimed"),
    [
        pytest.param(held_out(MISSING), 2.5, id="a claim that is nearly right"),
        pytest.param(held_out(MISSING, parts=PARTS // 4), 4.9, id="a burst"),
        pytest.param(held_out(MISSING, callers=1), 4.9, id="one caller, all the time"),
        pytest.param(held_out(MISSING, callers=2), 4.9, id="two callers, all the time"),
        pytest.param(held_out(MISSING, odd=12), 4.9, id="too few to tell"),
        pytest.param(held_out(surprise(code=FindingCode.PRECEDENCE, key="")), 4.9, id="no check of a profile"),
    ],
)
def test_nothing_is_cut_for(held: HeldOut, claimed: float) -> None:
    assert held.caps([claiming(claimed)] * 5, QUORUM) == {}


def test_a_heavy_callers_calls_count_each_since_it_is_a_population() -> None:
    assert LACKS_ID in held_out(MISSING, callers=1).caps([claiming(4.9)] * 5, Quorum({"c0"}, 2))


@pytest.mark.parametrize(
    ("found", "claim"),
    [
        (surprise(key="body:/id"), (CART, FindingCode.RANGE, "body:/id")),
        (surprise(code=FindingCode.UNKNOWN_PARAMETER, key="body:/admin"), (CART, FindingCode.UNKNOWN_PARAMETER, "")),
        (surprise(code=FindingCode.UNKNOWN_HEADER, key="header:x-old"), ("", FindingCode.UNKNOWN_HEADER, "")),
        (surprise(code=FindingCode.UNKNOWN_ENDPOINT, key=""), ("", FindingCode.UNKNOWN_ENDPOINT, "")),
        (surprise(code=FindingCode.UNKNOWN_PRINCIPAL, key=""), ("", FindingCode.UNKNOWN_PRINCIPAL, "")),
        (surprise(code=FindingCode.UNKNOWN_EDGE, key=""), (CART, FindingCode.UNKNOWN_EDGE, "")),
    ],
)
def test_each_check_is_cut_where_it_is_made(found: Surprise, claim: tuple[str, FindingCode, str]) -> None:
    caps = held_out(found).caps([claiming(4.9)] * 5, QUORUM)
    assert caps.keys() == {claim}
    lowest = min(caps.values())
    assert str(capped(claiming(4.9), caps)).count(str(lowest)) == 1


def test_caps_cut_and_never_raise() -> None:
    cut = capped(claiming(4.9), {LACKS_ID: 2.0, LACKS_COUNT: 6.0})
    assert cut.endpoints[CART].required == {"body:/id": 2.0, "body:/count": 4.9}
    assert capped(claiming(4.9), {}) == claiming(4.9)


def test_calls_are_calibrated_by_the_scores_they_have_under_the_caps() -> None:
    """How far a value is from normal stays: 1.5 of this range."""
    far = surprise(key="body:/id", amount=6.4)
    caps = {LACKS_ID: 1.9, (CART, FindingCode.RANGE, "body:/id"): 3.0}
    expected = CalibrationLearner()
    expected.count(CART, 9_900)
    for number in range(100):
        expected.update(CART, to_score([surprise(key="body:/id", amount=4.5)]), number * PARTS // 100, f"c{number} odd")
    assert held_out(far).calibrate([claiming(4.9)] * 5, caps).finish() == expected.finish()


def test_without_caps_the_scores_are_those_the_calls_had() -> None:
    """Of many surprises a few are kept, and the score is that of all."""
    many = [surprise(key=f"body:/{number}", amount=1.0 + number / 100) for number in range(200)]
    kept = to_odd_call(CART, 0, 0, "ann", "ann odd", many)
    assert isinstance(kept, OddCall)
    assert len(kept.surprises) < 200
    assert kept.score == to_score(many)
    held = HeldOut()
    held.update(kept)
    assert held.calibrate([], {}).finish()[""].scores == (round(to_score(many) + 0.05, 3),)


def test_where_too_many_surprises_come_the_scores_alone_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.held_out._MAX_KEPT", 5)
    held = held_out(MISSING)
    assert held.caps([claiming(4.9)] * 5, QUORUM) == {}
    assert held.calibrate([claiming(4.9)] * 5, {LACKS_ID: 2.0}).finish()[""].scores == (2.05, 4.95)


def shop(refused: str) -> Iterator[CallRecord]:
    """Orders; one call of 50 is refused, for what it lacks."""
    rng = random.Random(5)
    for number in range(5_000):
        body = f'{{"item":{rng.randrange(9000)},"count":{rng.randrange(1, 9)},"zip":"{rng.randrange(10_000, 99_999)}"}}'
        status = 200
        if rng.random() < 0.02 and refused:
            body, status = refused, 400
        who = f"s{rng.randrange(400)}"
        yield record(
            "POST",
            "/orders",
            ts=NOON + number,
            session=who,
            address=who,
            headers=JSON,
            body=body.encode(),
            status=status,
            record_id=f"r{number}",
        )


@pytest.mark.parametrize("refused", ["", '{"item":7,"count":1}', "{}"])
def test_calls_that_are_refused_all_the_time_silence_no_weaker_finding(refused: str) -> None:
    records = list(shop(refused))
    (learned,) = train_calls(lambda: records)
    attack = record("POST", "/orders", headers=JSON, body=b'{"item":7,"count":1,"zip":"12345","admin":true}')
    assert judge(to_parsed_call(attack), ReadyModel(learned, "r-1")).p_value < 0.01
