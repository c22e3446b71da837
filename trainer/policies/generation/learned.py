"""Who calls what at one workload, as far as a bundle tells: the graph of callers and endpoints that policies are made of.

In: a Description. Out: Learned, sorted, so that the same learning gives the same policy. Which name is a caller's identity is
decided here.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from authz_server.bundle import load_bundle, read_description
from authz_server.engine.errors import BundleError, SettingError, cut
from trainer.description import Description, decode_description
from trainer.known_names import known_names

__all__ = ["MAX_COUNTED", "Connection", "Edge", "Learned", "namespace_of", "read_learned", "to_learned"]

MAX_COUNTED: Final = 64
"""Callers of one endpoint that a description counts (`description.py`): where there are as many, there may be more."""

_IDENTITY = re.compile(r"[a-z0-9._-]{1,253}/ns/([a-z0-9-]{1,63})/sa/[a-z0-9.-]{1,253}\Z")
"""A principal as AuthorizationPolicy compares it: the SPIFFE id of a service account without `spiffe://`; in any trust domain."""


class Edge(msgspec.Struct, frozen=True, order=True):
    """One caller at one endpoint: `calls` of it taught.

    `principal` empty: they came without an identity. `ports` empty: on which isn't known.
    """

    method: str
    template: str
    principal: str
    calls: int
    ports: tuple[int, ...] = ()


class Connection(msgspec.Struct, frozen=True, order=True):
    """Calls without HTTP: who opened them, and on which ports; empty: not seen."""

    principal: str
    calls: int
    ports: tuple[int, ...] = ()


class Learned(msgspec.Struct, frozen=True):
    """One workload: its edges and connections, sorted; `crowded`: endpoints with more callers than are counted.

    Times are seconds since the epoch. `calls` are those that taught.
    """

    workload: str
    calls: int
    first_ts: float
    last_ts: float
    edges: tuple[Edge, ...]
    connections: tuple[Connection, ...] = ()
    crowded: frozenset[tuple[str, str]] = frozenset()


def namespace_of(principal: str) -> str:
    """Name the namespace of a caller; empty where it isn't a service account's identity.

    >>> namespace_of("demo.local/ns/shop/sa/cart")
    'shop'
    """
    found = _IDENTITY.match(principal)
    return found[1] if found else ""


def to_learned(description: Description) -> Learned:
    """Take the callers of each endpoint from a description; endpoints at which no call taught aren't there."""
    edges: list[Edge] = []
    connections: list[Connection] = []
    crowded = set()
    taught = {name: facts for name, facts in description.endpoints.items() if facts.taught}
    for name, facts in taught.items():
        method, _, template = name.partition(" ")
        counts: dict[str, int] = {}
        for principal, calls in facts.principals.items():
            known = principal.removeprefix("spiffe://")
            known = known if namespace_of(known) else ""
            counts[known] = counts.get(known, 0) + calls
        if len(facts.principals) >= MAX_COUNTED:
            crowded.add((method, template))
        for principal, calls in counts.items():
            if method:
                edges.append(Edge(method, template, principal, calls))
            else:
                connections.append(Connection(principal, calls))
    return Learned(
        description.workload,
        sum(facts.taught for facts in taught.values()),
        min((facts.first_ts for facts in taught.values()), default=0.0),
        max((facts.last_ts for facts in taught.values()), default=0.0),
        tuple(sorted(edges)),
        tuple(sorted(connections)),
        frozenset(crowded),
    )


def read_learned(place: str, workload: str | None = None) -> tuple[str, Iterator[Learned]]:
    """Read a bundle's revision and what it learned of each workload, or of one; raises BundleError or SettingError."""
    bundle = load_bundle(place, None, [workload] if workload else [])
    if bundle.manifest is None:
        raise BundleError(f"{place}: expected a bundle, got none: run `trainer train` first")
    names = sorted(bundle.models)
    if workload and not names:
        known = known_names(workload, bundle.manifest.workloads)
        raise SettingError(f"workload: expected one of {known}, got {cut(workload)!r}")
    data = {name: read_description(place, bundle, name) for name in names}
    missing = [name for name, found in data.items() if found is None]
    if missing:
        raise BundleError(*[f"{place}: expected the description of {cut(name)}, got none: train again" for name in missing])
    return bundle.revision, (to_learned(decode_description(found)) for found in data.values() if found is not None)
