"""Would istiod take this AuthorizationPolicy, and does it mean what it seems to? Checked before anything leaves.

In: an object. Out: every problem, with the path to it. `ERRORS`: refused by istiod's webhook (its `validation.go`, read 2026-11)
or by Envoy, or would never do what it says. `WARNINGS`: does what it says, and may surprise. What may stand in a single field is
`field.py`, what the CustomResourceDefinition itself says is `crd.py`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from authz_server.engine.errors import PolicyError, cut
from trainer.policies.policy import DRY_RUN, AuthorizationPolicy, from_object
from trainer.policies.validity.field import Problems, wrong_accounts, wrong_condition, wrong_fields

__all__ = ["MAX_OBJECT_BYTES", "Checked", "check"]

MAX_OBJECT_BYTES: Final = 128 * 1024
"""Largest object, as JSON: `kubectl apply` keeps a copy in an annotation, and annotations may have 256 KiB in all."""

_ACTIONS: Final = ("ALLOW", "DENY", "AUDIT", "CUSTOM")
_TARGETS: Final = {
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
}
_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?\Z")


class Checked(msgspec.Struct, frozen=True):
    """What is wrong with an object: `errors` keep it from leaving, `warnings` are told."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


# --- the policy as a whole


def _names(policy: AuthorizationPolicy) -> Problems:
    metadata = policy.metadata
    if not _SUBDOMAIN.match(metadata.name):
        yield f"metadata.name: expected a DNS name of lower-case letters, digits, - and ., got {cut(metadata.name)!r}"
    if metadata.namespace and not _LABEL.match(metadata.namespace):
        yield f"metadata.namespace: expected at most 63 lower-case letters, digits and -, got {cut(metadata.namespace)!r}"
    labels = policy.spec.selector.match_labels if policy.spec.selector is not None else {}
    for name, value in labels.items():
        if not name or "*" in name:
            yield f"spec.selector.matchLabels: expected a label's name without `*`, got {cut(name)!r}"
        if not _LABEL_VALUE.match(value):
            yield f"spec.selector.matchLabels.{cut(name)}: expected at most 63 letters, digits, ., _ and -, got {cut(value)!r}"


def _target(policy: AuthorizationPolicy) -> Problems:
    spec = policy.spec
    references = (*((spec.target_ref,) if spec.target_ref is not None else ()), *spec.target_refs)
    if (spec.selector is not None) + (spec.target_ref is not None) + bool(spec.target_refs) > 1:
        yield "spec: expected at most one of selector, targetRef and targetRefs"
    for reference in references:
        if not reference.name:
            yield "spec.targetRef.name: expected a name, got none"
        if reference.namespace:
            yield "spec.targetRef.namespace: expected none: a policy can't reach into other namespaces"
        if (reference.group, reference.kind) not in _TARGETS:
            kind = f"{reference.group}/{reference.kind}".strip("/")
            yield f"spec.targetRef: expected a Gateway, Service or ServiceEntry, got {cut(kind)!r}"


def _action(policy: AuthorizationPolicy) -> Problems:
    spec = policy.spec
    if spec.action not in _ACTIONS:
        yield f"spec.action: expected one of {', '.join(_ACTIONS)}, got {cut(spec.action)!r}"
    if spec.action in ("DENY", "CUSTOM") and not spec.rules:
        yield f"spec.rules: expected rules, got none: {spec.action} without rules is never triggered ([{{}}]: always)"
    if spec.action == "CUSTOM" and (spec.provider is None or not spec.provider.name):
        yield "spec.provider.name: expected the extension provider that CUSTOM asks, got none"
    if spec.action != "CUSTOM" and spec.provider is not None:
        yield f"spec.provider: expected none with action {cut(spec.action)}"


def _dry_run(policy: AuthorizationPolicy) -> Problems:
    value = policy.metadata.annotations.get(DRY_RUN)
    if value is not None and value not in ("true", "false"):
        yield f"metadata.annotations.{DRY_RUN}: expected true or false, got {cut(value)!r}"
    if value == "true" and policy.spec.action not in ("ALLOW", "DENY"):
        yield f"metadata.annotations.{DRY_RUN}: expected none with action {policy.spec.action}, which ignores it and is in force"


def _custom(policy: AuthorizationPolicy) -> Problems:
    if policy.spec.action != "CUSTOM":
        return
    never = ("principals", "namespaces", "request_principals", "service_accounts")
    for i, rule in enumerate(policy.spec.rules):
        for j, one in enumerate(rule.from_):
            used = [n for name in never for n in (name, f"not_{name}") if getattr(one.source, n)]
            yield from (f"spec.rules[{i}].from[{j}].source: expected no {name} with action CUSTOM" for name in used)
        for condition in rule.when:
            if condition.key in ("source.namespace", "source.principal") or condition.key.startswith("request.auth."):
                yield f"spec.rules[{i}].when: expected no {cut(condition.key)!r} with action CUSTOM"


def _rules(policy: AuthorizationPolicy) -> Problems:
    for i, rule in enumerate(policy.spec.rules):
        here = f"spec.rules[{i}]"
        for j, one in enumerate(rule.from_):
            yield from (
                f"{here}.from[{j}].source.{problem}" for problem in (*wrong_fields(one.source), *wrong_accounts(one.source))
            )
        for j, to in enumerate(rule.to):
            yield from (f"{here}.to[{j}].operation.{problem}" for problem in wrong_fields(to.operation))
        for j, condition in enumerate(rule.when):
            yield from (f"{here}.when[{j}].{problem}" for problem in wrong_condition(condition))


def _size(policy: AuthorizationPolicy) -> Problems:
    size = len(msgspec.json.encode(policy))
    if size > MAX_OBJECT_BYTES:
        yield f"expected an object of at most {MAX_OBJECT_BYTES:,} bytes, got {size:,}"


# --- what does as it says, and may surprise


def _everybody(policy: AuthorizationPolicy) -> Problems:
    if policy.spec.action != "ALLOW":
        return
    if not policy.spec.rules:
        yield "spec.rules: there are none, so ALLOW refuses every call"
    for i, rule in enumerate(policy.spec.rules):
        if not rule.from_ and not rule.to and not rule.when:
            yield f"spec.rules[{i}]: it is empty, so every call is allowed"


def _anybody(policy: AuthorizationPolicy) -> Problems:
    for i, rule in enumerate(policy.spec.rules):
        for j, one in enumerate(rule.from_):
            source = one.source
            exclusions = source.not_principals or source.not_namespaces
            if exclusions and not (source.principals or source.namespaces or source.request_principals):
                yield f"spec.rules[{i}].from[{j}].source: only not* fields: callers without mutual TLS match too"


def _contradicted(policy: AuthorizationPolicy) -> Problems:
    for i, rule in enumerate(policy.spec.rules):
        for part in (*(one.source for one in rule.from_), *(to.operation for to in rule.to)):
            for name in part.__struct_fields__:
                both = set(getattr(part, name)) & set(getattr(part, f"not_{name}", ()))
                yield from (
                    f"spec.rules[{i}]: {cut(text)!r} is excluded by not_{name} too: it never matches" for text in sorted(both)
                )


def _no_port(policy: AuthorizationPolicy) -> Problems:
    if policy.spec.action != "DENY":
        return
    for i, rule in enumerate(policy.spec.rules):
        if any(not (to.operation.ports or to.operation.not_ports) for to in rule.to):
            yield f"spec.rules[{i}].to: HTTP attributes without ports: on TCP ports this denies everything"


def _reach(policy: AuthorizationPolicy) -> Problems:
    spec = policy.spec
    if spec.selector is None and spec.target_ref is None and not spec.target_refs:
        yield "spec.selector: there is none, so the policy is for the whole namespace (in the root namespace: the whole mesh)"
    elif spec.selector is not None and not spec.selector.match_labels:
        yield "spec.selector.matchLabels: there are none, so the policy is for the whole namespace"


def _default_deny(policy: AuthorizationPolicy) -> Problems:
    if policy.spec.action == "ALLOW" and policy.spec.rules and not policy.dry_run:
        yield "spec.action: an enforced ALLOW refuses all else on all ports: probes, scrapers and ingress too"


def _prefix(policy: AuthorizationPolicy) -> Problems:
    for i, rule in enumerate(policy.spec.rules):
        for to in rule.to:
            for path in (*to.operation.paths, *to.operation.not_paths):
                if len(path) > 1 and path.endswith("*") and not path.endswith("/*"):
                    yield f"spec.rules[{i}].to: {cut(path)!r} also matches longer names that begin like it"


_Check = Callable[[AuthorizationPolicy], Problems]

ERRORS: Final[tuple[tuple[str, _Check], ...]] = (
    ("names and labels are Kubernetes'", _names),
    ("at most one of selector, targetRef, targetRefs; known targets", _target),
    ("DENY and CUSTOM have rules, CUSTOM alone a provider", _action),
    ("dry run is for ALLOW and DENY", _dry_run),
    ("CUSTOM looks at no identity", _custom),
    ("sources, operations and conditions aren't empty and have readable values", _rules),
    ("the object is small enough for kubectl apply", _size),
)
"""What keeps an object from leaving."""
WARNINGS: Final[tuple[tuple[str, _Check], ...]] = (
    ("an ALLOW that refuses or allows everything", _everybody),
    ("exclusions that plaintext callers match", _anybody),
    ("a value that is excluded too", _contradicted),
    ("a DENY on HTTP attributes without ports", _no_port),
    ("a policy for a whole namespace or mesh", _reach),
    ("an enforced ALLOW is default-deny", _default_deny),
    ("a prefix that matches more than a directory", _prefix),
)
"""What is told."""


def check(document: Mapping[str, Any]) -> Checked:
    """Hold an object against every rule; nothing is raised, whatever it is.

    >>> check({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "a"},
    ...        "spec": {"action": "DENY", "selector": {"matchLabels": {"app": "a"}}}}).errors
    ('spec.rules: expected rules, got none: DENY without rules is never triggered ([{}]: always)',)
    """
    empties = tuple(_empty_lists(document))
    try:
        policy = from_object(document)
    except PolicyError as error:
        return Checked((*error.problems, *empties))
    errors = [problem for _, rule in ERRORS for problem in rule(policy)]
    warnings = [problem for _, rule in WARNINGS for problem in rule(policy)]
    return Checked((*errors, *empties), tuple(warnings))


def _empty_lists(document: Mapping[str, Any]) -> Problems:
    """Name lists that stand there empty: istiod refuses them, and as data they can't be told from none."""
    spec = document.get("spec")
    rules = spec.get("rules") if isinstance(spec, Mapping) else None
    for i, rule in enumerate(rules if isinstance(rules, list) else []):
        for name in ("from", "to"):
            if isinstance(rule, Mapping) and rule.get(name) == []:
                yield f"spec.rules[{i}].{name}: expected entries or no {name}, got an empty list"
