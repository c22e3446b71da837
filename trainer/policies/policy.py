"""AuthorizationPolicy (`security.istio.io/v1`) as data: what a document says, field by field, and nothing of what it means.

In: objects as YAML or the API server gives them. Out: the same. Fields that we don't know are refused, not dropped: a policy
that is only half understood must be neither replayed nor pushed. What a policy means is `match.py`, what is allowed `check.py`.
"""

from typing import Any, Final

import msgspec

from authz_server.engine.errors import PolicyError

__all__ = [
    "API_VERSION",
    "DRY_RUN",
    "KIND",
    "Action",
    "AuthorizationPolicy",
    "Condition",
    "From",
    "Metadata",
    "Operation",
    "Provider",
    "Rule",
    "Selector",
    "Source",
    "Spec",
    "TargetRef",
    "To",
    "from_object",
    "to_object",
]

API_VERSION: Final = "security.istio.io/v1"
KIND: Final = "AuthorizationPolicy"
DRY_RUN: Final = "istio.io/dry-run"
"""The annotation that has Envoy only report what a policy would do; for ALLOW and DENY."""

_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
"""What istiod takes for true (Go's `strconv.ParseBool`)."""

Action = str
"""ALLOW (what no action means), DENY, AUDIT or CUSTOM."""


class Source(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """Who calls; all set fields must match, any value of a field is enough."""

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    request_principals: tuple[str, ...] = ()
    not_request_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    not_service_accounts: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = ()
    remote_ip_blocks: tuple[str, ...] = ()
    not_remote_ip_blocks: tuple[str, ...] = ()


class From(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a rule's `from`."""

    source: Source


class Operation(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """What is called; all set fields must match, any value of a field is enough."""

    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()


class To(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a rule's `to`."""

    operation: Operation


class Condition(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """One entry of a rule's `when`: an attribute such as `request.headers[x]` and its values."""

    key: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True, rename={"from_": "from"}, omit_defaults=True, forbid_unknown_fields=True):
    """One rule: any of `from_` and any of `to` and all of `when`; what is empty holds for everything."""

    from_: tuple[From, ...] = ()
    to: tuple[To, ...] = ()
    when: tuple[Condition, ...] = ()


class Selector(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """Which pods a policy is for: those with all these labels; without any, all of the namespace."""

    match_labels: dict[str, str] = {}


class TargetRef(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which Gateway, Service or ServiceEntry a policy is for."""

    kind: str
    name: str
    group: str = ""
    namespace: str = ""


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The extension provider that CUSTOM asks, by its name in the mesh configuration."""

    name: str


class Spec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """What a policy does. `rules` None and empty are one: nothing matches, so ALLOW without rules denies everything."""

    selector: Selector | None = None
    target_ref: TargetRef | None = None
    target_refs: tuple[TargetRef, ...] = ()
    action: Action = "ALLOW"
    provider: Provider | None = None
    rules: tuple[Rule, ...] = ()


class Metadata(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The object's name and what hangs on it; what the API server adds beside is not kept."""

    name: str
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class AuthorizationPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """One policy."""

    metadata: Metadata
    spec: Spec = Spec()

    @property
    def dry_run(self) -> bool:
        """Whether Envoy only reports what the policy would do."""
        return self.metadata.annotations.get(DRY_RUN) in _TRUE


def from_object(document: object) -> AuthorizationPolicy:
    """Read an object; raises PolicyError that names the field which isn't as expected.

    >>> from_object({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "a"}, "spec": {}}).spec.action
    'ALLOW'
    """
    if not isinstance(document, dict) or document.get("kind") != KIND:
        got = document.get("kind") if isinstance(document, dict) else document
        raise PolicyError(f"expected an object of kind {KIND}, got {got!r:.100}")
    if document.get("apiVersion") not in (API_VERSION, "security.istio.io/v1beta1"):
        raise PolicyError(f"expected apiVersion {API_VERSION}, got {document.get('apiVersion')!r:.100}")
    known = {"metadata": document.get("metadata"), "spec": document.get("spec") or {}}
    try:
        return msgspec.convert(known, AuthorizationPolicy)
    except msgspec.ValidationError as error:
        raise PolicyError(f"expected an {KIND}: {error}") from error


def to_object(policy: AuthorizationPolicy) -> dict[str, Any]:
    """Make the object: plain dicts, lists and strings, in a fixed order; what is empty is left out."""
    found = msgspec.json.decode(msgspec.json.encode(policy))
    spec = found.get("spec", {})
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": found["metadata"],
        "spec": {"action": policy.spec.action, **spec},
    }
