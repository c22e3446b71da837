"""From who calls what to rules: the tightest that still cover it and that a person can read.

In: Grants, one caller's right to one method on one path. Out: ALLOW rules whose union is exactly the grants, with endpoints that
have the same callers in one rule, and methods that have the same paths in one operation.

Envoy has no "literal beats template": `/users/{*}` also matches `/users/admin`. Where not all callers of the template may call
the literal, it stands in `notPaths`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from trainer.policies.generation.path import precedes
from trainer.policies.policy import From, Operation, Rule, Source, To

__all__ = ["MAX_RULES", "Caller", "Grant", "to_rules"]

MAX_RULES: Final = 512
"""What the CustomResourceDefinition allows (`maxItems`)."""


class Caller(msgspec.Struct, frozen=True, order=True):
    """Who: a principal, or a whole namespace; one of them is set."""

    principal: str = ""
    namespace: str = ""


class Grant(msgspec.Struct, frozen=True, order=True):
    """A caller may use a method on a path; `method` and `path` empty: may connect, without HTTP. `ports` empty: on all."""

    method: str
    path: str
    caller: Caller
    ports: tuple[int, ...] = ()


class _Endpoint(msgspec.Struct, frozen=True, order=True):
    method: str
    path: str
    ports: tuple[int, ...]


_Callers = tuple[Caller, ...]
_Groups = list[tuple[_Callers, list[_Endpoint]]]


def to_rules(grants: Iterable[Grant], known: Iterable[tuple[str, str]] = ()) -> list[Rule]:
    """Merge grants into rules, sorted.

    `known`: methods and paths as they were learned, granted or not; among these a more exact one is cut out of a template where
    not all of the template's callers may use it. Paths that had to be written wider than learned don't belong there.

    One rule for each set of callers; only where those are more than `MAX_RULES`, one for each set of endpoints.
    """
    callers: dict[_Endpoint, set[Caller]] = {}
    allowed: dict[tuple[str, str], set[Caller]] = {endpoint: set() for endpoint in known}
    for grant in grants:
        callers.setdefault(_Endpoint(grant.method, grant.path, grant.ports), set()).add(grant.caller)
        if (grant.method, grant.path) in allowed:
            allowed[grant.method, grant.path].add(grant.caller)
    groups = _by_callers(callers)
    if len(groups) > MAX_RULES:
        groups = min(_by_endpoints(callers), groups, key=len)
    return [Rule(_from(names), _to(endpoints, set(names), allowed)) for names, endpoints in groups]


def _by_callers(callers: Mapping[_Endpoint, set[Caller]]) -> _Groups:
    groups: dict[_Callers, list[_Endpoint]] = {}
    for endpoint, found in sorted(callers.items()):
        groups.setdefault(tuple(sorted(found)), []).append(endpoint)
    return sorted(groups.items())


def _by_endpoints(callers: Mapping[_Endpoint, set[Caller]]) -> _Groups:
    endpoints: dict[Caller, list[_Endpoint]] = {}
    for endpoint, found in sorted(callers.items()):
        for caller in found:
            endpoints.setdefault(caller, []).append(endpoint)
    groups: dict[tuple[_Endpoint, ...], list[Caller]] = {}
    for caller, mine in sorted(endpoints.items()):
        groups.setdefault(tuple(mine), []).append(caller)
    return sorted((tuple(names), list(mine)) for mine, names in groups.items())


def _from(callers: Sequence[Caller]) -> tuple[From, ...]:
    """Write callers: fields of one source must all match, so principals and namespaces are two."""
    principals = tuple([caller.principal for caller in callers if caller.principal])
    namespaces = tuple([caller.namespace for caller in callers if caller.namespace])
    sources = [Source(principals=principals)] if principals else []
    return tuple([From(source) for source in [*sources, *([Source(namespaces=namespaces)] if namespaces else [])]])


def _to(endpoints: Iterable[_Endpoint], callers: set[Caller], allowed: Mapping[tuple[str, str], set[Caller]]) -> tuple[To, ...]:
    """Write endpoints: paths with the same methods, ports and exclusions make one operation."""
    methods: dict[tuple[str, tuple[int, ...], tuple[str, ...]], list[str]] = {}
    for endpoint in endpoints:
        excluded = _excluded(endpoint, callers, allowed)
        methods.setdefault((endpoint.path, endpoint.ports, excluded), []).append(endpoint.method)
    paths: dict[tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...]], list[str]] = {}
    for (path, ports, excluded), names in methods.items():
        paths.setdefault((tuple(sorted(names)), ports, excluded), []).append(path)
    operations = [
        Operation(
            methods=tuple([name for name in names if name]),
            paths=tuple([path for path in sorted(found) if path]),
            not_paths=excluded,
            ports=tuple([str(port) for port in ports]),
        )
        for (names, ports, excluded), found in paths.items()
    ]
    return tuple([To(operation) for operation in sorted(operations, key=lambda one: (one.paths, one.methods, one.ports))])


def _excluded(endpoint: _Endpoint, callers: set[Caller], allowed: Mapping[tuple[str, str], set[Caller]]) -> tuple[str, ...]:
    """Name the paths within a template that not all of these callers may use."""
    if "{" not in endpoint.path or (endpoint.method, endpoint.path) not in allowed:
        return ()
    return tuple(
        sorted(
            path
            for (method, path), found in allowed.items()
            if method == endpoint.method and precedes(path, endpoint.path) and not callers <= found
        )
    )
