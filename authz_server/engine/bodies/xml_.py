"""XML 1.0 (W3C, fifth edition) and SOAP: elements' texts and attributes by path, `/Envelope/Body/pay/@id`.

Nothing is ever expanded or fetched: parsing stops at the document type declaration, before its first entity, and without one
XML knows only its five named characters. Namespace prefixes are the client's choice and are left out of names. XML says no types,
so each text is typed by its form. About 2.5 microseconds an
element.
"""

import re
from typing import Final, NoReturn
from xml.parsers import expat

from authz_server.engine.bodies.leaf import MAX_DEPTH, MAX_LEAVES, Leaf, pointer_part
from authz_server.engine.call import Flag

__all__ = ["MAX_ELEMENTS", "MAX_EQUALS", "to_leaves"]

MAX_ELEMENTS: Final = 1024
"""Elements of one document that are looked at."""
MAX_EQUALS: Final = 8192
"""Signs `=`, and so attributes, of one document: expat reads all of an element's before it tells us of one."""
_DECLARATION: Final = 128
"""Bytes in which the XML declaration's encoding is looked for."""

_ENCODING = re.compile(rb"""<\?xml\s[^>]{0,80}?encoding\s{0,4}=\s{0,4}["']([A-Za-z0-9._-]{1,40})["']""")
_ENCODINGS: Final = {"utf-8": "utf-8", "us-ascii": "us-ascii", "iso-8859-1": "iso-8859-1", "utf-16": "utf-16"}


class _Stop(Exception):  # noqa: N818  # no error: enough was read
    """Ends the parsing from inside a handler."""


class _Reader:
    """Collects leaves from expat's events."""

    def __init__(self, flags: set[Flag]) -> None:
        self.leaves: list[Leaf] = []
        self._flags = flags
        self._path = [""]
        self._text: list[str] = []
        self._bare = False
        """Whether the innermost open element has neither children nor attributes, so that its text is a value even if empty."""
        self._deeper = 0
        """Open elements below `MAX_DEPTH`."""
        self._elements = 0

    def open(self, tag: str, attributes: list[str]) -> None:
        self._elements += 1
        if self._elements > MAX_ELEMENTS or len(self.leaves) >= MAX_LEAVES:
            self._flags.add(Flag.TOO_MANY)
            raise _Stop
        if self._deeper or len(self._path) > MAX_DEPTH + 1:
            self._flags.add(Flag.TOO_MANY)
            self._deeper += 1
            self._bare = False
            return
        self._flush(always=False)
        path = f"{self._path[-1]}/{pointer_part(tag.rpartition(':')[2])}"
        self._path.append(path)
        self._bare = not attributes
        if len(attributes) > 2 * MAX_LEAVES:
            self._flags.add(Flag.TOO_MANY)
        for i in range(0, min(len(attributes), 2 * MAX_LEAVES), 2):
            name = attributes[i]
            if name != "xmlns" and not name.startswith("xmlns:"):
                self._add(f"{path}/@{pointer_part(name.rpartition(':')[2])}", attributes[i + 1])

    def close(self, _: str) -> None:
        if self._deeper:
            self._deeper -= 1
            return
        self._flush(always=self._bare)
        self._bare = False
        self._path.pop()

    def text(self, data: str) -> None:
        if not self._deeper:
            self._text.append(data)

    def doctype(self, *_: object) -> NoReturn:
        self._flags.add(Flag.DOCTYPE)
        raise _Stop

    def declare(self, _: str, encoding: str | None, __: int) -> None:
        if encoding and encoding.lower() not in _ENCODINGS:
            self._flags.add(Flag.BAD_ENCODING)  # another reader may read other characters than we do

    def _flush(self, *, always: bool) -> None:
        text = "".join(self._text).strip()
        self._text.clear()
        if text or always:
            self._add(self._path[-1], text)

    def _add(self, name: str, value: str) -> None:
        if len(self.leaves) < MAX_LEAVES:
            self.leaves.append((name, value, 0, False))
        else:
            self._flags.add(Flag.TOO_MANY)


def to_leaves(data: bytes, flags: set[Flag]) -> list[Leaf]:
    """Read a document up to the bounds, the first error or the document type declaration, whichever comes first."""
    reader = _Reader(flags)
    if data.count(b"=") > MAX_EQUALS:
        flags.add(Flag.TOO_MANY)
        return reader.leaves
    # The encoding is given, never looked up: pyexpat would import whatever codec the document names.
    parser = expat.ParserCreate(_encoding(data))
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = reader.open
    parser.EndElementHandler = reader.close
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.EntityDeclHandler = reader.doctype
    parser.XmlDeclHandler = reader.declare
    try:
        parser.Parse(data, True)  # noqa: FBT003  # a C function without keywords
    except _Stop:
        pass
    except (expat.ExpatError, ValueError):
        flags.add(Flag.MALFORMED_BODY)
    return reader.leaves


def _encoding(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    declared = _ENCODING.match(data[:_DECLARATION])
    return _ENCODINGS.get(declared[1].decode().lower(), "utf-8") if declared else "utf-8"
