"""Workflows from sessions."""

import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.finding import FindingCode
from authz_server.engine.history import IDLE_SECONDS, CallerHistory, History, add_step
from authz_server.engine.sequence import START, ReadySequence, SequenceModel, context_key
from tests.factories_engine import codes
from tests.partition import merged, parts_of
from trainer.fit_sequence import GapLearner, SequenceLearner
from trainer.support import Quorum
from trainer.transitions import TransitionLearner

NOBODY = Quorum()
LOGIN, BROWSE, ADD, PAY, SHIP = "POST /login", "GET /items", "POST /cart", "POST /pay", "POST /ship"

Session = tuple[str, Sequence[str]]


def shop(rng: random.Random) -> list[str]:
    """One visit: browsing, several purchases, abandoned carts."""
    steps = [LOGIN]
    for _ in range(rng.randrange(1, 4)):
        steps += [BROWSE] * rng.randrange(3) + [ADD] * rng.randrange(1, 3)
        if rng.random() < 0.7:
            steps += [PAY, SHIP]
    return steps


def visits(seed: int, count: int) -> list[Session]:
    rng = random.Random(seed)
    return [(f"c{number}", shop(rng)) for number in range(count)]


def update(learner: SequenceLearner, session: Session, watched: float = IDLE_SECONDS) -> None:
    caller, steps = session
    history = CallerHistory(0.0, watched)
    for endpoint in steps:
        learner.update(endpoint, history, caller)
        add_step(history, endpoint)


def make() -> SequenceLearner:
    return SequenceLearner(IDLE_SECONDS)


def learned(sessions: Iterable[Session], watched: float = IDLE_SECONDS) -> SequenceModel:
    learner = make()
    for session in sessions:
        update(learner, session, watched)
    return learner.finish(NOBODY)


def judged(endpoint: str, before: Sequence[str], model: SequenceModel, watched: float = IDLE_SECONDS) -> list[FindingCode]:
    history = CallerHistory(0.0, watched)
    for step in before:
        add_step(history, step)
    surprise = ReadySequence(model).score(endpoint, history)
    return [] if surprise is None else codes([surprise])


MODEL = learned(visits(1, 400))


def test_the_workflow_is_mined() -> None:
    rules = {(rule.needs, rule.since) for rule in MODEL.rules[SHIP]}
    assert {(PAY, ADD), (PAY, START), (LOGIN, START)} <= rules
    assert (LOGIN, START) in {(rule.needs, rule.since) for rule in MODEL.rules[PAY]}


def test_what_follows_from_other_rules_is_marked() -> None:
    chain = learned([(f"c{number}", [LOGIN, ADD, PAY, SHIP]) for number in range(400)])
    direct = {(rule.needs, rule.since) for rule in chain.rules[SHIP] if not rule.implied and rule.surplus is None}
    assert {need for need, since in direct if since == START} <= {PAY}
    assert {(LOGIN, START), (ADD, START)} <= {(rule.needs, rule.since) for rule in chain.rules[SHIP] if rule.implied}


def test_an_endpoint_that_comes_once_for_each_time_has_a_rule_of_that() -> None:
    model = learned([(f"c{number}", [ADD, PAY, SHIP] * (1 + number % 3)) for number in range(400)])
    assert (PAY, 1) in {(rule.needs, rule.surplus) for rule in model.rules[SHIP]}
    assert FindingCode.PRECEDENCE not in judged(SHIP, [ADD, PAY, SHIP], model)
    assert FindingCode.PRECEDENCE in judged(SHIP, [ADD, PAY, SHIP, SHIP], model)


def test_a_single_retry_alarms_only_where_thousands_of_steps_saw_none() -> None:
    few, many = (learned([(f"c{number}", [PAY, SHIP] * 2) for number in range(visitors)]) for visitors in (400, 2_000))
    assert FindingCode.PRECEDENCE not in judged(SHIP, [PAY, SHIP], few)
    assert judged(SHIP, [PAY, SHIP], many) == [FindingCode.PRECEDENCE]


def test_reading_is_done_at_any_time() -> None:
    model = learned([(f"c{number}", [LOGIN, ADD, PAY, BROWSE]) for number in range(400)])
    assert {START} == {rule.since for rule in model.rules[BROWSE]}


def test_a_rule_that_many_broke_once_is_none() -> None:
    sessions = [(f"c{number}", [LOGIN, ADD, PAY, SHIP]) for number in range(400)]
    tabs = [(f"t{number}", [LOGIN, ADD, PAY, ADD, SHIP]) for number in range(8)]
    assert judged(SHIP, [LOGIN, ADD, PAY, ADD], learned([*sessions, *tabs])) == []
    assert judged(SHIP, [LOGIN, ADD, PAY, ADD], learned(sessions)) == [FindingCode.PRECEDENCE]


def test_a_longer_context_is_kept_where_it_rules_something_out() -> None:
    model = learned([(f"c{number}", [LOGIN, BROWSE, ADD] if number % 2 else [PAY, BROWSE, SHIP]) for number in range(200)])
    assert {ADD: 100} == model.contexts[context_key((LOGIN, BROWSE))].known
    assert {ADD: 100, SHIP: 100} == model.transitions[BROWSE].known
    plain = learned([(f"c{number}", [LOGIN, BROWSE, ADD]) for number in range(200)])
    assert {} == plain.contexts


def test_one_caller_cannot_raise_the_floor() -> None:
    calm = learned(visits(1, 400))
    attacker = ("attacker", [SHIP, LOGIN, PAY] * 15)
    assert learned([*visits(1, 400), attacker]).floor <= calm.floor + 1.5


def test_contexts_are_bounded() -> None:
    rng = random.Random(5)
    names = [f"POST /{name}" for name in "abcdefghijklmnopqrstuvwx"]
    learner = TransitionLearner()
    for number in range(3_000):
        recent = tuple(rng.choices(names, k=4))
        learner.update(rng.choice(names), recent, str(number), number % 32, complete=True)
        learner.update(rng.choice(names), recent, str(number), number % 32, complete=True)
    for _ in range(8_000):
        learner.update(names[0], tuple(rng.choices(names, k=4)), "attacker", 0, complete=True)
    assert [24, 576, 5_000, 5_000] == [len(contexts) for contexts in learner._next]


def test_nothing_needs_itself() -> None:
    assert not [rule for endpoint, rules in MODEL.rules.items() for rule in rules if rule.needs == endpoint]


ATTACKS = [
    ("skip payment", [LOGIN, ADD], SHIP),
    ("a second, unpaid purchase in a paid session", [LOGIN, ADD, PAY, SHIP, ADD], SHIP),
    ("no login", [ADD, PAY], SHIP),
    ("pay with nothing in the cart", [LOGIN], PAY),
]


@pytest.mark.parametrize(("before", "endpoint"), [attack[1:] for attack in ATTACKS], ids=[attack[0] for attack in ATTACKS])
def test_a_broken_workflow_is_found(before: list[str], endpoint: str) -> None:
    assert FindingCode.PRECEDENCE in judged(endpoint, before, MODEL)


def test_normal_visits_of_others_are_normal() -> None:
    odd = 0
    steps = 0
    for _, visit in visits(2, 200):
        for position, endpoint in enumerate(visit):
            odd += bool(judged(endpoint, visit[:position], MODEL))
            steps += 1
    assert odd <= steps * 0.005


@pytest.mark.parametrize("before", [[], [PAY], [ADD, PAY]])
def test_a_caller_whose_beginning_we_did_not_see_is_not_condemned(before: list[str]) -> None:
    assert FindingCode.PRECEDENCE not in judged(SHIP, before, MODEL, watched=0.0)


def test_too_few_sessions_make_no_rule() -> None:
    assert learned(visits(1, 5)).rules == {}


def test_histories_that_are_all_incomplete_teach_no_rule_from_the_beginning() -> None:
    model = learned(visits(1, 400), watched=0.0)
    assert not [rule for rules in model.rules.values() for rule in rules if not rule.since]
    assert START not in model.transitions


def test_transitions_are_known_by_quorum() -> None:
    attacker = ("attacker", [SHIP, LOGIN] * 100)
    model = learned([*visits(1, 400), attacker])
    assert LOGIN not in model.transitions[SHIP].known
    assert model.transitions[START].known == {LOGIN: 400}
    assert {PAY, ADD, BROWSE} >= model.transitions[ADD].known.keys() >= {PAY, ADD}


def test_an_attackers_one_long_session_does_not_break_the_rule() -> None:
    attacker = ("attacker", [LOGIN, *[ADD, SHIP] * 3])
    assert judged(SHIP, [LOGIN, ADD], learned([*visits(1, 400), attacker])) != []


@given(st.integers(0, 2**32), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_the_sequence_model_does_not_depend_on_how_callers_were_cut(seed: int, parts: int) -> None:
    rng = random.Random(seed)
    sessions = visits(seed, 60)
    assert learned(sessions) == merged(make, update, parts_of(sessions, parts, rng), rng).finish(NOBODY)
    assert learned(sessions) == learned(sessions[::-1])


def test_rules_are_bounded_for_each_endpoint() -> None:
    many = [(f"c{number}", [f"POST /{chr(97 + i)}" for i in range(26)]) for number in range(40)]
    assert 16 == max(len(rules) for rules in learned(many).rules.values())


def test_what_is_mined_under_the_servers_history_is_what_it_checks() -> None:
    history = History(-IDLE_SECONDS)
    learner = make()
    for number in range(100):
        for step, endpoint in enumerate([LOGIN, ADD, PAY, SHIP]):
            caller = history.caller("shop/cart", str(number), number * 10.0 + step)
            learner.update(endpoint, caller, str(number))
            add_step(caller, endpoint)
    assert judged(SHIP, [LOGIN, ADD], learner.finish(NOBODY)) == [FindingCode.PRECEDENCE]


def gaps(*pairs: tuple[float, int]) -> GapLearner:
    learner = GapLearner()
    caller = 0
    for gap, times in pairs:
        for _ in range(times):
            caller += 1
            learner.update(str(caller), 100.0)
            learner.update(str(caller), 100.0 + gap)
    return learner


@pytest.mark.parametrize(
    ("pairs", "low", "high"),
    [
        ([], IDLE_SECONDS, IDLE_SECONDS),
        ([(1.0, 999)], IDLE_SECONDS, IDLE_SECONDS),
        ([(0.0, 5_000)], 1.0, 1.0),
        ([(10.0, 5_000)], 10.0, 20.0),
        ([(10.0, 5_000), (500.0, 4)], 10.0, 20.0),
        ([(10.0, 5_000), (500.0, 50)], 500.0, 1_000.0),
        ([(1_799.0, 5_000)], IDLE_SECONDS, IDLE_SECONDS),
        ([(5_000.0, 5_000)], IDLE_SECONDS, IDLE_SECONDS),
    ],
)
def test_gap_is_what_one_in_a_thousand_silences_exceeds(pairs: list[tuple[float, int]], low: float, high: float) -> None:
    assert low <= gaps(*pairs).finish() <= high


def test_gaps_of_other_callers_merge() -> None:
    one, other = gaps((10.0, 3_000)), gaps((500.0, 100))
    one.merge(other)
    assert one.finish() == gaps((10.0, 3_000), (500.0, 100)).finish()


def test_who_fell_silent_is_forgotten_and_nobody_else() -> None:
    """Calls that come for hours: each caller twice, nearly as far apart as a session may be."""
    learner = GapLearner()
    for second in range(4 * int(IDLE_SECONDS)):
        learner.update(f"c{second}", float(second))
        if second >= 1_700:
            learner.update(f"c{second - 1_700}", float(second))
    assert (4 * int(IDLE_SECONDS) - 1_700, True) == (sum(learner._gaps.values()), len(learner._last) < 2 * IDLE_SECONDS + 1_700)


def test_a_clock_that_steps_back_is_no_gap() -> None:
    learner = GapLearner()
    for _ in range(2_000):
        learner.update("a", 100.0)
        learner.update("a", 50.0)
    assert learner.finish() >= 1.0


OPEN, ACCEPT = "GET /invitations/{*}", "POST /invitations/{*}/acceptance"


def test_a_page_that_is_needed_each_time_has_a_rule_of_that_too() -> None:
    model = learned([(f"c{number}", [LOGIN, *[OPEN, ACCEPT] * (1 + number % 3)]) for number in range(400)])
    assert (OPEN, 1) in {(rule.needs, rule.surplus) for rule in model.rules[ACCEPT]}
    assert FindingCode.PRECEDENCE not in judged(ACCEPT, [LOGIN, OPEN, ACCEPT], model)
    assert FindingCode.PRECEDENCE in judged(ACCEPT, [LOGIN, OPEN, ACCEPT, ACCEPT], model)


def test_a_page_is_not_needed_each_time_where_others_like_it_were_missing_once() -> None:
    accepting = [(f"c{number}", [LOGIN, OPEN, ACCEPT]) for number in range(400)]
    paying = [(f"p{number}", [LOGIN, BROWSE, PAY]) for number in range(800)]
    odd = ("odd", [LOGIN, BROWSE, PAY, PAY, PAY])
    calm, stormy = learned([*accepting, *paying]), learned([*accepting, *paying, odd])
    assert (OPEN, 1) in {(rule.needs, rule.surplus) for rule in calm.rules[ACCEPT]}
    assert {1} == {rule.surplus for rule in calm.rules[PAY] if rule.needs == BROWSE and rule.surplus}
    assert not {rule for rule in stormy.rules[ACCEPT] if rule.needs == OPEN and rule.surplus is not None}


def test_the_floor_is_the_same_whether_long_contexts_are_sampled_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    pages = [f"GET /{number}" for number in range(12)]
    wandering = [(f"c{number}", [rng.choice(pages) for _ in range(8)]) for number in range(600)]
    rare = [(f"r{number}", [pages[number % 12], PAY]) for number in range(4)]
    whole = learned([*wandering, *rare]).floor
    monkeypatch.setattr("trainer.transitions._MAX_CONTEXTS", 20)
    assert whole == learned([*wandering, *rare]).floor > 0
