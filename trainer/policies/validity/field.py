"""What may stand in a field of a source, an operation or a condition: single values, each with what was expected.

In: a part of a rule. Out: problems, each with the field and the value that isn't as istiod's webhook, Envoy or the field's
meaning asks. Sources, read 2026-11: Istio's `security.go` and `validation.go` below `pkg/config`, Envoy's
`uri_template_internal.cc`.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from authz_server.engine.errors import cut
from trainer.policies.policy import Condition, Operation, Source

__all__ = ["Problems", "wrong_accounts", "wrong_condition", "wrong_fields"]

Problems = Iterator[str]

_METHOD = re.compile(r"[A-Z][A-Z_-]*\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")
_TEMPLATE_LITERAL = re.compile(r"[A-Za-z0-9._~%!$&'()+,;:@-]+\Z")
"""Envoy's `kLiteral` (`uri_template_internal.cc`), in versions that don't take `=` too."""
_MAPS: Final = ("request.headers", "request.auth.claims", "experimental.envoy.filters.")
_IPS: Final = ("source.ip", "remote.ip", "destination.ip")
_PLAIN: Final = frozenset(
    "source.namespace source.principal source.serviceAccount request.auth.principal request.auth.audiences request.auth.presenter"
    " connection.sni".split()
)
_REPLACED: Final = {
    "destination.namespace": "metadata.namespace",
    "destination.labels": "the selector",
    "destination.name": "the selector",
    "destination.user": "the selector",
}


def _empty(text: str) -> str:
    return "" if text else "expected a text, got an empty one"


def _address(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False) if "/" in text else ipaddress.ip_address(text)
    except ValueError:
        return f"expected an IP address or CIDR range, got {cut(text)!r}"
    if "/" in text and not text.rpartition("/")[2].isdigit():
        return f"expected a CIDR range with a prefix length, got {cut(text)!r}"
    return ""


def _port(text: str) -> str:
    ok = _PORT.match(text) and int(text) <= 65535
    return "" if ok else f"expected a port from 0 to 65535, got {cut(text)!r}"


def _wildcard(text: str) -> str:
    """Istio's `*` is one only alone, first or last; anywhere else it is compared as it stands."""
    if "*" in text[1:-1] or (len(text) > 1 and text[0] == text[-1] == "*"):
        return f"expected `*` alone, first or last, got {cut(text)!r}: elsewhere it is compared as it stands"
    return ""


def _principal(text: str) -> str:
    if text.startswith("spiffe://"):
        return f"expected a principal without spiffe://, which never matches, got {cut(text)!r}"
    return _wildcard(text)


def _method(text: str) -> str:
    if text == "*" or _METHOD.match(text.strip("*")):
        return _wildcard(text)
    return f"expected a method in upper-case letters, which are compared as they are, got {cut(text)!r}"


def _path(text: str) -> str:
    if "{*}" in text or "{**}" in text:
        return _template(text)
    if "{" in text or "}" in text:
        return f"expected {{*}} or {{**}} as only use of braces, got {cut(text)!r}: others are compared as they stand"
    if "?" in text or "#" in text:
        return f"expected a path without query or fragment, which is never part of it, got {cut(text)!r}"
    if not text.startswith(("/", "*")):
        return f"expected a path that begins with / (or *), got {cut(text)!r}"
    return _wildcard(text)


def _template(text: str) -> str:
    """Envoy refuses the listener's whole configuration for a template it can't parse."""
    shown = repr(cut(text))
    if not text.startswith("/"):
        return f"expected a template that begins with /, got {shown}"
    segments = text[1:].split("/")
    for i, part in enumerate(segments):
        last = i == len(segments) - 1
        if not part and not last:
            return f"expected no empty segment in a template, got {shown}"
        if part in ("", "{*}", "{**}"):
            continue
        if "*" in part or "{" in part or "}" in part:
            return f"expected {{*}} and {{**}} as whole segments, and no other braces or `*`, got {shown}"
        if not _TEMPLATE_LITERAL.match(part):
            return f"expected only unreserved characters, %, and !$&'()+,;:@ in a template, got {shown}"
    if "{**}" in segments and any(part in ("{*}", "{**}") for part in segments[segments.index("{**}") + 1 :]):
        return f"expected {{**}} as the last operator of a template, got {shown}"
    return ""


_VALUES: Final[dict[str, Callable[[str], str]]] = {
    "principals": _principal,
    "namespaces": _wildcard,
    "ip_blocks": _address,
    "remote_ip_blocks": _address,
    "request_principals": _wildcard,
    "hosts": _wildcard,
    "ports": _port,
    "methods": _method,
    "paths": _path,
}
"""What a value of a source's or operation's field must be, and its `not_` field's."""


def wrong_fields(part: Source | Operation) -> Problems:
    """Name what is wrong with the fields of a source or operation."""
    names = {f.name: f.encode_name for f in msgspec.structs.fields(type(part))}
    values = {name: getattr(part, name) for name in names}
    if not any(values.values()):
        yield "expected at least one field, got none"
    for name, found in values.items():
        read = _VALUES.get(name.removeprefix("not_"), _empty)
        yield from (f"{names[name]}[{i}]: {problem}" for i, text in enumerate(found) if (problem := _empty(text) or read(text)))
        repeated = sorted({text for text in found if found.count(text) > 1})
        yield from (f"{names[name]}: expected each value once, got {cut(text)!r} again" for text in repeated)


def wrong_accounts(source: Source) -> Problems:
    """Name what may not stand beside service accounts; the CustomResourceDefinition says so too."""
    named = source.principals or source.not_principals or source.namespaces or source.not_namespaces
    if (source.service_accounts or source.not_service_accounts) and named:
        yield "expected no principals or namespaces beside serviceAccounts"


_BY_KEY: Final = {"destination.port": _port, "source.principal": _principal, **dict.fromkeys(_IPS, _address)}


def wrong_condition(condition: Condition) -> Problems:
    """Name what is wrong with a condition's key and values."""
    key = condition.key
    texts = (*condition.values, *condition.not_values)
    if not texts:
        yield f"{cut(key)!r}: expected values or notValues, got neither"
    read = (
        _port if key == "destination.port" else _address if key in _IPS else _principal if key == "source.principal" else _empty
    )
    yield from (f"{cut(key)!r}: {problem}" for text in texts if (problem := _empty(text) or read(text)))
    name = next((prefix for prefix in _MAPS if key.startswith(prefix)), "")
    replaced = next((new for old, new in _REPLACED.items() if key.startswith(old)), "")
    if name:
        if not (key.endswith("]") and 0 < key.find("[") < len(key) - 2):
            yield f"key: expected {name}[NAME], got {cut(key)!r}"
    elif replaced:
        yield f"key: expected {replaced} in the place of {cut(key)!r}"
    elif key not in _PLAIN and key not in _BY_KEY:
        yield f"key: expected an attribute that Istio knows, got {cut(key)!r}"
