"""What every format yields, and the bounds that all of them share."""

from functools import lru_cache
from typing import Final

from authz_server.engine.observe import MAX_NAME, is_name

__all__ = ["MAX_DEPTH", "MAX_LEAVES", "Fact", "Leaf", "Names", "Scalar", "pointer_part", "rounded_size"]

MAX_DEPTH: Final = 12
"""Containers inside the outermost one that are read."""
MAX_LEAVES: Final = 256
"""Values of one body that are read."""


class Fact(str):
    """A word of ours about a body (`png`, `mutation`), not a value of the client's: it may be shown as it is."""

    __slots__ = ()


Scalar = str | int | float | bool | None
"""Also Kind.OBJECT and Kind.ARRAY, which stand for an empty container, and Fact."""
Leaf = tuple[str, Scalar, int, bool]
"""Name, value, extra class bits, and whether the format said the type: then text that looks like a number isn't one.

Names are JSON pointers (RFC 6901) with `*` for any array index where the format is a tree with a root of no name, else plain.
"""


def pointer_part(key: str) -> str:
    """Make one part of a name of a key: what isn't a programmer's choice but data (a map from ids) is `{*}`."""
    return _pointer_part(key) if len(key) <= MAX_NAME else "{long}"


class Names:
    """Pointers of what stands below a pointer, by key, for those seen lately: most bodies have the keys of the one before.

    Two plain look-ups instead of a call for each key. At most `_MAX_NAMES`, of short keys below short pointers; when it is full
    it begins anew, and a known key then costs what a new one costs. Shared by threads: entries never change.
    """

    __slots__ = ("_left", "_of")

    def __init__(self) -> None:
        self._of: dict[str, dict[str, str]] = {}
        self._left = _MAX_NAMES

    def below(self, pointer: str) -> dict[str, str]:
        """Tell what is known below a pointer, to be asked before `add`."""
        return self._of.get(pointer, _NOTHING)

    def add(self, pointer: str, key: str) -> str:
        """Extend a pointer by a key, as `pointer_part` names it."""
        if len(key) > MAX_NAME or len(pointer) > _KNOWN_POINTER:
            return f"{pointer}/{pointer_part(key)}"
        name = f"{pointer}/{_pointer_part.__wrapped__(key)}"  # kept here, so not there too
        if self._left <= 0:
            self._of = {}
            self._left = _MAX_NAMES
        below = self._of.get(pointer)
        if below is None:
            below = self._of.setdefault(pointer, {})
        self._left -= 1
        below[key] = name
        return name


_KNOWN_POINTER: Final = 128
_MAX_NAMES: Final = 4096
_NOTHING: Final[dict[str, str]] = {}


@lru_cache(maxsize=4096)
def _pointer_part(key: str) -> str:
    if not is_name(key):
        return "{*}"
    return key.replace("~", "~0").replace("/", "~1") if "~" in key else key


def rounded_size(size: int) -> int:
    """Round a size in bytes to two digits: enough for a range, and few enough values to be learned.

    >>> rounded_size(99), rounded_size(1234)
    (99, 1200)
    """
    scale = 1
    while size // scale >= 100:
        scale *= 10
    return size // scale * scale
