"""Carry plans out: all or nothing per workload, and what was there before is kept first.

In: plans (`plan.py`). Out: one Result an object, told as soon as it is known. The rules that live here: nothing is sent before
the state to return to is written down; where one object of a workload fails, those before it are put back, and where that fails
too it is said; once the API server is out of reach, or somebody asks to stop, the workloads that remain aren't touched. A
second push continues.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from trainer.policies.cluster.cluster import POLICIES, Cluster, describe
from trainer.policies.cluster.difference import digest, key
from trainer.policies.cluster.ownership import is_ours, owned
from trainer.policies.cluster.plan import Plan, Step, mismatch
from trainer.policies.cluster.refusal import Refusal
from trainer.policies.cluster.revisions import Kept, Revision, add, fingerprint, read, replace_last, write

__all__ = ["Intent", "Outcome", "Result", "close", "open_revisions", "run", "standing"]


class Outcome(StrEnum):
    """What became of one object; the words stand in the audit log."""

    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"
    EQUAL = "equal"
    REFUSED = "refused"
    PUT_BACK = "put back"
    HALF_DONE = "half done"
    NOT_REACHED = "not reached"

    @property
    def good(self) -> bool:
        """Whether the cluster has what is wanted."""
        return self in _GOOD


_GOOD: Final = frozenset({Outcome.CREATED, Outcome.CHANGED, Outcome.DELETED, Outcome.EQUAL})


class Intent(msgspec.Struct, frozen=True):
    """Why the cluster is changed: for the revisions. `push` names the push, in all namespaces alike."""

    action: str
    who: str
    push: str
    ts: float


class Result(msgspec.Struct, frozen=True):
    """What became of one object, why, and digests of what we had applied before and have now."""

    namespace: str
    name: str
    workload: str
    outcome: Outcome
    text: str = ""
    before: str | None = None
    after: str | None = None
    uid: str | None = None


Note = Callable[[Result], None]
"""Is told each result as soon as it is known: the audit log and Events hang on it."""


def run(cluster: Cluster, plans: Sequence[Plan], note: Note, stop: Callable[[], bool] = lambda: False) -> list[Result]:
    """Carry plans out in their order; `stop` is asked before each workload."""
    results: list[Result] = []

    def take(some: Sequence[Result]) -> None:
        for one in some:
            results.append(one)
            note(one)

    why = ""
    for plan in plans:
        if plan.refusals:
            take(_refused(plan))
            continue
        take([_result(plan, one.thing, Outcome.EQUAL, "", one.found, one.found) for one in plan.equal])
        if not why and stop():
            why = "stopped on request: push again to continue"
        if why:
            take([_result(plan, step.thing, Outcome.NOT_REACHED, why, step.found) for step in plan.steps])
            continue
        done, refusal = _carry_out(cluster, plan)
        take(done)
        if refusal is not None and refusal.reason.general:
            why = "not tried after what happened before: push again to continue"
    return results


def standing(found: Sequence[Mapping[str, Any]], namespace: str) -> list[dict[str, Any]]:
    """Tell what we have applied in a namespace."""
    return [owned(one) for one in found if key(one)[0] == namespace and is_ours(one)]


def open_revisions(
    cluster: Cluster, plans: Sequence[Plan], found: Sequence[Mapping[str, Any]], intent: Intent
) -> tuple[Kept, ...]:
    """Write down, for each namespace that will change, what is there now and what shall be; raises Refusal and PolicyError.

    Whoever else pushes to a namespace at the same time is noticed here, before anything is changed.
    """
    steps = [step for plan in plans if not plan.refusals for step in plan.steps]
    kept = [_add(read(cluster, namespace), standing(found, namespace), steps, intent) for namespace in _namespaces(steps)]
    return tuple(write(cluster, one) for one in kept)


def close(cluster: Cluster, kept: Sequence[Kept], results: Sequence[Result]) -> None:
    """Write down what became of a push, as the cluster has it now; raises Refusal."""
    for one in kept:
        here = [result for result in results if result.namespace == one.namespace]
        complete = all(result.outcome is not Outcome.HALF_DONE for result in here)
        now = standing(cluster.listed(POLICIES, one.namespace), one.namespace)
        write(cluster, replace_last(one, now, complete=complete))


def _add(kept: Kept, now: Sequence[dict[str, Any]], steps: Sequence[Step], intent: Intent) -> Kept:
    revision = Revision(0, intent.push, intent.ts, intent.who, intent.action, (), complete=False)
    cut_short = bool(kept.revisions) and not kept.revisions[-1].complete
    last = next((one for one in reversed(kept.revisions) if one.complete and not one.undone), None)
    new = []
    # What a push that was cut short left is no state that anyone wanted: a rollback goes to the one before it.
    if last is None or (not cut_short and fingerprint(last.policies) != fingerprint(now)):
        new.append(msgspec.structs.replace(revision, action="found", policies=tuple(now), complete=True))
    planned = {key(one): one for one in now}
    for step in steps:
        if key(step.thing)[0] == kept.namespace:
            planned.pop(key(step.thing), None)
            if step.wanted is not None:
                planned[key(step.wanted)] = step.wanted
    return add(kept, *new, msgspec.structs.replace(revision, policies=tuple(planned.values())))


def _namespaces(steps: Sequence[Step]) -> list[str]:
    return sorted({key(step.thing)[0] for step in steps})


def _carry_out(cluster: Cluster, plan: Plan) -> tuple[list[Result], Refusal | None]:
    done: list[tuple[Step, dict[str, Any] | None]] = []
    for at, step in enumerate(plan.steps):
        try:
            got = _do(cluster, step)
        except Refusal as refusal:
            touched = [one for one, _ in done] + ([step] if refusal.reason.uncertain else [])
            return _put_all_back(cluster, plan, at, touched, refusal), refusal
        done.append((step, got))
        mixed = mismatch(step.wanted, got) if step.wanted is not None and got is not None else None
        if mixed is not None:
            return _put_all_back(cluster, plan, at, [one for one, _ in done], mixed), mixed
    return [_done(plan, step, got) for step, got in done], None


def _do(cluster: Cluster, step: Step) -> dict[str, Any] | None:
    if step.wanted is not None:
        return cluster.apply(POLICIES, step.wanted)
    assert step.found is not None
    cluster.delete(POLICIES, step.found)
    return None


def _put_all_back(cluster: Cluster, plan: Plan, failed: int, touched: Sequence[Step], why: Refusal) -> list[Result]:
    """Put back what was touched, the last first; then tell of each object of the workload what it is now."""
    left: dict[int, str] = {}
    for step in reversed(touched):
        try:
            _put_back(cluster, step)
        except Refusal as refusal:
            left[plan.steps.index(step)] = refusal.text
    results = []
    for at, step in enumerate(plan.steps):
        if at in left:
            text = f"{why.text}; {describe(step.thing)} couldn't be put back ({left[at]}): push again, or policies rollback"
            results.append(_result(plan, step.thing, Outcome.HALF_DONE, text, step.found, step.wanted))
        elif at == failed:
            results.append(_result(plan, step.thing, Outcome.REFUSED, why.text, step.found, step.found))
        elif step in touched:
            text = f"put back, as {describe(plan.steps[failed].thing)} failed"
            results.append(_result(plan, step.thing, Outcome.PUT_BACK, text, step.found, step.found))
        else:
            text = f"not tried, as {describe(plan.steps[failed].thing)} failed"
            results.append(_result(plan, step.thing, Outcome.NOT_REACHED, text, step.found, step.found))
    return results


def _put_back(cluster: Cluster, step: Step) -> None:
    if step.found is not None:
        cluster.apply(POLICIES, owned(step.found))
        return
    now = cluster.get(POLICIES, *key(step.thing))
    if now is not None and is_ours(now):
        cluster.delete(POLICIES, now)


def _refused(plan: Plan) -> list[Result]:
    refused = [_result(plan, thing, Outcome.REFUSED, refusal.text, None) for thing, refusal in plan.refusals]
    first = describe(plan.refusals[0][0])
    text = f"not tried, as {first} is refused"
    return refused + [_result(plan, step.thing, Outcome.NOT_REACHED, text, step.found, step.found) for step in plan.steps]


def _done(plan: Plan, step: Step, got: dict[str, Any] | None) -> Result:
    outcome = Outcome.DELETED if step.wanted is None else Outcome.CREATED if step.found is None else Outcome.CHANGED
    return _result(plan, step.thing, outcome, "", step.found, got)


def _result(
    plan: Plan,
    thing: Mapping[str, Any],
    outcome: Outcome,
    text: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None = None,
) -> Result:
    """Make a result; objects with managed fields are summed up by those that are ours."""
    uids = [one["metadata"].get("uid") for one in (after, before) if one is not None]
    uid = next((one for one in uids if one), None)
    return Result(*key(thing), plan.workload, outcome, text, _digest(before), _digest(after), uid)


def _digest(thing: Mapping[str, Any] | None) -> str | None:
    return digest(owned(thing) if thing is not None and is_ours(thing) else thing)
