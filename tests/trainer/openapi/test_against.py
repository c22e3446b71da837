"""Where calls and the user's document disagree."""

import copy
from typing import Any

import pytest

from tests.trainer.openapi.shop import document
from trainer.openapi.against import Disagreement, disagreements, to_lines
from trainer.openapi.conflict import conflicts
from trainer.openapi.contract import Contract, Field, Operation, to_contract

OURS = to_contract(document())


def found(change: Any = lambda spec: None, prefix: str = "") -> list[Disagreement]:
    """Compare with a document that says what ours says, but for a change."""
    spec = copy.deepcopy(document())
    for item in spec["paths"].values():
        del item["x-meshwarden-template"]
        item.pop("x-propfind", None)
    change(spec)
    spec["paths"] = {path.removeprefix(prefix): item for path, item in spec["paths"].items()}
    told = disagreements(OURS, to_contract(spec))
    return [one for one in told if one.endpoint != "PROPFIND /dav"]


def test_a_document_that_says_what_is_seen_has_no_disagreement() -> None:
    assert found() == []


ORDER = "POST /users/{*}/orders"


def schema(spec: Any, name: str) -> Any:
    return spec["components"]["schemas"][name]["properties"]


def order(spec: Any) -> Any:
    return schema(spec, "post.users.userId.orders")


def unanswered(spec: Any) -> None:
    responses = spec["paths"]["/users/{userId}/orders"]["post"]["responses"]
    del responses["409"], responses["default"]


def pay(spec: Any) -> Any:
    return spec["paths"]["/pay"]["post"]


CHANGES: list[tuple[str, Any, tuple[str, str, str]]] = [
    ("shadow", lambda spec: spec["paths"].pop("/pay"), ("undocumented", "POST /pay", "")),
    ("shadow value", lambda spec: schema(spec, "post.cart").pop("note"), ("undocumented", "POST /cart", "body:/note")),
    ("unused", lambda spec: spec["paths"].update({"/gone/x": {"get": {}}}), ("unused", "GET /gone/x", "")),
    ("unused value", lambda spec: schema(spec, "post.cart").update(coupon={}), ("unused", "POST /cart", "body:/coupon")),
    ("zombie", lambda spec: pay(spec).update(deprecated=True), ("deprecated", "POST /pay", "")),
    ("type", lambda spec: order(spec)["when"].update(type="integer"), ("contradicting", ORDER, "body:/when")),
    ("enum", lambda spec: order(spec)["currency"].update(enum=["EUR"]), ("contradicting", ORDER, "body:/currency")),
    (
        "required",
        lambda spec: spec["components"]["schemas"]["post.users.userId.orders"]["required"].append("gift"),
        ("contradicting", ORDER, "body:/gift"),
    ),
    (
        "range",
        lambda spec: order(spec)["items"]["items"]["properties"]["qty"].update(maximum=5),
        ("contradicting", ORDER, "body:/items/*/qty"),
    ),
    ("status", unanswered, ("contradicting", ORDER, "response 409")),
    ("credentials", lambda spec: pay(spec).update(security=[{"key": []}]), ("contradicting", "POST /pay", "credentials")),
]


@pytest.mark.parametrize(("change", "expected"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_a_change_of_the_document_is_the_one_disagreement(change: Any, expected: tuple[str, str, str]) -> None:
    (one,) = found(change)
    assert (one.kind.value, one.endpoint, one.what) == expected
    assert one.calls > 0 or one.kind.value == "unused"


def test_documented_paths_may_begin_at_a_server() -> None:
    ours = {f"GET /v1{path}": Operation(calls=1) for path in ("/a", "/b")}
    theirs = {"GET /a": Operation(), "GET /b": Operation()}
    assert disagreements(Contract("", ours), Contract("", theirs, ("/v1",))) == []
    assert len(disagreements(Contract("", ours), Contract("", theirs))) == 4


def test_templates_match_by_place_and_names_may_be_behind_a_template() -> None:
    def rename(spec: Any) -> None:
        spec["paths"]["/items/{sku}"] = spec["paths"].pop("/items/{itemId}")
        spec["components"]["parameters"]["get.items.itemId.path.itemId"]["name"] = "sku"
        spec["paths"]["/items/special"] = {"get": {"responses": {}}}

    assert found(rename) == []


def test_headers_and_cookies_are_told_once() -> None:
    def forget(spec: Any) -> None:
        for item in spec["paths"].values():
            for operation in item.values():
                operation["parameters"] = [one for one in operation.get("parameters", []) if "cookie" not in one["$ref"]]

    assert [(one.endpoint, one.what) for one in found(forget)] == [("", "cookie:theme")]


def test_a_body_of_which_nothing_is_said_covers_all() -> None:
    assert found(lambda spec: spec["components"]["schemas"].update({"post.cart": {"type": "object"}})) == []


STRING, INTEGER = frozenset({"string"}), frozenset({"integer"})
PAIRS: list[tuple[str, str, Field, Field, bool]] = [
    ("a number in a query is a text too", "query:x", Field(INTEGER), Field(STRING), False),
    ("in JSON it isn't", "body:/x", Field(INTEGER), Field(STRING), True),
    ("an integer is a number", "body:/x", Field(INTEGER), Field(frozenset({"number"})), False),
    ("nothing said", "body:/x", Field(INTEGER), Field(), False),
    ("rounded upwards", "query:x", Field(INTEGER, maximum=260), Field(INTEGER, maximum=250), False),
    ("beyond rounding", "query:x", Field(INTEGER, maximum=270), Field(INTEGER, maximum=250), True),
    ("below", "query:x", Field(INTEGER, minimum=-1), Field(INTEGER, minimum=0), True),
    ("too long", "query:x", Field(STRING, max_length=21), Field(STRING, max_length=20), True),
    ("too short", "query:x", Field(STRING, min_length=1), Field(STRING, min_length=2), True),
    ("length rounded upwards", "query:x", Field(STRING, max_length=131), Field(STRING, max_length=128), False),
    ("unread values", "query:x", Field(STRING, unread=1), Field(STRING, enum=frozenset({"a"})), True),
    ("few values", "query:x", Field(STRING, distinct=1), Field(STRING, enum=frozenset({"a"})), False),
    ("very many values", "query:x", Field(STRING), Field(STRING, enum=frozenset({"a"})), True),
    ("a secret's values", "query:token", Field(STRING), Field(STRING, enum=frozenset({"a"})), False),
    ("other format", "query:x", Field(STRING, kinds=frozenset({"word"})), Field(STRING, format="uuid"), True),
    ("nearly always there", "query:x", Field(STRING, presence=0.9995), Field(STRING, required=True), False),
]


@pytest.mark.parametrize(("key", "ours", "theirs", "expected"), [pair[1:] for pair in PAIRS], ids=[pair[0] for pair in PAIRS])
def test_what_contradicts(key: str, ours: Field, theirs: Field, expected: bool) -> None:
    assert expected == bool(list(conflicts(key, ours, theirs)))


def test_it_is_said_by_kind() -> None:
    lines = to_lines(found(lambda spec: spec["paths"].pop("/pay")), ("not followed: x",))
    assert lines[0] == "undocumented (shadow): 1"
    assert lines[1].startswith("  POST /pay  (")
    assert lines[2] == "note: not followed: x"
    assert to_lines([], ()) == ["no disagreement"]


def pairs(properties: dict[str, Any]) -> Contract:
    schema = {"type": "object", "properties": properties}
    body = {"content": {"application/x-www-form-urlencoded": {"schema": schema}}}
    created = {"anyOf": [{"type": "object", "properties": {"gte": {"type": "integer"}}}, {"type": "integer"}]}
    parameters = [{"name": "created", "in": "query", "style": "deepObject", "schema": created}]
    return to_contract({"openapi": "3.0.0", "paths": {"/a": {"post": {"requestBody": body, "parameters": parameters}}}})


CITY: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 9}, "zip": {"type": "string"}}}
MAP: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}
LIST: dict[str, Any] = {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "string"}}}}


def test_objects_and_arrays_that_are_sent_as_pairs_are_the_documented_ones() -> None:
    names = ["address[city]", "metadata[order_id]", "items[0][price]", "items[00][price]", "expand[]", "tags"]
    fields = {f"body:{name}": Field(frozenset({"string"}), calls=7) for name in names}
    seen = Operation({**fields, "query:created[gte]": Field(frozenset({"integer"}), calls=7)}, calls=7)
    words = {"type": "array", "items": {"type": "string"}}
    documented = pairs({"address": CITY, "metadata": MAP, "items": LIST, "expand": words, "tags": words, "card": CITY})
    told = disagreements(Contract("a", {"POST /a": seen}), documented)
    assert [(one.kind.value, one.what) for one in told] == [("unused", "body:address[zip]"), ("unused", "body:card")]


def repeated(**changes: Any) -> list[str]:
    """Compare an array in a query with values seen, of which one isn't documented."""
    items = {"type": "string", "enum": ["open", "closed"]}
    parameters = [
        {"name": "status", "in": "query", "schema": {"type": "array", "items": items}, **changes},
        {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}},
    ]
    paths = {"/a/{id}": {"get": {"parameters": parameters}}}
    documented = to_contract({"openapi": "3.0.0", "servers": [{"url": "https://h/v2"}], "paths": paths})
    field = Field(frozenset({"string"}), enum=frozenset({"open", "lost"}), calls=7)
    seen = Operation({"query:status": field, "path:2": Field(frozenset({"integer"}), required=True, calls=7)}, calls=7)
    return [f"{one.what}: {one.seen}" for one in disagreements(Contract("a", {"GET /v2/a/{*}": seen}), documented)]


def test_an_array_in_a_query_allows_what_its_items_do_behind_a_prefix_too() -> None:
    assert repeated() == ["query:status: lost"]
    assert repeated(explode=False) == []


def test_a_documented_map_is_used_where_any_of_its_names_is() -> None:
    schema = {"type": "object", "properties": {"m": MAP, "unseen": MAP}}
    body = {"content": {"application/json": {"schema": schema}}}
    documented = to_contract({"openapi": "3.0.0", "paths": {"/a": {"post": {"requestBody": body}}}})
    seen = Operation({"body:": Field(), "body:/m": Field(), "body:/m/x": Field(frozenset({"string"}))}, calls=7)
    told = disagreements(Contract("a", {"POST /a": seen}), documented)
    assert [(one.kind.value, one.what) for one in told] == [("unused", "body:/unseen")]


def test_what_is_sent_as_pairs_and_is_not_documented_is_told() -> None:
    fields = {"body:address[zip]": Field(frozenset({"string"}), calls=7), "body:address[city]": Field(max_length=30, calls=7)}
    documented = pairs({"address": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 9}}}})
    told = disagreements(Contract("a", {"POST /a": Operation(fields, calls=7)}), documented)
    assert [(one.kind.value, one.what) for one in told] == [
        ("undocumented", "body:address[zip]"),
        ("unused", "query:created"),
        ("contradicting", "body:address[city]"),
    ]
