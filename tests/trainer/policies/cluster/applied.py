"""Server-side apply as Kubernetes does it to objects whose lists are single values: fields, owners, conflicts.

Kubernetes' "Server-Side Apply" page and structured-merge-diff are the source. Lists are atomic, as in AuthorizationPolicy's CRD.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Conflict", "apply", "leaves", "to_fields", "update"]

_FIXED = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
_SYSTEM = {"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"}
Path = tuple[str, ...]


class Conflict(Exception):  # noqa: N818
    """Fields that others own: field to manager."""

    def __init__(self, owners: dict[str, str]) -> None:
        super().__init__(owners)
        self.owners = owners


def leaves(value: Any, above: Path = ()) -> Iterator[Path]:
    """Every field that is set, down to lists and plain values."""
    if isinstance(value, Mapping):  # empty ones are dropped, as the API server does with metadata's
        for name, one in value.items():
            if above != ("metadata",) or name not in _SYSTEM:
                yield from leaves(one, (*above, name))
    elif above not in _FIXED:
        yield above


def apply(live: dict[str, Any] | None, wanted: dict[str, Any], manager: str, *, force: bool, now: str) -> dict[str, Any]:
    """What `live` becomes when `manager` applies `wanted`; raises Conflict."""
    new = copy.deepcopy(live) if live is not None else {k: wanted[k] for k in ("apiVersion", "kind")} | {"metadata": {}}
    entries = new["metadata"].setdefault("managedFields", [])
    mine = next((one for one in entries if one["manager"] == manager and one["operation"] == "Apply"), None)
    others = [one for one in entries if one is not mine]
    paths = set(leaves(wanted))
    taken = {
        path: one
        for path in paths
        for one in others
        if any(_overlaps(path, theirs) for theirs in _paths(one["fieldsV1"])) and _get(new, path) != _get(wanted, path)
    }
    if taken and not force:
        raise Conflict({"." + ".".join(path): one["manager"] for path, one in sorted(taken.items())})
    for path, one in taken.items():
        one["fieldsV1"] = to_fields({theirs for theirs in _paths(one["fieldsV1"]) if not _overlaps(path, theirs)})
    kept = {path for one in others for path in _paths(one["fieldsV1"])}
    for path in (_paths(mine["fieldsV1"]) if mine else set()) - paths - kept:
        _drop(new, path)
    for path in paths:
        _set(new, path, _get(wanted, path))
    for name in ("name", "namespace"):
        if name in wanted["metadata"]:
            new["metadata"][name] = wanted["metadata"][name]
    entry = {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": wanted["apiVersion"],
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": to_fields(paths),
    }
    if mine is not None and mine["fieldsV1"] == entry["fieldsV1"] and _without_fields(new) == _without_fields(live or {}):
        return copy.deepcopy(live) if live is not None else new
    new["metadata"]["managedFields"] = [one for one in others if one["fieldsV1"]] + [entry]
    return new


def update(live: dict[str, Any] | None, wanted: dict[str, Any], manager: str, *, now: str) -> dict[str, Any]:
    """What `live` becomes when `manager` replaces it: it owns what it changed."""
    new = copy.deepcopy(wanted)
    old = live or {}
    changed = {path for path in leaves(new) if _get(old, path) != _get(new, path)}
    gone = set(leaves(old)) - set(leaves(new)) if live else set()
    entries = copy.deepcopy(old.get("metadata", {}).get("managedFields", []))
    for one in entries:
        one["fieldsV1"] = to_fields(_paths(one["fieldsV1"]) - changed - gone)
    mine = next((one for one in entries if one["manager"] == manager and one["operation"] == "Update"), None)
    if mine is None:
        mine = {
            "manager": manager,
            "operation": "Update",
            "apiVersion": new["apiVersion"],
            "fieldsType": "FieldsV1",
            "fieldsV1": {},
        }
        entries.append(mine)
    mine["time"] = now
    mine["fieldsV1"] = to_fields(_paths(mine["fieldsV1"]) | changed)
    new["metadata"]["managedFields"] = [one for one in entries if one["fieldsV1"]]
    return new


def to_fields(paths: set[Path]) -> dict[str, Any]:
    """FieldsV1 of paths."""
    fields: dict[str, Any] = {}
    for path in sorted(paths):
        at = fields
        for name in path:
            at = at.setdefault(f"f:{name}", {})
    return fields


def _paths(fields: Mapping[str, Any], above: Path = ()) -> set[Path]:
    names = [name for name in fields if name.startswith("f:")]
    if not names:
        return {above} if above else set()
    return {path for name in names for path in _paths(fields[name], (*above, name[2:]))}


def _overlaps(one: Path, other: Path) -> bool:
    size = min(len(one), len(other))
    return one[:size] == other[:size]


def _without_fields(thing: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {name: value for name, value in thing.get("metadata", {}).items() if name != "managedFields"}
    return {**thing, "metadata": metadata}


def _get(thing: Any, path: Path) -> Any:
    for name in path:
        if not isinstance(thing, Mapping) or name not in thing:
            return None
        thing = thing[name]
    return thing


def _set(thing: dict[str, Any], path: Path, value: Any) -> None:
    for name in path[:-1]:
        thing = thing.setdefault(name, {})
    thing[path[-1]] = copy.deepcopy(value)


def _drop(thing: dict[str, Any], path: Path) -> None:
    """Remove a field, and what is empty above it."""
    above = [thing]
    for name in path[:-1]:
        if not isinstance(above[-1].get(name), dict):
            return
        above.append(above[-1][name])
    above[-1].pop(path[-1], None)
    for parent, name in zip(reversed(above[:-1]), reversed(path[:-1]), strict=True):
        if parent.get(name) == {} and name != "metadata":
            del parent[name]
