"""The sequence model."""

import itertools
import random

import pytest

from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.history import MAX_RECENT, CallerHistory, Snapshot, add_step, take_back
from authz_server.engine.sequence import START, PrecedenceRule, ReadySequence, SequenceModel, Transition, context_key
from tests.factories_engine import codes

LOGIN, ADD, PAY, SHIP, COUPON = "POST /login", "POST /cart", "POST /pay", "POST /ship", "POST /coupon"
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
    surprise = ReadySequence(model).score(endpoint, who)
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


EACH = SequenceModel(
    gap=300.0,
    rules={
        SHIP: (PrecedenceRule(PAY, 3.0, 400, surplus=0),),
        PAY: (PrecedenceRule(ADD, 3.5, 400, surplus=1),),
        COUPON: (PrecedenceRule(ADD, 4.0, 400, since=COUPON),),
    },
)

TIMES: list[tuple[str, tuple[str, ...], str, bool]] = [
    ("a payment for the shipment", (PAY,), SHIP, True),
    ("no payment", (ADD,), SHIP, False),
    ("one payment for two shipments", (PAY, SHIP), SHIP, False),
    ("payments in two tabs, then their shipments", (PAY, PAY, SHIP), SHIP, True),
    ("a payment tried again, whose first answer got lost", (ADD, PAY), PAY, True),
    ("and again", (ADD, PAY, PAY), PAY, False),
    ("a surplus doesn't make up for what never came", (), PAY, False),
    ("the first coupon", (), COUPON, True),
    ("the coupon again", (ADD, COUPON), COUPON, False),
    ("the coupon again for another cart", (ADD, COUPON, ADD), COUPON, True),
]


@pytest.mark.parametrize(("before", "endpoint", "holds"), [case[1:] for case in TIMES], ids=[case[0] for case in TIMES])
def test_how_often_an_endpoint_may_come(before: tuple[str, ...], endpoint: str, holds: bool) -> None:
    assert holds == (found(endpoint, caller(*before), EACH) == [])


def test_an_incomplete_history_breaks_no_rule_of_how_often() -> None:
    assert found(SHIP, caller(PAY, SHIP, watched=0.0), EACH) == []


def test_where_nobody_counted_no_rule_of_how_often_is_judged() -> None:
    past = Snapshot(300.0, {PAY: 0, SHIP: 1}, (PAY, SHIP))
    assert ReadySequence(EACH).score(SHIP, past) is None


def test_a_failed_step_does_not_count() -> None:
    shopper = caller(PAY)
    take_back(shopper, add_step(shopper, SHIP))
    assert found(SHIP, shopper, EACH) == []


def test_rules_of_how_often_in_words() -> None:
    (each,) = found(SHIP, caller(PAY, SHIP), EACH)
    assert (each.seen, each.normal) == (
        "POST /ship more often than POST /pay before it",
        "POST /pay came before it each time",
    )
    (surplus,) = found(PAY, caller(ADD, PAY, PAY), EACH)
    assert surplus.normal == "POST /cart came before it each time and up to 1 more"
    (again,) = found(COUPON, caller(COUPON), EACH)
    assert (again.seen, again.normal) == (
        "POST /coupon again without POST /cart in between",
        "POST /cart came before it came again",
    )


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
        ADD: Transition(900, {ADD: 500, PAY: 400}, 2.5),
        PAY: Transition(10, {SHIP: 10}, 0.0),
        START: Transition(400, {LOGIN: 400}, 2.0),
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
    both = SequenceModel(300.0, MODEL.rules, {ADD: Transition(900, {PAY: 900}, 5.0)})
    (told,) = found(SHIP, caller(LOGIN, ADD), both)
    assert (told.code, told.amount) == (FindingCode.PRECEDENCE, 5.0)


DEEP = SequenceModel(
    gap=300.0,
    transitions={
        ADD: Transition(900, {ADD: 400, PAY: 400, SHIP: 100}, 2.0),
        LOGIN: Transition(900, {ADD: 900}, 3.0),
    },
    contexts={
        context_key((PAY, ADD)): Transition(100, {SHIP: 100}, 1.5),
        context_key((START, ADD)): Transition(200, {ADD: 200}, 2.5),
    },
)

CONTEXTS: list[tuple[str, tuple[str, ...], str, list[float]]] = [
    ("the longest known context knows it", (LOGIN, PAY, ADD), SHIP, []),
    ("a shorter one knows it, the longer doesn't", (LOGIN, PAY, ADD), PAY, [1.5]),
    ("none knows it: the most surprised one counts", (LOGIN, PAY, ADD), COUPON, [2.0]),
    ("a longer context that isn't known says nothing", (SHIP, ADD), PAY, []),
    ("the beginning is part of a context", (ADD,), PAY, [2.5]),
]


@pytest.mark.parametrize(("before", "endpoint", "amounts"), [case[1:] for case in CONTEXTS], ids=[case[0] for case in CONTEXTS])
def test_longer_contexts_come_first(before: tuple[str, ...], endpoint: str, amounts: list[float]) -> None:
    assert amounts == [surprise.amount for surprise in found(endpoint, caller(*before), DEEP)]


def test_a_context_of_several_endpoints_in_words() -> None:
    (deep,) = found(PAY, caller(LOGIN, PAY, ADD), DEEP)
    assert deep.seen == "POST /pay after POST /pay, POST /cart"


def test_nothing_below_the_floor_is_told() -> None:
    floored = SequenceModel(300.0, {}, DEEP.transitions, DEEP.contexts, floor=2.2)
    assert found(PAY, caller(LOGIN, PAY, ADD), floored) == []
    assert [3.0] == [surprise.amount for surprise in found(PAY, caller(LOGIN), floored)]


def told_naively(endpoint: str, context: tuple[str, ...], model: SequenceModel) -> float:
    """What the module's docstring says, word for word: from the longest context to shorter ones until one knows the endpoint."""
    amounts = [0.0]
    for first in range(len(context)):
        rest = context[first:]
        after = model.transitions.get(rest[0]) if len(rest) == 1 else model.contexts.get(context_key(rest))
        if after is not None and endpoint in after.known:
            break
        amounts.append(after.surprise if after is not None else 0.0)
    return max(amounts)


@pytest.mark.parametrize("seed", range(5))
def test_any_contexts_are_followed_from_the_longest_to_shorter_ones(seed: int) -> None:
    rng = random.Random(seed)
    names = (LOGIN, ADD, PAY)

    def transition() -> Transition:
        return Transition(9, dict.fromkeys(rng.sample(names, rng.randrange(3)), 1), rng.choice((1.0, 2.0, 3.0)))

    contexts = [key for n in range(2, MAX_RECENT + 1) for key in itertools.product((START, *names), *[names] * (n - 1))]
    rng.shuffle(contexts)
    model = SequenceModel(
        transitions={name: transition() for name in (START, *names) if rng.random() < 0.8} or {ADD: transition()},
        contexts={context_key(key): transition() for key in contexts if rng.random() < 0.2},
    )
    ready = ReadySequence(model)
    for length in range(MAX_RECENT + 2):
        for before in itertools.product(names, repeat=length):
            past = caller(*before, watched=model.gap)
            context = before[-MAX_RECENT:] if length >= MAX_RECENT else (START, *before)
            told = ready.score(PAY, past)
            assert told_naively(PAY, context, model) == (told.amount if told is not None else 0.0)
