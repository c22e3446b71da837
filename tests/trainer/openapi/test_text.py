"""What is written is what is read, by any reader."""

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trainer.openapi.form import Form
from trainer.openapi.text import to_text

TEXTS = st.one_of(
    st.text(max_size=20), st.sampled_from(["no", "1e3", "0x1F", "~", "null", "1_000", "12:30:45", "=", "2026-01-02"])
)
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-(2**53), 2**53), st.booleans(), st.none(), st.floats(-1e9, 1e9)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_reading_gives_back_what_was_written(document: dict[str, Any]) -> None:
    assert yaml.safe_load(to_text(document, Form.YAML)) == document
    assert json.loads(to_text(document, Form.JSON)) == document


@pytest.mark.parametrize(
    "text", ["no", "Yes", "on", "null", "~", "1e3", "0o17", "1_0", "1.0", "-", "a: b", "{x}", " a", "", "nan"]
)
def test_what_some_reader_takes_for_something_else_is_quoted(text: str) -> None:
    assert re.fullmatch(r'k: ".*"\n', to_text({"k": text}, Form.YAML).decode())


def test_members_stand_in_the_order_they_have() -> None:
    assert to_text({"b": 1, "a": [{"c": "x"}, {"c": "x"}]}, Form.YAML) == b"b: 1\na:\n- c: x\n- c: x\n"
