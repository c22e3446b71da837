"""When a scenario counts as ended as expected: from what clients saw and what the decision log says."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from demo.attack import Attack, Site
from demo.clients import Answer
from demo.measure import Denial
from demo.scenarios import Expected, Scenario
from demo.strikes import Strikes, count_strikes, in_words, is_as_expected

NOTHING = Strikes(0, 0, 0, 0, 0, "")
CAUGHT = Strikes(calls=24, refused=24, marked=24, preparations=10, preparations_refused=0, reason="why")
NOTICED = replace(CAUGHT, refused=0)
ALERTED = replace(NOTICED, seconds=0.8, later=16, later_refused=16)
LIMITED = replace(CAUGHT, opening=20, seconds=4.0, limited=24)


@pytest.mark.parametrize(
    ("expected", "dry", "real", "as_expected"),
    [
        pytest.param(Expected.REFUSED, NOTICED, CAUGHT, True, id="noticed, then refused"),
        pytest.param(Expected.REFUSED, NOTICED, replace(CAUGHT, refused=22), False, id="two of 24 got through"),
        pytest.param(Expected.REFUSED, CAUGHT, CAUGHT, False, id="refused in dry run"),
        pytest.param(Expected.REFUSED, replace(NOTICED, marked=22), CAUGHT, False, id="not noticed in dry run"),
        pytest.param(Expected.REFUSED, NOTICED, replace(CAUGHT, preparations_refused=1), False, id="a harmless call refused"),
        pytest.param(Expected.REFUSED, NOTHING, NOTHING, False, id="nothing was tried"),
        pytest.param(Expected.REFUSED_INSIDE, NOTICED, CAUGHT, True, id="refused inside"),
        pytest.param(Expected.ALERTED, replace(NOTICED, seconds=0.8), ALERTED, True, id="alerted, then quarantined"),
        pytest.param(Expected.ALERTED, NOTICED, replace(ALERTED, seconds=2.1), False, id="alerted too late"),
        pytest.param(Expected.ALERTED, NOTICED, replace(ALERTED, later_refused=0), False, id="alerted, but not quarantined"),
        pytest.param(Expected.ALERTED, replace(ALERTED, later_refused=1), ALERTED, False, id="quarantined in dry run"),
        pytest.param(Expected.LIMITED, replace(LIMITED, refused=0), LIMITED, True, id="too fast, 429"),
        pytest.param(Expected.LIMITED, NOTICED, replace(LIMITED, limited=0), False, id="too fast, but 403"),
        pytest.param(Expected.LIMITED, NOTICED, replace(LIMITED, seconds=11.0), False, id="too fast for too long"),
    ],
)
def test_a_scenario_is_as_expected_where_both_phases_are(
    expected: Expected, dry: Strikes, real: Strikes, as_expected: bool
) -> None:
    assert as_expected == is_as_expected(expected, dry, real)


async def nothing(attack: Attack) -> None:
    """Do nothing."""


def scenario(expected: Expected, run: Callable[[Attack], Awaitable[None]] = nothing) -> Scenario:
    return Scenario("some", run, ("shop/shop",), expected)


def attack(struck: list[Answer], callers: list[str]) -> Attack:
    return Attack(Site("127.0.0.1:1"), 1, 1, random.Random(1), struck=struck, callers=callers)


def answer(number: int, *, status: int = 200, ended: float = 0.0) -> Answer:
    return Answer("GET", "/", status, f"r{number}", denied=status in (403, 429), seconds=0.0, ended=ended)


def denial(workload: str = "shop/shop", basis: str = "judged", code: str = "c", reason: str = "why") -> Denial:
    return Denial(workload, "enforce", basis, refused=basis != "afterwards", endpoint="GET /", code=code, reason=reason)


def test_a_deny_further_inside_doesnt_count() -> None:
    found = count_strikes(scenario(Expected.REFUSED), attack([answer(1)], ["a"]), {"r1": [denial("shop/audit")]}, {})
    assert found.marked == 0


def test_an_alert_is_no_denial_and_a_denial_no_alert() -> None:
    log = {"r1": [denial(basis="afterwards")], "r2": [denial()]}
    struck = attack([answer(1), answer(2)], ["a", "a"])
    assert [1, 1] == [count_strikes(scenario(e), struck, log, {"r1": 1.0}).marked for e in (Expected.REFUSED, Expected.ALERTED)]


def test_the_slowest_alert_is_told() -> None:
    struck = attack([answer(1, ended=10.0), answer(2, ended=10.0)], ["a", "b"])
    log = {"r1": [denial(basis="afterwards")], "r2": [denial(basis="afterwards")]}
    assert count_strikes(scenario(Expected.ALERTED), struck, log, {"r1": 10.5, "r2": 11.25}).seconds == 1.25


def test_an_alert_that_nobody_saw_come_is_too_late() -> None:
    struck = attack([answer(1, ended=10.0)], ["a"])
    assert count_strikes(scenario(Expected.ALERTED), struck, {"r1": [denial(basis="afterwards")]}, {}).seconds == float("inf")


def test_of_too_many_calls_those_count_that_come_after_the_first_one_noticed_of_each_caller() -> None:
    answers = [answer(0), answer(1), answer(2, status=429, ended=3.0), answer(3, ended=4.0), answer(4, status=429, ended=5.0)]
    found = count_strikes(
        scenario(Expected.LIMITED), attack(answers, ["a", "b", "a", "a", "b"]), {"r2": [denial()], "r4": [denial()]}, {}
    )
    assert (3, 2, 1, 5.0, 2) == (found.calls, found.refused, found.opening, found.seconds, found.limited)


def test_a_caller_that_is_never_noticed_is_never_in_time() -> None:
    answers = [answer(0), answer(1, status=429), answer(2)]
    found = count_strikes(scenario(Expected.LIMITED), attack(answers, ["a", "b", "a"]), {"r1": [denial()]}, {})
    assert found.seconds == float("inf")


def test_both_phases_are_told_in_words() -> None:
    said = in_words(Expected.LIMITED, NOTICED, LIMITED)
    assert said == "20 calls in 4.0 s, then 24/24 denied; dry run: 24/24 noticed, 0 refused"
