"""What the files want: AuthorizationPolicies of a directory, every one checked before anything is sent anywhere.

In: a directory or file. Out: objects in the one spelling of `policy.py`, or every problem at once. The rules that live here: a
policy that is pushed names its namespace (kubectl would take whatever the context says), and none is there twice.
"""

from pathlib import Path
from typing import Any

from authz_server.engine.errors import PolicyError
from trainer.policies.cluster.difference import Key, key
from trainer.policies.document import read_policies
from trainer.policies.policy import from_object, to_object
from trainer.policies.validity.check import check

__all__ = ["read_wanted"]


def read_wanted(place: Path, crds: Path | None = None) -> list[dict[str, Any]]:
    """Read and check all policies of a place, in order of namespace and name; raises PolicyError with every problem, or if none.

    `crds`: a directory with Istio's CustomResourceDefinitions, which policies are held against too.
    """
    documents = read_policies(place)
    problems: list[str] = []
    places: dict[Key, str] = {}
    wanted: list[dict[str, Any]] = []
    schemas = _schemas(crds)
    for one in documents:
        wrong = list(check(one.object).errors) + schemas(one.object)
        metadata = one.object.get("metadata")
        if not isinstance(metadata, dict) or not metadata.get("namespace"):
            wrong.append("metadata.namespace: expected the namespace, got none, so it would be the context's")
        problems += [f"{one.place}: {problem}" for problem in wrong]
        if wrong:
            continue
        thing = to_object(from_object(one.object))
        if key(thing) in places:
            problems.append(f"{one.place}: expected each policy once, {'/'.join(key(thing))} is in {places[key(thing)]} too")
        places[key(thing)] = one.place
        wanted.append(thing)
    if not documents:
        problems.append(f"{place}: expected AuthorizationPolicies, got none: is it the right place?")
    if problems:
        raise PolicyError(*problems)
    return sorted(wanted, key=key)


def _schemas(crds: Path | None) -> Any:
    if crds is None:
        return lambda _: []
    from trainer.policies.validity.crd import check_schema, read_crds

    schemas = read_crds(crds)
    return lambda document: list(check_schema(document, schemas))
