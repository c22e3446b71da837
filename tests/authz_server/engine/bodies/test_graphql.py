"""GraphQL: operations, selected fields, arguments, variables, and what is sent to exhaust servers."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.bodies.graphql import from_query, to_leaves
from authz_server.engine.bodies.graphql_document import MAX_CHARACTERS, MAX_NESTING, MAX_WORDS
from authz_server.engine.bodies.leaf import MAX_LEAVES
from authz_server.engine.body import to_leaves as read_body
from authz_server.engine.call import BodyKind, Flag, Kind


def read(text: str) -> dict[str, object]:
    flags: set[Flag] = set()
    leaves = to_leaves([text], flags)
    assert leaves is not None
    assert flags == set()
    return {name: value for name, value, _, _ in leaves}


def fields(text: str) -> dict[str, object]:
    return {name.removeprefix("fields/"): value for name, value in read(text).items() if name.startswith("fields/")}


def arguments(text: str) -> dict[str, object]:
    return {name.removeprefix("arguments/"): value for name, value in read(text).items() if name.startswith("arguments/")}


def test_an_operation_is_its_type_its_name_and_its_numbers() -> None:
    read_ = read("mutation Pay($a: Int! = 3, $b: [[ID!]!] @d) @x { p: pay(a: $a) @skip(if: $b) { id ...on R @y { n } } }")
    assert read_ == {
        "operation": "mutation",
        "operation/name": "Pay",
        "operation/fields": 3,
        "operation/aliases": 1,
        "operation/directives": 3,
        "operation/depth": 2,
        "fields/pay": 1,
        "fields/pay/id": 1,
        "fields/pay/n": 1,
        "arguments/pay/a": "$a",
    }


FIELDS: list[tuple[str, dict[str, object]]] = [
    ("{a}", {"a": 1}),
    ("query{a b c}", {"a": 1, "b": 1, "c": 1}),
    ("query{a,b,c}", {"a": 1, "b": 1, "c": 1}),
    ("subscription S {a{b{c}}}", {"a": 1, "a/b": 1, "a/b/c": 1}),
    ("{a:x b:x c:x}", {"x": 3}),
    ("{query mutation on: fragment}", {"query": 1, "mutation": 1, "fragment": 1}),
    ("{...F} fragment F on T {a b{c}}", {"a": 1, "b": 1, "b/c": 1}),
    ("{x{...F} y{...F}} fragment F on T {a}", {"x": 1, "x/a": 1, "y": 1, "y/a": 1}),
    ("{...Unknown a}", {"a": 1}),
    ("{... on T {a} ... @include(if:true) {b} ... {c}}", {"a": 1, "b": 1, "c": 1}),
    ("# c {\n{a # }\n b}", {"a": 1, "b": 1}),
    ("\ufeff{a}", {"a": 1}),
    ("{__schema{types{name}}}", {"__schema": 1, "__schema/types": 1, "__schema/types/name": 1}),
    ("query A{a} query B{b}", {"a": 1, "b": 1}),
    ('{a(x:"}") b(y:"""{ \\""" }""")}', {"a": 1, "b": 1}),
    ("{a1234567}", {"{*}": 1}),
]


@pytest.mark.parametrize(("text", "selected"), FIELDS)
def test_selected_fields(text: str, selected: dict[str, object]) -> None:
    assert selected == fields(text)


ARGUMENTS: list[tuple[str, dict[str, object]]] = [
    ("{a(x:1)}", {"a/x": 1}),
    ("{a(x:-1.5e3)}", {"a/x": -1500.0}),
    ('{a(x:"7")}', {"a/x": "7"}),
    ('{a(x:"\\"\\u00e9\\n")}', {"a/x": '"\u00e9\n'}),
    ('{a(x:"\\q\\ud800")}', {"a/x": "\\q\\ud800"}),
    ('{a(x:"""b "q" """)}', {"a/x": 'b "q"'}),
    ('{a(x:"")}', {"a/x": ""}),
    ("{a(x:true y:false,z:null)}", {"a/x": True, "a/y": False, "a/z": None}),
    ("{a(x:RED)}", {"a/x": "RED"}),
    ("{a(x:$v)}", {"a/x": "$v"}),
    ("{a(x:[1 2])}", {"a/x/*": 2}),
    ("{a(x:[])}", {"a/x": Kind.ARRAY}),
    ("{a(x:{})}", {"a/x": Kind.OBJECT}),
    ("{a(x:{b:{c:[$v]}})}", {"a/x/b/c/*": "$v"}),
    ("{a{b(x:1)}}", {"a/b/x": 1}),
    ("{a(x:" + "9" * 5_000 + ")}", {"a/x": float("inf")}),
]


@pytest.mark.parametrize(("text", "given_"), ARGUMENTS)
def test_arguments(text: str, given_: dict[str, object]) -> None:
    assert given_ == arguments(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "a",
            "shoes",
            "{",
            "}",
            "{}x",
            "{a",
            "{a(}",
            "{a(x)}",
            "{a(x:)}",
            "{a(x:$)}",
            "{a(x:!)}",
            "{1}",
            "{a:}",
            "query",
            "query A",
        ),
        *(
            "fragment F on T {a}",
            "type A { a: Int }",
            "{a} type A",
            '{a(x:"b',
            '{a(x:"""b',
            "{a\x00}",
            "{a;b}",
            "{...}",
            "{'a'}",
            "query {",
        ),
        *('{"a":1}', "{a} {", "# only a comment", "\ufeff", "query(a:Int){a}", "query($a){b}", "query($a:[Int){b}"),
    ],
)
def test_what_is_no_document_is_none(text: str) -> None:
    flags: set[Flag] = set()
    assert (to_leaves([text], flags), flags) == (None, set())


EXHAUSTING = {
    "deep selection": "{a" * 10_000 + "}" * 10_000,
    "deep value": "{a(x:" + "[" * 10_000 + "]" * 10_000 + ")}",
    "deep object": "{a(x:" + "{b:" * 10_000 + "1" + "}" * 10_000 + ")}",
    "many aliases": "{" + " ".join(f"a{i}: me" for i in range(5_000)) + "}",
    "many fields": "{" + " ".join("abcdefgh"[i % 8] * (i % 60 + 1) for i in range(2_000)) + "}",
    "many directives": "{a " + "@x" * 5_000 + "}",
    "fragment bomb": "{...A} "
    + " ".join(f"fragment {x} on T {{...{y} ...{y} ...{y} ...{y}}}" for x, y in zip("ABCDEFGHIJ", "BCDEFGHIJK", strict=True))
    + "fragment K on T {a}",
    "fragment in itself": "{...A} fragment A on T {a ...A}",
    "fragments in a circle": "{...A} fragment A on T {a {...B}} fragment B on T {b {...A}}",
    "many comments": "{a" + "#\n" * 100_000 + "}",
    "long text": '{a(x:"' + "b" * MAX_CHARACTERS + '")}',
    "long": "{a(x:1)" * 100_000,
}


@pytest.mark.parametrize("case", EXHAUSTING)
def test_what_exhausts_servers_is_a_flag_and_bounded(case: str) -> None:
    flags: set[Flag] = set()
    leaves = to_leaves([EXHAUSTING[case]], flags)
    assert leaves is not None
    assert len(leaves) <= MAX_LEAVES
    assert flags == {Flag.TOO_MANY}


def test_unterminated_strings_are_no_quadratic_work() -> None:
    assert to_leaves(['{a(x:"""' + '\\"""' * 20_000], set()) is None
    assert to_leaves(["{a " + '"\\' * 20_000], set()) is None


def test_document_at_the_bounds_is_read() -> None:
    assert read("{a" * MAX_NESTING + "}" * MAX_NESTING)["operation/depth"] == MAX_NESTING
    assert read("{" + "a " * 1_000 + "}")["fields/a"] == 1_000
    assert MAX_WORDS > 1_002


def body(document: object) -> tuple[BodyKind, dict[str, object], set[Flag]]:
    flags: set[Flag] = set()
    kind, leaves = read_body("application/json", json.dumps(document).encode(), flags)
    return kind, {name: value for name, value, _, _ in leaves}, flags


def test_a_json_request_keeps_its_variables_and_drops_the_text() -> None:
    kind, values, flags = body(
        {
            "operationName": "Q",
            "query": "query Q($x: I) {a(x: $x)}",
            "variables": {"x": {"y": [1]}},
            "extensions": {"p": {"v": 1}},
        }
    )
    assert (kind, flags) == (BodyKind.GRAPHQL, set())
    assert {name: value for name, value in values.items() if not name.startswith("operation/")} == {
        "operation": "query",
        "fields/a": 1,
        "arguments/a/x": "$x",
        "operationName": "Q",
        "variables/x/y/*": 1,
        "extensions/p/v": 1,
    }


def test_a_batch_is_read_together_and_counted() -> None:
    kind, values, flags = body([{"query": "{a}", "variables": {"x": 1}}] * 3)
    assert (kind, values["operation/batch"], values["fields/a"], values["variables/x"], flags) == (
        BodyKind.GRAPHQL,
        3,
        3,
        1,
        set(),
    )


def test_a_large_batch_is_flagged_and_counted() -> None:
    kind, values, flags = body([{"query": "{a}"}] * 500)
    assert (kind, values["operation/batch"], flags) == (BodyKind.GRAPHQL, 500, {Flag.TOO_MANY})


@pytest.mark.parametrize(
    "document",
    [
        *({"query": "shoes"}, {"query": "red {shoes"}, {"query": {"match": {}}}, {"query": None}, {"query": 7}, {"query": ""}),
        *([{"query": "{a}"}, {"query": "shoes"}], [{"query": "{a}"}, 7], {"q": "{a}"}, [], [[{"query": "{a}"}]]),
    ],
)
def test_json_that_is_no_graphql_stays_json(document: Any) -> None:
    assert body(document)[0] is BodyKind.JSON


def test_a_duplicate_key_is_flagged_in_graphql_too() -> None:
    flags: set[Flag] = set()
    kind, _ = read_body("application/json", b'{"query":"{a}","query":"{b}"}', flags)
    assert (kind, flags) == (BodyKind.GRAPHQL, {Flag.DUPLICATE_KEY})


def test_query_string() -> None:
    flags: set[Flag] = set()
    found = from_query([("query", "{a}", 0), ("variables", '{"x":1}', 0), ("b", "2", 0)], flags)
    assert found is not None
    assert (("fields/a", 1, 0, True) in found, ("variables/x", 1, 0, True) in found, flags) == (True, True, set())
    assert from_query([("query", "shoes", 0)], flags) is None
    assert from_query([("variables", "{}", 0)], flags) is None


def test_broken_variables_in_a_query_string_are_flagged() -> None:
    flags: set[Flag] = set()
    assert from_query([("query", "{a}", 0), ("variables", "{", 0)], flags) is not None
    assert flags == {Flag.MALFORMED_BODY}


WORDS = [
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ":",
    "$",
    "@",
    "...",
    "!",
    "=",
    "a",
    "on",
    "query",
    "fragment",
    "1",
    '"s"',
    '"""b"""',
    '"',
    ",",
    "#",
    "\n",
]


@given(st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join) | st.text(max_size=60).map("{a".__add__))
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_document_or_none(text: str) -> None:
    leaves = to_leaves([text], set())
    assert leaves is None or len(leaves) <= MAX_LEAVES


NAMES = st.sampled_from(["a", "b", "user", "posts"])
TREES: st.SearchStrategy[Any] = st.recursive(
    st.just({}), lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3), max_leaves=12
).filter(bool)


def written(tree: dict[str, Any]) -> str:
    return "{" + " ".join(name + (written(inner) if inner else "") for name, inner in tree.items()) + "}"


def paths(tree: dict[str, Any], above: str = "") -> set[str]:
    return {above + name for name in tree} | {path for name, inner in tree.items() for path in paths(inner, f"{above}{name}/")}


@given(TREES)
@settings(max_examples=100, deadline=None)
def test_fields_that_were_written_are_read(tree: dict[str, Any]) -> None:
    assert paths(tree) == set(fields(written(tree)))
