"""Where a session can be read from: candidates in the traffic, ranked, because users don't know.

In: recorded calls, or files of calls in clear. Out: for each workload what tells callers apart (cookies, headers, claims of
tokens, principal, address), with the evidence, the best first. A good session is in nearly every call, has many values, and
each value comes again for a while; a request id never comes again, and a service account stands for everybody.

In a store, values whose name speaks of a secret have no digest unless they are long random tokens, and tokens aren't opened:
their claims can be ranked only from files. Bounded: candidates of a workload, and values of a candidate (a sample by hash,
DESIGN.md 4).
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from statistics import median
from typing import Final

import msgspec

from authz_server.engine.canonical import RawCall
from authz_server.engine.claims import unverified_claims
from authz_server.engine.record import CallRecord
from authz_server.engine.target import split_pairs

__all__ = ["ADDRESS", "PRINCIPAL", "Candidate", "CandidateLearner", "rank", "seen_in_clear", "seen_in_record"]

PRINCIPAL: Final = "principal"
ADDRESS: Final = "address"
_MAX_CANDIDATES: Final = 256
"""Of one workload; those that came first stay."""
_MAX_VALUES: Final = 4_096
"""Values of one candidate that are followed; beyond that, those with the smallest hashes."""
_MIN_CALLERS: Final = 5
_MOST: Final = 0.5
"""Share of the calls from which on one value is a population."""
_AGAIN: Final = 0.5
"""Share of calls that must bring a value seen before, or it is a request id rather than a session."""
_RARE: Final = 0.05
"""Share of the calls below which a candidate isn't worth a line in the policy."""
_NOT_IDENTITY: Final = frozenset(
    {"iat", "exp", "nbf", "auth_time", "jti", "at_hash", "nonce", "typ", "acr", "scope", "iss", "aud"}
)
"""Claims that say something of the token, not of who holds it (RFC 7519, 4.1; OpenID Connect Core, 2)."""
_PASSED_OVER: Final = frozenset(
    ["accept", "accept-encoding", "accept-language", "user-agent", "content-type", "content-length", "host", "cookie", "referer",
     "origin", "connection", "cache-control", "pragma", "if-none-match", "if-modified-since", "x-request-id", "traceparent",
     "authorization"]
)  # fmt: skip
"""Headers that describe the program, the page or the request."""


class Candidate(msgspec.Struct, frozen=True):
    """One place where a session could be read from, in one workload.

    `share` of the calls have it; about `callers` values; `calls` of a value and `seconds` it lived, as medians; `again`: share
    of its calls that brought a value seen before; `most`: share of its calls by the most frequent value; `addresses`: share of
    the values that came from more than one address. `reason` says why it isn't one, empty where it is.
    """

    source: str
    share: float
    callers: int
    calls: float
    seconds: float
    again: float
    most: float
    addresses: float
    reason: str

    @property
    def score(self) -> float:
        """How well it tells callers apart, in [0, 1]: the share of calls that it puts into somebody's session."""
        return 0.0 if self.reason else self.share * self.again * (1 - self.most)

    @property
    def policy(self) -> str:
        """How it is written in the policy's `session` list."""
        kind, _, name = self.source.partition(":")
        if kind == "claim":
            return f'{{claim: "{name}", unverified: true}}'
        return f'{{{kind}: "{name}"}}' if name else kind


class _Value:
    __slots__ = ("address", "calls", "first", "last", "moved")

    def __init__(self, ts: float, address: str) -> None:
        self.calls = 0
        self.first = self.last = ts
        self.address = address
        self.moved = False


class _Followed:
    """The values of one candidate, those with the smallest hashes if they are too many."""

    def __init__(self) -> None:
        self.calls = 0
        self.limit = 1 << 64
        self.values: dict[int, _Value] = {}

    def add(self, value: str, ts: float, address: str) -> None:
        self.calls += 1
        key = int.from_bytes(blake2b(value.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")
        if key >= self.limit:
            return
        found = self.values.get(key)
        if found is None:
            found = self.values[key] = _Value(ts, address)
            if len(self.values) > 2 * _MAX_VALUES:
                self.limit = sorted(self.values)[_MAX_VALUES]
                self.values = {one: kept for one, kept in self.values.items() if one < self.limit}
        found.calls += 1
        found.first, found.last = min(found.first, ts), max(found.last, ts)
        found.moved = found.moved or address != found.address

    def finish(self, source: str, total: int) -> Candidate:
        values = list(self.values.values())
        kept = self.limit / (1 << 64)
        calls = [value.calls for value in values]
        followed = sum(calls) or 1
        again, most = 1 - len(values) / followed, max(calls, default=0) / max(followed, self.calls)
        candidate = Candidate(
            source,
            self.calls / total,
            round(len(values) / kept),
            median(calls) if calls else 0.0,
            round(median(value.last - value.first for value in values), 3) if values else 0.0,
            again,
            most,
            sum(value.moved for value in values) / max(1, len(values)),
            "",
        )
        return msgspec.structs.replace(candidate, reason=_against(candidate))


def _against(candidate: Candidate) -> str:
    """Say why a candidate tells nobody apart; empty where it does."""
    if candidate.share < _RARE:
        return f"only {candidate.share:.1%} of the calls have it"
    if candidate.callers < _MIN_CALLERS:
        return "one value for all calls" if candidate.callers == 1 else f"only {candidate.callers} values"
    if candidate.again < _AGAIN:
        return "a new value nearly every time: a request's name, not a caller's"
    if candidate.most > _MOST:
        return f"one value has {candidate.most:.0%} of the calls: a population, not a caller"
    return ""


class CandidateLearner:
    """Follows the candidates of one workload."""

    def __init__(self) -> None:
        self._calls = 0
        self._candidates: dict[str, _Followed] = {}

    def update(self, ts: float, address: str, seen: Iterable[tuple[str, str]]) -> None:
        """Take one call: `seen` are candidates and what they read, in clear or as digests."""
        self._calls += 1
        for source, value in seen:
            followed = self._candidates.get(source)
            if followed is None:
                if len(self._candidates) >= _MAX_CANDIDATES:
                    continue
                followed = self._candidates[source] = _Followed()
            followed.add(value, ts, address)

    def finish(self) -> list[Candidate]:
        """List the candidates, the best first."""
        return rank(followed.finish(source, self._calls) for source, followed in self._candidates.items())


def rank(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Order candidates: the best first, those that are none last, by the share of calls that have them."""
    return sorted(candidates, key=lambda one: (-one.score, bool(one.reason), -one.share, one.source))


def seen_in_record(record: CallRecord) -> Iterator[tuple[str, str]]:
    """List what a recorded call shows of its caller: digests."""
    for parameter in record.parameters:
        location, _, name = parameter.key.partition(":")
        if parameter.digest and (location == "cookie" or (location == "header" and name not in _PASSED_OVER)):
            yield parameter.key, parameter.digest
    if record.principal:
        yield PRINCIPAL, record.principal
    if record.address:
        yield ADDRESS, record.address


def seen_in_clear(raw: RawCall) -> Iterator[tuple[str, str]]:
    """List what a call in clear shows of its caller; nothing of it is kept but hashes."""
    for name, value, _ in split_pairs(raw.headers.get("cookie", ""), ";", set()):
        yield f"cookie:{name}", value
    for name, value in raw.headers.items():
        if value and name[:1] != ":" and name not in _PASSED_OVER and not name.startswith("x-envoy-"):
            yield f"header:{name}", value
    for name, value in {**unverified_claims(raw.headers.get("authorization", "")), **raw.claims}.items():
        if name not in _NOT_IDENTITY:
            yield f"claim:{name}", value
    if raw.source:
        yield PRINCIPAL, raw.source
    if raw.address:
        yield ADDRESS, raw.address
