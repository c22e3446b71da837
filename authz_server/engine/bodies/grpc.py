"""gRPC and gRPC-web: length-prefixed messages (gRPC's PROTOCOL-HTTP2.md and PROTOCOL-WEB.md), compressed or not.

In: the whole body. Out: `messages` (how many there are) and the leaves of all messages together, so a stream's messages count as
one repeated field. A gRPC body that Envoy passed as text (`pack_as_bytes` off) has lost its bytes and is malformed.
"""

import binascii
import re
from typing import Final

from authz_server.engine.bodies import json_, magic, protobuf
from authz_server.engine.bodies.compression import inflate, limit_of
from authz_server.engine.bodies.leaf import MAX_LEAVES, Leaf
from authz_server.engine.call import Flag

__all__ = ["MAX_MESSAGES", "to_leaves"]

MAX_MESSAGES: Final = 64
"""Messages of one body that are read; all are counted up to sixteen times as many."""
_MAX_COUNTED: Final = 16 * MAX_MESSAGES
_PREFIX: Final = 5
_COMPRESSED: Final = 1
_TRAILERS: Final = 0x80
"""gRPC-web: the frame has trailers, not a message."""

_PADDED = re.compile(rb"[A-Za-z0-9+/]+={0,2}")


def to_leaves(media: str, data: bytes, encoding: str, flags: set[Flag]) -> list[Leaf]:
    """Read the messages; `media` is the content type without parameters, `encoding` the header `grpc-encoding`."""
    web = media.startswith("application/grpc-web")
    if media.startswith("application/grpc-web-text"):
        data = _from_base64(data, flags)
    messages, count = _messages(data, encoding.strip().lower(), web, flags)
    leaves: list[Leaf] = [("messages", count, 0, True)]
    codec = media.partition("+")[2]
    if codec in ("", "proto"):
        leaves += protobuf.to_leaves(messages, flags)
    elif codec == "json":
        for message in messages:
            leaves += _from_json(message, flags)
    else:
        for message in messages:
            leaves += magic.to_leaves("", message)
    if len(leaves) > MAX_LEAVES:
        flags.add(Flag.TOO_MANY)
        del leaves[MAX_LEAVES:]
    return leaves


def _messages(data: bytes, encoding: str, web: bool, flags: set[Flag]) -> tuple[list[bytes], int]:  # noqa: FBT001
    """Split and decompress; what can't be read is flagged and left out, and counted all the same."""
    messages: list[bytes] = []
    count = at = 0
    room = limit_of(len(data))
    while at < len(data) and count < _MAX_COUNTED:
        kind = data[at]
        end = at + _PREFIX + int.from_bytes(data[at + 1 : at + _PREFIX], "big")
        if end > len(data) or at + _PREFIX > len(data) or kind & ~(_TRAILERS if web else 0) > _COMPRESSED:
            flags.add(Flag.MALFORMED_BODY)
            return messages, count
        if not kind & _TRAILERS:
            count += 1
            if len(messages) < MAX_MESSAGES:
                message = data[at + _PREFIX : end]
                read = _decompress(message, encoding, room, flags) if kind & _COMPRESSED else message
                if read is not None:
                    messages.append(read)
                    room -= len(read) if kind & _COMPRESSED else 0
        at = end
    if at < len(data) or count > MAX_MESSAGES:
        flags.add(Flag.TOO_MANY)
    return messages, count


def _decompress(message: bytes, encoding: str, room: int, flags: set[Flag]) -> bytes | None:
    if encoding in ("", "identity"):  # an error by the protocol: the flag is set, and nothing says how to decompress
        flags.add(Flag.MALFORMED_BODY)
        return None
    return inflate(message, encoding, room, flags)


def _from_base64(data: bytes, flags: set[Flag]) -> bytes:
    """Decode gRPC-web's text form, which may be several padded pieces one after the other."""
    if data.count(b"=") > 2 * _MAX_COUNTED:
        flags.add(Flag.TOO_MANY)
        return b""
    pieces = _PADDED.findall(data.translate(None, b"\r\n"))
    if sum(map(len, pieces)) != len(data.translate(None, b"\r\n")):
        flags.add(Flag.MALFORMED_BODY)
        return b""
    try:
        return b"".join([binascii.a2b_base64(piece) for piece in pieces])
    except binascii.Error:
        flags.add(Flag.MALFORMED_BODY)
        return b""


def _from_json(message: bytes, flags: set[Flag]) -> list[Leaf]:
    try:
        return json_.to_leaves(json_.parse(message), message, flags)
    except json_.MALFORMED:
        flags.add(Flag.MALFORMED_BODY)
        return []
