"""The command `trainer policies replay`: what policies would have refused in recorded traffic, by rule and caller.

In: policies and recorded calls. Out: a Replay, counts with examples, for people or as JSON. Two questions are asked of each call:
what the policies do as they stand, and what they would do were every dry run promoted. What the record doesn't hold isn't
guessed: such a call is undecided, and counted with what is missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from authz_server.engine.errors import PolicyError, SettingError, StoreError
from authz_server.engine.observe import Observer
from authz_server.engine.record import CallRecord
from trainer.imports import iter_calls_file
from trainer.policies.document import as_policies, read_policies
from trainer.policies.exceptions import read_exceptions
from trainer.policies.meaning.match import Decision, decide
from trainer.policies.meaning.placement import Placement, place
from trainer.policies.meaning.recorded import to_request
from trainer.policies.policy import DRY_RUN, AuthorizationPolicy
from trainer.store import read_calls

__all__ = ["Refusal", "Replay", "Stage", "Undecided", "replay", "replay_place"]

_EXAMPLES: Final = 3
_MAX_ROWS: Final = 10_000
"""Rows that are told apart; workloads may be named by a host, which a client chooses."""
_MAX_CACHED: Final = 200_000
_OTHERS: Final = "others"


class Stage(StrEnum):
    """When a call would be refused."""

    ENFORCED = "enforced"
    """As the policies stand."""
    PROMOTED = "promoted"
    """Not before every policy in dry run is promoted."""


class Refusal(msgspec.Struct, forbid_unknown_fields=True):
    """Calls of one caller that one rule refuses; `rule` empty: no ALLOW rule matched.

    `broken`: calls that had ended well (below 400) and would not any more. `failed`: that had ended in an error anyway.
    `unfinished`: whose end isn't known. `attacks`: labelled as attacks, or refused by the authz_server itself.
    """

    workload: str
    stage: Stage
    rule: str
    caller: str
    broken: int = 0
    failed: int = 0
    unfinished: int = 0
    attacks: int = 0
    last_broken: float | None = None
    examples: list[str] = []


class Undecided(msgspec.Struct):
    """Calls of which can't be told what would become of them, for want of these attributes or selectors; `broken` as above."""

    workload: str
    missing: tuple[str, ...]
    calls: int = 0
    ended_well: int = 0
    examples: list[str] = []


class Replay(msgspec.Struct):
    """What came of it. `calls` are all that were read, `unguarded` those to workloads that no policy applies to."""

    calls: int = 0
    allowed: int = 0
    unguarded: int = 0
    asked: int = 0
    """Calls that a CUSTOM rule has the provider asked about; replay takes it to let them pass."""
    first: float | None = None
    last: float | None = None
    refusals: list[Refusal] = []
    undecided: list[Undecided] = []

    @property
    def broken(self) -> int:
        """Calls that ended well and would have been refused, now or after promotion."""
        return sum(row.broken for row in self.refusals)

    @property
    def clean(self) -> bool:
        """Whether every call that ended well is known to be allowed, before and after promotion."""
        return not self.broken and not any(row.ended_well for row in self.undecided)


class _Answer(msgspec.Struct, frozen=True, gc=False):
    now: Decision
    promoted: Decision
    missing: tuple[str, ...] = ()


def replay_place(
    policies: Path, calls: str | None, store: str | None, exceptions: Path | None = None, root_namespace: str = "istio-system"
) -> Replay:
    """Replay files against a file of calls or a store; raises SettingError, PolicyError, FormatError or StoreError."""
    documents = read_policies(policies)
    if not documents:
        raise PolicyError(f"{policies}: expected AuthorizationPolicies, got none")
    selectors = read_exceptions(exceptions).selectors if exceptions is not None else {}
    read = as_policies(documents)
    if (calls is None) == (store is None):
        raise SettingError("calls, store: expected one of them, where the recorded calls are")
    recorded = read_calls(store) if store is not None else iter_calls_file(calls or "", Observer())
    found = replay(read, recorded, selectors, root_namespace)
    if not found.calls:
        raise StoreError(f"{store or calls}: expected recorded calls, found none: nothing says what the policies would refuse")
    return found


def replay(
    policies: Sequence[AuthorizationPolicy],
    calls: Iterable[CallRecord],
    selectors: Mapping[str, Mapping[str, str]] | None = None,
    root_namespace: str = "istio-system",
) -> Replay:
    """Hold policies against calls. Memory is bounded by the number of rows, not of calls."""
    found = Replay()
    refusals: dict[tuple[str, Stage, str, str], Refusal] = {}
    undecided: dict[tuple[str, tuple[str, ...]], Undecided] = {}
    placements: dict[str, Placement] = {}
    cached: dict[object, _Answer] = {}
    for call in calls:
        found.calls += 1
        found.first = call.ts if found.first is None else min(found.first, call.ts)
        found.last = call.ts if found.last is None else max(found.last, call.ts)
        placement = placements.get(call.workload)
        if placement is None:
            placement = place(policies, call.workload, selectors or {}, root_namespace)
            if len(placements) < _MAX_ROWS:
                placements[call.workload] = placement
        if not placement.sure and not placement.unsure:
            found.unguarded += 1
            continue
        answer = _answer(placement, call, cached)
        found.asked += bool(answer.now.asks)
        if answer.missing and (answer.now.allowed is not False or not answer.now.rule):
            _note_undecided(undecided, call, answer.missing)
        elif answer.now.allowed and answer.promoted.allowed:
            found.allowed += 1
        else:
            stage = Stage.PROMOTED if answer.now.allowed else Stage.ENFORCED
            _note_refusal(refusals, call, stage, (answer.promoted if answer.now.allowed else answer.now).rule)
    found.refusals = sorted(refusals.values(), key=lambda row: (-row.broken, row.workload, row.rule, row.caller, row.stage))
    found.undecided = sorted(undecided.values(), key=lambda row: (-row.ended_well, row.workload, row.missing))
    return found


def _answer(placement: Placement, call: CallRecord, cached: dict[object, _Answer]) -> _Answer:
    """Decide a call, or take the answer that one of the same form had."""
    form = tuple([(one.text, one.length, one.classes, one.number) for one in call.segments])
    key = (call.workload, call.principal, bool(call.verdict), call.port, call.method, form, call.flags)
    answer = cached.get(key)
    if answer is None:
        if len(cached) >= _MAX_CACHED:
            cached.clear()
        answer = cached[key] = _decide(placement, call)
    return answer


def _decide(placement: Placement, call: CallRecord) -> _Answer:
    request = to_request(call)
    promoted = [_promote(policy) for policy in placement.sure]
    now, then = decide(placement.sure, request), decide(promoted, request)
    selecting = tuple([f"labels that {policy.metadata.namespace}/{policy.metadata.name} selects" for policy in placement.unsure])
    return _Answer(now, then, tuple(sorted({*now.unknown, *then.unknown, *selecting})))


def _promote(policy: AuthorizationPolicy) -> AuthorizationPolicy:
    kept = {key: value for key, value in policy.metadata.annotations.items() if key != DRY_RUN}
    return replace(policy, metadata=replace(policy.metadata, annotations=kept))


def _note_refusal(refusals: dict[tuple[str, Stage, str, str], Refusal], call: CallRecord, stage: Stage, rule: str) -> None:
    key = (call.workload, stage, rule, call.principal)
    if key not in refusals and len(refusals) >= _MAX_ROWS:
        key = (_OTHERS, stage, _OTHERS, _OTHERS)
    row = refusals.setdefault(key, Refusal(*key))
    if call.label == 1 or (call.verdict == "deny" and call.mode == "enforce"):
        row.attacks += 1
    elif call.status is None:
        row.unfinished += 1
    elif _ended_well(call):
        row.broken += 1
        row.last_broken = call.ts if row.last_broken is None else max(row.last_broken, call.ts)
    else:
        row.failed += 1
    _add_example(row.examples, call)


def _note_undecided(undecided: dict[tuple[str, tuple[str, ...]], Undecided], call: CallRecord, missing: tuple[str, ...]) -> None:
    key = (call.workload, missing)
    if key not in undecided and len(undecided) >= _MAX_ROWS:
        key = (_OTHERS, ())
    row = undecided.setdefault(key, Undecided(*key))
    row.calls += 1
    row.ended_well += _ended_well(call) and call.label != 1
    _add_example(row.examples, call)


def _ended_well(call: CallRecord) -> bool:
    return call.status is not None and 0 < call.status < 400


def _add_example(examples: list[str], call: CallRecord) -> None:
    """Keep a few different ones; names in the path are clear, data masked."""
    if len(examples) < _EXAMPLES:
        flags = f" ({', '.join(call.flags)})" if call.flags else ""
        text = f"{call.method} {call.path[:200]}{flags}"
        if text not in examples:
            examples.append(text)
