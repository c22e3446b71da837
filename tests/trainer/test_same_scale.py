"""The published model's surprises, on the scale of the models that calibrated it."""

import msgspec
import pytest

from authz_server.engine.alphabet import Alphabet
from authz_server.engine.edges import EdgeModel, Edges
from authz_server.engine.finding import FindingCode
from authz_server.engine.model import WorkloadModel
from authz_server.engine.sequence import PrecedenceRule, SequenceModel, Transition
from tests.factories_engine import PRINCIPAL, endpoint_profile, model, parameter_profile
from trainer.same_scale import to_same_scale

CART = "POST /cart"
PAY = "POST /pay"


def everywhere(amount: float, **changes: object) -> WorkloadModel:
    """A model in which each surprise there can be is of this amount."""
    one = {FindingCode.LENGTH: amount}
    profile = endpoint_profile(
        parameters={"body:/count": parameter_profile(surprises=one)}, surprises=one, required={"body:/count": amount}
    )
    rule = PrecedenceRule("POST /login", amount, 100)
    return model(
        {CART: profile},
        shared=endpoint_profile(surprises=one),
        surprises={FindingCode.UNKNOWN_ENDPOINT: amount},
        edges=EdgeModel(9, {PRINCIPAL: 9}, amount, {CART: Edges(9, {PRINCIPAL: 9}, amount)}),
        sequence=SequenceModel(
            rules={CART: (rule,)}, transitions={CART: Transition(9, {}, amount)}, contexts={"a\nb": Transition(9, {}, amount)}
        ),
        alphabet=Alphabet(1, amount),
        shared_alphabet=Alphabet(1, amount),
        written={"q": parameter_profile(surprises=one)},
        **changes,
    )


def test_every_surprise_there_can_be_is_cut_to_the_median_of_the_others() -> None:
    others = [everywhere(amount) for amount in (3.0, 3.1, 3.2, 3.3, 9.0)]
    assert everywhere(3.2) == to_same_scale(everywhere(5.0), others)


def test_no_surprise_grows() -> None:
    assert everywhere(2.0) == to_same_scale(everywhere(2.0), [everywhere(3.0)] * 5)


def test_without_others_nothing_changes() -> None:
    assert everywhere(5.0) == to_same_scale(everywhere(5.0), [])


def test_what_only_the_model_of_all_calls_knows_stays() -> None:
    known = everywhere(5.0)
    alphabets = {"alphabet": known.alphabet, "shared_alphabet": known.alphabet}
    bare = model({PAY: endpoint_profile()}, sequence=SequenceModel(), edges=EdgeModel(9, {}, 5.0), **alphabets)
    cut = to_same_scale(known, [msgspec.structs.replace(bare, shared=known.shared, surprises=known.surprises)] * 5)
    assert known == cut


def test_a_check_that_most_of_the_others_do_not_make_is_not_made() -> None:
    """Its failures were never calibrated."""
    without = endpoint_profile(parameters={"body:/count": parameter_profile(surprises={})}, surprises={}, required={})
    others = [everywhere(5.0)] * 2 + [msgspec.structs.replace(everywhere(5.0), endpoints={CART: without})] * 3
    profile = to_same_scale(everywhere(5.0), others).endpoints[CART]
    assert ({}, {}, {}) == (profile.surprises, profile.required, profile.parameters["body:/count"].surprises)


@pytest.mark.parametrize(("needs", "since", "amount"), [("POST /login", "", 3.0), ("POST /login", PAY, 5.0), (PAY, "", 5.0)])
def test_rules_are_compared_with_themselves_only(needs: str, since: str, amount: float) -> None:
    other = SequenceModel(rules={CART: (PrecedenceRule(needs, 3.0, 100, since),)})
    cut = to_same_scale(everywhere(5.0), [msgspec.structs.replace(everywhere(5.0), sequence=other)])
    assert amount == cut.sequence.rules[CART][0].surprise
