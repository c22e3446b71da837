"""multipart/form-data: fields, files, and what servers read in different ways."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.bodies.leaf import MAX_LEAVES
from authz_server.engine.bodies.multipart import MAX_PARTS, to_leaves
from authz_server.engine.call import Flag
from authz_server.engine.observe import NOT_UTF8

TYPE = "multipart/form-data; boundary=XyZ"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 92


def part(disposition: str, content: bytes = b"1", headers: str = "") -> bytes:
    return b"--XyZ\r\nContent-Disposition: " + disposition.encode() + b"\r\n" + headers.encode() + b"\r\n" + content + b"\r\n"


def field(name: str, content: bytes = b"1", headers: str = "") -> bytes:
    return part(f'form-data; name="{name}"', content, headers)


def file(name: str, filename: str, content: bytes, media: str) -> bytes:
    return part(f'form-data; name="{name}"; filename="{filename}"', content, f"Content-Type: {media}\r\n")


END = b"--XyZ--\r\n"
PICTURE = {"f/filename": "a.png", "f/extension": "png", "f/type": "image/png", "f/size": 100, "f/magic": "png"}

BODIES: list[tuple[str, bytes, dict[str, object], set[Flag]]] = [
    (TYPE, field("a") + field("b", b"x y") + END, {"a": "1", "b": "x y"}, set()),
    ('multipart/form-data; charset=utf-8; boundary="XyZ"', field("a") + END, {"a": "1"}, set()),
    (TYPE, field("a", b"") + END, {"a": ""}, set()),
    (TYPE, field("a", b"1\r\n2\n--Xy") + END, {"a": "1\r\n2\n--Xy"}, set()),
    (TYPE, file("f", "a.png", PNG, "image/png") + END, PICTURE, set()),
    (
        TYPE,
        file("f", "a.png", b"<?php x", "image/png") + END,
        {**PICTURE, "f/size": 7, "f/magic": "php"},
        {Flag.CONTENT_MISMATCH},
    ),
    (
        TYPE,
        file("f", "C:\\dir\\a", b"", "application/octet-stream") + END,
        {"f/filename": "C:\\dir\\a", "f/extension": "", "f/type": "application/octet-stream", "f/size": 0, "f/magic": "empty"},
        set(),
    ),
    (
        TYPE,
        part("form-data; name=f; filename=x.tar.gz", b"x") + END,
        {"f/filename": "x.tar.gz", "f/extension": "gz", "f/size": 1, "f/magic": "text"},
        set(),
    ),
    (TYPE, field("a", b'{"x":[1,"2"]}', "Content-Type: application/json\r\n") + END, {"a/x/*": "2"}, set()),
    (TYPE, field("a", b"{", "Content-Type: application/json\r\n") + END, {}, {Flag.MALFORMED_BODY}),
    (TYPE, field("a", b"x", "Content-Type: text/plain; charset=utf-8\r\n") + END, {"a": "x"}, set()),
    (
        TYPE,
        field("a", b"\0\1", "Content-Type: image/x\r\n") + END,
        {"a/type": "image/x", "a/size": 2, "a/magic": "binary"},
        set(),
    ),
    (TYPE, field("id1234567") + END, {"id0000000": "1"}, set()),
    (TYPE, END, {}, set()),
]
DEVIATING: dict[str, tuple[str, bytes, dict[str, object], set[Flag]]] = {
    "no boundary": ("multipart/form-data", field("a") + END, {}, {Flag.MALFORMED_BODY}),
    "two boundaries": (TYPE + "; boundary=other", field("a") + END, {}, {Flag.MALFORMED_BODY}),
    "boundary too long": ("multipart/form-data; boundary=" + "x" * 71, b"", {}, {Flag.MALFORMED_BODY}),
    "empty": (TYPE, b"", {}, {Flag.MALFORMED_BODY}),
    "preamble": (TYPE, b"hello\r\n" + field("a") + END, {}, {Flag.MALFORMED_BODY}),
    "epilogue": (TYPE, field("a") + END + field("b"), {"a": "1"}, {Flag.MALFORMED_BODY}),
    "no end": (TYPE, field("a") + field("b"), {"a": "1"}, {Flag.MALFORMED_BODY}),
    "cut in a part": (TYPE, field("a") + b"--XyZ\r\nContent-Dis", {"a": "1"}, {Flag.MALFORMED_BODY}),
    "line feeds alone": (TYPE, (field("a") + END).replace(b"\r\n", b"\n"), {}, {Flag.MALFORMED_BODY}),
    "space behind the delimiter": (TYPE, field("a").replace(b"XyZ\r", b"XyZ \r") + END, {}, {Flag.MALFORMED_BODY}),
    "delimiter with a tail": (TYPE, field("a", b"\r\n--XyZtail") + END, {"a": ""}, {Flag.MALFORMED_BODY}),
    "no headers": (TYPE, b"--XyZ\r\n\r\nx\r\n" + field("b") + END, {"b": "1"}, {Flag.MALFORMED_BODY}),
    "no name": (TYPE, part("form-data") + field("b") + END, {"b": "1"}, {Flag.MALFORMED_BODY}),
    "not form-data": (TYPE, part('attachment; name="a"') + field("b") + END, {"b": "1"}, {Flag.MALFORMED_BODY}),
    "two names": (TYPE, part('form-data; name="a"; name="b"') + END, {}, {Flag.MALFORMED_BODY}),
    "two dispositions": (TYPE, field("a", b"1", 'content-disposition: form-data; name="b"\r\n') + END, {}, {Flag.MALFORMED_BODY}),
    "folded header": (TYPE, field("a", b"1", 'X: a\r\n filename="b"\r\n') + END, {}, {Flag.MALFORMED_BODY}),
    "space before a colon": (TYPE, field("a", b"1", "Content-Type : x\r\n") + END, {}, {Flag.MALFORMED_BODY}),
    "zero byte in a header": (TYPE, part('form-data; name="a\0b"') + END, {}, {Flag.MALFORMED_BODY}),
    "unquoted rest": (TYPE, part('form-data; name="a" b') + END, {}, {Flag.MALFORMED_BODY}),
    "headers too long": (TYPE, field("a", b"1", "X: " + "x" * 5_000 + "\r\n") + END, {}, {Flag.MALFORMED_BODY}),
    "filename*": (
        TYPE,
        part("form-data; name=a; filename*=utf-8''x.sh") + END,
        {"a/filename": "utf-8''x.sh", "a/extension": "sh", "a/size": 1, "a/magic": "text"},
        {Flag.MALFORMED_BODY},
    ),
    "base64": (TYPE, field("a", b"MQ==", "Content-Transfer-Encoding: base64\r\n") + END, {"a": "MQ=="}, {Flag.BAD_ENCODING}),
}


@pytest.mark.parametrize(("content_type", "data", "values", "flags"), BODIES)
def test_to_leaves(content_type: str, data: bytes, values: dict[str, object], flags: set[Flag]) -> None:
    found: set[Flag] = set()
    leaves = to_leaves(content_type, data, found)
    assert (values, flags) == ({name: value for name, value, _, _ in leaves}, found)


@pytest.mark.parametrize("case", DEVIATING)
def test_what_servers_read_differently_is_flagged(case: str) -> None:
    content_type, data, values, flags = DEVIATING[case]
    found: set[Flag] = set()
    leaves = to_leaves(content_type, data, found)
    assert (values, flags) == ({name: value for name, value, _, _ in leaves}, found)


def test_field_in_latin1_is_marked() -> None:
    assert to_leaves(TYPE, field("a", b"\xe9") + END, set()) == [("a", "\u00e9", NOT_UTF8, False)]


def test_parts_and_leaves_are_bounded() -> None:
    flags: set[Flag] = set()
    assert len(to_leaves(TYPE, field("a") * 10_000 + END, flags)) == MAX_PARTS
    assert flags == {Flag.TOO_MANY}
    flags = set()
    wide = field("a", json.dumps(list(range(1_000))).encode(), "Content-Type: application/json\r\n")
    assert len(to_leaves(TYPE, wide * 10 + END, flags)) == MAX_LEAVES
    assert flags == {Flag.TOO_MANY}


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=5), st.text(max_size=20)), max_size=10))
@settings(max_examples=100, deadline=None)
def test_fields_that_were_written_are_read(fields: list[tuple[str, str]]) -> None:
    flags: set[Flag] = set()
    data = b"".join(field(name, value.encode()) for name, value in fields) + END
    leaves = to_leaves(TYPE, data, flags)
    assert (fields, set()) == ([(name, value) for name, value, _, _ in leaves], flags)
