"""Schemas allow what was normal, and say no more than was learned."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator

from authz_server.engine.finding import FindingCode
from authz_server.engine.profile import Interval
from tests.factories_engine import OBSERVER, SURPRISES, VALUES, parameter_profile, word_profile
from trainer.openapi.schema import progress, value_schema
from trainer.openapi.words import to_vocabulary
from trainer.parameter_learner import ParameterLearner
from trainer.prior import Prior
from trainer.support import Quorum

VOCABULARY = to_vocabulary(OBSERVER, ["tea"])
ALL = {**SURPRISES, FindingCode.CHARACTERS: 3.0, FindingCode.LENGTH: 3.0}


def learned(values: list[Any], key: str = "query:x", *, typed: bool = False, times: int = 300) -> dict[str, Any]:
    learner = ParameterLearner()
    for value in values:
        for n in range(times):
            learner.update(OBSERVER.scalar(key, value) if typed else OBSERVER.text(key, value), f"c{n % 7}", n % 32)
    prior, quorum = Prior(), Quorum(windows=2)
    learner.pool(prior, quorum)
    return value_schema(key, learner.finish(prior, quorum), VOCABULARY, typed=typed)


LEARNED: list[tuple[list[Any], dict[str, Any]]] = [
    (["1", "12"], {"type": "integer", "minimum": 1, "maximum": 12}),
    (["1.5", "2"], {"type": "number", "minimum": 1.5, "maximum": 2}),
    (["5000000000"], {"type": "integer", "minimum": 5_000_000_000, "maximum": 5_100_000_000, "format": "int64"}),
    (["asc", "desc"], {"type": "string", "enum": ["asc", "desc"]}),
    (["true", "false"], {"type": "boolean"}),
    (["tea", ""], {"type": "string", "enum": ["", "tea"]}),
    (
        ["zyxw", "tea"],
        {
            "type": "string",
            "x-enum-size": 2,
            "x-enum-known": ["tea"],
            "minLength": 3,
            "maxLength": 4,
            "pattern": "^[a-z]+$",
        },
    ),
    (["2026-01-02"], {"type": "string", "x-enum-size": 1, "format": "date"}),
    (["2026-01-02T03:04:05Z"], {"type": "string", "x-enum-size": 1, "format": "date-time"}),
    (["2026-01-02 03:04:05"], {"type": "string", "x-enum-size": 1, "minLength": 19, "maxLength": 19, "pattern": "^0"}),
    (["0b6e7c1a-5f7d-4c1e-9d53-000000000001"], {"type": "string", "x-enum-size": 1, "format": "uuid"}),
    (["12", "a1"], {"type": "string", "x-enum-size": 2, "minLength": 2, "maxLength": 2, "pattern": "^[a-z0-9]+$"}),
    (["AB-12"], {"type": "string", "x-enum-size": 1, "minLength": 5, "maxLength": 5, "pattern": "^[A-Z]+-[0-9]+$"}),
    (["01067", "99084"], {"type": "string", "x-enum-size": 2, "minLength": 5, "maxLength": 5, "pattern": "^[0-9]+$"}),
    (["500"], {"type": "integer", "minimum": 500, "maximum": 500}),
    (["10", "50", "100"], {"type": "integer", "enum": [10, 50, 100]}),
    (["price_asc", "-name"], {"type": "string", "enum": ["-name", "price_asc"]}),
    (["S", "XL"], {"type": "string", "enum": ["S", "XL"]}),
    (["pt-BR", "en"], {"type": "string", "enum": ["en", "pt-BR"]}),
    (["10.0.0.7"], {"type": "string", "x-enum-size": 1, "format": "ipv4"}),
    (
        ["https://a.example/b"],
        {"type": "string", "x-enum-size": 1, "format": "uri", "minLength": 19, "maxLength": 19},
    ),
    (["deadbeef12"], {"type": "string", "x-enum-size": 1, "minLength": 10, "maxLength": 10, "pattern": "^[a-f0-9]+$"}),
    (["1f" * 32], {"type": "string", "x-enum-size": 1, "minLength": 64, "maxLength": 64, "pattern": "^[a-f0-9]+$"}),
    (["é"], {"type": "string", "x-enum-size": 1, "minLength": 1, "maxLength": 1}),
]


@pytest.mark.parametrize(("values", "expected"), LEARNED, ids=[str(case[0]) for case in LEARNED])
def test_texts_become_the_type_that_their_form_shows(values: list[Any], expected: dict[str, Any]) -> None:
    schema = learned(values)
    if expected.get("pattern") == "^0":
        assert schema["pattern"] == "^[0-9]+-[0-9]+-[0-9]+ +[0-9]+:[0-9]+:[0-9]+$"
    else:
        assert schema == expected


def test_types_that_json_says_stay_apart() -> None:
    assert learned([7, "7"], "body:/x", typed=True)["type"] == ["integer", "string"]
    assert learned([None, True], "body:/x", typed=True) == {"type": ["boolean", "null"]}


def test_a_hash_in_json_is_no_integer_by_chance() -> None:
    assert learned(["deadbeef12"], "body:/x", typed=True)["type"] == "string"
    assert learned(["deadbeef12", 7], "body:/x", typed=True)["type"] == ["integer", "string"]


def test_digits_that_are_a_secret_are_a_text() -> None:
    assert learned(["007", "123"], "body:cvc") == {"type": "string", "format": "password", "minLength": 3, "maxLength": 3}


def test_few_values_say_nothing_of_others() -> None:
    assert learned(["zyxw", "tea"], times=5) == {"type": "string"}
    assert learned(["7", "12"], times=5) == {"type": "integer"}


def test_values_are_listed_where_no_other_one_ever_came() -> None:
    surprises = {FindingCode.VALUE: 1.2}
    values = frozenset([OBSERVER.text("query:x", word).digest for word in ("open", "closed")])
    vocabulary = to_vocabulary(OBSERVER, [])
    profile = word_profile(n=100, surprises=surprises, values=values, complete=True)
    assert value_schema("query:x", profile, vocabulary) == {"type": "string", "enum": ["closed", "open"]}
    profile = word_profile(n=100, surprises=surprises, values=values)
    assert "enum" not in value_schema("query:x", profile, vocabulary)


TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
NUMBERS = st.one_of(st.integers(-999_999, 999_999), st.floats(-1e6, -1e-3), st.floats(1e-3, 1e6))
"""Beyond these a number keeps three significant digits (`Parameter.number`)."""
SCALARS = st.one_of(TEXTS, NUMBERS, st.booleans(), st.none())


@settings(deadline=None)
@given(st.lists(SCALARS, min_size=1, max_size=6, unique_by=repr))
def test_json_values_that_taught_are_allowed(values: list[Any]) -> None:
    schema = learned(values, "body:/x", typed=True, times=120)
    OAS31Validator.check_schema(schema)
    for value in values:
        OAS31Validator(schema).validate(value)


@settings(deadline=None)
@given(st.lists(st.one_of(TEXTS, VALUES), min_size=1, max_size=6, unique=True))
def test_texts_that_taught_are_allowed(values: list[str]) -> None:
    schema = learned(values, times=120)
    if "string" in str(schema.get("type")):
        for value in values:
            OAS31Validator(schema).validate(value)


def test_a_secret_has_a_length_and_nothing_else() -> None:
    profile = word_profile(surprises=ALL, values=frozenset({OBSERVER.digest("red")}))
    assert value_schema("body:/password", profile, {}) == {
        "type": "string",
        "format": "password",
        "minLength": 1,
        "maxLength": 20,
    }


def test_what_is_not_sure_is_not_said() -> None:
    profile = parameter_profile(surprises={FindingCode.TYPE: 1.0})
    assert value_schema("query:count", profile, {}) == {"type": "integer"}


def test_progress_is_one_less_the_chance_of_something_new() -> None:
    assert progress({FindingCode.TYPE: 2.0, FindingCode.RANGE: 3.0, FindingCode.VALUE: 0.1}) == 0.989
    assert progress({FindingCode.TYPE: 0.0, FindingCode.LENGTH: 0.0}) == 0.0


def test_rounded_intervals_are_whole_numbers() -> None:
    schema = value_schema("query:n", parameter_profile(numbers=Interval(-1.0, 1e6)), {})
    assert repr(schema["maximum"]) == "1000000"
