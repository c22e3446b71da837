"""Whether a character that a parameter never had is one that no parameter of the workload has."""

import pytest

from authz_server.engine.alphabet import NO_ALPHABET, Alphabet, strangeness
from authz_server.engine.finding import Surprise
from authz_server.engine.parameters import score_known, to_known
from tests.factories_engine import parameter, word_profile

LOWER, DASH, QUOTE = 1, 1 << 19, 1 << 13
ALPHABET = Alphabet(LOWER | DASH, new=0.7)


@pytest.mark.parametrize(
    ("alphabet", "unseen", "amount"),
    [
        (NO_ALPHABET, DASH, 0.0),
        (NO_ALPHABET, DASH | QUOTE, 1.0),
        (ALPHABET, DASH, 0.0),
        (ALPHABET, QUOTE, 0.7),
        (ALPHABET, DASH | QUOTE, 1.7),
    ],
)
def test_strangeness(alphabet: Alphabet, unseen: int, amount: float) -> None:
    assert strangeness(alphabet, unseen) == pytest.approx(amount)


def test_a_character_that_no_parameter_has_is_odder_than_one_that_another_has() -> None:
    ready = to_known(word_profile(), alphabet=ALPHABET)
    found: dict[str, list[Surprise]] = {"a-b": [], "a'b": []}
    for text, surprises in found.items():
        score_known(parameter("query:color", text), ready, surprises)
    known, new = (surprises[-1].amount for surprises in found.values())
    assert new == pytest.approx(known + 0.7)
