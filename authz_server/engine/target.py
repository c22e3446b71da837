"""From a request target to raw segments, query pairs and flags.

Split by hand on the first `?` (RFC 9112, 3.2): `urlsplit` reads the authority out of `//admin` and loses the segment, which
was a bypass in OPA's plugin. Nothing is normalised away: what two servers may read differently becomes a Flag.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from authz_server.engine.call import Flag
from authz_server.engine.observe import NOT_UTF8

__all__ = ["MAX_ESCAPES", "MAX_PAIRS", "MAX_SEGMENTS", "MAX_TARGET", "cut_target", "decode", "split_pairs", "split_path"]

MAX_TARGET: Final = 8192
"""Characters of the request target that are read; Envoy's own limit for all headers is 60 KiB."""
MAX_SEGMENTS: Final = 32
MAX_PAIRS: Final = 128
"""Pairs of a query, cookie header or form that are read."""
MAX_ESCAPES: Final = 1 << 15
"""Percent signs of a query or form that is read; decoding them takes about 8 milliseconds."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,15}://[^/?]*")
_DOT = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SUSPICIOUS = re.compile(r"[%;\\]|//|(?:^|/)\.|[\x00-\x1f\x7f]")


def decode(text: str, *, plus: bool = False) -> tuple[str, int]:
    """Percent-decode once; UTF-8, else Latin-1 with the class bit `NOT_UTF8`.

    With `plus`, `+` is a space (application/x-www-form-urlencoded, WHATWG URL 5.1).
    """
    if plus and "+" in text:
        text = text.replace("+", " ")
    if "%" not in text:
        return (text, 0) if text.isascii() else _from_bytes(text.encode("utf-8", "surrogateescape"))
    return _from_bytes(unquote_to_bytes(text.encode("utf-8", "surrogateescape")))


def _from_bytes(data: bytes) -> tuple[str, int]:
    try:
        return data.decode(), 0
    except UnicodeDecodeError:
        return data.decode("latin-1"), NOT_UTF8


def cut_target(target: str, flags: set[Flag]) -> tuple[str, str]:
    """Cut a request target into its raw path and query; add to `flags` where it is longer than what is read."""
    if len(target) > MAX_TARGET:
        flags.add(Flag.TOO_MANY)
        target = target[:MAX_TARGET]
    path, _, query = target.partition("?")
    return path, query


def split_path(path: str) -> tuple[tuple[tuple[str, int], ...], frozenset[Flag]]:
    """Split a raw path into decoded segments (text, extra class bits), and say what is odd about how it is written.

    `/a//b/` has the segments `a`, ``, `b`, ``; the root has one empty segment. Absolute form loses scheme and authority, `*` and
    the empty target (OPTIONS, CONNECT) are kept as they are.
    """
    flags: set[Flag] = set()
    if not path.startswith("/"):
        found = _SCHEME.match(path)
        if found:
            flags.add(Flag.ABSOLUTE_FORM)
            path = path[found.end() :] or "/"
        elif not path:
            flags.add(Flag.EMPTY_PATH)
    path, hash_sign, _ = path.partition("#")
    if hash_sign:
        flags.add(Flag.BAD_ENCODING)
    if _SUSPICIOUS.search(path):
        _flag_path(path, flags)
    raw = path.removeprefix("/").split("/", MAX_SEGMENTS)
    if len(raw) > MAX_SEGMENTS:
        flags.add(Flag.TOO_MANY)
    return tuple([(part, 0) if "%" not in part and part.isascii() else decode(part) for part in raw]), frozenset(flags)


def _flag_path(path: str, flags: set[Flag]) -> None:
    """Name every way in which two servers could read this path differently."""
    lower = path.lower()
    if "//" in path:
        flags.add(Flag.DOUBLE_SLASH)
    if "%2f" in lower or "%5c" in lower:
        flags.add(Flag.ENCODED_SLASH)
    if "\\" in path:
        flags.add(Flag.BACKSLASH)
    if ";" in path or "%3b" in lower:
        flags.add(Flag.PATH_PARAMETER)
    if _DOT.search(path):
        flags.add(Flag.DOT_SEGMENT)
    if "%25" in lower:
        flags.add(Flag.DOUBLE_ENCODING)
    if _BAD_PERCENT.search(path):
        flags.add(Flag.BAD_ENCODING)
    if any(char < " " or char == "\x7f" for char in path) or re.search(r"%[01][0-9a-f]|%7f", lower):
        flags.add(Flag.CONTROL_CHARACTER)


def split_pairs(text: str, separator: str, flags: set[Flag]) -> list[tuple[str, str, int]]:
    """Split `a=1&b=2` into (name, value, extra class bits), at most `MAX_PAIRS`.

    Names and values are decoded, but cookies' (separator `;`) are not. A piece without `=` is a name with an empty value; an
    empty piece is nothing.
    """
    if not text:
        return []
    pieces = text.split(separator, MAX_PAIRS)
    if len(pieces) > MAX_PAIRS:
        flags.add(Flag.TOO_MANY)
        del pieces[MAX_PAIRS:]
    if separator == "&" and len(text) > MAX_ESCAPES and text.count("%") > MAX_ESCAPES:
        flags.add(Flag.TOO_MANY)
        return []
    pairs = []
    for piece in pieces:
        name, _, value = piece.partition("=")
        if separator == ";":
            name = name.strip()
            if name:
                pairs.append((name, value.strip(), 0))
        elif piece:
            value, extra = decode(value, plus=True)
            pairs.append((decode(name, plus=True)[0], value, extra))
    return pairs
