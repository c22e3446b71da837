"""Mirrored requests and access log entries of the same calls: one knows the body, the other the caller and the end.

Pure: time is an argument. A pair is known by request id, method and path. What is still alone when its time is up goes on alone,
and calls go on in the order in which they came, so the store stays in time order.
"""

import hashlib
from collections import OrderedDict, deque
from collections.abc import MutableMapping
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from authz_server.engine.call import Outcome
from authz_server.engine.canonical import RawCall

__all__ = ["Paired", "Pairing"]

_MAX_HELD: Final = 20_000
_MAX_HELD_BYTES: Final = 64 << 20
"""Of bodies; beyond either bound the oldest call goes on at once."""
_MAX_RELEASED: Final = 20_000
"""Requests that went on without their entry and are remembered, so that the entry is not taken for another call."""

_T = TypeVar("_T")


class Paired(msgspec.Struct):
    """One call that may go on. `outcome` None: no access log entry came. `mirrored`: its body, if any, was seen."""

    number: int
    raw: RawCall
    outcome: Outcome | None
    mirrored: bool


class _Held(msgspec.Struct):
    key: bytes
    deadline: float
    paired: Paired

    @property
    def done(self) -> bool:
        return self.paired.mirrored and self.paired.outcome is not None


class Pairing:
    """Holds what waits for its other half, at most `hold_seconds`. Calls are numbered from 1, in the order in which they came."""

    def __init__(self, hold_seconds: float) -> None:
        self._hold_seconds = hold_seconds
        self._order: deque[_Held] = deque()
        self._requests: dict[bytes, deque[_Held]] = {}
        self._entries: dict[bytes, deque[_Held]] = {}
        self._released: OrderedDict[bytes, deque[int]] = OrderedDict()
        self._number = 0
        self._bytes = 0
        self.pairs = 0

    def add_request(self, raw: RawCall, now: float) -> None:
        """Take a mirrored request."""
        key = _key(raw)
        entry = _take(self._entries, key)
        if entry is None:
            self._hold(key, raw, None, now)
        else:
            self._bytes += len(raw.body or b"")
            entry.paired.raw = _merge(raw, entry.paired.raw)
            entry.paired.mirrored = True
            self.pairs += 1

    def add_entry(self, raw: RawCall, outcome: Outcome, now: float) -> int | None:
        """Take an access log entry; gives the number of its call if that has gone on already, else None."""
        key = _key(raw)
        request = _take(self._requests, key)
        if request is not None:
            request.paired.raw = _merge(request.paired.raw, raw)
            request.paired.outcome = outcome
            self.pairs += 1
            return None
        number = _take(self._released, key)
        if number is None:
            self._hold(key, raw, outcome, now)
        return number

    def release(self, now: float, *, everything: bool = False) -> list[Paired]:
        """Give the calls that are complete or have waited long enough, in the order in which they came."""
        released = []
        order = self._order
        while order and (everything or order[0].done or order[0].deadline <= now or self._over_bounds()):
            held = order.popleft()
            self._bytes -= len(held.paired.raw.body or b"")
            if not held.done:
                self._forget(held)
            released.append(held.paired)
        return released

    def _over_bounds(self) -> bool:
        return len(self._order) > _MAX_HELD or self._bytes > _MAX_HELD_BYTES

    def _hold(self, key: bytes, raw: RawCall, outcome: Outcome | None, now: float) -> None:
        self._number += 1
        held = _Held(key, now + self._hold_seconds, Paired(self._number, raw, outcome, mirrored=outcome is None))
        self._order.append(held)
        self._bytes += len(raw.body or b"")
        if key:
            (self._requests if outcome is None else self._entries).setdefault(key, deque()).append(held)

    def _forget(self, held: _Held) -> None:
        """Stop waiting for the other half; the oldest of a key is the first to go."""
        if not held.key:
            return
        _take(self._requests if held.paired.mirrored else self._entries, held.key)
        if held.paired.mirrored:
            self._released.setdefault(held.key, deque()).append(held.paired.number)
            if len(self._released) > _MAX_RELEASED:
                self._released.popitem(last=False)


def _key(raw: RawCall) -> bytes:
    """Name a pair; empty without a request id: then it can't have another half."""
    if not raw.request_id:
        return b""
    text = "\0".join((raw.request_id, raw.method, raw.target))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).digest()


def _take(waiting: MutableMapping[bytes, deque[_T]], key: bytes) -> _T | None:
    some = waiting.get(key)
    if not some:
        return None
    first = some.popleft()
    if not some:
        del waiting[key]
    return first


def _merge(request: RawCall, entry: RawCall) -> RawCall:
    """Take what the client sent from the request, and who and when from the entry: there it is Envoy's word."""
    return replace(request, ts=entry.ts, workload=entry.workload, source=entry.source, address=entry.address)
