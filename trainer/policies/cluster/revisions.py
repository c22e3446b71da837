"""What was in force before: the last states that were pushed to a namespace, kept in one of its ConfigMaps.

In: the ConfigMap, or a new state. Out: the same. The rules that live here: how many are kept and how large they may be, and to
which one a rollback goes.

Why a ConfigMap of the namespace: a push from a laptop, a CronJob and a pipeline see the same history, without a disk of their
own; it outlives pruned objects, which annotations don't; who may change a namespace's policies needs no right elsewhere; and its
`resourceVersion` makes the second of two pushes at once stop before it sends anything. A revision is the whole of what we had
applied in that namespace, so that going back needs no other revision. It is written before anything is changed: an interrupted
push leaves one that isn't complete, and the state before it is still there.
"""

import base64
import binascii
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from authz_server.engine.errors import PolicyError, cut
from trainer.policies.cluster.cluster import CONFIG_MAPS, Cluster
from trainer.policies.cluster.difference import OURS, digest

__all__ = [
    "CONFIG_MAP",
    "MAX_BYTES",
    "MAX_REVISIONS",
    "Kept",
    "Revision",
    "add",
    "fingerprint",
    "goal",
    "read",
    "replace_last",
    "show",
    "undo",
    "write",
]

CONFIG_MAP: Final = "meshwarden-revisions"
MAX_REVISIONS: Final = 10
MAX_BYTES: Final = 768 * 1024
"""Of all revisions together, as they are kept; etcd takes objects up to 1.5 MiB, the API server ConfigMaps up to 1 MiB."""
_MAX_DECODED: Final = 32 * 1024 * 1024
"""Of one revision; a ConfigMap can be written by others, so a bomb is possible."""


class Revision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One state of a namespace: `policies` is all that we had applied. `push` is the same in all namespaces of one push.

    `complete`: False where the push was cut short, so that the cluster may have had only some of it. `undone`: rolled back from.
    """

    number: int
    push: str
    ts: float
    who: str
    action: str
    policies: tuple[dict[str, Any], ...]
    complete: bool = True
    undone: bool = False


class Kept(msgspec.Struct, frozen=True):
    """A namespace's revisions, oldest first, and the version of the ConfigMap that they were read from ("": there was none)."""

    namespace: str
    revisions: tuple[Revision, ...] = ()
    version: str = ""


def read(cluster: Cluster, namespace: str) -> Kept:
    """Read a namespace's revisions; raises Refusal, and PolicyError where someone else changed them."""
    found = cluster.get(CONFIG_MAPS, namespace, CONFIG_MAP)
    if found is None:
        return Kept(namespace)
    data = found.get("binaryData") or {}
    revisions = [_decode(namespace, name, value) for name, value in sorted(data.items())]
    return Kept(
        namespace, tuple(sorted(revisions, key=lambda one: one.number)), str(found["metadata"].get("resourceVersion", ""))
    )


def write(cluster: Cluster, kept: Kept) -> Kept:
    """Write a namespace's revisions if nobody else did since they were read; raises Refusal."""
    name, value = OURS
    metadata = {"name": CONFIG_MAP, "namespace": kept.namespace, "labels": {name: value}}
    if kept.version:
        metadata["resourceVersion"] = kept.version
    data = {f"r{one.number:08d}": _encode(one) for one in kept.revisions}
    written = cluster.write(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data})
    return msgspec.structs.replace(kept, version=str(written["metadata"]["resourceVersion"]))


def add(kept: Kept, *new: Revision) -> Kept:
    """Add revisions, numbered on; the oldest go where there are too many or they are too large.

    Raises PolicyError where even the new one and the state before it are too large.
    """
    revisions = list(kept.revisions)
    for one in new:
        number = revisions[-1].number + 1 if revisions else 1
        revisions.append(msgspec.structs.replace(one, number=number))
    revisions = revisions[-MAX_REVISIONS:]
    sizes = [len(_encode(one)) for one in revisions]
    while sum(sizes) > MAX_BYTES and len(revisions) > 2:
        del revisions[0], sizes[0]
    if sum(sizes) > MAX_BYTES:
        raise PolicyError(
            f"{kept.namespace}: expected the policies now and before to take at most {MAX_BYTES} bytes compressed,"
            f" so that a rollback is possible, got {sum(sizes)}: split the namespace, or merge rules"
        )
    return msgspec.structs.replace(kept, revisions=tuple(revisions))


def replace_last(kept: Kept, policies: Sequence[Mapping[str, Any]], *, complete: bool) -> Kept:
    """Say what became of the last revision's push; where nothing changed, the revision goes."""
    *before, last = kept.revisions
    if complete and before and fingerprint(before[-1].policies) == fingerprint(policies):
        return msgspec.structs.replace(kept, revisions=tuple(before))
    last = msgspec.structs.replace(last, policies=tuple(dict(one) for one in policies), complete=complete)
    return msgspec.structs.replace(kept, revisions=(*before, last))


def undo(kept: Kept, number: int) -> Kept:
    """Mark the revisions after `number` as undone, and it and those before as not."""
    marked = [
        msgspec.structs.replace(one, undone=one.number > number) for one in kept.revisions if one.complete or one.number <= number
    ]
    return msgspec.structs.replace(kept, revisions=tuple(marked))


def goal(kept: Kept, policies: Sequence[Mapping[str, Any]]) -> Revision | None:
    """Choose what a rollback returns to: the newest complete state that wasn't rolled back from and isn't there now."""
    now = fingerprint(policies)
    for one in reversed(kept.revisions):
        if one.complete and not one.undone and fingerprint(one.policies) != now:
            return one
    return None


def show(kept: Sequence[Kept]) -> Iterator[str]:
    """Tell what is kept as lines for a person."""
    for one in kept:
        for revision in one.revisions:
            when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(revision.ts))
            state = "" if revision.complete else ", cut short"
            state += ", undone" if revision.undone else ""
            count = f"{len(revision.policies)} policies"
            yield f"{one.namespace} {revision.number}: {when}, {revision.action} by {revision.who}: {count}{state}"


def fingerprint(policies: Sequence[Mapping[str, Any]]) -> frozenset[str | None]:
    """Sum up a state, whatever the order of its policies."""
    return frozenset(digest(one) for one in policies)


def _encode(revision: Revision) -> str:
    return base64.b64encode(zlib.compress(msgspec.json.encode(revision, order="deterministic"), 9)).decode("ascii")


def _decode(namespace: str, name: str, value: object) -> Revision:
    try:
        unpacked = zlib.decompressobj()
        data = unpacked.decompress(base64.b64decode(str(value), validate=True), _MAX_DECODED)
        return msgspec.json.decode(data if unpacked.eof else b"too large, or cut off", type=Revision)
    except (zlib.error, binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise PolicyError(
            f"ConfigMap {namespace}/{CONFIG_MAP}: expected revisions as meshwarden keeps them, {name} isn't ({cut(error)}):"
            " restore it, or delete it and lose what could be rolled back to"
        ) from error
