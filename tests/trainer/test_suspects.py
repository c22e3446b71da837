"""Callers whose calls are odd far too often to be by chance."""

import pytest

from authz_server.engine.finding import FindingCode
from tests.factories_engine import surprise
from trainer.support import Quorum
from trainer.suspects import Suspects, to_oddity

NOBODY: frozenset[str] = frozenset()


def counted(odd_of: dict[str, list[str]], calls: int = 40, people: int = 200) -> Suspects:
    """Everybody makes `calls` calls; those named bring these oddities, one a call, before usual ones."""
    suspects = Suspects()
    for number in range(people):
        for call in range(calls):
            suspects.update(f"p{number}", 3.0 if number % 20 == 0 and call == 0 else 0.0, "rare")
    for caller, odd in odd_of.items():
        for what in odd:
            suspects.update(caller, 4.0, what)
        for _ in range(calls - len(odd)):
            suspects.update(caller, 0.0, "")
    return suspects


def test_a_caller_who_brings_one_odd_thing_after_the_other_is_a_suspect() -> None:
    assert {"mallory"} == counted({"mallory": [f"payload {n}" for n in range(12)]}).finish(Quorum())


def test_the_same_odd_thing_in_every_call_makes_no_suspect() -> None:
    assert NOBODY == counted({"long name": ["length of the name"] * 30}).finish(Quorum())


def test_a_population_is_no_suspect() -> None:
    assert NOBODY == counted({"gateway": [f"{n}" for n in range(12)]}).finish(Quorum({"gateway"}))


def test_where_suspects_are_many_the_workload_changed() -> None:
    many = {f"m{n}": [f"{n} {k}" for k in range(12)] for n in range(40)}
    assert NOBODY == counted(many).finish(Quorum())


def test_nothing_can_be_said_of_callers_without_a_name() -> None:
    assert NOBODY == counted({"": [f"{n}" for n in range(12)]}).finish(Quorum())


@pytest.mark.parametrize(("key", "alike"), [("header:x-app", True), ("cookie:theme", True), ("query:q", False)])
def test_what_a_client_sends_everywhere_is_one_odd_thing_and_not_one_at_each_endpoint(key: str, *, alike: bool) -> None:
    odd = [surprise(code=FindingCode.VALUE, key=key)]
    assert alike is (to_oddity("GET /a", odd) == to_oddity("GET /b", odd))


def test_who_calls_is_no_oddity_of_a_call() -> None:
    assert to_oddity("GET /a", [surprise(code=FindingCode.UNKNOWN_PRINCIPAL)]) == (0.0, "")
