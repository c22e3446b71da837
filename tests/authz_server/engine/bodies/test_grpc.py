"""gRPC's framing: messages, compression, gRPC-web."""

import base64
import gzip
import zlib

import pytest

from authz_server.engine.bodies.grpc import MAX_MESSAGES, to_leaves
from authz_server.engine.bodies.leaf import MAX_LEAVES
from authz_server.engine.call import Flag

GRPC = "application/grpc"
WEB = "application/grpc-web+proto"
TEXT = "application/grpc-web-text"
ONE = b"\x08\x01"


def frame(message: bytes, kind: int = 0) -> bytes:
    return bytes([kind]) + len(message).to_bytes(4, "big") + message


BODIES: list[tuple[str, bytes, str, list[tuple[str, object]], set[Flag]]] = [
    (GRPC, frame(ONE), "", [("messages", 1), ("/1", 1)], set()),
    ("application/grpc+proto", frame(ONE), "", [("messages", 1), ("/1", 1)], set()),
    (GRPC, frame(ONE) + frame(b"\x08\x02"), "", [("messages", 2), ("/1", 1), ("/1", 2)], set()),
    (GRPC, frame(b""), "", [("messages", 1)], set()),
    (GRPC, b"", "", [("messages", 0)], set()),
    (GRPC, frame(gzip.compress(ONE), 1), "gzip", [("messages", 1), ("/1", 1)], set()),
    (GRPC, frame(zlib.compress(ONE), 1), "deflate", [("messages", 1), ("/1", 1)], set()),
    (GRPC, frame(ONE) + frame(gzip.compress(ONE), 1), "gzip", [("messages", 2), ("/1", 1), ("/1", 1)], set()),
    (GRPC, frame(ONE), "gzip", [("messages", 1), ("/1", 1)], set()),
    (GRPC, frame(ONE, 1), "", [("messages", 1)], {Flag.MALFORMED_BODY}),
    (GRPC, frame(ONE, 1), "identity", [("messages", 1)], {Flag.MALFORMED_BODY}),
    (GRPC, frame(ONE, 1), "snappy", [("messages", 1)], {Flag.OPAQUE_ENCODING}),
    (GRPC, frame(ONE, 2), "", [("messages", 0)], {Flag.MALFORMED_BODY}),
    (GRPC, frame(ONE, 0x80), "", [("messages", 0)], {Flag.MALFORMED_BODY}),
    (GRPC, frame(ONE)[:-1], "", [("messages", 0)], {Flag.MALFORMED_BODY}),
    (GRPC, frame(ONE) + b"\0\0\0", "", [("messages", 1), ("/1", 1)], {Flag.MALFORMED_BODY}),
    (GRPC, b"\0\xff\xff\xff\xff" + ONE, "", [("messages", 0)], {Flag.MALFORMED_BODY}),
    (GRPC, frame(b"\xff"), "", [("messages", 1)], {Flag.MALFORMED_BODY}),
    (GRPC, frame(gzip.compress(bytes(10 << 20)), 1), "gzip", [("messages", 1)], {Flag.TOO_MANY}),
    (WEB, frame(ONE) + frame(b"grpc-status:0\r\n", 0x80), "", [("messages", 1), ("/1", 1)], set()),
    (TEXT, base64.b64encode(frame(ONE)), "", [("messages", 1), ("/1", 1)], set()),
    (
        TEXT,
        base64.b64encode(frame(ONE)) + base64.b64encode(frame(b"\x08\x02")),
        "",
        [("messages", 2), ("/1", 1), ("/1", 2)],
        set(),
    ),
    (TEXT, b"AAA*", "", [("messages", 0)], {Flag.MALFORMED_BODY}),
    (TEXT, b"A", "", [("messages", 0)], {Flag.MALFORMED_BODY}),
    ("application/grpc+json", frame(b'{"a":1}'), "", [("messages", 1), ("/a", 1)], set()),
    ("application/grpc+json", frame(b"{"), "", [("messages", 1)], {Flag.MALFORMED_BODY}),
    ("application/grpc+thrift", frame(b"\0\1"), "", [("messages", 1), ("size", 2), ("magic", "binary")], set()),
]


@pytest.mark.parametrize(("media", "data", "encoding", "values", "flags"), BODIES)
def test_to_leaves(media: str, data: bytes, encoding: str, values: list[tuple[str, object]], flags: set[Flag]) -> None:
    found: set[Flag] = set()
    leaves = to_leaves(media, data, encoding, found)
    assert (values, flags) == ([(name, value) for name, value, _, _ in leaves], found)


def test_messages_are_bounded_and_counted() -> None:
    flags: set[Flag] = set()
    leaves = to_leaves(GRPC, frame(ONE) * 100, "", flags)
    assert (leaves[0][1], len(leaves) - 1, flags) == (100, MAX_MESSAGES, {Flag.TOO_MANY})
    assert len(to_leaves(GRPC, frame(b"") * 200_000, "", set())) == 1


def test_padding_without_end_is_bounded() -> None:
    flags: set[Flag] = set()
    assert (len(to_leaves(TEXT, b"AA==" * 100_000, "", flags)), flags) == (1, {Flag.TOO_MANY})


def test_many_small_bombs_share_one_bound() -> None:
    flags: set[Flag] = set()
    bomb = frame(gzip.compress(b"\x0a\xff\xff\x03" + bytes(65_535)), 1)
    assert len(to_leaves(GRPC, bomb * MAX_MESSAGES, "gzip", flags)) <= MAX_LEAVES
    assert Flag.TOO_MANY in flags
