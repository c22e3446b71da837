"""Who owns which field of an object in the cluster, as its `managedFields` say.

In: an object as the API server gives it. Out: managers, the fields of one, and the object cut down to them. The rule that lives
here: what `meshwarden` applied, and nothing else, is ours.

The grammar is Kubernetes' FieldsV1 (structured-merge-diff): `f:` a field, `k:` and `v:` an item of a list, `.` the thing itself.
AuthorizationPolicy declares no list keys, so a list is one value with one owner.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["MANAGER", "Path", "changed_at", "is_ours", "managers", "owned", "owned_paths", "owners"]

MANAGER: Final = "meshwarden"
"""The field manager under which everything is applied."""

Path = tuple[str, ...]
"""Where a field is: ("metadata", "annotations", "istio.io/dry-run")."""

_APPLY: Final = "Apply"


def is_ours(found: Mapping[str, Any]) -> bool:
    """Tell whether we applied anything of an object."""
    return any(_is_our_entry(entry) for entry in _entries(found))


def managers(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Name who manages an object, ourselves and subresources such as `status` left out."""
    return tuple(sorted({_name(entry) for entry in _entries(found) if not _is_our_entry(entry) and "subresource" not in entry}))


def owned_paths(found: Mapping[str, Any]) -> frozenset[Path]:
    """Name the fields that we own, down to lists and plain values."""
    return frozenset(path for entry in _entries(found) if _is_our_entry(entry) for path in _leaves(entry.get("fieldsV1")))


def owners(found: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Name everyone else who owns a field, one above it or one below."""
    return tuple(
        sorted(
            {
                _name(entry)
                for entry in _entries(found)
                if not _is_our_entry(entry) and any(_touches(leaf, path) for leaf in _leaves(entry.get("fieldsV1")))
            }
        )
    )


def changed_at(found: Mapping[str, Any], path: Path) -> str | None:
    """Tell when a field was last set by whoever owns it, as Kubernetes spells times; None where that isn't known.

    It is the time of an owner's last change to anything of the object, so it can be later than the field's own.
    """
    times = [
        str(entry["time"])
        for entry in _entries(found)
        if entry.get("time") and any(_touches(leaf, path) for leaf in _leaves(entry.get("fieldsV1")))
    ]
    return max(times, default=None)


def owned(found: Mapping[str, Any]) -> dict[str, Any]:
    """Cut an object down to what we own: applied again, it is what we applied last."""
    metadata = found.get("metadata", {})
    kept: dict[str, Any] = {
        "apiVersion": found["apiVersion"],
        "kind": found["kind"],
        "metadata": {"name": metadata["name"], "namespace": metadata.get("namespace", "")},
    }
    for path in sorted(owned_paths(found)):
        _copy(found, kept, path)
    return kept


def _copy(found: Mapping[str, Any], kept: dict[str, Any], path: Path) -> None:
    source: Any = found
    target: Any = kept
    for name in path[:-1]:
        if not isinstance(source, Mapping) or name not in source:
            return
        source = source[name]
        target = target.setdefault(name, {})
        if not isinstance(target, dict):
            return
    if isinstance(source, Mapping) and path[-1] in source:
        target[path[-1]] = source[path[-1]]


def _entries(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in found.get("metadata", {}).get("managedFields") or () if isinstance(entry, Mapping)]


def _is_our_entry(entry: Mapping[str, Any]) -> bool:
    return entry.get("manager") == MANAGER and entry.get("operation") == _APPLY and "subresource" not in entry


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("manager") or "someone without a name")


def _leaves(fields: object, above: Path = ()) -> Iterator[Path]:
    """Walk FieldsV1 to its leaves; items of lists end the walk, as the list is one value here."""
    names = [key for key in fields if isinstance(key, str) and key.startswith("f:")] if isinstance(fields, Mapping) else []
    if not names:
        if above:
            yield above
        return
    assert isinstance(fields, Mapping)
    for key in names:
        yield from _leaves(fields[key], (*above, key[2:]))


def _touches(one: Path, other: Path) -> bool:
    size = min(len(one), len(other))
    return one[:size] == other[:size]
