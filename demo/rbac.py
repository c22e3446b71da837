"""From AuthorizationPolicy to Envoy's RBAC filters: the policies for one workload in, the filters istiod would send it out.

Order, names, shadow rules, and what happens to HTTP attributes on a TCP port are decided here, as istiod 1.30 does
(`pilot/pkg/security/authz/builder`). Not here: CUSTOM, which needs the mesh configuration's provider, and trust domain aliases.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.config.rbac.v3 import Permission, PermissionSet, Policy, Principal, PrincipalSet, Rbac, RbacAction
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac as HttpRbac
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.filters.network.rbac.v3 import Rbac as NetworkRbac

from demo import rbac_matchers as to
from demo.envoy_parts import packed
from demo.rbac_matchers import InvalidValueError, Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from trainer.policies.policy import AuthorizationPolicy, Condition, Operation, Rule, Source

HTTP_FILTER = "envoy.filters.http.rbac"
NETWORK_FILTER = "envoy.filters.network.rbac"
ORDER = (("AUDIT", RbacAction.LOG), ("DENY", RbacAction.DENY), ("ALLOW", RbacAction.ALLOW))
"""Of the filters: what is only marked, what is refused, what is let through."""
DRY_RUN_ALLOW = "istio_dry_run_allow_"
DRY_RUN_DENY = "istio_dry_run_deny_"
_NEVER = Policy(
    permissions=[Permission(not_rule=Permission(any=True))],
    principals=[Principal(not_id=Principal(any=True))],
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What one filter is made of: enforced rules and shadow rules, None where no policy is of that kind."""

    action: RbacAction
    enforced: Rbac | None
    shadow: Rbac | None

    @property
    def shadow_prefix(self) -> str:
        """What statistics and metadata of the shadow rules begin with; istiod sends one even where there are none."""
        if self.shadow is None or self.action is RbacAction.ALLOW:
            return DRY_RUN_ALLOW
        return DRY_RUN_DENY if self.action is RbacAction.DENY else ""

    @property
    def http(self) -> HttpRbac:
        """The configuration of the HTTP filter."""
        return HttpRbac(rules=self.enforced, shadow_rules=self.shadow, shadow_rules_stat_prefix=self.shadow_prefix)

    @property
    def network(self) -> NetworkRbac:
        """The configuration of the network filter."""
        return NetworkRbac(
            rules=self.enforced,
            shadow_rules=self.shadow,
            shadow_rules_stat_prefix=self.shadow_prefix,
            stat_prefix="tcp.",
        )


Part = TypeVar("Part", Permission, Principal)


@dataclass(frozen=True, slots=True)
class _Field(Generic[Part]):
    """One field of a rule with its values; `one` makes a part of each of them, or `many` one of all."""

    values: Sequence[str]
    not_values: Sequence[str]
    one: Callable[[str], Part] | None = None
    many: Callable[[Sequence[str]], Part] | None = None
    http_only: bool = False

    def parts(self, values: Sequence[str], action: RbacAction, *, tcp: bool) -> Iterator[Part]:
        """Translate values; one that can't be is an error where it would allow more, and left out elsewhere."""
        translations = [partial(self.many, values)] if self.many and values else []
        if self.one is not None:
            translations = [partial(self.one, value) for value in values]
        for translation in translations:
            if tcp and self.http_only:
                if action is RbacAction.ALLOW:
                    raise InvalidValueError("an HTTP attribute on a TCP port")
                continue
            try:
                yield translation()
            except InvalidValueError:
                if action is RbacAction.ALLOW:
                    raise


def http_filters(policies: Sequence[AuthorizationPolicy], peer: Peer = Peer.CERTIFICATE) -> list[HttpFilter]:
    """Make the filters of an HTTP listener."""
    found = to_rules(policies, peer)
    return [HttpFilter(name=HTTP_FILTER, typed_config=packed(rules.http)) for rules in found]


def network_filters(policies: Sequence[AuthorizationPolicy], peer: Peer = Peer.CERTIFICATE) -> list[Filter]:
    """Make the filters of a TCP listener: HTTP attributes drop a rule that allows and widen every other."""
    found = to_rules(policies, peer, tcp=True)
    return [Filter(name=NETWORK_FILTER, typed_config=packed(rules.network)) for rules in found]


def to_rules(policies: Sequence[AuthorizationPolicy], peer: Peer = Peer.CERTIFICATE, *, tcp: bool = False) -> list[Rules]:
    """Put the policies for one workload into filters; no filter for an action that no policy has."""
    found = []
    for name, action in ORDER:
        of_action = [policy for policy in policies if policy.spec.action == name]
        if of_action:
            enforced = [policy for policy in of_action if not policy.dry_run]
            shadow = [policy for policy in of_action if policy.dry_run]
            parts = [_to_rbac(some, action, peer, tcp=tcp) if some else None for some in (enforced, shadow)]
            found.append(Rules(action, parts[0], parts[1]))
    return found


def _to_rbac(policies: Sequence[AuthorizationPolicy], action: RbacAction, peer: Peer, *, tcp: bool) -> Rbac:
    rules: dict[str, Policy] = {}
    for policy in policies:
        stem = f"ns[{policy.metadata.namespace}]-policy[{policy.metadata.name}]"
        if not policy.spec.rules:
            rules[f"{stem}-rule[0]"] = _NEVER
        for number, rule in enumerate(policy.spec.rules):
            translate = _Translation(action, peer, tcp, policy.metadata.namespace)
            try:
                rules[f"{stem}-rule[{number}]"] = translate.rule(rule)
            except InvalidValueError:
                continue  # as istiod does: a rule that can't be translated isn't there
    return Rbac(action=action, policies=rules)


@dataclass(frozen=True, slots=True)
class _Translation:
    """How the rules of one policy are translated."""

    action: RbacAction
    peer: Peer
    tcp: bool
    namespace: str

    def rule(self, rule: Rule) -> Policy:
        on_call = [about for condition in rule.when if (about := self._of_call(condition))]
        on_caller = [who for condition in rule.when if (who := self._of_caller(condition))]
        for condition in rule.when:
            if not (self._of_call(condition) or self._of_caller(condition)):
                raise InvalidValueError(f"expected an attribute of Istio, got {condition.key!r:.100}")
        operations = [[*_operation(entry.operation), *on_call] for entry in rule.to] or [on_call]
        sources = [[*self._source(entry.source), *on_caller] for entry in rule.from_] or [on_caller]
        return Policy(
            permissions=[self._permission(fields) for fields in operations],
            principals=[self._principal(fields) for fields in sources],
        )

    def _permission(self, fields: Sequence[_Field[Permission]]) -> Permission:
        rules = []
        for field in fields:
            for values, negated in ((field.values, False), (field.not_values, True)):
                if found := list(field.parts(values, self.action, tcp=self.tcp)):
                    either = found[0] if field.many else Permission(or_rules=PermissionSet(rules=found))
                    rules.append(Permission(not_rule=either) if negated else either)
        return Permission(and_rules=PermissionSet(rules=rules or [Permission(any=True)]))

    def _principal(self, fields: Sequence[_Field[Principal]]) -> Principal:
        ids = []
        for field in fields:
            for values, negated in ((field.values, False), (field.not_values, True)):
                if found := list(field.parts(values, self.action, tcp=self.tcp)):
                    either = found[0] if field.many else Principal(or_ids=PrincipalSet(ids=found))
                    ids.append(Principal(not_id=either) if negated else either)
        return Principal(and_ids=PrincipalSet(ids=ids or [Principal(any=True)]))

    def _source(self, source: Source) -> list[_Field[Principal]]:
        fields = [
            _Field(source.principals, source.not_principals, self._peer(to.principal)),
            _Field(source.request_principals, source.not_request_principals, many=to.request_principal, http_only=True),
            _Field(source.service_accounts, source.not_service_accounts, self._account),
            _Field(source.namespaces, source.not_namespaces, self._peer(to.namespace)),
            _Field(source.remote_ip_blocks, source.not_remote_ip_blocks, to.remote_ip),
            _Field(source.ip_blocks, source.not_ip_blocks, to.source_ip),
        ]
        return [field for field in fields if field.values or field.not_values]

    def _of_call(self, condition: Condition) -> _Field[Permission] | None:
        key, values, not_values = condition.key, condition.values, condition.not_values
        if key.startswith("experimental.envoy.filters."):
            return _Field(values, not_values, many=partial(to.filter_metadata, key))
        known = {"destination.ip": to.destination_ip, "destination.port": to.port, "connection.sni": to.sni}
        return _Field(values, not_values, known[key]) if key in known else None

    def _of_caller(self, condition: Condition) -> _Field[Principal] | None:
        key, values, not_values = condition.key, condition.values, condition.not_values
        known: dict[str, Callable[[str], Principal]] = {
            "source.ip": to.source_ip,
            "remote.ip": to.remote_ip,
            "source.namespace": self._peer(to.namespace),
            "source.principal": self._peer(to.principal),
            "source.serviceAccount": self._account,
            "source.trustDomain": self._peer(to.trust_domain),
        }
        claims: dict[str, Callable[[Sequence[str]], Principal]] = {
            "request.auth.principal": to.request_principal,
            "request.auth.audiences": partial(to.claim, ["aud"]),
            "request.auth.presenter": partial(to.claim, ["azp"]),
        }
        if key in known:
            return _Field(values, not_values, known[key])
        if key in claims:
            return _Field(values, not_values, many=claims[key], http_only=True)
        if key.startswith("request.headers"):
            return _Field(values, not_values, partial(to.request_header, key), http_only=True)
        if key.startswith("request.auth.claims"):
            return _Field(values, not_values, many=lambda some: to.claim(to.claim_names(key), some), http_only=True)
        return None

    def _peer(self, matcher: Callable[[str, Peer], Principal]) -> Callable[[str], Principal]:
        return lambda value: matcher(value, self.peer)

    def _account(self, value: str) -> Principal:
        return to.service_account(value, self.peer, self.namespace)


def _operation(operation: Operation) -> list[_Field[Permission]]:
    fields = [
        _Field(operation.hosts, operation.not_hosts, to.host, http_only=True),
        _Field(operation.methods, operation.not_methods, to.method, http_only=True),
        _Field(operation.paths, operation.not_paths, to.path, http_only=True),
        _Field(operation.ports, operation.not_ports, to.port),
    ]
    return [field for field in fields if field.values or field.not_values]
