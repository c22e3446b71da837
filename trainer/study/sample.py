"""From all calls of a store to exact counts and a bounded sample: memory doesn't depend on the number of calls.

The sample is those calls whose ids hash lowest under the seed: the same whatever the order, and nearly the same when calls are
added. It is chosen without looking at a call, so shares in it estimate shares in the store.
"""

import hashlib
import heapq
from collections.abc import Iterable
from typing import Final

import msgspec

from authz_server.engine.errors import TrainingError, cut
from authz_server.engine.record import CallRecord
from trainer.known_names import known_names
from trainer.study.telemetry import UNKNOWN, Telemetry, to_status, to_telemetry

__all__ = ["OTHER", "Sampled", "Traffic", "draw_sample"]

OTHER: Final = "(other)"
"""Where everything is counted that there are too many kinds of."""
_MAX_KINDS: Final = 1000


class Traffic(msgspec.Struct, frozen=True):
    """Exact counts of all calls read. `first` and `last` are seconds since the epoch, or line numbers of a file without times."""

    calls: int
    first: float
    last: float
    workloads: dict[str, int]
    methods: dict[str, int]
    statuses: dict[str, int]
    labels: dict[str, int]
    verdicts: dict[str, int]


class Sampled(msgspec.Struct, frozen=True):
    """What was read, and a sample of it in time order."""

    traffic: Traffic
    calls: tuple[Telemetry, ...]


def draw_sample(records: Iterable[tuple[str, CallRecord]], limit: int, seed: int = 0, workload: str | None = None) -> Sampled:
    """Count all records (each with a key that tells it from the others) and keep `limit` of them.

    `workload`: only calls to it; None: all. Raises TrainingError when there is none. About 10 microseconds a call.
    """
    heap: list[tuple[int, int, Telemetry]] = []
    workloads: dict[str, int] = {}
    methods: dict[str, int] = {}
    statuses: dict[str, int] = {}
    labels: dict[str, int] = {}
    verdicts: dict[str, int] = {}
    first, last, calls = float("inf"), float("-inf"), 0
    for number, (key, record) in enumerate(records):
        _count(workloads, record.workload or UNKNOWN)
        if workload is not None and record.workload != workload:
            continue
        calls += 1
        first, last = min(first, record.ts), max(last, record.ts)
        _count(methods, record.method)
        _count(statuses, to_status(record.status))
        _count(labels, {0: "benign", 1: "attack"}.get(-1 if record.label is None else record.label, UNKNOWN))
        _count(verdicts, record.verdict or UNKNOWN)
        order = -_hash(f"{seed}:{key}")
        if len(heap) < limit:
            heapq.heappush(heap, (order, number, to_telemetry(record)))
        elif order > heap[0][0]:
            heapq.heapreplace(heap, (order, number, to_telemetry(record)))
    if not calls:
        raise TrainingError(_nothing(workload, workloads))
    if workload is not None:
        workloads = {workload: calls}
    in_order = sorted(heap, key=lambda item: (item[2].ts, item[1]))
    traffic = Traffic(calls, first, last, *[_ranked(one) for one in (workloads, methods, statuses, labels, verdicts)])
    return Sampled(traffic, tuple([call for _, _, call in in_order]))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest())


def _count(counts: dict[str, int], name: str) -> None:
    name = name if name in counts or len(counts) < _MAX_KINDS else OTHER
    counts[name] = counts.get(name, 0) + 1


def _ranked(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _nothing(workload: str | None, workloads: dict[str, int]) -> str:
    if workload is None:
        return "expected recorded calls to study, found none"
    return f"workload: expected one that calls were recorded of ({known_names(workload, workloads)}), got {cut(workload)}"
