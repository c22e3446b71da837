"""Protocol Buffers' wire format (protobuf.dev/programming-guides/encoding) without descriptors: leaves by field number, `/3/2`.

Without the schema some things can't be told, and are decided by rule, the same for all occurrences of a field in one body: a
length-delimited field is text, a message, or bytes (see `_decide`); a varint is a signed 64-bit integer (zigzag isn't known; a
bool is 0 or 1); eight bytes are a double where that gives a number of everyday size, else an integer, four likewise a float. A
packed repeated field is bytes. Groups aren't read. About 3 microseconds a field.
"""

import math
import struct
from typing import Final

from authz_server.engine.bodies import magic
from authz_server.engine.bodies.leaf import MAX_DEPTH, MAX_LEAVES, Leaf
from authz_server.engine.call import Flag, Kind

__all__ = ["MAX_FIELDS", "to_leaves"]

MAX_FIELDS: Final = 2048
"""Fields of one body that are looked at, those of attempts included."""
_MAX_NUMBER: Final = (1 << 29) - 1
_USUAL_NUMBER: Final = (1 << 16) - 1
"""Bytes that read as fields of larger numbers than this are no message inside a message; at the top they count as `{*}`."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_Field = tuple[int, int, int | bytes]
"""Field number, wire type, and an integer (unsigned) or bytes."""

_CONTROL: Final = bytes(i for i in (*range(32), 127) if i not in b"\t\n\r")
_CONTROL_SHARE: Final = 0.25
_EVERYDAY: Final = (1e-9, 1e15)


def to_leaves(messages: list[bytes], flags: set[Flag]) -> list[Leaf]:
    """Read messages of one type together; one that isn't well-formed is flagged and left out."""
    reader = _Reader(flags)
    read = []
    for message in messages:
        fields = reader.fields(message, _MAX_NUMBER)
        if fields is None:
            if not reader.exhausted:
                flags.add(Flag.MALFORMED_BODY)
        else:
            read.append(fields)
    reader.add("", read, 0)
    if reader.exhausted or len(reader.leaves) > MAX_LEAVES:
        flags.add(Flag.TOO_MANY)
        del reader.leaves[MAX_LEAVES:]
    return reader.leaves


class _Reader:
    """Collects leaves, and counts the work."""

    def __init__(self, flags: set[Flag]) -> None:
        self.leaves: list[Leaf] = []
        self._flags = flags
        self._left = MAX_FIELDS

    @property
    def exhausted(self) -> bool:
        return self._left < 0

    def fields(self, data: bytes, max_number: int) -> list[_Field] | None:
        """Split a message into its fields; None where it isn't one, or no work is left."""
        fields: list[_Field] = []
        at, size = 0, len(data)
        while at < size:
            self._left -= 1
            if self._left < 0:
                return None
            tag, at = _read_varint(data, at)
            number, wire = tag >> 3, tag & 7
            if not 0 < number <= max_number:  # also where the varint is cut off
                return None
            if wire == _VARINT:
                value, at = _read_varint(data, at)
                if value < 0:
                    return None
                fields.append((number, wire, value))
                continue
            length = 8 if wire == _FIXED64 else 4
            if wire == _BYTES:
                length, at = _read_varint(data, at)
            elif wire not in (_FIXED64, _FIXED32):
                return None
            if length < 0 or at + length > size:
                return None
            fields.append((number, wire, data[at : at + length]))
            at += length
        return fields

    def add(self, name: str, messages: list[list[_Field]], depth: int) -> None:
        """Add the leaves of all occurrences of one message, field by field in order of first appearance."""
        if depth > MAX_DEPTH:
            self._flags.add(Flag.TOO_MANY)
            return
        grouped: dict[int, list[bytes]] = {}
        for fields in messages:
            for number, wire, value in fields:
                if len(self.leaves) > MAX_LEAVES:
                    return
                if isinstance(value, int):
                    self._add(name, number, value - (1 << 64) if value >> 63 else value)
                elif wire == _BYTES:
                    grouped.setdefault(number, []).append(value)
                else:
                    self._add(name, number, _fixed(value))
        for number, values in grouped.items():
            if len(self.leaves) > MAX_LEAVES:
                return
            self._decide(name, number, values, depth)

    def _add(self, name: str, number: int, value: int | float | str) -> None:
        self.leaves.append((_child(name, number), value, 0, True))

    def _decide(self, name: str, number: int, values: list[bytes], depth: int) -> None:
        """Decide what all occurrences of a length-delimited field are, and add their leaves.

        Text, if all are UTF-8 without control characters and none begins with a line break, as messages do whose first field is a
        string; else a message, if all parse as one; else text, if all are UTF-8 and a quarter or less of each is control
        characters; else bytes, known by size and magic.
        """
        texts = [_to_text(value) for value in values[: MAX_LEAVES + 1]]
        if all(share == 0.0 for _, share in texts) and not any(value[:1] in (b"\n", b"\r") for value in values):
            self._add_texts(name, number, texts)
            return
        full = [value for value in values if value]
        messages = []
        for value in full:
            fields = self.fields(value, _USUAL_NUMBER)
            if fields is None:
                break
            messages.append(fields)
        if len(messages) == len(full):
            if len(full) < len(values):
                self.leaves.append((_child(name, number), Kind.OBJECT, 0, True))
            self.add(_child(name, number), messages, depth + 1)
        elif all(share <= _CONTROL_SHARE for _, share in texts):
            self._add_texts(name, number, texts)
        else:
            for value in values[:MAX_LEAVES]:
                self.leaves += magic.to_leaves(_child(name, number) + "/", value)

    def _add_texts(self, name: str, number: int, texts: list[tuple[str, float]]) -> None:
        for text, _ in texts:
            self._add(name, number, text)


def _child(name: str, number: int) -> str:
    return f"{name}/{number}" if number <= _USUAL_NUMBER else f"{name}/{{*}}"


def _to_text(value: bytes) -> tuple[str, float]:
    """Decode UTF-8, and tell the share of control characters; 1.0 for what isn't UTF-8."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return "", 1.0
    controls = len(value) - len(value.translate(None, _CONTROL))
    return text, controls / len(value) if controls else 0.0


def _fixed(value: bytes) -> float:
    """Read 8 bytes as a double or 4 as a float where that is of everyday size, else as a signed integer."""
    number: float = struct.unpack("<d" if len(value) == 8 else "<f", value)[0]
    if math.isfinite(number) and (_EVERYDAY[0] <= abs(number) <= _EVERYDAY[1]):
        return number
    return int.from_bytes(value, "little", signed=True)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a varint and where it ends; -1 where it is cut off or longer than 64 bits."""
    value = shift = 0
    for byte in data[at : at + 10]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value, at) if value >> 64 == 0 else (-1, at)
        shift += 7
    return -1, at
