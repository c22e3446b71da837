"""multipart/form-data (RFC 7578; delimiters RFC 2046, 5.1): fields by name, of a file its name, type, size and magic.

Read strictly, since servers read what is written loosely in different ways (and so firewalls were passed by): every deviation is
Flag.MALFORMED_BODY. About 6 microseconds a part.
"""

import re
from typing import Final

from authz_server.engine.bodies import json_, magic
from authz_server.engine.bodies.leaf import MAX_LEAVES, Leaf
from authz_server.engine.call import Flag
from authz_server.engine.observe import MAX_CUT_NAME, NOT_UTF8, bounded_name

__all__ = ["MAX_PARTS", "to_leaves"]

MAX_PARTS: Final = 64
_MAX_HEAD: Final = 2048
"""Bytes of one part's headers."""
_MAX_HEADERS: Final = 8
_MAX_EXTENSION: Final = 16

_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"([^"]*)"|([^;\s]*))', re.IGNORECASE)
_BOUNDARY_FORM = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]\Z")
"""RFC 2046, 5.1.1."""
_PARAMETER = re.compile(r';\s*([A-Za-z0-9!#$&+^_`|~*.-]+)\s*=\s*("(?:[^"\\]|\\.)*+"|[^\s";,]*)\s*')
_PLAIN_ENCODINGS: Final = frozenset({"", "7bit", "8bit", "binary"})


def to_leaves(content_type: str, data: bytes, flags: set[Flag]) -> list[Leaf]:
    """Read all parts up to the bounds, or up to where the delimiters end to make sense."""
    leaves: list[Leaf] = []
    boundary = _boundary(content_type)
    if not boundary or not data.startswith(boundary):
        # A preamble is allowed (and passed over) by RFC 2046, but no client writes one.
        flags.add(Flag.MALFORMED_BODY)
        return leaves
    at = len(boundary)
    delimiter = b"\r\n" + boundary
    for _ in range(MAX_PARTS):
        if data.startswith(b"--", at):
            if data[at + 2 :].strip(b"\r\n"):
                flags.add(Flag.MALFORMED_BODY)
            return leaves
        end = data.find(delimiter, at)
        if end < 0 or not data.startswith(b"\r\n", at):
            flags.add(Flag.MALFORMED_BODY)
            return leaves
        _add_part(leaves, data, at + 2, end, flags)
        if len(leaves) >= MAX_LEAVES:
            del leaves[MAX_LEAVES:]
            break
        at = end + len(delimiter)
    flags.add(Flag.TOO_MANY)
    return leaves


def _boundary(content_type: str) -> bytes:
    """Find the delimiter without its line break; empty where there is none, or not exactly one."""
    found = _BOUNDARY.findall(content_type)
    if len(found) != 1:
        return b""
    text = found[0][0] or found[0][1]
    return b"--" + text.encode("ascii") if _BOUNDARY_FORM.match(text) else b""


def _add_part(leaves: list[Leaf], data: bytes, start: int, end: int, flags: set[Flag]) -> None:
    stop = data.find(b"\r\n\r\n", start - 2, min(end, start + _MAX_HEAD))
    headers = _headers(data[start:stop]) if stop >= start else None
    disposition = _parameters(headers.get("content-disposition", "")) if headers is not None else None
    if headers is None or disposition is None or "name" not in disposition:
        flags.add(Flag.MALFORMED_BODY)
        return
    if "filename*" in disposition:  # RFC 7578, 4.2: not allowed here; who reads it reads another file name
        flags.add(Flag.MALFORMED_BODY)
    if headers.get("content-transfer-encoding", "").lower() not in _PLAIN_ENCODINGS:
        flags.add(Flag.BAD_ENCODING)
    content = data[stop + 4 : end]
    name = bounded_name(disposition["name"][:MAX_CUT_NAME])
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    filename = disposition.get("filename", disposition.get("filename*"))
    if filename is None and media.endswith(("/json", "+json")):
        _add_json(leaves, name, content, flags)
    elif filename is None and (not media or media.startswith("text/")):
        try:
            leaves.append((name, content.decode(), 0, False))
        except UnicodeDecodeError:
            leaves.append((name, content.decode("latin-1"), NOT_UTF8, False))
    else:
        _add_file(leaves, name, filename, media, content, flags)


def _add_json(leaves: list[Leaf], name: str, content: bytes, flags: set[Flag]) -> None:
    try:
        document = json_.parse(content)
    except json_.MALFORMED:
        flags.add(Flag.MALFORMED_BODY)
    else:
        leaves += [(name + pointer, value, 0, True) for pointer, value, _, _ in json_.to_leaves(document, content, flags)]


def _add_file(leaves: list[Leaf], name: str, filename: str | None, media: str, content: bytes, flags: set[Flag]) -> None:
    if filename is not None:
        leaves.append((f"{name}/filename", filename, 0, False))
        _, dot, extension = filename.rpartition(".")
        leaves.append((f"{name}/extension", extension.lower()[:_MAX_EXTENSION] if dot else "", 0, False))
    if media:
        leaves.append((f"{name}/type", media, 0, False))
    size, kind = magic.to_leaves(f"{name}/", content)
    if content and magic.disagrees(media, str(kind[1])):
        flags.add(Flag.CONTENT_MISMATCH)
    leaves += (size, kind)


def _headers(head: bytes) -> dict[str, str] | None:
    """Read the headers of a part; None where they can be read in two ways."""
    try:
        lines = head.decode().split("\r\n", _MAX_HEADERS)
    except UnicodeDecodeError:
        lines = head.decode("latin-1").split("\r\n", _MAX_HEADERS)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        key = name.lower()
        if not colon or key in headers or key != key.strip() or "\n" in line or "\r" in line or "\0" in line:
            return None
        headers[key] = value.strip()
    return headers


def _parameters(disposition: str) -> dict[str, str] | None:
    """Read the parameters of `form-data; name="a"; filename="b"`; None where they can be read in two ways."""
    kind, _, _ = disposition.partition(";")
    if kind.strip().lower() != "form-data":
        return None
    parameters: dict[str, str] = {}
    at = len(kind)
    while at < len(disposition):
        found = _PARAMETER.match(disposition, at)
        if not found:
            return None
        name, value = found[1].lower(), found[2]
        if name in parameters:
            return None
        # Browsers escape a quote as %22 and nothing else (WHATWG HTML, 4.10.21.8); a backslash may be one of Windows' paths.
        parameters[name] = value[1:-1].replace('\\"', '"') if value[:1] == '"' else value
        at = found.end()
    return parameters
