"""From calls with their endpoint to a Description of one workload.

Everything kept is bounded; all but what a bound cuts off is independent of order and partition.
"""

from collections import Counter as Tally
from collections.abc import Sequence
from typing import Final

import numpy as np

from authz_server.engine.call import BodyKind
from trainer.batch import Batch, Ids, Mask
from trainer.description import Description, EndpointFacts, ParameterFacts, ResponseFacts
from trainer.spreader import Spreader
from trainer.tally import numbered, to_counts

__all__ = ["DescriptionLearner"]

_MAX_STATUSES: Final = 64
_MAX_PRINCIPALS: Final = 64
_MAX_PORTS: Final = 16
_MAX_PARAMETERS: Final = 1024
"""Parameters of one endpoint that are described, headers and cookies among them; an attacker chooses names too."""
_SCHEME_LENGTH: Final = 8
_SCHEMES: Final = {"aaaaaa ": "bearer", "aaaaa ": "basic"}
"""Schemes of an `Authorization` header by the mask of its first word; Digest has six letters too, and many `=`."""


class _ResponseLearner:
    __slots__ = ("calls", "durations", "sizes")

    def __init__(self) -> None:
        self.calls = 0
        self.sizes = Spreader()
        self.durations = Spreader()

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

    def add(self, calls: int, times: int, first_ts: float, last_ts: float) -> None:
        """Count calls that each had the parameter so many times."""
        self.calls += calls
        self.values += calls * times
        self.first_ts, self.last_ts = min(self.first_ts, first_ts), max(self.last_ts, last_ts)

    def merge(self, other: "_ParameterLearner") -> None:
        self.calls += other.calls
        self.values += other.values
        self.first_ts, self.last_ts = min(self.first_ts, other.first_ts), max(self.last_ts, other.last_ts)

    def finish(self) -> ParameterFacts:
        return ParameterFacts(self.calls, self.values, self.first_ts, self.last_ts)


class _EndpointLearner:
    def __init__(self, ts: float) -> None:
        self.calls = 0
        self.taught = 0
        self.first_ts = self.last_ts = ts
        self.responses: dict[int, _ResponseLearner] = {}
        self.parameters: dict[str, _ParameterLearner] = {}
        self.bodies: dict[BodyKind, int] = {}
        self.body_sizes = Spreader()
        self.principals: dict[str, int] = {}
        self.schemes: dict[str, int] = {}
        self.ports: dict[int, int] = {}

    def learn(self, batch: Batch, rows: Ids, taught: Ids) -> None:
        """Count calls, `rows` of a batch, of which those in `taught` taught."""
        self.calls += len(rows)
        self.taught += len(taught)
        self.first_ts = min(self.first_ts, float(batch.ts[rows].min()))
        self.last_ts = max(self.last_ts, float(batch.ts[rows].max()))
        self._add_responses(batch, rows.tolist())
        if len(taught):
            self._add_forms(batch, taught)
            if any(batch.port):
                for port, times in Tally([batch.port[row] for row in taught.tolist()]).items():
                    if port:
                        _count(self.ports, port, _MAX_PORTS, times)

    def _add_responses(self, batch: Batch, rows: Sequence[int]) -> None:
        columns = zip(
            *([column[row] for row in rows] for column in (batch.status, batch.resp_size, batch.duration_ms)), strict=True
        )
        for (status, size, duration_ms), times in Tally(columns).items():
            known = -1 if status is None else status
            response = self.responses.get(known)
            if response is None:
                if len(self.responses) >= _MAX_STATUSES:
                    continue
                response = self.responses[known] = _ResponseLearner()
            response.calls += times
            if size is not None:
                response.sizes.add(size, times)
            if duration_ms is not None:
                response.durations.add(duration_ms, times)

    def _add_forms(self, batch: Batch, taught: Ids) -> None:
        order = taught[np.argsort(batch.form[taught], kind="stable")]
        forms, starts = np.unique(batch.form[order], return_index=True)
        ts = batch.ts[order]
        firsts, lasts = np.minimum.reduceat(ts, starts).tolist(), np.maximum.reduceat(ts, starts).tolist()
        ends = [*starts[1:].tolist(), len(order)]
        for number, start, end, first, last in zip(forms.tolist(), starts.tolist(), ends, firsts, lasts, strict=True):
            form, calls = batch.forms[number], end - start
            _count(self.bodies, form.body, _MAX_STATUSES, calls)
            if form.body is not BodyKind.NONE:
                for size, times in Tally([batch.body_size[row] for row in order[start:end].tolist()]).items():
                    self.body_sizes.add(size, times)
            for key, times in Tally(form.keys).items():
                facts = self.parameters.get(key)
                if facts is None:
                    if len(self.parameters) >= _MAX_PARAMETERS:
                        continue
                    facts = self.parameters[key] = _ParameterLearner(first)
                facts.add(calls, times, first, last)

    def merge(self, other: "_EndpointLearner") -> None:
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


def _scheme(mask: str) -> str:
    start = mask[:_SCHEME_LENGTH].lower()
    return _SCHEMES.get(start[: start.find(" ") + 1], "other")


class DescriptionLearner:
    """Describes one workload."""

    def __init__(self) -> None:
        self._endpoints: dict[str, _EndpointLearner] = {}
        self._unmatched = 0

    def learn(self, batch: Batch, endpoints: Sequence[str], taught: Mask) -> None:
        """Count calls; `endpoints`: of each target, empty: none. `taught`: which of the calls teach what is normal there."""
        place, names = numbered(endpoints)
        endpoint = place[batch.target]
        order = np.argsort(endpoint, kind="stable")
        for number, name in enumerate(names):
            rows = order[np.searchsorted(endpoint[order], number) : np.searchsorted(endpoint[order], number, side="right")]
            if not name:
                self._unmatched += len(rows)
            elif len(rows):
                self._endpoint(name, float(batch.ts[rows[0]])).learn(batch, rows, rows[taught[rows]])
        taught = taught & np.array([bool(name) for name in names], dtype=np.bool_)[endpoint]
        senders, principals = numbered([sender.principal for sender in batch.senders])
        for number, principal, times in to_counts(endpoint[taught], senders[batch.sender[taught]]):
            _count(self._endpoints[names[number]].principals, principals[principal], _MAX_PRINCIPALS, times)
        self._add_schemes(batch, endpoint, names, taught)

    def _add_schemes(self, batch: Batch, endpoint: Ids, names: Sequence[str], taught: Mask) -> None:
        of_parameter = [_scheme(one.text) if one.key == "header:authorization" else "" for one in batch.parameters]
        scheme, schemes = numbered(["", *of_parameter])
        sent = scheme[batch.sent + 1]
        there = (sent > 0) & taught[batch.owner]
        for number, one, times in to_counts(endpoint[batch.owner[there]], sent[there]):
            _count(self._endpoints[names[number]].schemes, schemes[one], _MAX_STATUSES, times)

    def _endpoint(self, name: str, ts: float) -> _EndpointLearner:
        learner = self._endpoints.get(name)
        if learner is None:
            learner = self._endpoints[name] = _EndpointLearner(ts)
        return learner

    def merge(self, other: "DescriptionLearner") -> None:
        """Take over another's calls; the other stays as it is."""
        self._unmatched += other._unmatched
        for endpoint, learner in other._endpoints.items():
            self._endpoints.setdefault(endpoint, _EndpointLearner(learner.first_ts)).merge(learner)

    def finish(self, workload: str, known: dict[str, frozenset[str]]) -> Description:
        """Make the description of the endpoints in `known`, each with the keys of the parameters that the model knows."""
        endpoints = {name: learner.finish(known[name]) for name, learner in self._endpoints.items() if name in known}
        return Description(workload, dict(sorted(endpoints.items())), self._unmatched)
