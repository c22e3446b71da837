"""From what was learned of a workload to what its callers are granted, and what is too thin to be granted or refused by.

In: Learned and the workload's exceptions. Out: Granted: grants, what was left out, and why there may be no policy at all, each
reason with its way out. Which evidence is enough is decided here.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from trainer.plural import plural
from trainer.policies.exceptions import Exempt
from trainer.policies.generation.learned import Connection, Edge, Learned, namespace_of
from trainer.policies.generation.path import METHOD, to_path
from trainer.policies.generation.rules import Caller, Grant
from trainer.support import QUORUM

__all__ = ["MAX_NEW_RATE", "MIN_CALLS", "NAMESPACE_CALLERS", "Granted", "to_grants"]

MIN_CALLS: Final = QUORUM
"""Calls by one caller at one endpoint that make it a habit: a service account is a population, whose calls count as callers
(`support.py`). That they came at separate times a bundle doesn't tell for each caller; it does for each endpoint."""
MAX_NEW_RATE: Final = 1e-3
"""Share of a workload's calls that may be by a caller at an endpoint new to it (Good 1953, by those seen once, plus one still to
come); also the server's default budget. So at least 1,000 calls are needed."""
NAMESPACE_CALLERS: Final = 16
"""Callers of one endpoint in one namespace from which on the namespace is what was seen, not a list of names."""


class Granted(msgspec.Struct, frozen=True):
    """What a workload's callers may do; `exact`: methods and paths written as they were learned, granted or not.

    `notes` (what was left out or written wider) and `refused` are lines for people; with `refused` there is to be no policy.
    """

    grants: tuple[Grant, ...] = ()
    exact: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def to_grants(learned: Learned, exceptions: tuple[Exempt, ...] = ()) -> Granted:
    """Grant what was seen often enough; refuse where the traffic doesn't tell enough to refuse others by."""
    refused = list(_refusals(learned))
    if refused:
        return Granted(refused=tuple(refused))
    notes: list[str] = []
    grants: list[Grant] = []
    exact: set[tuple[str, str]] = set()
    wider: set[tuple[str, str]] = set()
    for edge in learned.edges:
        path = to_path(edge.template)
        problem = _unwritable(edge, path)
        if problem:
            notes.append(f"left out: {edge.method} {edge.template}: {problem}")
            continue
        (exact if path == edge.template else wider).add((edge.method, path))
        if path != edge.template:
            notes.append(f"written wider: {edge.method} {edge.template}: as {path}")
        if not edge.principal and any(_lets_in(one, edge, path) for one in exceptions):
            continue
        if edge.calls < MIN_CALLS:
            notes.append(
                f"left out: {edge.method} {edge.template}: {_counted(edge.calls, edge.principal)}, fewer than {MIN_CALLS}"
            )
        elif not edge.principal:
            told = f"{edge.method} {edge.template}: {_counted(edge.calls, '')}"
            refused.append(f"{told}: have the caller join the mesh, or list an exception for it")
        else:
            grants.append(Grant(edge.method, path, Caller(edge.principal), edge.ports))
    for connection in learned.connections:
        _connect(connection, exceptions, grants, notes, refused)
    if not grants and not refused:
        refused.append(f"no caller made {MIN_CALLS} calls at any endpoint: collect more traffic")
    written = _by_namespace(grants, {(method, to_path(template)) for method, template in learned.crowded})
    return Granted(tuple(written), tuple(sorted(exact - wider)), tuple(dict.fromkeys(notes)), tuple(refused))


def _refusals(learned: Learned) -> Iterator[str]:
    """Name what is wrong with the traffic as a whole, the first reason only: the others follow from it."""
    pairs: list[Edge | Connection] = [*learned.edges, *learned.connections]
    once = sum(pair.calls == 1 for pair in pairs)
    if not pairs or not learned.calls:
        yield "no call was learned from, and a policy without rules refuses everything: collect traffic, train again"
    elif not any(pair.principal for pair in pairs):
        yield (
            "no caller had an identity (mutual TLS), and without one everybody would be allowed: "
            "turn on a PeerAuthentication of mode STRICT, then collect and train again"
        )
    elif (once + 1) / learned.calls > MAX_NEW_RATE:
        needed = round((once + 1) / MAX_NEW_RATE)
        yield f"{learned.calls:,} calls, {once} of them by a caller new to its endpoint: collect {needed:,} calls or more"


def _unwritable(edge: Edge, path: str) -> str:
    if not METHOD.match(edge.method):
        return "not a method that a policy can name"
    if edge.method == "CONNECT":
        return "CONNECT has no path to compare"
    return "" if path else "a path that only a rule for all paths could match"


def _counted(calls: int, principal: str) -> str:
    return f"{plural(calls, 'call')} {f'by {principal}' if principal else 'without an identity'}"


def _lets_in(exception: Exempt, edge: Edge, path: str) -> bool:
    """Tell whether an exception lets calls without an identity in here."""
    methods = not exception.methods or edge.method in exception.methods
    paths = not exception.paths or any(_within(path, one) for one in exception.paths)
    return exception.anonymous and methods and paths and _on_ports(exception, edge.ports)


def _within(path: str, allowed: str) -> bool:
    return path == allowed or (allowed.endswith("*") and path.startswith(allowed[:-1]))


def _on_ports(exception: Exempt, ports: tuple[int, ...]) -> bool:
    return not exception.ports or (bool(ports) and {str(port) for port in ports} <= set(exception.ports))


def _connect(
    connection: Connection, exceptions: tuple[Exempt, ...], grants: list[Grant], notes: list[str], refused: list[str]
) -> None:
    """Grant connections without HTTP, on the ports where they were seen: a rule on methods or paths never matches them."""
    told = f"{_counted(connection.calls, connection.principal)}, not HTTP"
    open_to = [one for one in exceptions if one.ports and not one.methods and not one.paths]
    if any(_on_ports(one, connection.ports) or not connection.ports for one in open_to if one.anonymous):
        return
    if connection.calls < MIN_CALLS:
        notes.append(f"left out: {told}, fewer than {MIN_CALLS}")
    elif connection.principal and connection.ports:
        grants.append(Grant("", "", Caller(connection.principal), connection.ports))
    else:
        refused.append(f"{told}, on a port or by a caller that isn't known: list an exception with its port")


def _by_namespace(grants: Iterable[Grant], crowded: set[tuple[str, str]]) -> list[Grant]:
    """Grant to a whole namespace where many of its accounts call an endpoint, or more than were counted."""
    granted = sorted(grants)
    counts: dict[tuple[str, str, tuple[int, ...], str], int] = {}
    for one in granted:
        key = (one.method, one.path, one.ports, namespace_of(one.caller.principal))
        counts[key] = counts.get(key, 0) + 1
    written = []
    for one in granted:
        key = (one.method, one.path, one.ports, namespace_of(one.caller.principal))
        many = counts[key] >= NAMESPACE_CALLERS or (one.method, one.path) in crowded
        written.append(msgspec.structs.replace(one, caller=Caller(namespace=key[3])) if many else one)
    return sorted(set(written))
