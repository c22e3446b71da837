"""From what Envoy (or a log) says of a request to a Call: the one function that live scoring and training share.

In: a RawCall, clear text. Out: a Call, which has none. Which headers count as parameters, how a workload and a session are
found, and how much of a request is read, is decided here and nowhere else.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from authz_server.engine.bodies import graphql
from authz_server.engine.body import Fact, Leaf, to_leaves
from authz_server.engine.call import CONNECTION, BodyKind, Call, Caller, Flag, Kind, Parameter
from authz_server.engine.claims import unverified_claims
from authz_server.engine.observe import (
    CACHED_LENGTH,
    CACHED_STRING,
    MAX_CUT_NAME,
    MAX_INTEGER,
    Observer,
    bounded_name,
)
from authz_server.engine.policy import SessionSource
from authz_server.engine.target import MAX_SEGMENTS, cut_target, split_pairs, split_path

__all__ = ["MAX_HEADERS", "MAX_PARAMETERS", "RawCall", "to_call", "to_workload"]

MAX_HEADERS: Final = 64
MAX_PARAMETERS: Final = 384
_MAX_METHOD: Final = 32

_PATH_KEYS: Final = tuple([f"path:{position}" for position in range(MAX_SEGMENTS + 1)])
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_METHOD = re.compile(rf"(?!{CONNECTION}\Z)[A-Z][A-Z_-]{{0,31}}\Z")

_TRANSPORT_HEADERS: Final = frozenset(
    # Written by proxies, tracers and HTTP itself, or read elsewhere: they say nothing about what the client asks for.
    "host content-length cookie connection keep-alive te transfer-encoding x-request-id x-real-ip x-forwarded-for"
    " x-forwarded-proto x-forwarded-host x-forwarded-port x-forwarded-client-cert forwarded via traceparent tracestate baggage b3"
    " grpc-trace-bin grpc-timeout x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled x-b3-flags x-cloud-trace-context"
    " x-datadog-trace-id x-datadog-parent-id x-ot-span-context date cf-ray x-amzn-trace-id".split()
)


class RawCall(msgspec.Struct, frozen=True, gc=False):
    """A request in clear, as it arrived: never stored, never logged.

    `headers` have lower-case names. `body` None: not sent to us. `truncated`: only its first bytes were.
    `session` is set where the source already knows the session (a `calls` file); else the policy's sources are asked.
    `claims` are those of a JWT that Envoy verified, by dotted name.
    """

    ts: float
    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None = None
    body_size: int = 0
    truncated: bool = False
    source: str = ""
    address: str = ""
    workload: str = ""
    session: str = ""
    request_id: str = ""
    http: bool = True
    port: int = 0
    claims: dict[str, str] = {}


def to_workload(principal: str, context_workload: str, authority: str) -> str:
    """Name the workload: destination principal's `namespace/service-account`, else `context_extensions`, else the authority.

    The authority is compared without port and case; it is the client's word, so use it only where nothing better is known.
    """
    if principal:
        return _cached_peer(principal) if len(principal) <= _CACHED_PRINCIPAL else _to_peer(principal)
    if context_workload:
        return context_workload[:256]
    host = authority.lower()
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return host[:256]


def _to_peer(principal: str) -> str:
    name = principal.removeprefix("spiffe://")
    parts = name.split("/")
    if len(parts) == 5 and parts[1] == "ns" and parts[3] == "sa":
        return f"{parts[2]}/{parts[4]}"
    return name[:256]


_CACHED_PRINCIPAL: Final = 256
_cached_peer = lru_cache(maxsize=1024)(_to_peer)


def to_call(raw: RawCall, observer: Observer, sources: Sequence[SessionSource] = ()) -> Call:
    """Normalise one request. Never raises: what can't be read is a Flag. The dearest stage of a Check (`bench speed`)."""
    if not raw.http:
        return _to_connection(raw, observer, sources)
    flags: set[Flag] = set()
    path, query = cut_target(raw.target, flags)
    short = len(path) <= _CACHED_PATH and path.count("/") <= _CACHED_SEGMENTS
    segments, odd = _cached_segments(observer, path) if short else _to_segments(observer, path)
    if odd:
        flags |= odd
    cookie = raw.headers.get("cookie")
    cookies = split_pairs(cookie, ";", flags) if cookie else []
    parameters: list[Parameter] = []
    if query:
        _add_query(parameters, query, observer, flags)
    body = _add_body(parameters, raw, observer, flags)
    _add_headers(parameters, raw.headers, observer, flags)
    if cookies:
        _add_pairs(parameters, "cookie:", cookies, observer, flags)
    if len(parameters) > MAX_PARAMETERS:
        flags.add(Flag.TOO_MANY)
        del parameters[MAX_PARAMETERS:]
    return Call(
        raw.ts,
        raw.workload,
        raw.method if raw.method in _METHODS or _METHOD.match(raw.method) else _shown_method(raw.method),
        segments,
        tuple(parameters),
        tuple(sorted(flags)) if flags else (),
        _to_caller(raw, observer, cookies, sources),
        body,
        raw.body_size,
        raw.request_id[:64],
        raw.port,
    )


def _to_segments(observer: Observer, path: str) -> tuple[tuple[Parameter, ...], frozenset[Flag]]:
    """Observe the segments of a raw path, and say what is odd about how it is written."""
    parts, flags = split_path(path)
    segment = observer.segment
    return tuple([segment(key, text, extra) for key, (text, extra) in zip(_PATH_KEYS, parts, strict=False)]), flags


_CACHED_PATH: Final = 128
_CACHED_SEGMENTS: Final = 8
_cached_segments = lru_cache(maxsize=1024)(_to_segments)
"""Most calls are to few paths, and to read one costs several microseconds. At most 4 MB, of paths of short segments only."""


def _to_connection(raw: RawCall, observer: Observer, sources: Sequence[SessionSource]) -> Call:
    """Make the Call of a connection without HTTP: who, and to which port, is all there is."""
    port = str(raw.port)
    segments = (Parameter("path:0", Kind.INTEGER, len(port), 0, port),)
    caller = _to_caller(raw, observer, (), sources)
    return Call(raw.ts, raw.workload, CONNECTION, segments, (), (Flag.NOT_HTTP,), caller, port=raw.port)


def _shown_method(method: str) -> str:
    """Keep what isn't a method apart from every method, and bounded."""
    return "!" + re.sub(r"[^A-Za-z0-9_-]", "?", method[:_MAX_METHOD])


def _add_pairs(
    parameters: list[Parameter], prefix: str, pairs: list[tuple[str, str, int]], observer: Observer, flags: set[Flag]
) -> None:
    keys = set()
    short, text, add = observer.cached_text, observer.text, parameters.append
    for name, value, extra in pairs:
        key = _pair_key(prefix, name if len(name) < MAX_CUT_NAME else name[:MAX_CUT_NAME])
        keys.add(key)
        add(short(key, value, extra) if len(value) <= CACHED_LENGTH else text(key, value, extra))
    if len(keys) < len(pairs):
        flags.add(Flag.DUPLICATE_PARAMETER)


@lru_cache(maxsize=4096)
def _pair_key(prefix: str, name: str) -> str:
    return prefix + bounded_name.__wrapped__(name)  # kept here, so not there too


def _add_body(parameters: list[Parameter], raw: RawCall, observer: Observer, flags: set[Flag]) -> BodyKind:
    if raw.truncated:
        return BodyKind.TRUNCATED
    if not raw.body:
        return _NO_BODY
    headers = raw.headers
    kind, leaves = to_leaves(
        headers.get("content-type", ""), raw.body, flags, headers.get("content-encoding", ""), headers.get("grpc-encoding", "")
    )
    _add_leaves(parameters, "body:", leaves, observer)
    if kind in _FIELDS and len({leaf[0] for leaf in leaves}) < len(leaves):
        flags.add(Flag.DUPLICATE_PARAMETER)
    return kind


_NO_BODY: Final = BodyKind.NONE
_FIELDS: Final = frozenset({BodyKind.FORM, BodyKind.MULTIPART})


def _add_leaves(parameters: list[Parameter], prefix: str, leaves: list[Leaf], observer: Observer) -> None:
    string, integer, fraction = observer.cached_string, observer.cached_integer, observer.cached_float
    scalar, text, add = observer.scalar, observer.text, parameters.append
    known = _BODY_KEYS if prefix == "body:" else _NO_KEYS
    for name, value, extra, typed in leaves:
        key = known.get(name) or _to_key(prefix, name)
        if typed:
            kind = type(value)
            if kind is str and len(value) <= CACHED_STRING:  # type: ignore[arg-type]
                add(string(key, value))
            elif kind is int and -MAX_INTEGER < value < MAX_INTEGER:  # type: ignore[operator]
                add(integer(key, value))
            elif kind is float and value and -MAX_INTEGER < value < MAX_INTEGER:  # type: ignore[operator]
                add(fraction(key, value))
            elif kind is Kind:
                add(Parameter(key, value, 0, 0, ""))  # type: ignore[arg-type]
            else:
                add(scalar(key, value))
        elif type(value) is Fact:
            add(observer.segment(key, str(value)))
        else:
            add(text(key, value, extra))  # type: ignore[arg-type]  # without a type of its own it is text


def _to_key(prefix: str, name: str) -> str:
    """Name a parameter; of a body's short names those seen lately are kept, since a text made anew has to be hashed anew."""
    key = prefix + name
    if prefix == "body:" and len(name) <= _KNOWN_NAME:
        if len(_BODY_KEYS) >= _MAX_KEYS:
            _BODY_KEYS.clear()
        _BODY_KEYS[name] = key
    return key


_KNOWN_NAME: Final = 128
_MAX_KEYS: Final = 4096
_BODY_KEYS: Final[dict[str, str]] = {}
_NO_KEYS: Final[dict[str, str]] = {}


def _add_query(parameters: list[Parameter], query: str, observer: Observer, flags: set[Flag]) -> None:
    pairs = split_pairs(query, "&", flags)
    if "query=" in query:
        leaves = graphql.from_query(pairs, flags)
        if leaves is not None:
            pairs = [pair for pair in pairs if pair[0] not in ("query", "variables")]
            _add_leaves(parameters, "query:", leaves, observer)
    _add_pairs(parameters, "query:", pairs, observer, flags)


def _add_headers(parameters: list[Parameter], headers: dict[str, str], observer: Observer, flags: set[Flag]) -> None:
    left = MAX_HEADERS
    short, text, add = observer.cached_text, observer.text, parameters.append
    for name, value in headers.items():
        key = _USUAL_HEADERS.get(name)
        if key is None:
            key = _header_key(name if len(name) < MAX_CUT_NAME else name[:MAX_CUT_NAME])
        if not key:
            continue
        left -= 1
        if left < 0:
            flags.add(Flag.TOO_MANY)
            return
        add(short(key, value, 0) if len(value) <= CACHED_LENGTH else text(key, value))


@lru_cache(maxsize=4096)
def _header_key(name: str) -> str:
    """The parameter that a header is; empty for one that isn't."""
    if name in _TRANSPORT_HEADERS or name[:1] == ":" or name.startswith("x-envoy-"):
        return ""
    return "header:" + bounded_name.__wrapped__(name)


_USUAL_HEADERS: Final = {
    # Of those that nearly every call has: a look-up costs a third of asking the cache.
    name: _header_key(name)
    for name in (
        *_TRANSPORT_HEADERS,
        *(":authority", ":method", ":path", ":scheme", "x-envoy-auth-partial-body", "x-envoy-external-address"),
        *("accept", "accept-encoding", "accept-language", "authorization", "content-type", "origin", "referer", "user-agent"),
    )
}


def _to_caller(
    raw: RawCall, observer: Observer, cookies: Sequence[tuple[str, str, int]], sources: Sequence[SessionSource]
) -> Caller:
    session = raw.session
    if not session:
        for source in sources:
            session = _from_source(source, raw, cookies)
            if session:
                break
    return Caller(raw.source.removeprefix("spiffe://")[:256], observer.digest(session), observer.digest(raw.address))


def _from_source(source: SessionSource, raw: RawCall, cookies: Sequence[tuple[str, str, int]]) -> str:
    if source.cookie:
        for name, value, _ in cookies:
            if name == source.cookie:
                # Quotes around a value aren't part of it for most who read cookies (RFC 6265, section 4.1.1).
                bare = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
                return f"cookie {bare}" if bare else ""
        return ""
    if source.header:
        value = raw.headers.get(source.header, "")
        if source.header == "x-forwarded-for":
            # A client chooses the front of this header; only the last element is the word of the Envoy next to us.
            value = value.rpartition(",")[2].strip()
        return f"header {value}" if value else ""
    if source.claim:
        value = raw.claims.get(source.claim, "")
        if value:
            return f"claim {value}"
        if source.unverified:
            value = unverified_claims(raw.headers.get("authorization", "")).get(source.claim, "")
        # Kept apart from what Envoy verified: anybody can write anybody's name into a token.
        return f"unverified claim {value}" if value else ""
    if source.principal:
        return f"principal {raw.source}" if raw.source else ""
    return f"address {raw.address}" if raw.address else ""
