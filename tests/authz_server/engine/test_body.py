"""From body bytes to named values."""

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.body import MAX_BYTES, MAX_DEPTH, MAX_LEAVES, to_leaves
from authz_server.engine.call import BodyKind, Flag, Kind
from authz_server.engine.observe import NOT_UTF8

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

GRAPHQL = {
    "operation": "query",
    "operation/name": "",
    "operation/fields": 1,
    "operation/aliases": 0,
    "operation/directives": 0,
    "operation/depth": 1,
    "fields/a": 1,
}

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
    (FORM, b"{not json", BodyKind.FORM, {"{aaa aaaa": ""}, set()),
    ("application/grpc+proto", b"\0\0\0\0\x02\x08\x01", BodyKind.GRPC, {"messages": 1, "/1": 1}, set()),
    ("application/x-protobuf", b"\x08\x01", BodyKind.PROTOBUF, {"/1": 1}, set()),
    ("application/octet-stream", b"\x00\xff", BodyKind.OPAQUE, {"size": 2, "magic": "binary"}, set()),
    ("text/plain", b"hello", BodyKind.OPAQUE, {"size": 5, "magic": "text"}, set()),
    ("", b"[broken", BodyKind.OPAQUE, {"size": 7, "magic": "text"}, set()),
    ("image/png", b"\x89PNG\r\n\x1a\n" + b"\0" * 1_000, BodyKind.OPAQUE, {"size": 1_000, "magic": "png"}, set()),
    ("image/png", b"\x7fELF\2", BodyKind.OPAQUE, {"size": 5, "magic": "elf"}, {Flag.CONTENT_MISMATCH}),
    ("text/plain", b' {"a":1}', BodyKind.JSON, {"/a": 1}, {Flag.CONTENT_MISMATCH}),
    ("text/xml; charset=utf-8", b"<a>1</a>", BodyKind.XML, {"/a": "1"}, set()),
    ("application/soap+xml", b"<a>1</a>", BodyKind.XML, {"/a": "1"}, set()),
    ("", b"<?xml version='1.0'?><a>1</a>", BodyKind.XML, {"/a": "1"}, {Flag.CONTENT_MISMATCH}),
    ("text/plain", b"<!DOCTYPE a><a>1</a>", BodyKind.XML, {}, {Flag.CONTENT_MISMATCH, Flag.DOCTYPE}),
    (JSON, b"<a>1</a>", BodyKind.JSON, {}, {Flag.MALFORMED_BODY}),
    ("image/svg+xml", b"<svg/>", BodyKind.OPAQUE, {"size": 6, "magic": "svg"}, set()),
    ("application/graphql", b"{a}", BodyKind.GRAPHQL, GRAPHQL, set()),
    ("application/graphql", b"{a", BodyKind.GRAPHQL, {}, {Flag.MALFORMED_BODY}),
    (
        "multipart/form-data; boundary=b",
        b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--b--',
        BodyKind.MULTIPART,
        {"a": "1"},
        set(),
    ),
    ("multipart/mixed; boundary=b", b"--b--", BodyKind.OPAQUE, {"size": 5, "magic": "text"}, set()),
    ("application/x-ndjson", b'{"a":1}\n{"a":2}\n', BodyKind.JSON, {"/*/a": 2}, set()),
    ("application/x-ndjson", b'{"a":1}\n{', BodyKind.JSON, {}, {Flag.MALFORMED_BODY}),
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


def test_scalars_at_the_bound_of_depth_are_read_in_arrays_as_in_objects() -> None:
    flags: set[Flag] = set()
    _, leaves = to_leaves(JSON, b"[" * (MAX_DEPTH + 1) + b"1" + b"]" * (MAX_DEPTH + 1), flags)
    assert ([("/*" * (MAX_DEPTH + 1), 1)], set()) == ([(name, value) for name, value, _, _ in leaves], flags)


def test_body_of_many_mebibytes_is_known_by_size_and_magic() -> None:
    flags: set[Flag] = set()
    kind, leaves = to_leaves(JSON, b"[" + b"1," * (MAX_BYTES // 2) + b"1]", flags)
    assert (kind, [leaf[0] for leaf in leaves], flags) == (BodyKind.OPAQUE, ["size", "magic"], {Flag.TOO_MANY})


ENCODED: list[tuple[str, str, bytes, BodyKind, dict[str, object], set[Flag]]] = [
    ("gzip", JSON, gzip.compress(b'{"a":1}'), BodyKind.JSON, {"/a": 1}, set()),
    ("identity", JSON, b'{"a":1}', BodyKind.JSON, {"/a": 1}, set()),
    ("deflate", FORM, zlib.compress(b"a=1"), BodyKind.FORM, {"a": "1"}, set()),
    ("gzip", JSON, b'{"a":1}', BodyKind.JSON, {"/a": 1}, {Flag.CONTENT_MISMATCH}),
    ("br", JSON, b"\x0b\x03\x80", BodyKind.OPAQUE, {"size": 3, "magic": "binary"}, {Flag.OPAQUE_ENCODING}),
    ("gzip", JSON, gzip.compress(b"[1]")[:-9], BodyKind.OPAQUE, {"size": 14, "magic": "gzip"}, {Flag.MALFORMED_BODY}),
]


@pytest.mark.parametrize(("encoding", "content_type", "data", "kind", "values", "flags"), ENCODED)
def test_compressed_body_is_read_like_the_same_body_uncompressed(
    encoding: str, content_type: str, data: bytes, kind: BodyKind, values: dict[str, object], flags: set[Flag]
) -> None:
    found: set[Flag] = set()
    seen, leaves = to_leaves(content_type, data, found, encoding)
    assert (kind, values, flags) == (seen, {name: value for name, value, _, _ in leaves}, found)


CONTENT_TYPES = (
    *("", JSON, FORM, "text/xml", "application/soap+xml", "application/graphql", "text/plain", "application/x-ndjson"),
    *("multipart/form-data; boundary=b", "multipart/form-data", "application/x-protobuf", "image/png"),
    *("application/grpc", "application/grpc+json", "application/grpc-web+proto", "application/grpc-web-text"),
)
ENCODINGS = st.sampled_from(["", "", "", "gzip", "deflate", "br", "gzip, deflate", ",,"])
PIECES = st.sampled_from(
    [
        *(b"{", b"}", b"[", b"]", b'"query":', b'"{a}"', b'"', b":", b",", b"1", b"query A($x:Int){b(c:$x)}", b"...", b"&", b"="),
        *(
            b"<a>",
            b"</a>",
            b"<!DOCTYPE a [",
            b"<!ENTITY x 'y'>",
            b"]>",
            b"&x;",
            b"<?xml version='1.0' encoding='utf-7'?>",
            b"<![CDATA[",
        ),
        *(
            b"--b\r\n",
            b'content-disposition: form-data; name="a"; filename="x.y"\r\n',
            b"\r\n",
            b"--b--",
            b"content-type: x/json",
        ),
        *(b"\0\0\0\0\2\x08\x01", b"\1\0\0\0\4", b"\x0a\x02\x08\x01", b"\xff\xff", b"\x1f\x8b\x08", b"\x80", b"AAAAAAI="),
    ]
)


@given(
    st.sampled_from(CONTENT_TYPES),
    st.binary(max_size=200) | st.lists(PIECES, max_size=30).map(b"".join),
    ENCODINGS,
    st.sampled_from(["", "gzip", "snappy"]),
)
@settings(max_examples=600, deadline=None)
def test_any_bytes_under_any_content_type_yield_leaves(content_type: str, data: bytes, encoding: str, grpc_encoding: str) -> None:
    flags: set[Flag] = set()
    kind, leaves = to_leaves(content_type, data, flags, encoding, grpc_encoding)
    assert kind in BodyKind
    assert flags <= set(Flag)
    assert len(leaves) <= MAX_LEAVES
    again: set[Flag] = set()
    assert (repr((kind, leaves)), flags) == (repr(to_leaves(content_type, data, again, encoding, grpc_encoding)), again)


@given(st.sampled_from(CONTENT_TYPES), st.binary(max_size=60), st.integers(2_000, 20_000))
@settings(max_examples=40, deadline=None)
def test_repeated_bytes_are_bounded(content_type: str, data: bytes, times: int) -> None:
    _, leaves = to_leaves(content_type, data * times, set())
    assert len(leaves) <= MAX_LEAVES
    assert all(len(name) < 1_024 for name, _, _, _ in leaves)
