"""A bounded sample of a workload's calls, chosen by the hash of their ids: the same whatever the order and partition.

For what can't be learned call by call. Costs about a microsecond a call, and a few for one that gets in, which gets rarer.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from authz_server.engine.call import Call

__all__ = ["CallSample", "SampledCall"]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Call).decode


class SampledCall(NamedTuple):
    """A call, where it belongs, and in which window of the traffic it came."""

    endpoint: str
    window: int
    call: Call


class CallSample:
    """Keeps at most `limit` calls, those whose ids hash lowest; held encoded, at some hundred bytes each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[tuple[int, str, int, bytes]] = []
        """Highest hash first, so negated."""

    def update(self, call_id: str, call: Callable[[], Call], endpoint: str, window: int = 0) -> None:
        """Take one call, which is asked for only where it gets in; ids are unique."""
        if self._limit == 0:
            return
        order = -int.from_bytes(hashlib.blake2b(call_id.encode("utf-8", "surrogateescape"), digest_size=8).digest())
        if len(self._heap) < self._limit or order >= self._heap[0][0]:
            self._put((order, endpoint, window, _encode(call())))

    def merge(self, other: "CallSample") -> None:
        """Take over another's calls; the other stays as it is."""
        for item in other._heap:
            self._put(item)

    def _put(self, item: tuple[int, str, int, bytes]) -> None:
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, item)
        else:
            heapq.heappushpop(self._heap, item)

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[SampledCall]:
        """Give the calls, in the order of their hashes."""
        for _, endpoint, window, data in sorted(self._heap, reverse=True):
            yield SampledCall(endpoint, window, _decode(data))
