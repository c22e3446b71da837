"""The main line of `policies promote`: choose, hold against the gate, change the files, write it down, push where asked.

In: files, and where to ask. Out: changed files, entries in the audit log, and whether every policy that was asked for could be
promoted.
"""

import getpass
import os
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

import msgspec

from authz_server.engine.errors import SettingError, cut
from trainer.plural import plural
from trainer.policies.cluster.audit import AuditLog
from trainer.policies.cluster.cluster import Cluster
from trainer.policies.cluster.delivery import Delivery
from trainer.policies.cluster.delivery import push as push_all
from trainer.policies.cluster.difference import key
from trainer.policies.cluster.interrupt import stop_on_request
from trainer.policies.cluster.plan import find
from trainer.policies.cluster.wanted import read_wanted
from trainer.policies.exceptions import read_exceptions
from trainer.policies.policy import AuthorizationPolicy, from_object, to_object
from trainer.policies.promotion.condition import Condition
from trainer.policies.promotion.dry_run_metric import ask_prometheus, read_metrics
from trainer.policies.promotion.gate import Gate
from trainer.policies.promotion.promote import Candidate, Replay, Watch, candidates, hold, look_in, promoted, record, write_files
from trainer.policies.promotion.replayed import replay_each
from trainer.store import read_calls

__all__ = ["Sources", "promote"]

_MAX_BYTES: Final = 64 * 2**20
_DAY: Final = 86_400.0


class Sources(msgspec.Struct, frozen=True):
    """Where to ask what the gate wants to know; None: nowhere, and the condition isn't met. `metrics` is of one workload."""

    store: str | None = None
    prometheus: str | None = None
    namespace_label: str = "namespace"
    metrics: Path | None = None
    exceptions: Path | None = None


def promote(
    place: Path,
    names: Collection[str],
    gate: Gate,
    sources: Sources,
    waived: Collection[Condition],
    connect: Callable[[], Cluster] | None,
    audit: Path,
    tell: Callable[[str], None],
    *,
    push: bool = False,
    crds: Path | None = None,
    replay: Replay | None = None,
) -> bool:
    """Promote the policies chosen that meet the gate; tell whether all did and, with `push`, whether the cluster has them.

    `connect` None: no cluster is looked at. Raises MeshwardenError where something can't be read, reached or written.
    """
    wanted = read_wanted(place, crds)
    chosen = candidates(wanted, names)
    watch = _watch(sources, chosen, gate)
    cluster = connect() if connect is not None else None
    namespaces = {one.metadata.namespace for one in chosen}
    look = look_in(find(cluster, namespaces, tell)) if cluster is not None and chosen else lambda _: None
    if replay is None:
        replay = _replay(sources, [from_object(one) for one in wanted], gate)
    now = time.time()
    held = hold(chosen, gate, look, replay, watch, waived, now)
    ready = [one for one in held if not one.unmet]
    with AuditLog(audit) as log:
        files = write_files(place, {_key(one.policy) for one in ready}) if ready else []
        for one in held:
            log.add(record(one, cluster.identity.user if cluster is not None else _user(), now))
            _tell(one, tell)
        tell(f"{len(ready)} of {plural(len(held), 'dry run')} ended{''.join([f', in {file}' for file in files])}")
        if not push or not ready or cluster is None:
            return len(ready) == len(held)
        with stop_on_request(tell) as stop:
            changed = sorted((to_object(promoted(one.policy)) for one in ready), key=key)
            results = push_all(cluster, changed, (), Delivery(log, tell, stop, "promote"), prune=False)
    return len(ready) == len(held) and all(one.outcome.good for one in results)


def _replay(sources: Sources, wanted: Sequence[AuthorizationPolicy], gate: Gate) -> Replay:
    if sources.store is None:
        return lambda _: None
    selectors = read_exceptions(sources.exceptions).selectors if sources.exceptions is not None else {}
    return replay_each(wanted, read_calls(sources.store), selectors, time.time() - gate.clean_days * _DAY)


def _watch(sources: Sources, chosen: Collection[AuthorizationPolicy], gate: Gate) -> Watch:
    if sources.prometheus is not None:
        url = sources.prometheus
        return lambda policy: ask_prometheus(url, policy, gate.clean_days, sources.namespace_label)
    if sources.metrics is None:
        return lambda _: None
    if len(chosen) > 1:
        raise SettingError(f"metrics: expected one policy to be named, as the file is of one workload, got {len(chosen)}")
    try:
        with sources.metrics.open("rb") as opened:
            text = opened.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise SettingError(f"metrics: expected a readable file, got {cut(sources.metrics)}: {error.strerror}") from error
    return lambda policy: read_metrics(text, policy.spec.action)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user needs no name
        return f"uid {os.getuid()}"


def _key(policy: AuthorizationPolicy) -> tuple[str, str]:
    return policy.metadata.namespace, policy.metadata.name


def _tell(one: Candidate, tell: Callable[[str], None]) -> None:
    name = "/".join(_key(one.policy))
    if not one.unmet:
        tell(f"{name}: promoted: enforced once it is applied")
    for missing in one.unmet:
        tell(f"{name}: stays a dry run: {missing.condition}: {missing.text}")
    for missing in one.waived:
        tell(f"{name}: waived: {missing.condition}: {missing.text}")
