"""What one field of a rule becomes in Envoy's RBAC filter: its values in, a Permission or a Principal out.

Which message each attribute becomes is decided here, as istiod 1.30 does (`pilot/pkg/security/authz/{model,matcher}`); how rules,
policies and filters are put together is `rbac`'s. Istio's golden pairs hold the two to Istio.
"""

from __future__ import annotations

import ipaddress
import re
from enum import Enum
from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.core.v3 import CidrRange, TypedExtensionConfig
from envoy_data_plane.envoy.config.rbac.v3 import Permission, Principal, PrincipalAuthenticated, PrincipalSet
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.path.match.uri_template.v3 import UriTemplateMatchConfig
from envoy_data_plane.envoy.type.matcher.v3 import (
    FilterStateMatcher,
    ListMatcher,
    MetadataMatcher,
    MetadataMatcherPathSegment,
    OrMatcher,
    PathMatcher,
    RegexMatcher,
    StringMatcher,
    ValueMatcher,
)

from demo.envoy_parts import packed

if TYPE_CHECKING:
    from collections.abc import Sequence

PEER_KEY = "io.istio.peer_principal"
"""Where istiod's waypoints and gateways keep the peer that a tunnel authenticated."""
_JWT = "envoy.filters.http.jwt_authn"
_QUOTED = re.compile(r"[\\.+*?()|\[\]{}^$]")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")


class Peer(Enum):
    """Where the caller's principal is read: from its certificate (sidecars), or from filter state (waypoints)."""

    CERTIFICATE = "certificate"
    FILTER_STATE = "filter_state"


class InvalidValueError(ValueError):
    """A value that istiod can't translate: the rule is dropped if it allows, else the value is."""


def port(value: str) -> Permission:
    """Match the destination port."""
    if not (value.isascii() and value.isdigit() and int(value) <= 0xFFFF):
        raise InvalidValueError(f"expected a port, got {value!r:.100}")
    return Permission(destination_port=int(value))


def host(value: str) -> Permission:
    """Match the whole `:authority`, in any case."""
    return Permission(header=_header(":authority", value, ignore_case=True))


def method(value: str) -> Permission:
    """Match the method, in this case."""
    return Permission(header=_header(":method", value))


def path(value: str) -> Permission:
    """Match the path without its query."""
    if "{*}" in value or "{**}" in value:
        template = UriTemplateMatchConfig(path_template=value.replace("{*}", "*").replace("{**}", "**"))
        return Permission(uri_template=TypedExtensionConfig(name="uri-template", typed_config=packed(template)))
    return Permission(url_path=PathMatcher(path=text(value)))


def destination_ip(value: str) -> Permission:
    """Match the address that was called."""
    return Permission(destination_ip=_cidr(value))


def sni(value: str) -> Permission:
    """Match the server name of the TLS handshake."""
    return Permission(requested_server_name=text(value))


def filter_metadata(key: str, values: Sequence[str]) -> Permission:
    """Match `experimental.envoy.filters.a.b[c]` in metadata; a value in brackets is one of a list's."""
    name, bracket, inner = key.removeprefix("experimental.").removesuffix("]").partition("[")
    if not bracket:
        raise InvalidValueError(f"expected a filter and a key in brackets, got {key!r:.100}")
    matchers = []
    for value in values:
        listed = value.startswith("[") and value.endswith("]")
        one = ValueMatcher(string_match=text(value.strip("[]") if listed else value))
        matchers.append(ValueMatcher(list_match=ListMatcher(one_of=one)) if listed else one)
    return Permission(metadata=_metadata(name, [inner], _any_of(matchers)))


def principal(value: str, peer: Peer) -> Principal:
    """Match the caller's SPIFFE id, given without its scheme."""
    return _peer(text(value, "spiffe://"), peer)


def namespace(value: str, peer: Peer) -> Principal:
    """Match the namespace in the caller's SPIFFE id; a wildcard may stand anywhere."""
    pattern = ".*".join(_quote(part) for part in value.split("*"))
    return _peer(_regex(f".*/ns/{pattern}/.*"), peer)


def service_account(value: str, peer: Peer, own_namespace: str) -> Principal:
    """Match `namespace/name`, or a name in the policy's own namespace."""
    first, slash, second = value.partition("/")
    where, name = (first, second) if slash else (own_namespace, value)
    return _peer(_regex(f"spiffe://.+/ns/{_quote(where)}/(.+/|)sa/{_quote(name)}(/.+)?"), peer)


def trust_domain(value: str, peer: Peer) -> Principal:
    """Match the trust domain in the caller's SPIFFE id; a wildcard stands for characters without a slash."""
    if value == "*":
        return _peer(StringMatcher(prefix="spiffe://"), peer)
    first, star, second = value.partition("*")
    if not star:
        return _peer(StringMatcher(prefix=f"spiffe://{value}/"), peer)
    return _peer(_regex(f"spiffe://{_quote(first)}[^/]*{_quote(second)}/.*"), peer)


def source_ip(value: str) -> Principal:
    """Match the address that the connection comes from."""
    return Principal(direct_remote_ip=_cidr(value))


def remote_ip(value: str) -> Principal:
    """Match the address that `x-forwarded-for` or the proxy protocol names."""
    return Principal(remote_ip=_cidr(value))


def request_header(key: str, value: str) -> Principal:
    """Match `request.headers[name]`."""
    found = re.fullmatch(r"\[(.*)\]", key.removeprefix("request.headers"))
    if found is None:
        raise InvalidValueError(f"expected a header's name in brackets, got {key!r:.100}")
    return Principal(header=_header(found[1], value))


def request_principal(values: Sequence[str]) -> Principal:
    """Match issuer and subject of a token, `iss/sub`; the last slash divides them."""
    pairs = []
    for value in values:
        issuer, subject = _issuer_and_subject(value)
        claims = [("iss", issuer), ("sub", subject)]
        ids = [_token([name], ValueMatcher(string_match=matcher)) for name, matcher in claims]
        pairs.append(Principal(and_ids=PrincipalSet(ids=ids)))
    return pairs[0] if len(pairs) == 1 else Principal(or_ids=PrincipalSet(ids=pairs))


def claim(names: Sequence[str], values: Sequence[str]) -> Principal:
    """Match a claim of the token, text or a list that holds it."""
    value = _any_of([ValueMatcher(string_match=text(value)) for value in values])
    either = OrMatcher(value_matchers=[ValueMatcher(list_match=ListMatcher(one_of=value)), value])
    return _token(names, ValueMatcher(or_match=either))


def claim_names(key: str) -> list[str]:
    """Read the names in `request.auth.claims[a][b]`."""
    rest = key.removeprefix("request.auth.claims")
    names = _BRACKETS.findall(rest)
    if not names or "".join(f"[{name}]" for name in names) != rest:
        raise InvalidValueError(f"expected a claim's name in brackets, got {key!r:.100}")
    return [str(name) for name in names]


def text(value: str, prefix: str = "") -> StringMatcher:
    """Match a text: `*` is any that isn't empty, at the start or at the end any characters, elsewhere itself."""
    if value == "*":
        return _regex(".+")
    if value.startswith("*"):
        return _regex(f"{prefix}.*{_quote(value[1:])}") if prefix else StringMatcher(suffix=value[1:])
    if value.endswith("*"):
        return StringMatcher(prefix=prefix + value[:-1])
    return StringMatcher(exact=prefix + value)


def _issuer_and_subject(value: str) -> tuple[StringMatcher, StringMatcher]:
    issuer, slash, subject = value.rpartition("/") if "/" in value else (value, "", "")
    anything = _regex(".+")
    if value == "*":
        return anything, anything
    if value.startswith("*"):
        if not slash:
            return anything, StringMatcher(suffix=value[1:])
        return (anything if issuer == "*" else StringMatcher(suffix=issuer[1:])), StringMatcher(exact=subject)
    if value.endswith("*"):
        if not slash:
            return StringMatcher(prefix=value[:-1]), anything
        return StringMatcher(exact=issuer), (anything if subject == "*" else StringMatcher(prefix=subject[:-1]))
    return StringMatcher(exact=issuer), StringMatcher(exact=subject)


def _header(name: str, value: str, *, ignore_case: bool = False) -> HeaderMatcher:
    if value == "*":
        return HeaderMatcher(name=name, present_match=True)
    matcher = text(value)
    matcher.ignore_case = ignore_case
    return HeaderMatcher(name=name, string_match=matcher)


def _peer(matcher: StringMatcher, peer: Peer) -> Principal:
    if peer is Peer.CERTIFICATE:
        return Principal(authenticated=PrincipalAuthenticated(principal_name=matcher))
    return Principal(filter_state=FilterStateMatcher(key=PEER_KEY, string_match=matcher))


def _token(names: Sequence[str], value: ValueMatcher) -> Principal:
    """Match a part of the token; `metadata` is deprecated in Envoy (DeprecationWarning), and what istiod sends."""
    return Principal(metadata=_metadata(_JWT, ["payload", *names], value))


def _metadata(name: str, keys: Sequence[str], value: ValueMatcher) -> MetadataMatcher:
    return MetadataMatcher(filter=name, path=[MetadataMatcherPathSegment(key=key) for key in keys], value=value)


def _any_of(matchers: list[ValueMatcher]) -> ValueMatcher:
    return matchers[0] if len(matchers) == 1 else ValueMatcher(or_match=OrMatcher(value_matchers=matchers))


def _cidr(value: str) -> CidrRange:
    try:
        found = ipaddress.ip_interface(value)
    except ValueError as error:
        raise InvalidValueError(f"expected an address or a CIDR range, got {value!r:.100}") from error
    return CidrRange(address_prefix=str(found.ip), prefix_len=found.network.prefixlen)


def _regex(pattern: str) -> StringMatcher:
    return StringMatcher(safe_regex=RegexMatcher(regex=pattern))


def _quote(literal: str) -> str:
    """Quote what RE2 reads as an operator, as Go's `regexp.QuoteMeta` does."""
    return _QUOTED.sub(r"\\\g<0>", literal)
