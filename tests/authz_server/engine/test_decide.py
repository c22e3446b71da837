"""From a Call to a Judgement."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.calibration import Calibration, p_value
from authz_server.engine.call import Call
from authz_server.engine.decide import score, to_score
from authz_server.engine.finding import FindingCode
from authz_server.engine.history import IDLE_SECONDS, CallerHistory, Snapshot, add_step
from authz_server.engine.pace import METERS, Counts, Paces
from authz_server.engine.sequence import PrecedenceRule, SequenceModel
from authz_server.engine.verdict import to_finding
from authz_server.engine.volume import SHARE, VolumeModel
from tests.factories_engine import call, codes, endpoint_profile, judge, normal, parameter_profile, ready, surprise

ENDPOINTS = {
    "GET /cart/items": endpoint_profile(
        parameters={"query:count": parameter_profile()}, combinations=frozenset({"", "query:count"})
    ),
    "POST /pay": endpoint_profile(),
    "POST /ship": endpoint_profile(),
}
SEQUENCE = SequenceModel(300.0, {"POST /ship": (PrecedenceRule("POST /pay", 3.0, 412),)})
READY = ready(ENDPOINTS, sequence=SEQUENCE)

CASES: list[tuple[str, Call, str, list[FindingCode]]] = [
    ("normal", call("GET", "/cart/items?count=3"), "GET /cart/items", []),
    ("range", call("GET", "/cart/items?count=-1"), "GET /cart/items", [FindingCode.RANGE]),
    ("unknown endpoint", call("GET", "/admin"), "", [FindingCode.UNKNOWN_ENDPOINT]),
    ("double slash", call("GET", "//cart/items"), "", [FindingCode.UNKNOWN_ENDPOINT]),
    ("unknown method", call("PROPFIND", "/cart/items"), "", [FindingCode.UNKNOWN_METHOD]),
    ("unknown principal", call(source="spiffe://td/ns/x/sa/y"), "GET /cart/items", [FindingCode.UNKNOWN_PRINCIPAL]),
    ("no principal", call(source=""), "GET /cart/items", [FindingCode.UNKNOWN_PRINCIPAL]),
    (
        "unknown everything",
        call("GET", "/admin", source=""),
        "",
        [FindingCode.UNKNOWN_ENDPOINT, FindingCode.UNKNOWN_PRINCIPAL],
    ),
]


@pytest.mark.parametrize(("made", "endpoint", "found"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_decide(made: Call, endpoint: str, found: list[FindingCode]) -> None:
    judgement = judge(made, READY)
    assert (endpoint, found) == (judgement.endpoint, codes(judgement.surprises))


WORDS = [
    (call("GET", "/admin/7"), "GET /admin/0; in 5,000 calls: one of 3 known endpoints"),
    (call("PROPFIND", "/cart/items"), "PROPFIND /cart/items; in 5,000 calls: GET on this path"),
    (call(source=""), "a caller without identity; in 5,000 calls: the one known caller"),
    (call(source="spiffe://td/ns/x/sa/y"), "td/ns/x/sa/y; in 5,000 calls: the one known caller"),
]


@pytest.mark.parametrize(("made", "text"), WORDS)
def test_unknown_things_in_words(made: Call, text: str) -> None:
    judgement = judge(made, READY)
    assert text == to_finding(judgement.surprises[0], judgement.endpoint).text


def test_a_normal_call_has_p_1_and_score_0() -> None:
    judgement = judge(call(), READY)
    assert (judgement.score, judgement.p_value) == (0.0, 1.0)


def test_the_strongest_surprise_comes_first_and_the_score_is_their_sum() -> None:
    judgement = judge(call("GET", "/admin", source=""), READY)
    assert [found.amount for found in judgement.surprises] == [4.0, 3.0]
    assert (judgement.score, judgement.p_value) == (7.0, p_value(READY.model.calibration[""], 7.0))


def test_the_sequence_is_judged_only_for_known_callers() -> None:
    ship = call("POST", "/ship")
    shopper = CallerHistory(0.0, IDLE_SECONDS)
    assert codes(judge(ship, READY, shopper).surprises) == [FindingCode.PRECEDENCE]
    assert judge(ship, READY).surprises == ()
    add_step(shopper, "POST /pay")
    assert judge(ship, READY, shopper).surprises == ()


def test_decide_leaves_the_history_alone() -> None:
    shopper = CallerHistory(0.0, IDLE_SECONDS)
    judge(call(), READY, shopper)
    assert (shopper.steps, shopper.ever) == ([], {})


def test_an_endpoints_own_calibration_goes_before_the_pooled_one() -> None:
    calibration = {"": Calibration(n=99), "GET /cart/items": Calibration(n=9_999)}
    own = ready(ENDPOINTS, calibration=calibration)
    assert judge(call("GET", "/cart/items?count=-1"), own).p_value == p_value(calibration["GET /cart/items"], 7.0)
    assert judge(call("GET", "/admin"), own).p_value == p_value(calibration[""], 7.0)


def paced(calls: float) -> Snapshot:
    return Snapshot(-1.0, {}, (), Paces(Counts(1.0, (calls,) * len(METERS))))


def test_pace_and_call_share_the_budget_where_there_is_a_volume_model() -> None:
    volume, odd = VolumeModel(3600.0, {}, normal()), call("GET", "/cart/items?count=-1")
    plain, shared = ready(ENDPOINTS), ready(ENDPOINTS, volume=volume)
    without = judge(odd, plain, paced(900.0))
    slow, fast = judge(odd, shared, paced(1.0)), judge(odd, shared, paced(900.0))
    assert pytest.approx(without.p_value / (1 - SHARE)) == slow.p_value
    assert slow.excess is None
    assert (slow.p_value, FindingCode.PACE_CALLS) == (fast.call_p_value, fast.surprises[0].code)
    assert fast.p_value < 1e-6 < without.p_value
    assert without.excess is None


def test_a_pace_that_is_less_odd_than_the_call_is_told_last() -> None:
    made = judge(call("GET", "/cart/items?count=-1"), ready(ENDPOINTS, volume=VolumeModel(3600.0, {}, normal())), paced(70.0))
    assert made.excess is not None
    assert FindingCode.PACE_CALLS is made.surprises[-1].code


def test_a_model_without_calibration_condemns_nobody() -> None:
    assert judge(call("GET", "/admin"), ready(ENDPOINTS, calibration={})).p_value == 1.0


def test_a_model_that_is_not_surprised_by_new_endpoints_yet_allows_them() -> None:
    assert judge(call("GET", "/admin"), ready(ENDPOINTS, surprises={})).p_value == 1.0


@pytest.mark.parametrize(
    ("amounts", "total"),
    [
        ([], 0.0),
        ([("query:a", 4.0)], 4.0),
        ([("query:a", 4.0), ("query:b", 3.0)], 7.0),
        ([("query:a", 4.0), ("query:a", 2.0)], 4.5),
        ([("query:a", 2.0), ("query:a", 4.0), ("query:b", 1.0)], 5.5),
        ([("", 4.0), ("", 3.0)], 7.0),
    ],
)
def test_to_score_adds_up_parameters_and_takes_the_strongest_view_of_each(amounts: list[tuple[str, float]], total: float) -> None:
    assert total == to_score([surprise(key=key, amount=amount) for key, amount in amounts])


@given(st.lists(st.tuples(st.sampled_from(["query:a", "query:b", ""]), st.integers(1, 80_000)), max_size=7), st.randoms())
@settings(max_examples=100, deadline=None)
def test_to_score_does_not_depend_on_order(amounts: list[tuple[str, int]], rng: random.Random) -> None:
    found = [surprise(key=key, amount=amount / 10_000) for key, amount in amounts]
    assert to_score(found) == to_score(rng.sample(found, len(found)))


@pytest.mark.parametrize("code", [FindingCode.NUMERIC_FOREST, FindingCode.NUMERIC_CLUSTER])
def test_a_view_of_the_whole_call_counts_a_quarter_even_alone(code: FindingCode) -> None:
    assert to_score([surprise(key="", code=code, amount=4.0)]) == 1.0


@pytest.mark.parametrize("code", [FindingCode.UNKNOWN_PARAMETER, FindingCode.UNKNOWN_HEADER])
def test_several_unknown_names_are_one_surprise_with_a_quarter_of_the_others(code: FindingCode) -> None:
    unknown = [surprise(key=f"query:{name}", code=code, amount=2.0) for name in "abc"]
    assert 2.0 + 0.25 * 4.0 == to_score(unknown)
    assert 3.0 + 4.0 == to_score([*unknown, surprise(key="query:d", code=FindingCode.RANGE, amount=4.0)])


def test_score_alone_needs_no_calibration() -> None:
    made = call("GET", "/cart/items?count=-1")
    assert codes(score(made, READY, READY.match(made), None)) == [FindingCode.RANGE]
