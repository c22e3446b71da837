"""A caller's history as Redis keeps it -> the Past that models read. The layout is that of `redis_scripts.py`."""

from struct import Struct, unpack_from
from typing import Final

from authz_server.engine.history import MAX_RECENT, Snapshot
from authz_server.engine.pace import NO_PACES, Paces
from authz_server.histories.redis_scripts import HEAD, LAST, STEP

__all__ = ["UNKNOWN", "to_past", "to_unknown"]

_UNWATCHED: Final = -1.0
UNKNOWN: Final = Snapshot(_UNWATCHED, {}, ())
"""A past that nobody can tell: it was never watched, so nothing follows from its being empty."""
_HEAD: Final = Struct(HEAD)
_STEP_SIZE: Final = Struct(STEP).size
_RECENT: Final = tuple([Struct("<" + "4xH4x" * steps) for steps in range(MAX_RECENT + 1)])
"""The endpoints of so many steps."""
_LAST_SIZE: Final = Struct(LAST).size
_NUMBERS: Final = LAST[1:]
_NAME, _DIGITS = "\udcff", -3
"""What begins a name, as `surrogateescape` reads it, and what ends it: a byte 254 and two digits."""


def to_past(packed: bytes, paces: Paces) -> Snapshot:
    """Read a history, and put the paces beside it; raises struct.error or IndexError for what is none.

    A few microseconds, growing with the endpoints.
    """
    _, watched_ms, _, steps, endpoints = _HEAD.unpack_from(packed)
    if not endpoints:
        return Snapshot(watched_ms / 1e3, {}, (), paces, {})
    lasts = _HEAD.size + _STEP_SIZE * steps
    names_at = lasts + _LAST_SIZE * endpoints
    # One decoding of all names is cheaper than one of each.
    names = [name[:_DIGITS] for name in packed[names_at:].decode("utf-8", "surrogateescape").split(_NAME)[1:]]
    numbers = unpack_from("<" + _NUMBERS * endpoints, packed, lasts)
    back = min(steps, MAX_RECENT)
    recent = tuple([names[index] for index in _RECENT[back].unpack_from(packed, lasts - _STEP_SIZE * back)])
    ever = {name: last - 1 for name, last in zip(names, numbers[::2], strict=True) if last}
    counts = {name: count for name, count in zip(names, numbers[1::2], strict=True) if count}
    return Snapshot(watched_ms / 1e3, ever, recent, paces, counts)


def to_unknown(paces: Paces) -> Snapshot:
    """Put the paces beside a past that nobody can tell."""
    return UNKNOWN if paces is NO_PACES else Snapshot(_UNWATCHED, {}, (), paces)
