"""Which characters the parameters of a workload have, and how often what was new to one was new to all."""

import math
import random

from authz_server.engine.alphabet import Alphabet
from tests.factories_engine import parameter
from trainer.fit_alphabet import fit_alphabet
from trainer.parameter_learner import ParameterLearner
from trainer.support import Quorum

LOWER, DASH, QUOTE = 1, 1 << 19, 1 << 13
ONCE = Quorum()


def learned(key: str, values: dict[str, int]) -> tuple[str, ParameterLearner]:
    """Learn values, each by so many callers."""
    learner = ParameterLearner()
    for value, times in values.items():
        for number in range(times):
            learner.update(parameter(key, value), f"c{number}")
    return key, learner


def share(new: int, of: int) -> float:
    return round(-math.log10((new + 1) / (of + 2)), 4)


def test_what_is_normal_for_any_parameter_is_in_the_alphabet() -> None:
    found = fit_alphabet([learned("query:a", {"red": 9, "r'd": 2}), learned("query:b", {"dark-red": 9})], ONCE)
    assert found.classes == LOWER | DASH


def test_new_characters_are_those_that_came_late_or_are_not_yet_normal() -> None:
    """A dash in `a` was known from `b`, a quote in `b` from nowhere; what `a` had all the time says nothing."""
    found = fit_alphabet([learned("query:a", {"red": 999, "a-b": 4}), learned("query:b", {"dark-red": 9, "r'd": 1})], ONCE)
    assert found == Alphabet(LOWER | DASH, share(new=1, of=2))


def test_a_name_counts_once_at_however_many_endpoints_it_stands() -> None:
    """Else its own characters would be known from itself."""
    twice = [learned("query:a", {"red": 999, "a-b": 4}), learned("body:a", {"red": 999, "a-b": 4})]
    assert fit_alphabet(twice, ONCE).new == share(new=1, of=1)


def test_names_in_different_places_of_a_path_are_different_ones() -> None:
    apart = [learned("path:1", {"red": 999, "a-b": 4}), learned("path:2", {"dark-red": 9})]
    assert fit_alphabet(apart, ONCE).new == share(new=0, of=1)


def test_what_people_make_up_says_nothing_of_other_fields() -> None:
    assert fit_alphabet([learned("body:password", {"a'b": 9}), learned("query:a", {"red": 9})], ONCE).classes == LOWER


def test_a_parameter_without_quorum_says_nothing() -> None:
    assert fit_alphabet([learned("query:a", {"a-b": 2})], ONCE) == Alphabet(0, share(new=0, of=0))


def test_the_order_does_not_matter() -> None:
    learners = [
        learned(f"query:{number % 4}", {"red": 200 + number, "a-b": number % 3, "a'b": number % 5}) for number in range(9)
    ]
    shuffled = random.Random(1).sample(learners, len(learners))
    assert fit_alphabet(learners, ONCE) == fit_alphabet(shuffled, ONCE)
