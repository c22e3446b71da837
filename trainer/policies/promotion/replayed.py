"""What a replay (`replay.py`) of the last days says of each policy: taken apart by the workloads that a policy applies to.

In: recorded calls and all policies together, since they are in force together. Out: a Tally a policy. One pass over the calls for
all policies; what is kept is bounded by the number of workloads that are told apart.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from authz_server.engine.record import CallRecord
from trainer.policies.meaning.placement import place
from trainer.policies.meaning.replay import replay
from trainer.policies.policy import AuthorizationPolicy

__all__ = ["ROOT_NAMESPACE", "Tally", "replay_each"]

ROOT_NAMESPACE: Final = "istio-system"
_MAX_WORKLOADS: Final = 10_000
"""Workloads that are told apart: they may be named by a host, which a client chooses. Calls to others count for no policy."""


class Tally(msgspec.Struct):
    """Calls to a policy's workloads. `refused`: that ended well and wouldn't any more; `undecided`: of which it can't be told."""

    calls: int = 0
    refused: int = 0
    undecided: int = 0
    first_ts: float = 0.0
    last_ts: float = 0.0


def replay_each(
    policies: Sequence[AuthorizationPolicy], calls: Iterable[CallRecord], selectors: Mapping[str, Mapping[str, str]], since: float
) -> Callable[[AuthorizationPolicy], Tally]:
    """Replay the calls from `since` on (seconds); gives what tells a policy's Tally."""
    tallies: dict[str, Tally] = {}
    found = replay(policies, _counted(calls, since, tallies), selectors, ROOT_NAMESPACE)
    for refused in found.refusals:
        if refused.workload in tallies:
            tallies[refused.workload].refused += refused.broken
    for undecided in found.undecided:
        if undecided.workload in tallies:
            tallies[undecided.workload].undecided += undecided.ended_well

    def tally(policy: AuthorizationPolicy) -> Tally:
        total = Tally()
        for workload, one in tallies.items():
            placement = place([policy], workload, selectors, ROOT_NAMESPACE)
            if placement.sure or placement.unsure:
                total = _sum(total, one)
        return total

    return tally


def _counted(calls: Iterable[CallRecord], since: float, tallies: dict[str, Tally]) -> Iterator[CallRecord]:
    for call in calls:
        if call.ts < since:
            continue
        tally = tallies.get(call.workload)
        if tally is None and len(tallies) < _MAX_WORKLOADS:
            tally = tallies[call.workload] = Tally(first_ts=call.ts, last_ts=call.ts)
        if tally is not None:
            tally.calls += 1
            tally.first_ts, tally.last_ts = min(tally.first_ts, call.ts), max(tally.last_ts, call.ts)
        yield call


def _sum(one: Tally, other: Tally) -> Tally:
    if not one.calls:
        return other
    return Tally(
        one.calls + other.calls,
        one.refused + other.refused,
        one.undecided + other.undecided,
        min(one.first_ts, other.first_ts),
        max(one.last_ts, other.last_ts),
    )
