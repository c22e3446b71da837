"""The sequence model."""

import pytest

from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.history import CallerHistory, add_step, take_back
from authz_server.engine.sequence import START, PrecedenceRule, SequenceModel, Transition, score_sequence
from tests.factories_engine import codes

LOGIN, ADD, PAY, SHIP = "POST /login", "POST /cart", "POST /pay", "POST /ship"
MODEL = SequenceModel(
    gap=300.0,
    rules={
        SHIP: (
            PrecedenceRule(PAY, 3.0, 412, since=ADD),
            PrecedenceRule(PAY, 2.5, 400),
            PrecedenceRule(LOGIN, 2.0, 400),
        ),
        PAY: (PrecedenceRule(LOGIN, 4.0, 500),),
    },
)


def caller(*endpoints: str, watched: float = 300.0) -> CallerHistory:
    made = CallerHistory(0.0, watched)
    for endpoint in endpoints:
        add_step(made, endpoint)
    return made


def found(endpoint: str, who: CallerHistory, model: SequenceModel = MODEL) -> list[Surprise]:
    surprise = score_sequence(endpoint, who, model)
    return [] if surprise is None else [surprise]


CASES: list[tuple[str, tuple[str, ...], str, list[float]]] = [
    ("the workflow", (LOGIN, ADD, PAY), SHIP, []),
    ("twice the workflow", (LOGIN, ADD, PAY, SHIP, ADD, PAY), SHIP, []),
    ("several items", (LOGIN, ADD, ADD, PAY), SHIP, []),
    ("skip payment", (LOGIN, ADD), SHIP, [3.0]),
    ("a second, unpaid purchase in a paid session", (LOGIN, ADD, PAY, SHIP, ADD), SHIP, [3.0]),
    ("ship again without adding", (LOGIN, ADD, PAY, SHIP), SHIP, []),
    ("nothing before", (), SHIP, [2.5]),
    ("no login", (ADD, PAY), SHIP, [2.0]),
    ("pay without login", (ADD,), PAY, [4.0]),
    ("an endpoint without rules", (), ADD, []),
]


@pytest.mark.parametrize(("before", "endpoint", "amounts"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_only_the_strongest_broken_rule_is_told(before: tuple[str, ...], endpoint: str, amounts: list[float]) -> None:
    assert amounts == [surprise.amount for surprise in found(endpoint, caller(*before))]


@pytest.mark.parametrize("before", [(), (ADD, PAY), (PAY,)])
def test_an_incomplete_history_breaks_no_rule_that_reaches_to_its_beginning(before: tuple[str, ...]) -> None:
    assert found(SHIP, caller(*before, watched=299.0)) == []


def test_an_incomplete_history_still_knows_what_it_saw() -> None:
    assert codes(found(SHIP, caller(PAY, ADD, watched=0.0))) == [FindingCode.PRECEDENCE]


def test_a_payment_that_failed_is_no_payment() -> None:
    shopper = caller(LOGIN, ADD)
    number = add_step(shopper, PAY)
    assert found(SHIP, shopper) == []
    take_back(shopper, number)
    assert codes(found(SHIP, shopper)) == [FindingCode.PRECEDENCE]


def test_precedence_in_words() -> None:
    (since,) = found(SHIP, caller(LOGIN, ADD))
    assert since.seen == "POST /ship without POST /pay before it since the last POST /cart"
    assert since.normal == "POST /pay came before it since the last POST /cart"
    (ever,) = found(PAY, caller(ADD))
    assert (ever.seen, ever.normal, ever.evidence) == (
        "POST /pay without POST /login before it",
        "POST /login came before it",
        500,
    )


NEXT = SequenceModel(
    gap=300.0,
    transitions={
        ADD: Transition(900, frozenset({ADD, PAY}), 2.5),
        PAY: Transition(10, frozenset({SHIP}), 0.0),
        START: Transition(400, frozenset({LOGIN}), 2.0),
    },
)

TRANSITIONS: list[tuple[str, tuple[str, ...], float, str, list[FindingCode]]] = [
    ("known next", (ADD,), 300.0, PAY, []),
    ("unknown next", (ADD,), 300.0, SHIP, [FindingCode.TRANSITION]),
    ("unknown next in an incomplete history", (ADD,), 0.0, SHIP, [FindingCode.TRANSITION]),
    ("too little known to be surprised", (PAY,), 300.0, ADD, []),
    ("never seen before", (SHIP,), 300.0, ADD, []),
    ("unknown start", (), 300.0, SHIP, [FindingCode.TRANSITION]),
    ("known start", (), 300.0, LOGIN, []),
    ("start of an incomplete history", (), 299.0, SHIP, []),
]


@pytest.mark.parametrize(
    ("before", "watched", "endpoint", "expected"), [case[1:] for case in TRANSITIONS], ids=[case[0] for case in TRANSITIONS]
)
def test_transition(before: tuple[str, ...], watched: float, endpoint: str, expected: list[FindingCode]) -> None:
    assert expected == codes(found(endpoint, caller(*before, watched=watched), NEXT))


def test_transition_in_words() -> None:
    (after,) = found(SHIP, caller(ADD), NEXT)
    assert (after.seen, after.normal) == ("POST /ship after POST /cart", "one of 2 other endpoints after POST /cart")
    (start,) = found(SHIP, caller(), NEXT)
    assert start.seen == "POST /ship at the start of a session"


def test_a_broken_rule_and_an_unknown_transition_are_one_finding_of_the_stronger_surprise() -> None:
    both = SequenceModel(300.0, MODEL.rules, {ADD: Transition(900, frozenset({PAY}), 5.0)})
    (told,) = found(SHIP, caller(LOGIN, ADD), both)
    assert (told.code, told.amount) == (FindingCode.PRECEDENCE, 5.0)
