"""What people want to know of a workload beside what is normal: how often, since when, how calls ended, who calls.

In: calls with their endpoint. Out: a Description, which lies in the bundle beside the model and which the server never loads, so
the request path stays lean. Everything kept is bounded; all but what a bound cuts off is independent of order and partition.
"""

import math
from collections import Counter as Tally
from typing import Final

import msgspec

from authz_server.engine.call import BodyKind, Call
from authz_server.engine.errors import BundleError
from authz_server.engine.record import CallRecord
from trainer.shape import Shape, to_shape

__all__ = [
    "Description",
    "DescriptionLearner",
    "EndpointFacts",
    "ParameterFacts",
    "ResponseFacts",
    "Spread",
    "decode_description",
    "encode_description",
]

_MAX_STATUSES: Final = 64
_MAX_PRINCIPALS: Final = 64
_MAX_PORTS: Final = 16
_MAX_PARAMETERS: Final = 1024
"""Parameters of one endpoint that are described, headers and cookies among them; an attacker chooses names too."""
_MAX_SHAPES: Final = 256
"""Sets of parameters counted as one, before they are taken apart."""
_PER_E: Final = 50.0
"""Buckets of a Spread per factor e: quantiles are within 1 % of a value that was seen."""
_SCHEME_LENGTH: Final = 8
_SCHEMES: Final = {"aaaaaa ": "bearer", "aaaaa ": "basic"}
"""Schemes of an `Authorization` header by the mask of its first word; Digest has six letters too, and many `=`."""


class Spread(msgspec.Struct, frozen=True):
    """How numbers are spread: smallest, median, 99th percentile, largest, of `n`."""

    n: int
    low: float
    p50: float
    p99: float
    high: float


class ResponseFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """How calls ended with one status: sizes in bytes, durations in milliseconds; None where nobody told."""

    calls: int
    size: Spread | None = None
    duration_ms: Spread | None = None


class ParameterFacts(msgspec.Struct, frozen=True):
    """In how many calls a parameter came, how often in all (an array's items), and when first and last (seconds)."""

    calls: int
    values: int
    first_ts: float
    last_ts: float


class EndpointFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """One endpoint: `calls` in all, `taught` of them that taught what is normal; its parameters and bodies are those calls'.

    `responses` by status; `0`: there was no answer, empty: nobody told. `principals`: calls by caller. `schemes`: calls by
    scheme of the `Authorization` header. `ports`: calls by the port they arrived at.
    """

    calls: int
    taught: int
    first_ts: float
    last_ts: float
    responses: dict[str, ResponseFacts]
    parameters: dict[str, ParameterFacts] = {}
    bodies: dict[BodyKind, int] = {}
    body_size: Spread | None = None
    principals: dict[str, int] = {}
    schemes: dict[str, int] = {}
    ports: dict[str, int] = {}


class Description(msgspec.Struct, frozen=True):
    """One workload: its endpoints, as in its model, and how many calls came to none of them."""

    workload: str
    endpoints: dict[str, EndpointFacts]
    unmatched: int


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(Description).decode


def encode_description(description: Description) -> bytes:
    """Write a description; the same one gives the same bytes."""
    return _encode(description)


def decode_description(data: bytes) -> Description:
    """Read a description; raises BundleError, naming the field that isn't as expected."""
    try:
        return _decode(data)
    except msgspec.DecodeError as error:
        raise BundleError(f"expected the description of a workload: {error}") from error


class _Spreader:
    """Numbers from 0 up, counted in buckets of 2 % (DDSketch, Masson 2019): merging adds up exactly."""

    __slots__ = ("buckets", "high", "low", "n")

    def __init__(self) -> None:
        self.n = 0
        self.low, self.high = math.inf, 0.0
        self.buckets: dict[int, int] = {}

    def add(self, number: float) -> None:
        bucket = round(math.log(number) * _PER_E) if number > 1e-9 else -(1 << 30)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.n += 1
        self.low, self.high = min(self.low, number), max(self.high, number)

    def merge(self, other: "_Spreader") -> None:
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.n += other.n
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def finish(self) -> Spread | None:
        if not self.n:
            return None
        return Spread(self.n, self.low, self._quantile(0.5), self._quantile(0.99), self.high)

    def _quantile(self, share: float) -> float:
        below = bucket = 0
        for bucket, count in sorted(self.buckets.items()):  # noqa: B007  # the last one reached is what is asked for
            below += count
            if below >= share * self.n:
                break
        number = math.exp(bucket / _PER_E) if bucket > -(1 << 30) else 0.0
        return min(max(float(f"{number:.3g}"), self.low), self.high)


class _ResponseLearner:
    __slots__ = ("calls", "durations", "sizes")

    def __init__(self) -> None:
        self.calls = 0
        self.sizes = _Spreader()
        self.durations = _Spreader()

    def merge(self, other: "_ResponseLearner") -> None:
        self.calls += other.calls
        self.sizes.merge(other.sizes)
        self.durations.merge(other.durations)

    def finish(self) -> ResponseFacts:
        return ResponseFacts(self.calls, self.sizes.finish(), self.durations.finish())


class _ParameterLearner:
    __slots__ = ("calls", "first_ts", "last_ts", "values")

    def __init__(self, ts: float) -> None:
        self.calls = 0
        self.values = 0
        self.first_ts = self.last_ts = ts

    def add(self, seen: "_ShapeCount", times: int) -> None:
        """Count calls that each had the parameter so many times."""
        self.calls += seen.calls
        self.values += seen.calls * times
        self.first_ts, self.last_ts = min(self.first_ts, seen.first_ts), max(self.last_ts, seen.last_ts)

    def merge(self, other: "_ParameterLearner") -> None:
        self.calls += other.calls
        self.values += other.values
        self.first_ts, self.last_ts = min(self.first_ts, other.first_ts), max(self.last_ts, other.last_ts)

    def finish(self) -> ParameterFacts:
        return ParameterFacts(self.calls, self.values, self.first_ts, self.last_ts)


class _ShapeCount:
    """Calls with the same keys: how many, first and last."""

    __slots__ = ("calls", "first_ts", "last_ts")

    def __init__(self, ts: float) -> None:
        self.calls = 0
        self.first_ts = self.last_ts = ts


class _EndpointLearner:
    def __init__(self, ts: float) -> None:
        self.calls = 0
        self.taught = 0
        self.first_ts = self.last_ts = ts
        self.responses: dict[int, _ResponseLearner] = {}
        self.parameters: dict[str, _ParameterLearner] = {}
        self.shapes: dict[tuple[str, ...], _ShapeCount] = {}
        self.bodies: dict[BodyKind, int] = {}
        self.body_sizes = _Spreader()
        self.principals: dict[str, int] = {}
        self.schemes: dict[str, int] = {}
        self.ports: dict[int, int] = {}

    def update(self, record: CallRecord, call: Call, keys: tuple[str, ...], *, taught: bool) -> None:
        self.calls += 1
        ts = record.ts
        if ts > self.last_ts:
            self.last_ts = ts
        elif ts < self.first_ts:
            self.first_ts = ts
        self._add_response(record)
        if taught:
            self.taught += 1
            self._add_request(call, keys)

    def _add_response(self, record: CallRecord) -> None:
        status = -1 if record.status is None else record.status
        response = self.responses.get(status)
        if response is None:
            if len(self.responses) >= _MAX_STATUSES:
                return
            response = self.responses[status] = _ResponseLearner()
        response.calls += 1
        if record.resp_size is not None:
            response.sizes.add(record.resp_size)
        if record.duration_ms is not None:
            response.durations.add(record.duration_ms)

    def _add_request(self, call: Call, keys: tuple[str, ...]) -> None:
        seen = self.shapes.get(keys)
        if seen is None:
            if len(self.shapes) >= _MAX_SHAPES:
                self._count_shapes()
            seen = self.shapes[keys] = _ShapeCount(call.ts)
        seen.calls += 1
        if call.ts > seen.last_ts:
            seen.last_ts = call.ts
        elif call.ts < seen.first_ts:
            seen.first_ts = call.ts
        if "header:authorization" in keys:
            for parameter in call.parameters:
                if parameter.key == "header:authorization":
                    _count(self.schemes, _SCHEMES.get(_first_word(parameter.text), "other"), _MAX_STATUSES)
        _count(self.bodies, call.body, _MAX_STATUSES)
        if call.body is not BodyKind.NONE:
            self.body_sizes.add(call.body_size)
        _count(self.principals, call.caller.principal, _MAX_PRINCIPALS)
        if call.port:
            _count(self.ports, call.port, _MAX_PORTS)

    def _count_shapes(self) -> None:
        """Count the parameters of the calls so far: those with the same keys at once."""
        for keys, seen in self.shapes.items():
            for key, times in Tally(keys).items():
                facts = self.parameters.get(key)
                if facts is None:
                    if len(self.parameters) >= _MAX_PARAMETERS:
                        continue
                    facts = self.parameters[key] = _ParameterLearner(seen.first_ts)
                facts.add(seen, times)
        self.shapes.clear()

    def merge(self, other: "_EndpointLearner") -> None:
        self._count_shapes()
        other._count_shapes()
        self.calls += other.calls
        self.taught += other.taught
        self.first_ts, self.last_ts = min(self.first_ts, other.first_ts), max(self.last_ts, other.last_ts)
        for status, response in other.responses.items():
            if status in self.responses or len(self.responses) < _MAX_STATUSES:
                self.responses.setdefault(status, _ResponseLearner()).merge(response)
        for key, facts in other.parameters.items():
            if key in self.parameters or len(self.parameters) < _MAX_PARAMETERS:
                self.parameters.setdefault(key, _ParameterLearner(facts.first_ts)).merge(facts)
        self.body_sizes.merge(other.body_sizes)
        for body, count in other.bodies.items():
            _count(self.bodies, body, _MAX_STATUSES, count)
        for principal, count in other.principals.items():
            _count(self.principals, principal, _MAX_PRINCIPALS, count)
        for scheme, count in other.schemes.items():
            _count(self.schemes, scheme, _MAX_STATUSES, count)
        for port, count in other.ports.items():
            _count(self.ports, port, _MAX_PORTS, count)

    def finish(self, keys: frozenset[str]) -> EndpointFacts:
        """Only parameters with these keys are told: those that the model knows."""
        self._count_shapes()
        return EndpointFacts(
            self.calls,
            self.taught,
            self.first_ts,
            self.last_ts,
            {"" if status < 0 else str(status): response.finish() for status, response in self.responses.items()},
            {key: facts.finish() for key, facts in self.parameters.items() if key in keys},
            dict(self.bodies),
            self.body_sizes.finish(),
            dict(self.principals),
            dict(self.schemes),
            {str(port): count for port, count in self.ports.items()},
        )


def _count(counts: dict, value: object, limit: int, count: int = 1) -> None:  # type: ignore[type-arg]  # any key
    if value in counts or len(counts) < limit:
        counts[value] = counts.get(value, 0) + count


def _first_word(mask: str) -> str:
    start = mask[:_SCHEME_LENGTH].lower()
    return start[: start.find(" ") + 1]


class DescriptionLearner:
    """Describes one workload."""

    def __init__(self) -> None:
        self._endpoints: dict[str, _EndpointLearner] = {}
        self._unmatched = 0

    def update(self, record: CallRecord, call: Call, endpoint: str, *, taught: bool, shape: Shape | None = None) -> None:
        """Count one call; `endpoint` empty: it matched none. `taught`: it teaches what is normal there.

        `shape` is the call's, None: not made yet.
        """
        if not endpoint:
            self._unmatched += 1
            return
        learner = self._endpoints.get(endpoint)
        if learner is None:
            learner = self._endpoints[endpoint] = _EndpointLearner(record.ts)
        learner.update(record, call, (shape or to_shape(call)).keys, taught=taught)

    def merge(self, other: "DescriptionLearner") -> None:
        """Take over another's calls; the other stays as it is."""
        self._unmatched += other._unmatched
        for endpoint, learner in other._endpoints.items():
            self._endpoints.setdefault(endpoint, _EndpointLearner(learner.first_ts)).merge(learner)

    def finish(self, workload: str, known: dict[str, frozenset[str]]) -> Description:
        """Make the description of the endpoints in `known`, each with the keys of the parameters that the model knows."""
        endpoints = {name: learner.finish(known[name]) for name, learner in self._endpoints.items() if name in known}
        return Description(workload, dict(sorted(endpoints.items())), self._unmatched)
