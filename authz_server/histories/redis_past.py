"""A caller's history as Redis keeps it -> the Past that models read."""

import msgspec

from authz_server.engine.history import MAX_RECENT, Snapshot
from authz_server.engine.pace import NO_PACES, Paces

__all__ = ["UNKNOWN", "to_past", "to_unknown"]

_UNWATCHED = -1.0
UNKNOWN = Snapshot(_UNWATCHED, {}, ())
"""A past that nobody can tell: it was never watched, so nothing follows from its being empty."""


class _Packed(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What `redis_scripts.py` writes; endpoints are counted from 1 in `steps`."""

    born: int
    watched_ms: int
    next_number: int
    endpoints: list[str]
    last: list[int]
    steps: list[int]
    counts: list[int]


_DECODER = msgspec.msgpack.Decoder(_Packed)


def to_past(packed: bytes, paces: Paces) -> Snapshot:
    """Read a history, and put the paces beside it; raises msgspec.DecodeError for anything else.

    A few microseconds, growing with the endpoints.
    """
    found = _DECODER.decode(packed)
    endpoints = found.endpoints
    recent = tuple([endpoints[index - 1] for index in found.steps[1::3][-MAX_RECENT:]])
    ever = {endpoint: number for endpoint, number in zip(endpoints, found.last, strict=True) if number >= 0}
    counts = {endpoint: number for endpoint, number in zip(endpoints, found.counts, strict=True) if endpoint in ever}
    return Snapshot(found.watched_ms / 1e3, ever, recent, paces, counts)


def to_unknown(paces: Paces) -> Snapshot:
    """Put the paces beside a past that nobody can tell."""
    return UNKNOWN if paces is NO_PACES else Snapshot(_UNWATCHED, {}, (), paces)
