"""What the files want against what the cluster has, object by object and field by field.

In: wanted objects, and objects as the API server gives them. Out: Differences, in order of namespace and name. The rules that
live here: an object that we never applied isn't ours, whatever its labels; of others' objects nothing is wanted; labels and
annotations of others on our objects don't matter, but for the dry-run annotation, which changes what the policy does; in `spec`
everything matters.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Any, Final

import msgspec

from authz_server.engine.errors import PolicyError
from trainer.policies.cluster.ownership import Path, is_ours, managers, owned_paths, owners
from trainer.policies.policy import DRY_RUN, from_object, to_object

__all__ = ["OURS", "Change", "Difference", "State", "changes", "compare", "digest", "is_labelled", "key", "show"]

OURS: Final = ("app.kubernetes.io/managed-by", "meshwarden")
"""The label that generated policies carry; without it nothing is ever pruned."""

Key = tuple[str, str]
"""Namespace and name."""

_SHOWN: Final = 300


class State(StrEnum):
    """How an object stands."""

    MISSING = "missing"
    CHANGED = "changed"
    EQUAL = "equal"
    FOREIGN = "not ours"
    UNWANTED = "no longer wanted"


class Change(msgspec.Struct, frozen=True):
    """One field that differs; None: not there. `owners`: who else manages it in the cluster."""

    path: str
    found: Any
    wanted: Any
    owners: tuple[str, ...] = ()


class Difference(msgspec.Struct, frozen=True):
    """How one object stands, what differs, and who else manages it."""

    namespace: str
    name: str
    state: State
    changes: tuple[Change, ...] = ()
    managers: tuple[str, ...] = ()


def key(thing: Mapping[str, Any]) -> Key:
    """Name an object by namespace and name."""
    return thing["metadata"].get("namespace", ""), thing["metadata"]["name"]


def compare(wanted: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> tuple[Difference, ...]:
    """Hold the wanted objects against those found; found ones that nobody wants count where they carry our label."""
    there = {key(one): one for one in found}
    here = {key(one): one for one in wanted}
    differences = [_compare_one(one, there.get(at)) for at, one in here.items()]
    for at, one in there.items():
        if at not in here and is_labelled(one):
            state = State.UNWANTED if is_ours(one) else State.FOREIGN
            differences.append(Difference(*at, state, managers=managers(one)))
    return tuple(sorted(differences, key=lambda one: (one.namespace, one.name)))


def changes(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[Change, ...]:
    """Tell which fields would have to change for `found` to be what is wanted."""
    owned = owned_paths(found)
    known: list[Change] = []
    for part in ("labels", "annotations"):
        want, have = (one["metadata"].get(part) or {} for one in (wanted, found))
        for name in sorted({*want, *have}):
            path: Path = ("metadata", part, name)
            counts = name in want or path in owned or name == DRY_RUN
            if counts and want.get(name) != have.get(name):
                known.append(Change(".".join(path), have.get(name), want.get(name), owners(found, path)))
    for at, old, new in _walk(_spec(found), _spec(wanted), ("spec",)):
        field = tuple(one for one in at if not one.startswith("["))
        known.append(Change(_spelled(at), old, new, owners(found, field)))
    return tuple(known)


def digest(thing: Mapping[str, Any] | None) -> str | None:
    """Sum up what an object says: labels, annotations and spec as given; None where there is none."""
    if thing is None:
        return None
    metadata = thing["metadata"]
    said = [key(thing), metadata.get("labels") or {}, metadata.get("annotations") or {}, _spec(thing)]
    return "sha256:" + hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]


def show(differences: Sequence[Difference]) -> Iterator[str]:
    """Tell differences as lines for a person: "-" stands in the cluster, "+" in the files."""
    for one in differences:
        if one.state is State.EQUAL:
            continue
        by = f" (managed by {', '.join(one.managers)})" if one.managers else ""
        yield f"{one.namespace}/{one.name}: {one.state}{by}"
        for change in one.changes:
            owner = f"  (owned by {', '.join(change.owners)})" if change.owners else ""
            yield f"    {change.path}{owner}"
            if change.found is not None:
                yield f"      - {_text(change.found)}"
            if change.wanted is not None:
                yield f"      + {_text(change.wanted)}"
    counts = [f"{sum(one.state is state for one in differences)} {state}" for state in State]
    yield ", ".join(counts)


def _compare_one(wanted: Mapping[str, Any], found: Mapping[str, Any] | None) -> Difference:
    at = key(wanted)
    if found is None:
        return Difference(*at, State.MISSING)
    differing = changes(wanted, found)
    state = State.EQUAL if not differing else State.CHANGED if is_ours(found) else State.FOREIGN
    return Difference(*at, state, differing, managers(found))


def is_labelled(found: Mapping[str, Any]) -> bool:
    """Tell whether an object carries our label."""
    name, value = OURS
    return (found["metadata"].get("labels") or {}).get(name) == value


def _spec(thing: Mapping[str, Any]) -> Any:
    """Read a spec in its one spelling: defaults filled in, what is empty left out; as it is where it has fields we don't know."""
    try:
        return to_object(from_object(thing))["spec"]
    except PolicyError:
        return thing.get("spec") or {}


def _walk(found: Any, wanted: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    if found == wanted:
        return
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in sorted({*found, *wanted}):
            yield from _walk(found.get(name), wanted.get(name), (*path, name))
    elif isinstance(found, list) and isinstance(wanted, list):
        yield from _walk_lists(found, wanted, path)
    else:
        yield path, found, wanted


def _walk_lists(found: list[Any], wanted: list[Any], path: Path) -> Iterator[tuple[Path, Any, Any]]:
    """Pair the items of two lists; lists of plain values are told as a whole by what they lost and gained."""
    if all(isinstance(one, str) for one in (*found, *wanted)):
        lost, gained = [one for one in found if one not in wanted], [one for one in wanted if one not in found]
        yield path, lost or (None if gained else found), gained or (None if lost else wanted)
        return
    old, new = ([json.dumps(one, sort_keys=True) for one in some] for some in (found, wanted))
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        pairs = min(i2 - i1, j2 - j1)
        for step in range(pairs):
            yield from _walk(found[i1 + step], wanted[j1 + step], (*path, f"[{i1 + step}]"))
        for i in range(i1 + pairs, i2):
            yield (*path, f"[{i}]"), found[i], None
        for j in range(j1 + pairs, j2):
            yield (*path, f"[{j}]"), None, wanted[j]


def _spelled(path: Path) -> str:
    return ".".join(path).replace(".[", "[")


def _text(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
