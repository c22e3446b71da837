"""When a dry run may end: the conditions, and which of them a policy doesn't meet.

In: a policy, what a replay and the mesh's own dry run found. Out: the unmet conditions, one line each that says what is
expected, what there is and what to do. The rule that lives here: a condition that nothing is known about isn't met.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from authz_server.engine.errors import cut
from trainer.policies.generation.generate import PREFIX
from trainer.policies.policy import AuthorizationPolicy
from trainer.policies.promotion.condition import Condition

__all__ = ["DryRun", "Gate", "Replayed", "Standing", "Unmet", "unmet"]

_DAY: Final = 86_400.0


class Gate(msgspec.Struct, frozen=True):
    """How much is enough: calls learned from, days they span, days without a call that would have been refused."""

    min_calls: int = 1000
    evidence_days: int = 7
    clean_days: int = 7


class Replayed(Protocol):
    """Recorded calls to a workload held against its policies: how many, how many refused, and from when to when (seconds)."""

    @property
    def calls(self) -> int:
        """How many calls there were."""

    @property
    def refused(self) -> int:
        """How many of them the policies would have refused."""

    @property
    def undecided(self) -> int:
        """Of how many it can't be told, for want of what isn't recorded."""

    @property
    def first_ts(self) -> float:
        """When the first was."""

    @property
    def last_ts(self) -> float:
        """When the last was."""


class DryRun(msgspec.Struct, frozen=True):
    """What Envoy's own dry run counted at a workload while the gate's clean days passed."""

    allowed: float
    denied: float


class Standing(msgspec.Struct, frozen=True):
    """How a policy stands in the cluster: as the file says or not, and since when its rules are (seconds; None: not known)."""

    equal: bool
    since: float | None = None


class Unmet(msgspec.Struct, frozen=True):
    """A condition that doesn't hold, and why."""

    condition: Condition
    text: str


def unmet(
    policy: AuthorizationPolicy,
    gate: Gate,
    standing: Standing | None,
    replayed: Replayed | None,
    dry_run: DryRun | None,
    now: float,
) -> tuple[Unmet, ...]:
    """Name the conditions that a policy doesn't meet; empty: its dry run may end. None: nothing is known. `now` in seconds."""
    return (
        *(Unmet(Condition.EVIDENCE, text) for text in _evidence(policy, gate)),
        *(Unmet(Condition.PUSHED, text) for text in _pushed(standing, gate, now)),
        *(Unmet(Condition.REPLAY, text) for text in _replay(replayed, gate, now)),
        *(Unmet(Condition.DRY_RUN, text) for text in _dry_run(dry_run)),
    )


def _evidence(policy: AuthorizationPolicy, gate: Gate) -> Iterator[str]:
    written = policy.metadata.annotations
    calls = written.get(PREFIX + "evidence-calls", "").partition(" ")[0]
    if not calls.isdecimal():
        yield f"expected {PREFIX}evidence-calls of {gate.min_calls} or more, got {cut(calls) or 'none'}: generate the policy"
    elif int(calls) < gate.min_calls:
        yield f"expected to have learned from {gate.min_calls} calls or more, got {calls} or more: collect and train on"
    try:
        since, until = (
            datetime.fromisoformat(written[PREFIX + f"evidence-{end}"]).replace(tzinfo=UTC) for end in ("since", "until")
        )
    except (KeyError, ValueError):
        yield f"expected {PREFIX}evidence-since and -until, got none that are dates: generate the policy"
        return
    days = (until - since).days
    if days < gate.evidence_days:
        yield f"expected calls of {gate.evidence_days} days or more, got {days}: rare calls may be missing: collect and train on"


def _pushed(standing: Standing | None, gate: Gate, now: float) -> Iterator[str]:
    """What the dry run counted is worth something only where it was this policy, and for that long."""
    if standing is None:
        yield "expected to see how it stands in the cluster, got no cluster to look at: give --context"
    elif not standing.equal:
        yield "expected the cluster to have the file's policy, got another or none: policies diff, push, and wait"
    elif standing.since is None or now - standing.since < gate.clean_days * _DAY:
        days = "an unknown number of" if standing.since is None else f"{max(0.0, now - standing.since) / _DAY:.1f}"
        yield f"expected these rules to have been in dry run for {gate.clean_days} days, got {days}: wait"


def _replay(replayed: Replayed | None, gate: Gate, now: float) -> Iterator[str]:
    if replayed is None:
        yield "expected a replay of recorded calls, got none: give --store"
        return
    if replayed.calls == 0:
        yield f"expected recorded calls to this workload in the last {gate.clean_days} days, got none"
        return
    if replayed.refused:
        yield f"expected no recorded call to be refused, got {replayed.refused} of {replayed.calls}: see policies replay"
    if replayed.undecided:
        yield f"expected to know what becomes of every recorded call, got {replayed.undecided} undecided: see policies replay"
    days = (replayed.last_ts - replayed.first_ts) / _DAY
    if days < gate.clean_days - 1:  # calls come by day: the first and the last day are seldom whole
        yield f"expected recorded calls of {gate.clean_days} days, got those of {days:.1f}: record on"
    if now - replayed.last_ts > _DAY:
        yield f"expected recorded calls up to now, got the last from {(now - replayed.last_ts) / _DAY:.1f} days ago: record on"


def _dry_run(dry_run: DryRun | None) -> Iterator[str]:
    if dry_run is None:
        yield "expected what the mesh's dry run counted, got nothing: give --prometheus or --metrics"
        return
    if dry_run.denied:
        yield f"expected Envoy's dry run to have denied nothing, got {dry_run.denied:.0f} calls: see policies replay"
    if not dry_run.allowed:
        yield "expected Envoy's dry run to have allowed calls, got none: is it pushed, do the labels fit, is there traffic?"
