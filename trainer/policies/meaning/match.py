"""What policies say about one request: the policies for one workload and a request in, allowed or refused and by which rule out.

The direct reading of AuthorizationPolicy: CUSTOM asks a provider, a DENY that matches refuses, and where any ALLOW policy is
there, one must match. Dry-run policies only leave a result of their own. HTTP attributes on a TCP port drop an ALLOW rule and
widen a DENY rule. An attribute that isn't known makes an answer unknown only where it would change it. Every known request is
decided as Envoy decides it under istiod 1.30's configuration; `tests/e2e/test_policies.py` holds this to a real Envoy.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from trainer.policies.meaning import values as by
from trainer.policies.meaning.masked_path import MaskedPath, matches_masked
from trainer.policies.meaning.values import Claim, InapplicableError
from trainer.policies.policy import AuthorizationPolicy, Condition, Operation, Rule, Source

__all__ = ["Decision", "Request", "Shadow", "Truth", "decide", "rule_name"]

Truth = bool | None
"""None: can't be told, because an attribute that it depends on isn't known."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """What a policy can ask about; None is not known, empty is known to be missing.

    `principal` has its scheme and is empty without mTLS. `path` is as the filter sees it, after Envoy's normalisation; its query
    is not looked at. `host` is the whole authority. `headers`: lower-case names, each value by itself. `claims` are the validated
    token's, empty without one. `metadata` is by filter and key. `tcp`: a port that isn't HTTP, or that Istio doesn't know to be.
    """

    principal: str | None = None
    method: str | None = None
    path: str | MaskedPath | None = None
    host: str | None = None
    port: int | None = None
    headers: Mapping[str, Sequence[str]] | None = None
    source_ip: str | None = None
    remote_ip: str | None = None
    destination_ip: str | None = None
    sni: str | None = None
    claims: Mapping[str, Claim] | None = None
    metadata: Mapping[str, Mapping[str, Claim]] | None = None
    tcp: bool = False


class Shadow(msgspec.Struct, frozen=True, gc=False):
    """What the dry-run policies of one action would do, as if they were all there is of it; `rule` is the one that matched."""

    allowed: Truth
    rule: str = ""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What comes of a request, if CUSTOM's provider lets it pass.

    `rule` is the one that decided, `ns[N]-policy[P]-rule[i]`, empty where none matched. `unknown` names the attributes for want
    of which `allowed` is None. `asks` is the CUSTOM rule that has the provider asked. `shadow_deny`, `shadow_allow`: None where
    no dry-run policy has that action.
    """

    allowed: Truth
    rule: str = ""
    unknown: tuple[str, ...] = ()
    asks: str = ""
    shadow_deny: Shadow | None = None
    shadow_allow: Shadow | None = None


class _Matched(msgspec.Struct, frozen=True, gc=False):
    """Whether any rule matches: the first in the order of names that does, and what isn't known about others."""

    truth: Truth
    rule: str = ""
    unknown: frozenset[str] = frozenset()


def rule_name(policy: AuthorizationPolicy, number: int) -> str:
    """Name a rule as istiod does in Envoy's configuration, statistics and access logs."""
    return f"ns[{policy.metadata.namespace}]-policy[{policy.metadata.name}]-rule[{number}]"


def decide(policies: Sequence[AuthorizationPolicy], request: Request) -> Decision:
    """Decide one request under all policies that apply to a workload."""
    enforced = [policy for policy in policies if not policy.dry_run]
    shadow = [policy for policy in policies if policy.dry_run]
    deny, allow = _any_rule(enforced, "DENY", request), _any_rule(enforced, "ALLOW", request)
    custom = _any_rule(enforced, "CUSTOM", request)
    if not any(policy.spec.action == "ALLOW" for policy in enforced):
        allow = _Matched(truth=True)
    allowed = _all_of([_not(deny.truth), allow.truth])
    return Decision(
        allowed,
        deny.rule if deny.truth else allow.rule if allowed else "",
        tuple(sorted(deny.unknown | allow.unknown)) if allowed is None else (),
        custom.rule,
        _shadow(shadow, "DENY", request),
        _shadow(shadow, "ALLOW", request),
    )


def _shadow(policies: Sequence[AuthorizationPolicy], action: str, request: Request) -> Shadow | None:
    if not any(policy.spec.action == action for policy in policies):
        return None
    found = _any_rule(policies, action, request)
    return Shadow(_not(found.truth) if action == "DENY" else found.truth, found.rule)


def _any_rule(policies: Sequence[AuthorizationPolicy], action: str, request: Request) -> _Matched:
    """Match the rules of all policies of an action, in the order that Envoy tries them in, that of their names."""
    rules = {
        rule_name(policy, number): (policy, rule)
        for policy in policies
        if policy.spec.action == action
        for number, rule in enumerate(policy.spec.rules)
    }
    unknown: set[str] = set()
    for name in sorted(rules):
        policy, rule = rules[name]
        asked: set[str] = set()
        try:
            truth = _Reading(request, policy.metadata.namespace, action, asked).rule(rule)
        except InapplicableError:
            continue  # as istiod does: a rule that can't be translated isn't there
        if truth:
            return _Matched(truth=True, rule=name)
        if truth is None:
            unknown |= asked
    return _Matched(None if unknown else False, "", frozenset(unknown))


class _Reading(msgspec.Struct, frozen=True, gc=False):
    """One rule held against one request. `asked` collects the attributes that weren't known."""

    request: Request
    namespace: str
    action: str
    asked: set[str]

    def rule(self, rule: Rule) -> Truth:
        """Any of `from`, any of `to`, all of `when`. All are read even where one would do: a rule is translated whole."""
        when = [self._condition(condition) for condition in rule.when]
        source = [self._source(entry.source) for entry in rule.from_]
        operation = [self._operation(entry.operation) for entry in rule.to]
        return _all_of([*when, _any_of(source) if source else True, _any_of(operation) if operation else True])

    def _source(self, source: Source) -> Truth:
        request = self.request
        fields = (
            self._field("principal", request.principal, by.matches_principal, source.principals, source.not_principals),
            self._field("principal", request.principal, by.matches_namespace, source.namespaces, source.not_namespaces),
            self._field("principal", request.principal, self._account, source.service_accounts, source.not_service_accounts),
            self._field("source.ip", request.source_ip, by.matches_address, source.ip_blocks, source.not_ip_blocks),
            self._field("remote.ip", request.remote_ip, by.matches_address, source.remote_ip_blocks, source.not_remote_ip_blocks),
            self._http(
                "token",
                request.claims,
                by.matches_request_principal,
                source.request_principals,
                source.not_request_principals,
            ),
        )
        return _all_of(fields)

    def _operation(self, operation: Operation) -> Truth:
        request = self.request
        fields = (
            self._http("host", request.host, by.matches_host, operation.hosts, operation.not_hosts),
            self._http("method", request.method, by.matches_text, operation.methods, operation.not_methods),
            self._http("path", request.path, _matches_path, operation.paths, operation.not_paths),
            self._field("port", request.port, by.matches_port, operation.ports, operation.not_ports),
        )
        return _all_of(fields)

    def _condition(self, condition: Condition) -> Truth:
        key, request = condition.key, self.request
        plain: dict[str, tuple[Any, Callable[[str, Any], bool]]] = {
            "source.ip": (request.source_ip, by.matches_address),
            "remote.ip": (request.remote_ip, by.matches_address),
            "source.namespace": (request.principal, by.matches_namespace),
            "source.principal": (request.principal, by.matches_principal),
            "source.serviceAccount": (request.principal, self._account),
            "source.trustDomain": (request.principal, by.matches_trust_domain),
            "destination.ip": (request.destination_ip, by.matches_address),
            "destination.port": (request.port, by.matches_port),
            "connection.sni": (request.sni, by.matches_text),
        }
        if key in plain:
            known, match = plain[key]
            return self._field(key, known, match, condition.values, condition.not_values)
        if key == "request.auth.principal":
            return self._http("token", request.claims, by.matches_request_principal, condition.values, condition.not_values)
        if key.startswith("request.headers"):
            header = _HEADER.fullmatch(key)
            if header is None:
                return self._never(condition)
            sent = None if request.headers is None else request.headers.get(header[1].lower(), ())
            return self._http(key, sent, _matches_header, condition.values, condition.not_values)
        if key.startswith("experimental.envoy.filters."):
            return self._field(key, *_metadata_of(key, request), condition.values, condition.not_values)
        path = _claim_path(key)
        if path is None:
            raise InapplicableError(f"expected an attribute of Istio, got {key!r:.100}")
        claims = None if request.claims is None else (_claim_at(request.claims, path),)
        return self._http(
            key, claims, lambda value, held: by.matches_claim(value, held[0]), condition.values, condition.not_values
        )

    def _account(self, value: str, principal: str) -> bool:
        return by.matches_service_account(value, principal, self.namespace)

    def _never(self, condition: Condition) -> Truth:
        if self.action == "ALLOW" and (condition.values or condition.not_values):
            raise InapplicableError(f"expected a name in brackets, got {condition.key!r:.100}")
        return True

    def _http(
        self, name: str, known: Any, match: Callable[[str, Any], Truth], wanted: Sequence[str], unwanted: Sequence[str]
    ) -> Truth:
        if not self.request.tcp:
            return self._field(name, known, match, wanted, unwanted)
        if self.action == "ALLOW" and (wanted or unwanted):
            raise InapplicableError(f"{name} on a TCP port")
        return True

    def _field(
        self, name: str, known: Any, match: Callable[[str, Any], Truth], wanted: Sequence[str], unwanted: Sequence[str]
    ) -> Truth:
        """Any of `wanted` and none of `unwanted`; an empty list asks for nothing."""
        if not wanted and not unwanted:
            return True
        truths = []
        for some, negated in ((wanted, False), (unwanted, True)):
            found = list(self._matches(known, match, some))
            if found:
                either = _any_of(found)
                truths.append(_not(either) if negated else either)
        truth = _all_of(truths)
        if truth is None:
            self.asked.add(name)
        return truth

    def _matches(self, known: Any, match: Callable[[str, Any], Truth], some: Sequence[str]) -> Iterator[Truth]:
        for value in some:
            try:
                yield None if known is None else match(value, known)
            except InapplicableError:
                if self.action == "ALLOW":
                    raise


_HEADER: Final = re.compile(r"request\.headers\[(.*)\]")
_CLAIMS: Final = re.compile(r"request\.auth\.claims((?:\[[^\[\]]*\])+)")
_OF_TOKEN: Final = {"request.auth.audiences": ("aud",), "request.auth.presenter": ("azp",)}


def _matches_path(value: str, path: str | MaskedPath) -> Truth:
    if isinstance(path, MaskedPath):
        return matches_masked(value, path)
    return by.matches_path(value, re.split(r"[?#]", path, maxsplit=1)[0])


def _matches_header(value: str, held: Sequence[str]) -> bool:
    """Match any of a header's values, not all of them joined (Envoy since 2026); one that is there, be it empty, matches `*`."""
    return any(value == "*" or by.matches_text(value, one) for one in held)


def _claim_path(key: str) -> tuple[str, ...] | None:
    if key in _OF_TOKEN:
        return _OF_TOKEN[key]
    found = _CLAIMS.fullmatch(key)
    return None if found is None else tuple(found[1][1:-1].split("]["))


def _claim_at(claims: Claim, path: Iterable[str]) -> Claim:
    for name in path:
        claims = claims.get(name) if isinstance(claims, Mapping) else None
    return claims


def _metadata_of(key: str, request: Request) -> tuple[tuple[Claim] | None, Callable[[str, tuple[Claim]], bool]]:
    name, bracket, inner = key.removeprefix("experimental.").removesuffix("]").partition("[")
    if not bracket:
        raise InapplicableError(f"expected a filter and a key in brackets, got {key!r:.100}")

    def match(value: str, held: tuple[Claim]) -> bool:
        if value.startswith("[") and value.endswith("]"):
            return not isinstance(held[0], str) and by.matches_claim(value.strip("[]"), held[0])
        return isinstance(held[0], str) and by.matches_text(value, held[0])

    known = None if request.metadata is None else (request.metadata.get(name, {}).get(inner),)
    return known, match


def _not(truth: Truth) -> Truth:
    return None if truth is None else not truth


def _any_of(truths: Iterable[Truth]) -> Truth:
    """Kleene's or: true where one is, else unknown where one is."""
    found = list(truths)
    return True if True in found else None if None in found else False


def _all_of(truths: Iterable[Truth]) -> Truth:
    """Kleene's and: false where one is, else unknown where one is."""
    found = list(truths)
    return False if False in found else None if None in found else True
