"""Protobuf without descriptors: against the real library, and what can't be told."""

import struct
from typing import Any

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import BytesValue, DoubleValue, FloatValue, Int64Value, StringValue, UInt64Value
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.bodies.leaf import MAX_LEAVES
from authz_server.engine.bodies.protobuf import MAX_FIELDS, to_leaves
from authz_server.engine.call import Flag, Kind


def read(*messages: bytes) -> list[tuple[str, object]]:
    flags: set[Flag] = set()
    leaves = to_leaves(list(messages), flags)
    assert flags == set()
    return [(name, value) for name, value, _, _ in leaves]


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def nested(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


UUID = "0b0e3a51-93a5-4bd5-a4f9-52e9e7f6b7a2"
MESSAGES: list[tuple[Any, list[tuple[str, object]]]] = [
    (Int64Value(value=7), [("/1", 7)]),
    (Int64Value(value=-7), [("/1", -7)]),
    (UInt64Value(value=2**63), [("/1", -(2**63))]),
    (StringValue(value="hello"), [("/1", "hello")]),
    (StringValue(value="caf\u00e9 7"), [("/1", "caf\u00e9 7")]),
    (StringValue(value="\nx"), [("/1", "\nx")]),
    (BytesValue(value=b"\xff\xfe\x00"), [("/1/size", 3), ("/1/magic", "binary")]),
    (BytesValue(value=b"\x89PNG\r\n\x1a\n\0"), [("/1/size", 9), ("/1/magic", "png")]),
    (DoubleValue(value=1.5), [("/1", 1.5)]),
    (DoubleValue(value=-1e-3), [("/1", -0.001)]),
    (DoubleValue(value=float("nan")), [("/1", struct.unpack("<q", struct.pack("<d", float("nan")))[0])]),
    (FloatValue(value=0.5), [("/1", 0.5)]),
    (Timestamp(seconds=1_750_000_000, nanos=5), [("/1", 1_750_000_000), ("/2", 5)]),
    (StringValue(value="8080"), [("/1", "8080")]),
]


@pytest.mark.parametrize(("message", "values"), MESSAGES)
def test_to_leaves(message: Any, values: list[tuple[str, object]]) -> None:
    assert values == read(message.SerializeToString())


def test_nested_messages_are_read_by_path_and_repeated_fields_have_one_name() -> None:
    inner = nested(1, UUID.encode()) + b"\x10\x02"
    assert read(nested(3, inner) + nested(3, inner) + b"\x20\x09") == [
        ("/4", 9),
        ("/3/2", 2),
        ("/3/2", 2),
        ("/3/1", UUID),
        ("/3/1", UUID),
    ]


def test_a_message_whose_only_field_is_printable_is_a_message() -> None:
    """`0a 24` before a UUID is a line break and a dollar sign."""
    assert read(nested(1, nested(1, UUID.encode()))) == [("/1/1", UUID)]


def test_texts_that_parse_as_messages_stay_text() -> None:
    assert read(nested(1, b"hi") + nested(2, b"8080") + nested(3, b"")) == [("/1", "hi"), ("/2", "8080"), ("/3", "")]


def test_one_occurrence_that_is_no_message_makes_all_of_them_bytes() -> None:
    assert read(nested(1, b"\x08\x01") + nested(1, b"\xff")) == [
        *[("/1/size", 2), ("/1/magic", "binary")],
        *[("/1/size", 1), ("/1/magic", "binary")],
    ]


def test_text_with_few_control_characters_is_text() -> None:
    assert read(nested(1, b"ad\0min")) == [("/1", "ad\0min")]


def test_an_empty_message_among_full_ones_is_an_object() -> None:
    assert read(nested(1, b"\x08\x01") + nested(1, b"")) == [("/1", Kind.OBJECT), ("/1/1", 1)]


def test_numbers_of_fields_are_bounded() -> None:
    assert read(varint(70_000 << 3) + b"\x01") == [("/{*}", 1)]
    assert read(nested(1, varint(70_000 << 3) + b"\x01"))[0][0] == "/1/size"


def test_a_check_request_is_read_without_its_descriptor() -> None:
    request: Any = CheckRequest()
    request.attributes.source.principal = "spiffe://td/ns/a/sa/b"
    request.attributes.request.http.method = "POST"
    request.attributes.request.http.headers["accept"] = "*/*"
    request.attributes.request.http.size = 12
    values = read(request.SerializeToString())
    assert set(values) == {
        ("/1/1/4", "spiffe://td/ns/a/sa/b"),
        ("/1/4/2/2", "POST"),
        ("/1/4/2/3/1", "accept"),
        ("/1/4/2/3/2", "*/*"),
        ("/1/4/2/9", 12),
    }


@pytest.mark.parametrize(
    "data",
    [
        *(b"\x08", b"\x0a\x05abc", b"\x00\x01", b"\x07", b"\x0b\x08\x01\x0c", b"\x0d\x01", b"\x09\x01", b"\x08" + b"\xff" * 11),
        *(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x01", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
    ],
)
def test_what_is_no_message_is_flagged(data: bytes) -> None:
    flags: set[Flag] = set()
    assert (to_leaves([data], flags), flags) == ([], {Flag.MALFORMED_BODY})


def test_a_message_too_deep_is_flagged() -> None:
    data = b"\x08\x01"
    for _ in range(60):
        data = nested(1, data)
    flags: set[Flag] = set()
    assert (to_leaves([data], flags), flags) == ([], {Flag.TOO_MANY})


@pytest.mark.parametrize(
    "data",
    [b"\x08\x01" * 400_000, nested(1, b"\x08\x01") * 100_000, nested(1, b"\x08\x01" * 400_000), b"\x0a\x00" * 400_000],
)
def test_work_and_leaves_are_bounded(data: bytes) -> None:
    flags: set[Flag] = set()
    assert len(to_leaves([data], flags)) <= MAX_LEAVES < MAX_FIELDS
    assert flags == {Flag.TOO_MANY}


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(-1e6, 1e6) | st.text("abcdefgh ", min_size=3, max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", min_size=3, max_size=3), inner, max_size=3),
    max_leaves=10,
)


def texts(value: object) -> set[object]:
    if isinstance(value, dict):
        return set(value) | {text for inner in value.values() for text in texts(inner)}
    if isinstance(value, list):
        return {text for inner in value for text in texts(inner)}
    return {value} if isinstance(value, str) else set()


@given(st.dictionaries(st.text("xyz", min_size=3, max_size=3), VALUES, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_texts_of_a_struct_are_read(content: dict[str, Any]) -> None:
    """Keys of a Struct are `/1/1`; its levels take three of ours, so only shallow ones are sure to be read whole."""
    made = Struct()
    made.update(content)
    flags: set[Flag] = set()
    leaves = to_leaves([made.SerializeToString()], flags)
    found = {value for _, value, _, _ in leaves if isinstance(value, str)}
    assert Flag.MALFORMED_BODY not in flags
    assert set(content) <= found
    if Flag.TOO_MANY not in flags:
        assert texts(content) <= found


@given(st.lists(st.binary(max_size=60), max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_bytes_yield_leaves(messages: list[bytes]) -> None:
    assert len(to_leaves(messages, set())) <= MAX_LEAVES
