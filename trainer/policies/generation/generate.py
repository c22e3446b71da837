"""The command `trainer policies generate`: from a bundle to one file of AuthorizationPolicy a workload.

In: what was learned, exceptions, and the files of last time. Out: files, and a Generated for people. What a generated object is
called and what hangs on it is decided here; its rules are `rules.py`.

A file changes only where its rules, selector or the order of magnitude of its evidence do: a new revision that learned the same
leaves it as it is, so `meshwarden.io/revision` names the bundle that the file was last written from. A policy that a person
promoted (its dry run removed) stays promoted.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from authz_server.engine.errors import MeshwardenError, cut
from authz_server.place import Place, is_safe, open_place
from trainer.policies.document import as_policies, parse_documents, to_text
from trainer.policies.exceptions import Exceptions, read_exceptions, to_rule
from trainer.policies.generation.grants import Granted, to_grants
from trainer.policies.generation.learned import Learned, read_learned
from trainer.policies.generation.rules import to_rules
from trainer.policies.policy import (
    DRY_RUN,
    AuthorizationPolicy,
    Metadata,
    Operation,
    Provider,
    Rule,
    Selector,
    Spec,
    To,
    to_object,
)
from trainer.policies.validity.check import check

__all__ = ["DEFAULT_EXCEPTIONS", "MANAGED_BY", "PREFIX", "Generated", "Refused", "generate", "to_policies"]

PREFIX: Final = "meshwarden.io/"
"""Annotations of ours: revision, generator, evidence-calls, evidence-since, evidence-until, exceptions."""
MANAGED_BY: Final = ("app.kubernetes.io/managed-by", "meshwarden")
"""The label of everything that is generated."""
DEFAULT_EXCEPTIONS: Final = Path("policies/exceptions.yaml")
_HEADER: Final = "Written by `python -m trainer policies generate`: change exceptions.yaml, not this file."
_UNCOMPARED: Final = tuple(PREFIX + name for name in ("revision", "generator", "evidence-since", "evidence-until"))
"""Annotations that change with every training and alone are no reason to write a file."""
_MAX_BYTES: Final = 2 * 2**20
_SHARED_ACCOUNT: Final = "default"
_SHARED_REASON: Final = (
    "every pod without a service account of its own shares this one, so its calls may be several workloads': give each its own, "
    "or list the labels of the only one under `selectors` in exceptions.yaml"
)

CheckSchema = Callable[[Mapping[str, Any]], list[str]]


class Generated(msgspec.Struct, frozen=True):
    """What was done, one line each for people, and how many workloads were refused."""

    lines: tuple[str, ...]
    refused: int


class Refused(Exception):  # noqa: N818  # not an error: an answer, with every reason
    """There is to be no policy for a workload."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


def generate(
    bundle: str,
    out: str,
    exceptions: Path | None = None,
    custom: str | None = None,
    crds: Path | None = None,
    workload: str | None = None,
) -> Generated:
    """Write the policies of a bundle's workloads, or of one; those that are refused keep the file they have.

    `exceptions` None: the default file where it exists. `custom`: the provider for the CUSTOM policy; None: none is written.
    `crds`: a directory; None: only our own checks. Raises MeshwardenError where nothing can be read or written at all.
    """
    file = exceptions if exceptions is not None else DEFAULT_EXCEPTIONS if DEFAULT_EXCEPTIONS.is_file() else None
    listed = read_exceptions(file) if file is not None else Exceptions()
    revision, learned = read_learned(bundle, workload)
    place = open_place(out)
    schema = _schema(crds)
    lines: list[str] = []
    refused = 0
    workloads = list(learned)
    sharing = _sharing(workloads, listed)
    for one in workloads:
        try:
            lines += _write(place, one, listed, revision, custom, schema, sharing.get(one.workload, ""))
        except Refused as refusal:
            refused += 1
            lines += [f"{one.workload}: refused: {reason}" for reason in refusal.reasons]
    return Generated(tuple(lines), refused)


def _schema(crds: Path | None) -> CheckSchema:
    if crds is None:
        return lambda _: []
    from trainer.policies.validity.crd import check_schema, read_crds

    schemas = read_crds(crds)
    return lambda document: check_schema(document, schemas)


def _sharing(learned: Iterable[Learned], exceptions: Exceptions) -> dict[str, str]:
    """Name, by workload, another that has the same pods: either's callers would be allowed at the other."""
    chosen: dict[tuple[str, str], list[str]] = {}
    for one in learned:
        namespace, _, name = one.workload.partition("/")
        labels = sorted(_selector(one.workload, name, exceptions).items())
        chosen.setdefault((namespace, repr(labels)), []).append(one.workload)
    return {
        name: next(other for other in names if other != name) for names in chosen.values() if len(names) > 1 for name in names
    }


def _selector(workload: str, name: str, exceptions: Exceptions) -> dict[str, str]:
    return exceptions.selectors.get(workload) or {"app": name}


def _write(
    place: Place,
    learned: Learned,
    exceptions: Exceptions,
    revision: str,
    custom: str | None,
    schema: CheckSchema,
    sharing: str,
) -> list[str]:
    """Write one workload's file; tell what was done. `sharing`: another workload that selects the same pods; empty: none."""
    if sharing:
        raise Refused(f"{sharing} has the same labels under `selectors`: list labels that only one of them has")
    namespace, _, name = learned.workload.partition("/")
    file = f"{namespace}.{name}.yaml"
    granted = to_grants(learned, exceptions.of(learned.workload))
    old = _read_old(place, file) if name and is_safe(file) else {}
    policies = to_policies(learned, granted, exceptions, revision, custom, old)
    objects = [to_object(policy) for policy in policies]
    problems = [problem for one in objects for problem in (*check(one).errors, *schema(one))]
    if problems:
        raise Refused(*[f"what was generated wouldn't be accepted: {problem}" for problem in problems])
    if not is_safe(file):
        raise Refused(f"expected a name that a file can have, got {cut(file)!r}")
    said = [f"{learned.workload}: {note}" for note in granted.notes]
    if _compared(policies) == _compared(old.values()):
        return [f"{learned.workload}: unchanged in {file}", *said]
    place.write(file, to_text(objects, _HEADER).encode())
    rules = len(policies[0].spec.rules)
    callers = {grant.caller for grant in granted.grants}
    selected = ", ".join(f"{key}={value}" for key, value in _selector(learned.workload, name, exceptions).items())
    promoted = "" if policies[0].dry_run else "; promoted, so what changed is enforced once applied"
    return [f"{learned.workload}: rules: {rules}, callers: {len(callers)}, pods: {selected}{promoted}; wrote {file}", *said]


def _read_old(place: Place, file: str) -> dict[str, AuthorizationPolicy]:
    """Read what is there, by name; nothing where there is no file."""
    data = place.read(file, _MAX_BYTES)
    try:
        policies = as_policies(parse_documents(data, file)) if data is not None else []
    except MeshwardenError as error:
        raise Refused(*[f"expected a file of ours or none: {problem}" for problem in error.problems]) from error
    return {policy.metadata.name: policy for policy in policies}


def _compared(policies: Iterable[AuthorizationPolicy]) -> dict[str, AuthorizationPolicy]:
    found = {}
    for policy in policies:
        kept = {key: value for key, value in policy.metadata.annotations.items() if key not in _UNCOMPARED}
        metadata = msgspec.structs.replace(policy.metadata, annotations=kept)
        found[metadata.name] = msgspec.structs.replace(policy, metadata=metadata)
    return found


def to_policies(
    learned: Learned,
    granted: Granted,
    exceptions: Exceptions,
    revision: str,
    custom: str | None = None,
    old: Mapping[str, AuthorizationPolicy] | None = None,
) -> list[AuthorizationPolicy]:
    """Make a workload's policies: ALLOW, and CUSTOM where there is a provider; raises Refused with every reason.

    `old`: those of last time, by name, which say whether the ALLOW policy was promoted.
    """
    namespace, _, name = learned.workload.partition("/")
    reasons = list(granted.refused)
    if not name:
        reasons.insert(0, "named by a host, not by its certificate: have it join the mesh (mutual TLS), collect and train again")
    elif name == _SHARED_ACCOUNT and learned.workload not in exceptions.selectors:
        reasons.insert(0, _SHARED_REASON)
    if reasons:
        raise Refused(*reasons)
    exempt = exceptions.of(learned.workload)
    rules = to_rules(granted.grants, granted.exact)
    before = (old or {}).get(f"meshwarden-allow-{name}")
    promoted = before is not None and not before.dry_run
    annotations = {} if promoted else {DRY_RUN: "true"}
    annotations |= _evidence(learned, revision)
    if exempt:
        annotations[PREFIX + "exceptions"] = ", ".join([f"rule {i}: {one.name}" for i, one in enumerate(exempt)])
    selector = Selector(_selector(learned.workload, name, exceptions))
    labels = dict([MANAGED_BY])
    allow = AuthorizationPolicy(
        Metadata(f"meshwarden-allow-{name}", namespace, labels, annotations),
        Spec(selector, action="ALLOW", rules=(*(to_rule(one) for one in exempt), *rules)),
    )
    if custom is None:
        return [allow]
    metadata = Metadata(f"meshwarden-custom-{name}", namespace, labels, _evidence(learned, revision))
    judged = _judged(learned.workload, rules, exceptions, promoted=promoted)
    return [allow, AuthorizationPolicy(metadata, Spec(selector, None, (), "CUSTOM", Provider(custom), judged))]


def _judged(workload: str, rules: list[Rule], exceptions: Exceptions, *, promoted: bool) -> tuple[Rule, ...]:
    """Say which calls the authz_server is asked about.

    CUSTOM comes before ALLOW. While ALLOW is a dry run: all but what an exception names as unjudged. Once it is promoted: what
    it allows, by anybody (CUSTOM may not look at identities), since Envoy refuses the rest by itself.
    """
    exempt = exceptions.of(workload)
    judged = [to_rule(one) for one in exempt if not one.unjudged]
    if promoted and all(rule.to for rule in judged):
        operations = {to.operation: None for rule in (*judged, *rules) for to in rule.to}
        return (Rule(to=tuple([To(operation) for operation in operations])),)
    unjudged = [one for one in exempt if one.unjudged]
    rest = Operation(
        not_paths=tuple(sorted({path for one in unjudged for path in one.paths})),
        not_ports=tuple(sorted({port for one in unjudged for port in one.ports})),
    )
    return (Rule(to=(To(rest),)) if rest != Operation() else Rule(),)


def _evidence(learned: Learned, revision: str) -> dict[str, str]:
    """Tell how much was seen: calls as a power of ten, so that a busy day isn't a diff."""
    since, until = (datetime.fromtimestamp(ts, UTC).date().isoformat() for ts in (learned.first_ts, learned.last_ts))
    return {
        PREFIX + "generator": "trainer policies generate",
        PREFIX + "revision": revision,
        PREFIX + "evidence-calls": f"{10 ** (len(str(learned.calls)) - 1)} or more",
        PREFIX + "evidence-since": since,
        PREFIX + "evidence-until": until,
    }
