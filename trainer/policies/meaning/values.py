"""When one value of a policy matches one attribute of a request: plain texts in, yes or no out.

In: a value as it stands in the policy, and what the request has, both clear. Wildcards, templates, principals, namespaces and
address ranges mean here what istiod 1.30 has Envoy do with them. Attributes that aren't known, and what a rule makes of several
values: `match.py`. Paths of which only the form was recorded: `masked_path.py`.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import re2

__all__ = [
    "SEGMENT",
    "InapplicableError",
    "is_template",
    "matches_address",
    "matches_claim",
    "matches_host",
    "matches_namespace",
    "matches_path",
    "matches_port",
    "matches_principal",
    "matches_request_principal",
    "matches_service_account",
    "matches_template",
    "matches_text",
    "matches_trust_domain",
]

SEGMENT: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%!$&'()*+,;:@=")
"""The characters that `{*}` takes (RFC 3986's pchar, in Envoy's uri_template): a segment with any other doesn't match."""
_ANY: Final = SEGMENT | {"/"}
_SCHEME: Final = "spiffe://"

Claim = str | float | bool | None | Sequence["Claim"] | Mapping[str, "Claim"]


class InapplicableError(ValueError):
    """A value that istiod can't translate: a rule that allows is dropped with it, any other goes without it."""


def matches_text(value: str, text: str) -> bool:
    """Match exactly, or with `*` at the start or else the end; `*` alone is any text that isn't empty.

    >>> matches_text("/a/*", "/a/b"), matches_text("/a/*/c", "/a/b/c")
    (True, False)
    """
    if value == "*":
        return text != ""
    if value.startswith("*"):
        return text.endswith(value[1:])
    if value.endswith("*"):
        return text.startswith(value[:-1])
    return text == value


def matches_host(value: str, host: str) -> bool:
    """Match the whole authority, its port too, in any case of ASCII."""
    return value == "*" or matches_text(_lower(value), _lower(host))


def matches_path(value: str, path: str) -> bool:
    """Match a path without its query, in this case and as it is written; a template where the value has `{*}` or `{**}`."""
    return matches_template(value, path) if is_template(value) else matches_text(value, path)


def is_template(value: str) -> bool:
    """Tell whether a path of a policy is a template."""
    return "{*}" in value or "{**}" in value


def matches_template(template: str, path: str) -> bool:
    """Match segment by segment: `{*}` is one that isn't empty, `{**}` any rest, between what stands before and after it.

    >>> matches_template("/users/{*}", "/users/a%2Fb"), matches_template("/users/{*}", "/users/7/")
    (True, False)
    """
    head, rest, tail = template.partition("{**}")
    wanted, found = head.split("/"), path.split("/")
    if not rest:
        return len(wanted) == len(found) and all(map(_matches_segment, wanted, found))
    before = len(wanted) - 1
    if len(found) <= before or not all(map(_matches_segment, wanted[:before], found[:before])):
        return False
    middle = "/".join(found[before:])
    return middle.endswith(tail) and set(middle[: len(middle) - len(tail)]) <= _ANY


def _matches_segment(wanted: str, found: str) -> bool:
    return found != "" and set(found) <= SEGMENT if wanted == "{*}" else found == wanted


def matches_principal(value: str, principal: str) -> bool:
    """Match a SPIFFE id with its scheme against one of a policy, which has none; a caller without mTLS has an empty one."""
    if value == "*":
        return principal != ""
    if value.startswith("*"):
        return principal.startswith(_SCHEME) and principal[len(_SCHEME) :].endswith(value[1:])
    return matches_text(_SCHEME + value, principal)


def matches_namespace(value: str, principal: str) -> bool:
    """Match the namespace in a SPIFFE id: what stands between `/ns/` and a later slash, wildcards at any place.

    >>> matches_namespace("*-prod", "spiffe://td/ns/shop-prod/sa/web")
    True
    """
    parts = f"/ns/{value}/".split("*")
    at = 0
    for part in parts:
        at = principal.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def matches_service_account(value: str, principal: str, own_namespace: str) -> bool:
    """Match `namespace/name`, or a name in the policy's own namespace; further parts may follow either in the SPIFFE id."""
    first, slash, second = value.partition("/")
    namespace, name = (first, second) if slash else (own_namespace, value)
    return _account(namespace, name).fullmatch(principal) is not None


@lru_cache(maxsize=1024)
def _account(namespace: str, name: str) -> Any:
    """Compile Istio's own expression: between and after the two parts others may stand."""
    return re2.compile(f"spiffe://.+/ns/{re2.escape(namespace)}/(.+/|)sa/{re2.escape(name)}(/.+)?")


def matches_trust_domain(value: str, principal: str) -> bool:
    """Match the trust domain of a SPIFFE id; one `*` stands for characters without a slash."""
    if not principal.startswith(_SCHEME):
        return False
    if value == "*":
        return True
    domain, slash, _ = principal[len(_SCHEME) :].partition("/")
    first, star, second = value.partition("*")
    if not slash:
        return False
    if not star:
        return domain == value
    return len(domain) >= len(first) + len(second) and domain.startswith(first) and domain.endswith(second)


def matches_port(value: str, port: int) -> bool:
    """Match a port; raises InapplicableError where the value is none."""
    if not (value.isascii() and value.isdigit() and int(value) <= 0xFFFF):
        raise InapplicableError(f"expected a port, got {value!r:.100}")
    return int(value) == port


def matches_address(value: str, address: str) -> bool:
    """Match an IP address against one or a range; raises InapplicableError where the value is neither."""
    found, network = ipaddress.ip_address(address), _network(value)
    return found.version == network.version and found in network


@lru_cache(maxsize=4096)
def _network(value: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise InapplicableError(f"expected an address or a CIDR range, got {value!r:.100}") from error


def matches_request_principal(value: str, claims: Mapping[str, Claim]) -> bool:
    """Match `iss/sub` of a token, divided at the last slash; both must be there as texts."""
    issuer, subject = claims.get("iss"), claims.get("sub")
    if not isinstance(issuer, str) or not isinstance(subject, str):
        return False
    first, slash, last = value.rpartition("/")
    if not slash:
        first, last = value, ""
        if value.startswith("*"):
            first, last = "*", value
        elif value.endswith("*"):
            last = "*"
    elif value.startswith("*"):
        return matches_text(first, issuer) and subject == last
    return (issuer == first if slash else matches_text(first, issuer)) and matches_text(last, subject)


def matches_claim(value: str, claim: Claim) -> bool:
    """Match a claim that is a text, or a list with such a text in it."""
    if isinstance(claim, str):
        return matches_text(value, claim)
    return isinstance(claim, list | tuple) and any(isinstance(one, str) and matches_text(value, one) for one in claim)


def _lower(text: str) -> str:
    return "".join([char.lower() if char.isascii() else char for char in text])
