"""How calls went through the mesh: what tells which call caused which (`fit_follow.py`), in columns as in `batch.py`."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from operator import attrgetter

import msgspec

from trainer.partial_record import StoredCall, bounded

__all__ = ["Target", "Trail", "TrailBuilder", "decode_trail", "encode_trail"]


class PathSegment(msgspec.Struct, frozen=True, gc=False):
    """What finds a call's endpoint."""

    text: str


class Target(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Where calls went."""

    workload: str
    method: str
    segments: tuple[PathSegment, ...]


class Trail(msgspec.Struct, frozen=True, array_like=True):
    """Calls of all workloads in time order; `target` and `principal` are rows of the tables.

    `teaches` False: the call can't be a cause, only an effect.
    """

    targets: list[Target]
    principals: list[str]
    ts: list[float]
    target: list[int]
    principal: list[int]
    request_id: list[str]
    status: list[int | None]
    teaches: list[bool]


_segments = msgspec.json.Decoder(tuple[PathSegment, ...]).decode
_columns = attrgetter("ts", "request_id", "status", "principal", "verdict", "workload", "method", "segments")


class TrailBuilder:
    """Collects calls, which must come in time order."""

    def __init__(self) -> None:
        self._targets: defaultdict[tuple[str, str, bytes], int] = defaultdict(count().__next__)
        self._principals: defaultdict[str, int] = defaultdict(count().__next__)
        self._ts: list[float] = []
        self._target: list[int] = []
        self._principal: list[int] = []
        self._request_id: list[str] = []
        self._status: list[int | None] = []
        self._teaches: list[bool] = []

    def __len__(self) -> int:
        return len(self._ts)

    def add(self, calls: Sequence[StoredCall]) -> None:
        """Take calls, at least one, none of them a known attack or of a test split."""
        ts, request_id, status, principal, verdict, workload, method, segments = zip(*map(_columns, calls), strict=True)
        self._ts += ts
        self._target += map(self._targets.__getitem__, zip(workload, method, map(bytes, segments), strict=True))
        self._principal += map(self._principals.__getitem__, principal)
        self._request_id += request_id
        self._status += status
        self._teaches += [one != "deny" for one in verdict]  # what else `calibrates` asks is told above

    def build(self) -> Trail:
        """Make the trail of the calls so far, of which there must be one."""
        return Trail(
            [Target(workload, method, _segments(segments)) for workload, method, segments in self._targets],
            list(self._principals),
            self._ts,
            self._target,
            self._principal,
            self._request_id,
            bounded(self._status),
            self._teaches,
        )


encode_trail = msgspec.msgpack.Encoder().encode
decode_trail = msgspec.msgpack.Decoder(Trail).decode
