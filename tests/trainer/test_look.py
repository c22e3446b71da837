"""What a value looks like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_server.engine.observe import structure, symbols
from authz_server.engine.parameters import FORMLESS
from tests.factories_engine import OBSERVER, VALUES, parameter
from trainer.look import to_look


@given(st.one_of(VALUES, st.sampled_from(["0a1b2c3d4e5f", "a1\x01b2c3d4e5f6g7h8", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"])))
def test_no_punctuation_mark_is_overlooked(value: str) -> None:
    for key in ("query:q", "path:1"):
        seen = OBSERVER.segment(key, value) if key == "path:1" else parameter(key, value)
        if seen.number is None:
            form = None if seen.kind in FORMLESS else structure(seen.text)
            assert (form, symbols(seen.text)) == (to_look(seen).structure, to_look(seen).symbols)


@pytest.mark.parametrize("key", ["query:password", "header:user-agent"])
def test_what_people_make_up_has_no_form(key: str) -> None:
    look = to_look(parameter(key, "a-b_c"))
    assert (None, None) == (look.structure, look.symbols)


def test_values_look_alike_whatever_they_are() -> None:
    assert to_look(parameter("query:q", "Rose-1")) == to_look(parameter("query:q", "Tulp-9"))
