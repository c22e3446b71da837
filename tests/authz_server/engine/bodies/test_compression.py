"""Compressed bodies: what is undone, and what a bomb may cost."""

import gzip
import tracemalloc
import zlib

import pytest

from authz_server.engine.bodies.compression import MAX_INFLATED, inflate_all, limit_of
from authz_server.engine.call import Flag

DATA = b'{"a":1}' * 10


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


CODED = [
    ("", DATA, DATA, set()),
    ("gzip", gzip.compress(DATA), DATA, set()),
    ("GZip", gzip.compress(DATA), DATA, set()),
    ("x-gzip", gzip.compress(DATA), DATA, set()),
    ("deflate", zlib.compress(DATA), DATA, set()),
    ("deflate", raw_deflate(DATA), DATA, set()),
    ("gzip, identity", gzip.compress(DATA), DATA, set()),
    ("deflate, gzip", gzip.compress(zlib.compress(DATA)), DATA, set()),
    ("gzip", gzip.compress(b"a") + gzip.compress(b"b"), b"ab", set()),
    ("gzip", DATA, DATA, {Flag.CONTENT_MISMATCH}),
    ("gzip", gzip.compress(DATA)[:-1], None, {Flag.MALFORMED_BODY}),
    ("gzip", gzip.compress(DATA) + b"more", None, {Flag.MALFORMED_BODY}),
    ("gzip", b"\x1f\x8b" + b"\xff" * 20, None, {Flag.MALFORMED_BODY}),
    ("deflate", zlib.compress(DATA) + b"more", None, {Flag.MALFORMED_BODY}),
    ("deflate", b"\xff" * 20, None, {Flag.MALFORMED_BODY}),
    ("deflate", b"", None, {Flag.MALFORMED_BODY}),
    ("gzip", gzip.compress(b"a") * 50, None, {Flag.TOO_MANY}),
    ("gzip,gzip,gzip", gzip.compress(DATA), None, {Flag.TOO_MANY}),
    ("br", DATA, None, {Flag.OPAQUE_ENCODING}),
    ("zstd", DATA, None, {Flag.OPAQUE_ENCODING}),
    ("x" * 1_000, DATA, None, {Flag.OPAQUE_ENCODING}),
]


@pytest.mark.parametrize(("codings", "data", "content", "flags"), CODED)
def test_inflate_all(codings: str, data: bytes, content: bytes | None, flags: set[Flag]) -> None:
    found: set[Flag] = set()
    assert (content, flags) == (inflate_all(data, codings, found), found)


@pytest.mark.parametrize(
    ("codings", "bomb"),
    [
        ("gzip", gzip.compress(bytes(50 << 20))),
        ("deflate", zlib.compress(bytes(50 << 20))),
        ("gzip, gzip", gzip.compress(gzip.compress(bytes(50 << 20)))),
        ("gzip", b"".join(gzip.compress(bytes(1 << 20)) for _ in range(6))),
    ],
)
def test_zip_bomb_is_a_flag_and_bounded_memory(codings: str, bomb: bytes) -> None:
    flags: set[Flag] = set()
    tracemalloc.start()
    inflated = inflate_all(bomb, codings, flags)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (inflated, flags) == (None, {Flag.TOO_MANY})
    assert peak < 4 * MAX_INFLATED


@pytest.mark.parametrize(("size", "limit"), [(0, 65_536), (1_000, 65_536), (2_000, 128_000), (1 << 20, MAX_INFLATED)])
def test_limit_of(size: int, limit: int) -> None:
    assert limit == limit_of(size)
