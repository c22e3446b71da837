"""Who calls whom, from teaching calls (fits `engine/edges.py`).

A principal is normal at an endpoint after `QUORUM` calls in two separate windows of the traffic: it is one caller by itself, so
other callers' word can't be asked for, and nobody but the workload can bring its certificate.
"""

from typing import Final

from authz_server.engine.edges import EdgeModel, Edges
from authz_server.engine.finding import FindingCode
from trainer.prior import Prior
from trainer.support import QUORUM, Counter, Quorum, Support

__all__ = ["EdgeLearner"]

_MAX_PRINCIPALS: Final = 10_000
_MAX_EDGES: Final = 1_000
"""Principals of one endpoint; where there are more, certificates are given to people, and who is new says nothing."""


class EdgeLearner:
    """Counts the principals of one workload and of each of its endpoints."""

    def __init__(self) -> None:
        self._principals: Counter[str] = Counter(_MAX_PRINCIPALS)
        self._endpoints: dict[str, Counter[str]] = {}
        self._calls: dict[str, int] = {}

    def update(self, endpoint: str, principal: str, window: int = 0, times: int = 1) -> None:
        """Count so many teaching calls of one window."""
        self._principals.add(principal, principal, window, times)
        counter = self._endpoints.get(endpoint)
        if counter is None:
            counter = self._endpoints[endpoint] = Counter(_MAX_EDGES)
        counter.add(principal, principal, window, times)
        self._calls[endpoint] = self._calls.get(endpoint, 0) + times

    def merge(self, other: "EdgeLearner") -> None:
        """Take over another's calls; the other stays as it is."""
        self._principals.merge(other._principals)
        for endpoint, counter in other._endpoints.items():
            self._endpoints.setdefault(endpoint, Counter(_MAX_EDGES)).merge(counter)
        for endpoint, calls in other._calls.items():
            self._calls[endpoint] = self._calls.get(endpoint, 0) + calls

    def pool(self, prior: Prior, quorum: Quorum) -> None:
        """Tell the prior how often a new caller came, for the workload and for each endpoint."""
        prior.add(FindingCode.UNKNOWN_PRINCIPAL, sum(self._calls.values()), _rare(self._principals, quorum))
        for endpoint, counter in self._endpoints.items():
            prior.add(FindingCode.UNKNOWN_EDGE, self._calls[endpoint], _rare(counter, quorum))

    def finish(self, prior: Prior, quorum: Quorum) -> EdgeModel:
        """Make the model; `prior` has pooled all contexts."""
        n = sum(self._calls.values())
        if self._principals.overflowed:
            return EdgeModel(n)
        endpoints = {
            endpoint: Edges(
                self._calls[endpoint],
                _normal(counter, quorum),
                prior.surprise(FindingCode.UNKNOWN_EDGE, self._calls[endpoint], _rare(counter, quorum)),
            )
            for endpoint, counter in sorted(self._endpoints.items())
            if not counter.overflowed
        }
        unknown = prior.surprise(FindingCode.UNKNOWN_PRINCIPAL, n, _rare(self._principals, quorum))
        return EdgeModel(n, _normal(self._principals, quorum), unknown, endpoints)


def _is_normal(support: Support, quorum: Quorum) -> bool:
    return support.count >= QUORUM and support.windows.bit_count() >= quorum.windows


def _normal(counter: Counter[str], quorum: Quorum) -> dict[str, int]:
    return {principal: support.count for principal, support in sorted(counter.values.items()) if _is_normal(support, quorum)}


def _rare(counter: Counter[str], quorum: Quorum) -> int:
    return sum(not _is_normal(support, quorum) for support in counter.values.values())
