"""How calls went through the mesh: what tells which call caused which (`fit_follow.py`), in columns as in `batch.py`."""

from collections import defaultdict
from itertools import count

import msgspec

from trainer.eligible import calibrates
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
_Row = tuple[float, int, int, str, int | None, bool]


class TrailBuilder:
    """Collects calls, which must come in time order."""

    def __init__(self) -> None:
        self._targets: defaultdict[tuple[str, str, bytes], int] = defaultdict(count().__next__)
        self._principals: defaultdict[str, int] = defaultdict(count().__next__)
        self._rows: list[_Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, call: StoredCall) -> None:
        """Take one call."""
        target = self._targets[call.workload, call.method, bytes(call.segments)]
        principal = self._principals[call.principal]
        status = call.status if call.status is None else bounded(call.status)
        self._rows.append((call.ts, target, principal, call.request_id, status, calibrates(call)))

    def build(self) -> Trail:
        """Make the trail of the calls so far, of which there must be one."""
        targets = [Target(workload, method, _segments(segments)) for workload, method, segments in self._targets]
        return Trail(targets, list(self._principals), *map(list, zip(*self._rows, strict=True)))


encode_trail = msgspec.msgpack.Encoder().encode
decode_trail = msgspec.msgpack.Decoder(Trail).decode
