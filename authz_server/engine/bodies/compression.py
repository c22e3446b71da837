"""Compressed bodies and messages: gzip (RFC 1952), deflate and zlib (RFC 9110, 8.4.1; RFC 1950), nothing else.

The work is bounded, not the answer alone: at most `limit_of` bytes are ever inflated, so a bomb costs what a body of that size
costs. Brotli, zstd and snappy aren't in the standard library of the Pythons we support; what they hide is opaque.
"""

import zlib
from typing import Final

from authz_server.engine.call import Flag

__all__ = ["MAX_INFLATED", "inflate", "inflate_all", "limit_of"]

MAX_INFLATED: Final = 1 << 20
"""Bytes, as many as `AUTHZ_MAX_MESSAGE_BYTES` lets through uncompressed; inflating them takes about 3 milliseconds."""
_FLOOR: Final = 1 << 16
_RATIO: Final = 64
"""A small body may inflate to `_FLOOR`, a larger one to this many times its size: JSON rarely shrinks 20 times."""
_MAX_MEMBERS: Final = 8
_MAX_CODINGS: Final = 2
"""Codings of one body, one upon the other, that are undone."""

_GZIP, _ZLIB, _RAW = 31, 15, -15


def limit_of(size: int) -> int:
    """Bound what `size` compressed bytes may become."""
    return min(MAX_INFLATED, max(_FLOOR, _RATIO * size))


def inflate_all(data: bytes, codings: str, flags: set[Flag]) -> bytes | None:
    """Undo the codings of a `content-encoding` header; None where the content can't be known, and a Flag says why."""
    applied = [part for part in codings.lower().replace(" ", "").split(",") if part not in ("", "identity")]
    if len(applied) > _MAX_CODINGS:
        flags.add(Flag.TOO_MANY)
        return None
    limit = limit_of(len(data))
    for coding in reversed(applied):
        inflated = inflate(data, coding, limit, flags)
        if inflated is None:
            return None
        data = inflated
    return data


def inflate(data: bytes, coding: str, limit: int, flags: set[Flag]) -> bytes | None:
    """Undo one coding, up to `limit` bytes; None where that isn't possible, and a Flag says why.

    Bytes that don't begin as the coding does are given back as they are, and flagged: servers that pass over
    `content-encoding` read them so.
    """
    if coding in ("gzip", "x-gzip"):
        if not data.startswith(b"\x1f\x8b"):
            flags.add(Flag.CONTENT_MISMATCH)
            return data
        return _inflate(data, _GZIP, limit, flags)
    if coding in ("deflate", "zlib"):
        wrapped = len(data) > 1 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
        return _inflate(data, _ZLIB if wrapped else _RAW, limit, flags)
    flags.add(Flag.OPAQUE_ENCODING)
    return None


def _inflate(data: bytes, window: int, limit: int, flags: set[Flag]) -> bytes | None:
    inflated = b""
    for _ in range(_MAX_MEMBERS):
        stream = zlib.decompressobj(window)
        try:
            inflated += stream.decompress(data, limit + 1 - len(inflated))
        except zlib.error:
            flags.add(Flag.MALFORMED_BODY)
            return None
        if len(inflated) > limit:
            flags.add(Flag.TOO_MANY)
            return None
        data = stream.unused_data
        if not stream.eof or (data and not (window == _GZIP and data.startswith(b"\x1f\x8b"))):
            flags.add(Flag.MALFORMED_BODY)  # cut off, or more behind the end
            return None
        if not data:
            return inflated
    flags.add(Flag.TOO_MANY)
    return None
