"""Profiles of parameters and endpoints."""

import random
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.call import BodyKind, Call, Flag, Kind, Parameter
from authz_server.engine.endpoint import path_parameters
from authz_server.engine.finding import FindingCode
from authz_server.engine.parameters import ReadyProfile, ReadyShared, score_parameter
from authz_server.engine.profile import EndpointProfile, Interval, ParameterProfile
from authz_server.engine.record import CallRecord
from tests.factories_engine import JSON, OBSERVER, VALUES, call, codes, json_call, parameter
from tests.factories_trainer import to_batch
from tests.partition import merged, parts_of
from trainer.batch_callers import to_callers
from trainer.fit_parameters import EndpointProfileLearner, SharedLearner
from trainer.kin import to_kin
from trainer.lesson import Lesson, Taught, Values
from trainer.look import is_formless
from trainer.parameter_learner import ParameterLearner
from trainer.prior import Prior
from trainer.profiles_learner import ProfilesLearner
from trainer.support import Quorum

NOBODY = Quorum()
CALLERS = [f"c{number}" for number in range(20)]


def finished(learner: ParameterLearner, quorum: Quorum = NOBODY) -> ParameterProfile:
    prior = Prior()
    learner.pool(prior, quorum)
    return learner.finish(prior, quorum)


def profile(
    values: Iterable[str], callers: Sequence[str] = CALLERS, quorum: Quorum = NOBODY, key: str = "query:q"
) -> ParameterProfile:
    """Learn from each caller each value once."""
    learner = ParameterLearner(formless=is_formless(key))
    for value in values:
        for caller in callers:
            learner.update(parameter(key, value), caller)
    return finished(learner, quorum)


NUMBERS = [str(n) for n in range(1, 13)]


def test_a_number_has_its_range() -> None:
    made = profile(NUMBERS)
    assert (made.n, made.kinds, made.numbers) == (240, frozenset({Kind.INTEGER}), Interval(1, 12))
    assert made.lengths == Interval(1, 2)


def test_a_text_has_its_classes_lengths_and_structures() -> None:
    made = profile([f"{word}-{n}" for word in ("red", "green") for n in (1, 22)])
    assert (made.lengths, made.structures, made.numbers) == (Interval(5, 8), frozenset({"a-0"}), None)
    assert made.classes == parameter("query:q", "a-0").classes


def test_a_hash_without_a_letter_is_a_hash_though_it_reads_as_an_integer() -> None:
    made = profile([f"{n * 7919:08x}a" for n in range(40)])
    assert made.kinds == frozenset({Kind.HEX, Kind.INTEGER})
    assert score_parameter(parameter("query:q", "123456789"), made) == []
    assert codes(score_parameter(parameter("query:q", "7"), made)) == [FindingCode.LENGTH]


def test_an_enumeration_is_its_digests() -> None:
    made = profile(["red", "blue"])
    assert made.values == frozenset(OBSERVER.text("query:q", value).digest for value in ("red", "blue"))
    assert FindingCode.VALUE in made.surprises


def test_many_values_are_no_enumeration() -> None:
    made = profile([f"{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(300)], CALLERS[:3])
    assert (made.values, FindingCode.VALUE in made.surprises) == (None, False)


def test_a_secret_is_no_enumeration() -> None:
    made = profile(["red", "blue"], key="query:password")
    assert made.values is None
    assert score_parameter(parameter("query:password", "gold"), made) == []


ODDITIES = [
    (NUMBERS, "-1", FindingCode.RANGE),
    (NUMBERS, "13", FindingCode.RANGE),
    (NUMBERS, "' OR 1=1--", FindingCode.TYPE),
    (NUMBERS, "", FindingCode.TYPE),
    (["red", "blue"], "green", FindingCode.VALUE),
    (["red", "blue"], "x" * 60, FindingCode.LENGTH),
    (["red", "blue"], "<script>", FindingCode.CHARACTERS),
    ([f"{word}-{n}" for word in ("red", "green") for n in (1, 22)], "22-red", FindingCode.STRUCTURE),
]


@pytest.mark.parametrize(("values", "value", "code"), ODDITIES)
def test_what_was_learned_finds_what_is_odd(values: list[str], value: str, code: FindingCode) -> None:
    assert code in codes(score_parameter(parameter("query:q", value), profile(values)))


@given(st.lists(VALUES, min_size=1, max_size=25))
@settings(max_examples=100, deadline=None)
def test_what_three_callers_brought_is_normal(values: list[str]) -> None:
    made = profile(values, CALLERS[:3])
    assert [found for value in values for found in score_parameter(parameter("query:q", value), made)] == []


@pytest.mark.parametrize(
    "value", ["0.57", "0.29", "1234.5999", "299.99999999999994", "0.9999999999999999", "-0.3", "5.0e-324", "9.9e999"]
)
def test_one_number_is_inside_its_own_range(value: str) -> None:
    made = profile([value], CALLERS[:3])
    number = parameter("query:q", value).number
    assert number is not None
    assert made.numbers is not None
    assert made.numbers.low <= number <= made.numbers.high


@given(st.floats(allow_nan=False))
@settings(max_examples=150, deadline=None)
def test_any_number_is_learned_and_inside_its_own_range(number: float) -> None:
    learner = ParameterLearner()
    seen = OBSERVER.scalar("body:/n", number) if abs(number) <= 1e308 else parameter("body:/n", "9.9e999")
    for caller in CALLERS[:3]:
        learner.update(seen, caller)
    assert score_parameter(seen, finished(learner)) == []


def teach(normal: Iterable[str], odd: Iterable[str], attackers: Sequence[str], quorum: Quorum = NOBODY) -> ParameterProfile:
    learner = ParameterLearner()
    for value in normal:
        for caller in CALLERS:
            learner.update(parameter("query:q", value), caller)
    for value in odd:
        for caller in attackers:
            learner.update(parameter("query:q", value), caller)
    return finished(learner, quorum)


@pytest.mark.parametrize(
    ("normal", "odd"),
    [
        (NUMBERS, ["-1"] * 50),
        (NUMBERS, ["100000"] * 50),
        (["red", "blue"], ["green"] * 50),
        (["red", "blue"], ["' OR 1=1--"] * 50),
        (["red", "blue"], ["y" * 60] * 50),
    ],
)
def test_neither_one_caller_nor_two_teach_however_often(normal: list[str], odd: list[str]) -> None:
    for attackers in (["x"], ["x", "y"]):
        assert score_parameter(parameter("query:q", odd[0]), teach(normal, odd, attackers))
    assert score_parameter(parameter("query:q", odd[0]), teach(normal, odd, ["x", "y", "z"])) == []


def test_a_population_teaches_by_itself() -> None:
    assert score_parameter(parameter("query:q", "50"), teach(NUMBERS, ["50"] * 3, ["gateway"], Quorum(["gateway"]))) == []


@pytest.mark.parametrize(("first", "complete"), [(["blue"], True), ([f"id {number}" for number in range(128)], False)])
def test_values_are_complete_where_no_other_one_came_not_even_one_that_was_let_go(first: list[str], *, complete: bool) -> None:
    """The only caller of a service alone brings every value."""
    made = teach([], [*first * 3, *["red"] * 3], ["service"], Quorum(["service"]))
    assert complete == made.complete


def test_extremes_that_callers_do_not_share_make_no_length_or_range() -> None:
    """Two callers at the ends, one in the middle who makes most of the calls: nobody agrees, so nothing is odd."""
    learner = ParameterLearner()
    for value, caller, times in (("1", "b", 1), ("1234567", "a", 900), ("99999999999", "c", 1)):
        for _ in range(times):
            learner.update(parameter("query:q", value), caller)
    made = finished(learner)
    assert codes(score_parameter(parameter("query:q", "1234567"), made)) == []


def random_parameters(rng: random.Random, count: int) -> list[tuple[Parameter, str]]:
    pool = [OBSERVER.text("query:q", value) for value in (*NUMBERS, "-5", "7.25", "red", "a-b", "", "x y", "2026-01-02", "1e3")]
    pool += [OBSERVER.text("query:q", str(rng.randrange(10**6))) for _ in range(150)]
    pool += [OBSERVER.text("query:q", "x" * rng.randrange(200)) for _ in range(20)]
    pool = rng.sample(pool, rng.randrange(1, len(pool)))
    return [(rng.choice(pool), rng.choice(["", *CALLERS[:6]])) for _ in range(count)]


@given(st.integers(0, 2**32), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_a_parameter_does_not_depend_on_order_or_cut(seed: int, parts: int) -> None:
    rng = random.Random(seed)
    observations = random_parameters(rng, 700)

    def update(learner: ParameterLearner, observation: tuple[Parameter, str]) -> None:
        learner.update(*observation)

    whole = merged(ParameterLearner, update, [observations], rng)
    rng.shuffle(observations)
    cut = merged(ParameterLearner, update, parts_of(observations, parts, rng), rng)
    assert finished(whole, Quorum(["c1"])) == finished(cut, Quorum(["c1"]))


# Endpoints.

ENDPOINT = "POST /cart/{*}"
ROOT = "GET /"


def lesson(observations: Sequence[tuple[Call, str]], endpoint: str) -> Lesson:
    """Put calls, each with its caller, into one batch, which teaches what is normal at one endpoint."""
    batch = to_batch([msgspec.structs.replace(to_record(made), session=caller) for made, caller in observations])
    callers, caller = to_callers(batch, frozenset())
    every, nothing = np.arange(len(batch)), np.zeros(len(batch), dtype=np.int64)
    return Lesson(batch, Values(batch), Taught(every, [endpoint], [path_parameters(endpoint)], nothing, nothing, callers, caller))


def to_record(made: Call) -> CallRecord:
    """Record a call, but for who called."""
    parts = (made.segments, made.parameters, made.flags)
    return CallRecord("d-1", made.ts, made.workload, made.method, made.path, *parts, body=made.body, status=200)


def profiles(observations: Sequence[tuple[Call, str]], endpoint: str) -> ProfilesLearner:
    learner = ProfilesLearner()
    learner.learn(lesson(observations, endpoint))
    return learner


def endpoint_learner(observations: Sequence[tuple[Call, str]], endpoint: str = ENDPOINT) -> EndpointProfileLearner:
    return profiles(observations, endpoint).endpoints[endpoint]


def endpoint_finished(learner: EndpointProfileLearner, quorum: Quorum = NOBODY) -> EndpointProfile:
    prior = Prior()
    learner.pool(prior, quorum)
    return learner.finish(prior, quorum)


def normal_calls() -> list[tuple[Call, str]]:
    made = []
    for number in range(400):
        note = ',"note":"x"' if number % 3 else ""
        target = f"/cart/{number % 40}" + ("?color=red" if number % 2 else "")
        made.append((json_call(target, f'{{"count":{number % 12 + 1}{note}}}'.encode()), CALLERS[number // 3 % 20]))
    return made


def test_an_endpoint_learns_parameters_presence_combinations_bodies_and_form() -> None:
    made = endpoint_finished(endpoint_learner(normal_calls()))
    assert set(made.parameters) == {"path:1", "query:color", "body:/count", "body:/note", "header:content-type"}
    assert set(made.required) == {"body:/count"}
    assert made.combinations is not None
    assert len(made.combinations) == 4
    assert (made.n, made.bodies, made.flags) == (400, frozenset({BodyKind.JSON}), frozenset())


def odd(found_in: Call, learner: EndpointProfileLearner) -> list[FindingCode]:
    shared = ReadyShared(endpoint_finished(EndpointProfileLearner()))
    return codes(ReadyProfile(path_parameters(ENDPOINT), endpoint_finished(learner), shared).score(found_in))


def test_normal_calls_are_normal_and_others_are_not() -> None:
    learner = endpoint_learner(normal_calls())
    assert [found for made, _ in normal_calls() for found in odd(made, learner)] == []
    assert odd(json_call("/cart/7?debug=1", b'{"count":1}'), learner) == [FindingCode.UNKNOWN_PARAMETER]
    assert odd(json_call("/cart/7", b'{"note":"x"}'), learner) == [FindingCode.MISSING_PARAMETER]
    assert odd(json_call("/cart/7;x", b'{"count":1}'), learner)[-1:] == [FindingCode.REQUEST_FORM]
    assert FindingCode.BODY_KIND in odd(call("POST", "/cart/7"), learner)


def test_one_caller_teaches_neither_parameter_nor_combination_nor_body_nor_form() -> None:
    attacks = [
        json_call("/cart/7?debug=1", b'{"count":1}'),
        json_call("/cart/7", b'{"note":"x"}'),
        json_call("/cart/7;x", b'{"count":1}'),
        call("POST", "/cart/7"),
    ]
    learner = endpoint_learner([*normal_calls(), *[(made, "attacker") for made in attacks for _ in range(19)]])
    assert all(odd(made, learner) for made in attacks)


def test_truncated_bodies_teach_neither_combination_nor_presence() -> None:
    cut = call("POST", "/cart/7", headers=JSON, body=b'{"co', truncated=True)
    learner = endpoint_learner([*normal_calls(), *[(cut, caller) for caller in CALLERS for _ in range(20)]])
    made = endpoint_finished(learner)
    assert (made.n, made.bodies, set(made.required)) == (800, frozenset({BodyKind.JSON}), {"body:/count"})
    assert odd(json_call("/cart/7", b'{"note":"x"}'), learner) == [FindingCode.MISSING_PARAMETER]


def test_a_parameter_sent_twice_is_in_one_call_and_not_required() -> None:
    """Half of the calls send it twice, half don't send it: as many observations as calls."""
    calls = [(call("POST", "/cart/7?a=1&a=2" if number % 2 else "/cart/7"), CALLERS[number % 19]) for number in range(400)]
    made = endpoint_finished(endpoint_learner(calls))
    assert (made.required, made.flags) == ({}, frozenset({Flag.DUPLICATE_PARAMETER}))


def test_parameters_are_bounded_when_somebody_invents_names() -> None:
    names = ["".join("abcdefghij"[int(digit)] for digit in str(number)) for number in range(3_000)]
    learner = endpoint_learner([(call("GET", f"/?{name}=1"), "attacker") for name in names], ROOT)
    assert len(learner.names.learners) <= 512
    assert learner.total.count == 3_000
    made = endpoint_finished(learner)
    assert made.parameters == {}


def random_calls(rng: random.Random, count: int) -> list[tuple[Call, str]]:
    def one() -> Call:
        target = f"/cart/{rng.randrange(40)}" + rng.choice(["", "?color=red", "?color=blue&x=1", "?x=1&x=2", ";v=1"])
        headers = {**JSON, **rng.choice([{}, {"accept": "*/*"}, {"x-a": str(rng.randrange(99))}, {"cookie": "t=1"}])}
        body = f'{{"count":{rng.randrange(-3, 99)},"tags":{rng.choice([[], [1], [1, 2]])}}}'.encode()
        changes: dict[str, Any] = rng.choice([{"body": body}, {"body": body[:-3]}, {"body": body[:9], "truncated": True}, {}])
        return call("POST", target, headers=headers, **changes)

    pool = [one() for _ in range(count // 4)]
    return [(rng.choice(pool), rng.choice(["", *CALLERS[:6]])) for _ in range(count)]


@given(st.integers(0, 2**32), st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_endpoint_and_shared_profiles_do_not_depend_on_order_or_cut(seed: int, parts: int) -> None:
    rng = random.Random(seed)
    calls = random_calls(rng, 200)
    shuffled = rng.sample(calls, len(calls))

    def update(learner: ProfilesLearner, part: list[tuple[Call, str]]) -> None:
        if part:
            learner.learn(lesson(part, ENDPOINT))

    whole = merged(ProfilesLearner, update, [[calls]], rng)
    cut = merged(ProfilesLearner, update, [[part] for part in parts_of(shuffled, parts, rng)], rng)
    heavy = Quorum(["c1"])
    assert endpoint_finished(whole.endpoints[ENDPOINT], heavy) == endpoint_finished(cut.endpoints[ENDPOINT], heavy)
    assert shared_finished(whole.shared) == shared_finished(cut.shared)


def shared_finished(learner: SharedLearner) -> EndpointProfile:
    prior = Prior()
    learner.pool(prior, NOBODY)
    return learner.finish(prior, NOBODY)


def test_flags_are_learned_for_the_workload_too() -> None:
    calls = [(call("GET", "//a"), CALLERS[number % 20]) for number in range(200)]
    made = shared_finished(profiles([*calls, (call("GET", "/a;b"), "attacker")], ROOT).shared)
    assert (made.flags, made.surprises[FindingCode.REQUEST_FORM] > 1.5) == (frozenset({Flag.DOUBLE_SLASH}), True)


def test_headers_and_cookies_are_learned_for_the_workload_and_content_type_is_not() -> None:
    usual = call("POST", "/", headers={**JSON, "accept": "*/*", "cookie": "theme=dark"}, body=b"{}")
    odd_one = call("POST", "/", headers={"x-skip-audit": "1"})
    calls = [(usual, CALLERS[number % 20]) for number in range(200)]
    made = shared_finished(profiles([*calls, (odd_one, "attacker")], ROOT).shared)
    assert set(made.parameters) == {"header:accept", "cookie:theme"}
    assert made.surprises[FindingCode.UNKNOWN_HEADER] > 1.5


def test_parameters_of_one_name_learn_together_but_for_values_that_are_few() -> None:
    endpoints = {}
    for place, words in (("/orders", ("placed", "paid")), ("/pets", ("sold", "pending"))):
        sent = [(call("GET", f"{place}?status={words[n % 2]}"), CALLERS[n % 9]) for n in range(200)]
        endpoints[place] = endpoint_learner(sent, f"GET {place}")
    key = "query:status"
    learners = {(place, key): learner.names.learners[key] for place, learner in endpoints.items()}
    prior, quorum = Prior(), Quorum()
    kin = to_kin(learners, quorum)
    assert len(kin) == 2
    made = [learner.finish(prior, quorum, {key: kin[place, key]}).parameters[key] for place, learner in endpoints.items()]
    assert [profile.n for profile in made] == [200, 200], "in 400 calls other values came"
    assert [profile.lengths for profile in made] == [Interval(4, 7)] * 2
    assert [len(profile.values or ()) for profile in made] == [2, 2]
