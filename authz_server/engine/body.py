"""From body bytes and content type to named values: JSON, forms, anything else by its size.

Bounded in depth, width and number; what is malformed is a Flag, never an exception. A truncated body is unknown: it yields
nothing.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from authz_server.engine.call import BodyKind, Flag, Kind
from authz_server.engine.observe import MAX_NAME, is_name
from authz_server.engine.target import split_pairs

__all__ = ["MAX_DEPTH", "MAX_LEAVES", "Leaf", "to_leaves"]

MAX_DEPTH: Final = 12
MAX_LEAVES: Final = 256
"""Values of one body that are read."""

Scalar = str | int | float | bool | None
"""Also Kind.OBJECT and Kind.ARRAY, which stand for an empty container."""
Leaf = tuple[str, Scalar, int, bool]
"""Name (JSON pointer, RFC 6901, with `*` for any array index), value, extra class bits, and whether JSON said the type."""

_decode_json = msgspec.json.Decoder().decode


def to_leaves(content_type: str, data: bytes, flags: set[Flag]) -> tuple[BodyKind, list[Leaf]]:
    """Read a whole body into its leaves; `content_type` is the header as sent, empty when absent.

    Without a content type, or with a wrong one, bytes that start like JSON and parse as JSON are JSON (browsers and attackers
    lie); the mismatch is flagged.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media.startswith("application/grpc"):
        return BodyKind.GRPC, []
    says_json = media.endswith(("/json", "+json"))
    if says_json or data[:1] in (b"{", b"["):
        try:
            document = _decode_json(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            if says_json:
                flags.add(Flag.MALFORMED_BODY)
                return BodyKind.JSON, []
        else:
            if not says_json:
                flags.add(Flag.CONTENT_MISMATCH)
            return BodyKind.JSON, _leaves(document, flags)
    if media == "application/x-www-form-urlencoded":
        text = data.decode("utf-8", "surrogateescape")
        return BodyKind.FORM, [(name, value, extra, False) for name, value, extra in split_pairs(text, "&", flags)]
    return BodyKind.OPAQUE, []


def _leaves(document: object, flags: set[Flag]) -> list[Leaf]:
    leaves: list[Leaf] = []
    for leaf in _walk(document, "", 0, flags):
        if len(leaves) >= MAX_LEAVES:
            flags.add(Flag.TOO_MANY)
            break
        leaves.append(leaf)
    return leaves


def _walk(node: object, pointer: str, depth: int, flags: set[Flag]) -> Iterator[Leaf]:
    """Walk a JSON document; a key that is data (a map from ids) counts as `{*}`; empty containers are leaves of their own."""
    if depth > MAX_DEPTH:
        flags.add(Flag.TOO_MANY)
        return
    if isinstance(node, dict):
        if not node:
            yield pointer, Kind.OBJECT, 0, True
        for key, value in node.items():
            name = _pointer_part(key)
            if isinstance(value, dict | list):
                yield from _walk(value, f"{pointer}/{name}", depth + 1, flags)
            else:
                yield f"{pointer}/{name}", value, 0, True
    elif isinstance(node, list):
        if not node:
            yield pointer, Kind.ARRAY, 0, True
        for value in node:
            yield from _walk(value, f"{pointer}/*", depth + 1, flags)
    else:
        yield pointer, node, 0, True  # type: ignore[misc]  # msgspec yields nothing but scalars here


def _pointer_part(key: str) -> str:
    if not is_name(key):
        return "{*}" if len(key) <= MAX_NAME else "{long}"
    return key.replace("~", "~0").replace("/", "~1") if "~" in key else key
