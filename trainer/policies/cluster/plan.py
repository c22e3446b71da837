"""What a push would do, workload by workload, after the API server was asked for every single object.

In: wanted objects, those found in the cluster. Out: one Plan a workload: its steps, or why nothing of it may be touched. The
rules that live here: what we never applied and differs is refused; so is a policy that others' fields would give another
meaning than its file; what the server's dry run leaves as it is needs no step; only what we made and carries our label is pruned.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from trainer.policies.cluster.cluster import POLICIES, Cluster, describe
from trainer.policies.cluster.difference import OURS, changes, is_labelled, key
from trainer.policies.cluster.ownership import is_ours, managers
from trainer.policies.cluster.refusal import Reason, Refusal

__all__ = ["Plan", "Step", "find", "make_plans", "mismatch", "unwanted", "workload_of"]


class Step(msgspec.Struct, frozen=True):
    """One change of one object: from `found` (None: it isn't there) to `wanted` (None: delete it)."""

    found: dict[str, Any] | None
    wanted: dict[str, Any] | None

    @property
    def thing(self) -> dict[str, Any]:
        """The object, as it is wanted or else as it is."""
        thing = self.wanted if self.wanted is not None else self.found
        assert thing is not None
        return thing


class Plan(msgspec.Struct, frozen=True):
    """What a push would do to one workload's policies; where there are `refusals`, nothing."""

    workload: str
    steps: tuple[Step, ...] = ()
    equal: tuple[Step, ...] = ()
    refusals: tuple[tuple[dict[str, Any], Refusal], ...] = ()


def workload_of(thing: Mapping[str, Any]) -> str:
    """Name what a policy is for: policies of one namespace that select the same pods or target are one workload's.

    >>> workload_of({"metadata": {"name": "a", "namespace": "shop"}, "spec": {"selector": {"matchLabels": {"app": "cart"}}}})
    'shop/app=cart'
    """
    spec = thing.get("spec") or {}
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    targets = [*([spec["targetRef"]] if spec.get("targetRef") else []), *(spec.get("targetRefs") or [])]
    named = [f"{name}={value}" for name, value in sorted(labels.items())]
    named += sorted(f"{target.get('kind', '')}:{target.get('name', '')}" for target in targets)
    return f"{key(thing)[0]}/{','.join(named) or '*'}"


def find(cluster: Cluster, namespaces: Iterable[str], tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Read the policies of `namespaces`, and those with our label everywhere else as far as we may; raises Refusal."""
    named = sorted(set(namespaces))
    found = [one for namespace in named for one in cluster.listed(POLICIES, namespace)]
    try:
        labelled = cluster.listed(POLICIES, labels="=".join(OURS))
    except Refusal as refusal:
        if refusal.reason is not Reason.FORBIDDEN:
            raise
        tell(f"looked in {', '.join(named) or 'no namespace'} only: {refusal.text}")
        labelled = []
    return found + [one for one in labelled if key(one)[0] not in named]


def make_plans(
    cluster: Cluster,
    wanted: Sequence[dict[str, Any]],
    found: Sequence[dict[str, Any]],
    prune: Collection[Mapping[str, Any]] = (),
) -> tuple[Plan, ...]:
    """Ask the API server what each object would become, and plan; in order of workloads and names. `prune`: what is to go.

    Raises Refusal where it can't be asked at all.
    """
    there = {key(one): one for one in found}
    by_workload: dict[str, list[Step]] = {}
    for one in sorted(wanted, key=key):
        by_workload.setdefault(workload_of(one), []).append(Step(there.get(key(one)), one))
    for gone in sorted(prune, key=key):
        by_workload.setdefault(workload_of(gone), []).append(Step(dict(gone), None))
    return tuple(_plan(cluster, workload, steps) for workload, steps in sorted(by_workload.items()))


def unwanted(
    wanted: Sequence[Mapping[str, Any]], found: Sequence[dict[str, Any]], namespaces: Collection[str], *, labelled: bool = True
) -> list[dict[str, Any]]:
    """Choose what we made in these namespaces and nobody wants; `labelled`: only what carries our label.

    Other namespaces are left alone: another directory may be pushed to them.
    """
    here = {key(one) for one in wanted}
    ours = [one for one in found if key(one) not in here and key(one)[0] in namespaces and is_ours(one)]
    return [one for one in ours if not labelled or is_labelled(one)]


def mismatch(wanted: Mapping[str, Any], got: Mapping[str, Any]) -> Refusal | None:
    """Tell why an applied object wouldn't mean what its file says: somebody else's fields are mixed in."""
    mixed = changes(wanted, got)
    if not mixed:
        return None
    owners = {change.path: ", ".join(change.owners) or "the API server" for change in mixed}
    said = ", ".join(f"{owner} owns {path}" for path, owner in sorted(owners.items()))
    text = f"{describe(wanted)}: {said}, so it wouldn't mean what the file says; nothing was changed: have it taken out there"
    return Refusal(Reason.CONFLICT, text, owners)


def _plan(cluster: Cluster, workload: str, steps: Sequence[Step]) -> Plan:
    needed: list[Step] = []
    equal: list[Step] = []
    refusals: list[tuple[dict[str, Any], Refusal]] = []
    for step in steps:
        try:
            differs = _ask(cluster, step)
        except Refusal as refusal:
            if refusal.reason.general:
                raise
            refusals.append((step.thing, refusal))
            continue
        if differs:
            needed.append(step)
        else:
            equal.append(step)
    return Plan(workload, tuple(needed), tuple(equal), tuple(refusals))


def _ask(cluster: Cluster, step: Step) -> bool:
    """Have the server try one step; tell whether it would change anything."""
    if step.wanted is None:
        assert step.found is not None
        cluster.delete(POLICIES, step.found, dry_run=True)
        return True
    if step.found is not None and not is_ours(step.found) and not changes(step.wanted, step.found):
        return False
    got = cluster.apply(POLICIES, step.wanted, dry_run=True)
    if step.found is not None and not is_ours(step.found):
        owner = ", ".join(managers(step.found)) or "someone else"
        text = f"{describe(step.wanted)}: {owner} made it, meshwarden never did; nothing was changed: rename one, or delete that"
        raise Refusal(Reason.CONFLICT, text, {".": owner})
    mixed = mismatch(step.wanted, got)
    if mixed is not None:
        raise mixed
    return step.found is None or _says(step.found) != _says(got)


def _says(thing: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    metadata = thing["metadata"]
    return metadata.get("labels") or {}, metadata.get("annotations") or {}, thing.get("spec") or {}
