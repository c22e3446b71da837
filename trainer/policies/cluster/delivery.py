"""The main line of a push and of a rollback: look, have the server try everything, write down what was, change.

In: what is wanted. Out: one Result an object. Everything that is told goes through the Journal, failures too.
"""

import secrets
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from authz_server.engine.errors import MeshwardenError, SettingError
from trainer.policies.cluster.audit import AuditLog
from trainer.policies.cluster.cluster import CONFIG_MAPS, Cluster
from trainer.policies.cluster.difference import OURS, Difference, compare, key
from trainer.policies.cluster.journal import Journal
from trainer.policies.cluster.plan import Plan, find, make_plans, unwanted
from trainer.policies.cluster.push import Intent, Result, close, open_revisions, run, standing
from trainer.policies.cluster.refusal import Reason, Refusal
from trainer.policies.cluster.revisions import CONFIG_MAP, Kept, Revision, goal, read, undo, write

__all__ = ["Delivery", "diff", "push", "revisions", "roll_back"]


class Delivery(msgspec.Struct, frozen=True):
    """How an action is done: where it is recorded, who is told, and who may ask it to stop."""

    log: AuditLog
    tell: Callable[[str], None]
    stop: Callable[[], bool] = lambda: False
    action: str = "push"


def diff(
    cluster: Cluster, wanted: Sequence[dict[str, Any]], namespaces: Collection[str], tell: Callable[[str], None]
) -> tuple[Difference, ...]:
    """Hold what is wanted against the cluster; only reads. Raises Refusal."""
    return compare(wanted, find(cluster, {*namespaces, *_namespaces(wanted)}, tell))


def push(
    cluster: Cluster, wanted: Sequence[dict[str, Any]], namespaces: Collection[str], delivery: Delivery, *, prune: bool
) -> list[Result]:
    """Make the cluster have what is wanted; `namespaces`: where to look for what isn't wanted any more, beside those of `wanted`.

    Raises Refusal where nothing could be done at all, PolicyError where no way back could be kept.
    """
    intent = _intent(cluster, delivery.action)
    journal = Journal(cluster, delivery.log, intent, delivery.tell)
    try:
        found = find(cluster, {*namespaces, *_namespaces(wanted)}, delivery.tell)
        gone = unwanted(wanted, found, {*namespaces, *_namespaces(wanted)}) if prune else ()
        plans = make_plans(cluster, wanted, found, gone)
        kept = open_revisions(cluster, plans, found, intent)
    except MeshwardenError as error:
        journal.fail(error)
        raise
    results: list[Result] = []
    try:
        run(cluster, plans, _both(results.append, journal.note), delivery.stop)
    except KeyboardInterrupt:
        journal.fail(Refusal(Reason.BROKEN, "stopped in the middle of a workload: push again to continue, or policies rollback"))
        raise
    journal.end(results)
    try:
        close(cluster, kept, results)
    except Refusal as refusal:
        delivery.tell(f"the revision stays open, so a rollback goes to the one before it: {refusal.text}")
    return results


def roll_back(cluster: Cluster, namespaces: Collection[str], delivery: Delivery, number: int | None = None) -> list[Result]:
    """Return to the state before the last push, in every namespace that it changed or in those named, or to revision `number`.

    Raises SettingError where there is nothing to return to.
    """
    intent = _intent(cluster, delivery.action)
    journal = Journal(cluster, delivery.log, intent, delivery.tell)
    try:
        goals = [_goal(cluster, kept, number) for kept in _last_pushed(revisions(cluster, namespaces), namespaces)]
        if not goals:
            raise SettingError("rollback: expected a namespace that was pushed to, found none: is it the right context?")
        planned = [(kept, one, _rollback_plans(cluster, kept.namespace, one, delivery)) for kept, one in goals]
        for kept, one, plans in planned:
            if any(plan.steps and not plan.refusals for plan in plans):
                write(cluster, undo(kept, one.number))
    except MeshwardenError as error:
        journal.fail(error)
        raise
    for kept, one, _ in planned:
        delivery.tell(f"{kept.namespace}: back to revision {one.number} of {_when(one.ts)} ({one.action} by {one.who})")
    results = run(cluster, [plan for _, _, plans in planned for plan in plans], journal.note, delivery.stop)
    journal.end(results)
    return results


def revisions(cluster: Cluster, namespaces: Collection[str]) -> list[Kept]:
    """Read what is kept, in the namespaces named or, where none is, in all; raises Refusal."""
    names = sorted(set(namespaces))
    if not names:
        labelled = cluster.listed(CONFIG_MAPS, labels="=".join(OURS))
        names = [key(one)[0] for one in labelled if key(one)[1] == CONFIG_MAP]
    return [kept for kept in (read(cluster, name) for name in names) if kept.revisions]


def _last_pushed(kept: Sequence[Kept], namespaces: Collection[str]) -> list[Kept]:
    """Keep, where no namespace was named, those that the newest push changed."""
    if namespaces or not kept:
        return list(kept)
    last = {one.namespace: [revision for revision in one.revisions if not revision.undone][-1:] for one in kept}
    newest = max((revision for found in last.values() for revision in found), key=lambda one: one.ts)
    return [one for one in kept if [revision.push for revision in last[one.namespace]] == [newest.push]]


def _goal(cluster: Cluster, kept: Kept, number: int | None) -> tuple[Kept, Revision]:
    if number is None:
        found = goal(kept, standing(find(cluster, [kept.namespace], lambda _: None), kept.namespace))
    else:
        found = next((one for one in kept.revisions if one.number == number and one.complete), None)
    if found is None:
        known = ", ".join(str(one.number) for one in kept.revisions if one.complete) or "none"
        raise SettingError(
            f"rollback: expected a state to return to in {kept.namespace}, got {number or 'none'}: kept are {known}"
        )
    return kept, found


def _rollback_plans(cluster: Cluster, namespace: str, revision: Revision, delivery: Delivery) -> tuple[Plan, ...]:
    found = [one for one in find(cluster, [namespace], delivery.tell) if key(one)[0] == namespace]
    gone = unwanted(revision.policies, found, {namespace}, labelled=False)
    return make_plans(cluster, revision.policies, found, gone)


def _intent(cluster: Cluster, action: str) -> Intent:
    now = time.time()
    name = time.strftime("%Y%m%dT%H%M%SZ-", time.gmtime(now)) + secrets.token_hex(3)
    return Intent(action, cluster.identity.user, name, now)


def _namespaces(wanted: Sequence[dict[str, Any]]) -> set[str]:
    return {key(one)[0] for one in wanted}


def _when(ts: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(ts))


def _both(first: Callable[[Result], None], second: Callable[[Result], None]) -> Callable[[Result], None]:
    def note(result: Result) -> None:
        first(result)
        second(result)

    return note
