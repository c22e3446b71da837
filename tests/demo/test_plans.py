"""What people will do follows from seed, phase and size alone, and is what the demo says it is."""

import random

from demo.catalogue import TEST_ITEM, some_item
from demo.people import person
from demo.plans import NEWCOMERS_EACH, PHASES, REGULARS, SHOP, Visit, plan
from demo.scenarios import ATTACKERS, ATTACKERS_EACH, SCENARIOS

CALLS = 2_000


def targets(visits: list[Visit]) -> list[tuple[str, str]]:
    return [(request.method, request.target) for visit in visits for step in visit.steps for request in step]


def test_two_plans_of_one_seed_are_the_same() -> None:
    assert plan(3, "learn", CALLS) == plan(3, "learn", CALLS)


def test_in_a_phase_nobody_comes_twice() -> None:
    who = [visit.person.address for visit in plan(3, "learn", 28_000)]
    assert len(who) == len(set(who))


def test_regulars_come_in_every_phase_and_newcomers_in_one() -> None:
    phases = [{visit.person.address for visit in plan(3, phase, 20_000)} for phase in ("learn", "enforce")]
    regulars = {person(3, number).address for number in range(REGULARS)}
    assert phases[0] & phases[1]
    assert phases[0] & phases[1] <= regulars


def test_attackers_are_never_everyday_people() -> None:
    assert REGULARS + NEWCOMERS_EACH * PHASES <= ATTACKERS


def test_ten_phases_of_attackers_have_addresses() -> None:
    last = ATTACKERS + ATTACKERS_EACH * 10 * (len(SCENARIOS) + 1)
    assert all(0 <= int(part) <= 255 for part in person(1, last).address.split("."))


def test_nobody_buys_the_developers_test_item() -> None:
    bodies = [r.body for visit in plan(3, "learn", CALLS) for step in visit.steps for r in step if r.target == "/cart" and r.body]
    assert bodies
    assert not [body for body in bodies if f'"item":{TEST_ITEM},'.encode() in body.replace(b" ", b"")]


def test_every_other_item_is_for_sale() -> None:
    rng = random.Random(1)
    assert {some_item(rng) for _ in range(5_000)} == set(range(1, 121)) - {TEST_ITEM}


def test_everyday_calls_hold_a_sale_and_a_nightly_job() -> None:
    shop = [visit for visit in plan(3, "learn", CALLS) if visit.steps[0][0].host == SHOP]
    dear = [sum(target == "/catalogue" for _, target in targets([visit])) for visit in shop]
    hurried = [visit for visit in shop if all(request.pause == 0 for step in visit.steps[4:] for request in step)]
    assert max(dear) >= 1
    assert len(hurried) >= 15


def test_who_buys_has_looked_at_a_page_and_logged_in_before() -> None:
    for visit in plan(3, "learn", CALLS):
        made = targets([visit])
        if ("POST", "/cart") in made:
            assert made[0][0] == "GET"
            assert made.index(("POST", "/login")) < made.index(("POST", "/cart"))
