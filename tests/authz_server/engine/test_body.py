"""From body bytes to named values."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.body import MAX_DEPTH, MAX_LEAVES, to_leaves
from authz_server.engine.call import BodyKind, Flag, Kind
from authz_server.engine.observe import NOT_UTF8

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

BODIES: list[tuple[str, bytes, BodyKind, dict[str, object], set[Flag]]] = [
    (JSON, b'{"a":1,"b":"x"}', BodyKind.JSON, {"/a": 1, "/b": "x"}, set()),
    ("Application/JSON; charset=utf-8", b'{"a":1}', BodyKind.JSON, {"/a": 1}, set()),
    ("application/problem+json", b'{"a":1}', BodyKind.JSON, {"/a": 1}, set()),
    (JSON, b'{"a":{"b":[{"c":1},{"c":2}]}}', BodyKind.JSON, {"/a/b/*/c": 2}, set()),
    (JSON, b"[1,2]", BodyKind.JSON, {"/*": 2}, set()),
    (JSON, b"7", BodyKind.JSON, {"": 7}, set()),
    (JSON, b'{"a":null,"b":true,"c":1.5}', BodyKind.JSON, {"/a": None, "/b": True, "/c": 1.5}, set()),
    (JSON, b'{"a":{},"b":[]}', BodyKind.JSON, {"/a": Kind.OBJECT, "/b": Kind.ARRAY}, set()),
    (JSON, b'{"0b0e3a51-93a5-4bd5-a4f9-52e9e7f6b7a2":1}', BodyKind.JSON, {"/{*}": 1}, set()),
    (JSON, b'{"a/b":1}', BodyKind.JSON, {"/{*}": 1}, set()),
    (JSON, b'{"a~b":1}', BodyKind.JSON, {"/a~0b": 1}, set()),
    (JSON, b'{"' + b"k" * 100 + b'":1}', BodyKind.JSON, {"/{long}": 1}, set()),
    (JSON, b'{"a":', BodyKind.JSON, {}, {Flag.MALFORMED_BODY}),
    (JSON, b"", BodyKind.JSON, {}, {Flag.MALFORMED_BODY}),
    (JSON, b'{"a":1}{"b":2}', BodyKind.JSON, {}, {Flag.MALFORMED_BODY}),
    (JSON, b"\xff\xfe", BodyKind.JSON, {}, {Flag.MALFORMED_BODY}),
    (JSON, b'{"a":NaN}', BodyKind.JSON, {}, {Flag.MALFORMED_BODY}),
    (JSON, b'{"a":"\\ud800"}', BodyKind.JSON, {}, {Flag.MALFORMED_BODY}),
    (JSON, b"a=1&b=2", BodyKind.JSON, {}, {Flag.MALFORMED_BODY}),
    ("", b'{"a":1}', BodyKind.JSON, {"/a": 1}, {Flag.CONTENT_MISMATCH}),
    ("text/plain", b"[1]", BodyKind.JSON, {"/*": 1}, {Flag.CONTENT_MISMATCH}),
    (FORM, b'{"a":1}', BodyKind.JSON, {"/a": 1}, {Flag.CONTENT_MISMATCH}),
    (FORM, b"a=1&b=x", BodyKind.FORM, {"a": "1", "b": "x"}, set()),
    (FORM, b"name=Jos%E9+Luis", BodyKind.FORM, {"name": "Jos\u00e9 Luis"}, set()),
    (FORM, b"name=Jos\xe9", BodyKind.FORM, {"name": "Jos\u00e9"}, set()),
    (FORM, b"{not json", BodyKind.FORM, {"{not json": ""}, set()),
    ("application/grpc+proto", b"\0\0\0\0\x02\x08\x01", BodyKind.GRPC, {}, set()),
    ("application/octet-stream", b"\x00\xff", BodyKind.OPAQUE, {}, set()),
    ("text/plain", b"hello", BodyKind.OPAQUE, {}, set()),
    ("", b"[broken", BodyKind.OPAQUE, {}, set()),
]


@pytest.mark.parametrize(("content_type", "data", "kind", "values", "flags"), BODIES)
def test_to_leaves(content_type: str, data: bytes, kind: BodyKind, values: dict[str, object], flags: set[Flag]) -> None:
    found: set[Flag] = set()
    seen, leaves = to_leaves(content_type, data, found)
    assert (kind, values, flags) == (seen, {name: value for name, value, _, _ in leaves}, found)


def test_form_value_in_latin1_is_marked() -> None:
    _, leaves = to_leaves(FORM, b"name=Jos%E9", set())
    assert leaves == [("name", "Jos\u00e9", NOT_UTF8, False)]


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 500 + b"]" * 500, b'{"a":' * 500 + b"1" + b"}" * 500]
)
def test_deep_json_is_a_flag_and_never_an_exception(data: bytes) -> None:
    flags: set[Flag] = set()
    kind, leaves = to_leaves(JSON, data, flags)
    assert (kind, leaves) == (BodyKind.JSON, [])
    assert flags in ({Flag.MALFORMED_BODY}, {Flag.TOO_MANY})


def test_depth_up_to_the_bound_is_read() -> None:
    flags: set[Flag] = set()
    _, leaves = to_leaves(JSON, b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH, flags)
    assert ([("/a" * MAX_DEPTH, 1)], set()) == ([(name, value) for name, value, _, _ in leaves], flags)


def test_wide_json_is_bounded() -> None:
    flags: set[Flag] = set()
    _, leaves = to_leaves(JSON, b"[" + b"1," * 10_000 + b"1]", flags)
    assert (MAX_LEAVES, {Flag.TOO_MANY}) == (len(leaves), flags)


@given(st.sampled_from(["", JSON, FORM, "text/xml", "application/grpc"]), st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_yield_leaves(content_type: str, data: bytes) -> None:
    kind, leaves = to_leaves(content_type, data, set())
    assert kind in BodyKind
    assert len(leaves) <= MAX_LEAVES
