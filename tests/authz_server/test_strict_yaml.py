import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_server.strict_yaml import MAX_DEPTH, MAX_NODES, parse_yaml

READ = {
    "off": "off",
    "on": "on",
    "yes": "yes",
    "n": "n",
    "true": True,
    "false": False,
    "True": "True",
    "null": None,
    "~": None,
    "1": 1,
    "-12": -12,
    "010": "010",
    "0x10": "0x10",
    "1_000": "1_000",
    "12:30:45": "12:30:45",
    "1e-4": 1e-4,
    "0.001": 0.001,
    ".5": ".5",
    "'1'": "1",
    '"true"': "true",
    "2026-11-01": "2026-11-01",
    "[a, 1]": ["a", 1],
    "{a: {b: c}}": {"a": {"b": "c"}},
    "": None,
    "# only a comment": None,
}


@pytest.mark.parametrize(("text", "expected"), READ.items(), ids=READ)
def test_a_text_is_read_as_it_looks(text: str, expected: object) -> None:
    assert (expected, []) == parse_yaml(text.encode())


PROBLEMS = {
    "a: 1\nb: 2\na: 3": "a: line 3: expected each key once, got it again",
    "w:\n  x: {m: 1, m: 2}": "w.x.m: line 2: expected each key once, got it again",
    "a: &b 1\nc: *b": "line 1: expected no anchors or aliases, got 'b'",
    "a: *b": "line 1: expected no anchors or aliases, got 'b'",
    "a: !!python/object/apply:os.system [ls]": "a: line 1: expected no tag, got tag:yaml.org,2002:python/object/apply:os.system",
    "a: !!binary aGk=": "a: line 1: expected no tag, got tag:yaml.org,2002:binary",
    "? [a, b]\n: 1": "the document: line 1: expected a text as key",
    "a: 1\n---\nb: 2": "line 2: expected one document, got a second one",
}


@pytest.mark.parametrize(("text", "expected"), PROBLEMS.items())
def test_what_is_not_strict_is_refused_with_its_place(text: str, expected: str) -> None:
    assert [expected] == parse_yaml(text.encode())[1]


def test_broken_yaml_is_refused_with_its_line() -> None:
    value, problems = parse_yaml(b"a: 1\nb: [1, 2")

    assert value is None
    assert problems[0].startswith("line ")


def test_bytes_that_are_no_text_are_refused() -> None:
    assert parse_yaml(b"a: \xff")[1][0] == "expected UTF-8, got something else at byte 3"
    assert parse_yaml(b"a: \x00")[1]


def test_deep_nesting_is_refused_and_ends_nothing() -> None:
    assert f"at most {MAX_DEPTH} levels" in parse_yaml(b"[" * 100_000)[1][0]
    assert f"at most {MAX_DEPTH} levels" in parse_yaml(b"a: " + b"{a: " * 20 + b"1" + b"}" * 20)[1][0]


def test_too_many_nodes_are_refused() -> None:
    assert "nodes" in parse_yaml(b"[" + b"1," * (MAX_NODES + 1) + b"]")[1][0]


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_problems(data: bytes) -> None:
    value, problems = parse_yaml(data)

    assert problems or value is None or isinstance(value, dict | list | str | int | float | bool)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcxyz", min_size=1), inner, max_size=3),
    max_leaves=10,
)


@given(values)
def test_json_means_itself(value: object) -> None:
    assert (value, []) == parse_yaml(json.dumps(value).encode())
