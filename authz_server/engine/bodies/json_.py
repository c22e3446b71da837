"""JSON (RFC 8259), and the lines of NDJSON: leaves by JSON pointer, arrays collapsed. JSON says the type of each value.

Hot path: about 0.8 microseconds a leaf.
"""

import json
from itertools import islice
from typing import Final

import msgspec

from authz_server.engine.bodies.leaf import MAX_DEPTH, MAX_LEAVES, Leaf, Names
from authz_server.engine.call import Flag, Kind

__all__ = ["MALFORMED", "parse", "parse_lines", "to_leaves"]

MALFORMED: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What `parse` and `parse_lines` raise. Python's own recursion limit bounds the nesting."""

_decoder = msgspec.json.Decoder()
parse: Final = _decoder.decode
parse_lines: Final = _decoder.decode_lines
_names: Final = Names()


def to_leaves(document: object, data: bytes, flags: set[Flag]) -> list[Leaf]:
    """Read a document that was parsed from `data`; empty containers are leaves of their own."""
    leaves: list[Leaf] = []
    if isinstance(document, dict) or isinstance(document, list):  # noqa: SIM101  # of both at once is several times dearer
        keys = _walk(document, "", 0, leaves)
        if keys < 0 or len(leaves) > MAX_LEAVES:
            flags.add(Flag.TOO_MANY)
            del leaves[MAX_LEAVES:]
        elif _may_repeat(data, keys) and _repeats(data):
            flags.add(Flag.DUPLICATE_KEY)
    else:
        leaves.append(("", document, 0, True))  # type: ignore[arg-type]  # msgspec yields nothing but scalars here
    return leaves


_INCOMPLETE: Final = -(1 << 40)
"""Added to a count of keys that isn't complete."""


def _walk(node: dict[str, object] | list[object], pointer: str, depth: int, leaves: list[Leaf]) -> int:
    """Append the leaves; return how many keys all objects have together, less than 0 where not everything was read."""
    if depth > MAX_DEPTH or len(leaves) > MAX_LEAVES:
        return _INCOMPLETE
    keys = 0
    if isinstance(node, dict):
        if not node:
            leaves.append((pointer, Kind.OBJECT, 0, True))
        keys = len(node)
        items = node.items()
        known = _names.below(pointer)
        for key, value in islice(items, MAX_LEAVES + 1) if keys > MAX_LEAVES else items:
            name = known.get(key) or _names.add(pointer, key)
            if type(value) is dict or type(value) is list:  # msgspec makes no subclasses; `isinstance` of both is far dearer
                keys += _walk(value, name, depth + 1, leaves)
            else:
                leaves.append((name, value, 0, True))  # type: ignore[arg-type]
        return keys
    if not node:
        leaves.append((pointer, Kind.ARRAY, 0, True))
    name = pointer + "/*"
    for value in node[: MAX_LEAVES + 1]:
        if type(value) is dict or type(value) is list:
            keys += _walk(value, name, depth + 1, leaves)
        else:
            leaves.append((name, value, 0, True))  # type: ignore[arg-type]
    return keys


def _may_repeat(data: bytes, keys: int) -> bool:
    """Tell whether `data` may have more keys than the objects kept of it; False is certain.

    Before the colon of each key stands a quote or white space, so these are never fewer than the keys written; where a
    string has such a colon inside, they are more, and the slow look decides.
    """
    quoted = data.count(b'":')
    if quoted != keys:
        return True
    return data.count(b":") != quoted and any(spaced in data for spaced in (b" :", b"\n:", b"\t:", b"\r:"))


def _repeats(data: bytes) -> bool:
    """Tell whether an object has the same key twice; the standard library's parser shows all pairs, msgspec's the last."""
    found = False

    def look(pairs: list[tuple[str, object]]) -> None:
        nonlocal found
        found = found or len({key for key, _ in pairs}) < len(pairs)

    try:
        json.loads(data, object_pairs_hook=look, parse_int=len, parse_float=len)
    except (ValueError, RecursionError):
        return False
    return found
