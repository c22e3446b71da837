"""What the calls of each endpoint cost the backend, and which callers make most of them: what `fit_volume.py` must know first.

In: one workload's records with their outcomes. Out: for each endpoint, how many average calls one of its calls stands for.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from authz_server.engine.record import CallRecord
from authz_server.engine.volume import own_key
from trainer.batch import Batch

__all__ = ["HEAVY", "CostLearner"]

HEAVY: Final = 1 / 64
"""Share of the calls from which on a session or an address has a normal of its own: at most 64 of each."""
_LEAST_CALLS: Final = 5
"""Calls that a heavy caller makes at least."""
_MAX_COUNTED: Final = 200_000
"""Callers counted; those that come first when there are already very many aren't."""


class CostLearner:
    """What an endpoint's calls cost the backend: bytes and milliseconds, against those of all calls. Mergeable."""

    def __init__(self) -> None:
        self._size: dict[str, list[float]] = {}
        self._time: dict[str, list[float]] = {}
        self.sessions: dict[str, int] = {}
        self.addresses: dict[str, int] = {}
        self.calls = 0

    def update(self, record: CallRecord, endpoint: str) -> None:
        """Count one call, at an endpoint or, empty, at none."""
        self.count(record.session, record.address, 1)
        if record.status is not None and endpoint:
            self.add(endpoint, record.resp_size, record.duration_ms)

    def count(self, session: str, address: str, calls: int) -> None:
        """Count calls of one session and address."""
        self.calls += calls
        _count(self.sessions, session, calls)
        _count(self.addresses, address if address != session else "", calls)

    def add(self, endpoint: str, size: int | None, duration_ms: float | None) -> None:
        """Count what one call that ended cost, as far as known."""
        if size is not None:
            _add(self._size, endpoint, size)
        if duration_ms is not None:
            _add(self._time, endpoint, duration_ms)

    def learn(self, batch: Batch, endpoints: Sequence[str]) -> None:
        """Count all calls of a batch; `endpoints`: of each target, empty: none."""
        for sender, calls in zip(batch.senders, np.bincount(batch.sender, minlength=len(batch.senders)).tolist(), strict=True):
            self.count(sender.session, sender.address, calls)
        if any(size is not None for size in batch.resp_size) or any(ms is not None for ms in batch.duration_ms):
            columns = zip(batch.target.tolist(), batch.status, batch.resp_size, batch.duration_ms, strict=True)
            for target, status, size, duration_ms in columns:
                if status is not None and endpoints[target]:
                    self.add(endpoints[target], size, duration_ms)

    def heavy(self) -> frozenset[str]:
        """Name the callers that make more than `HEAVY` of the calls."""
        kinds = (("session", self.sessions), ("address", self.addresses))
        least = max(_LEAST_CALLS, HEAVY * self.calls)
        return frozenset(own_key(kind, who) for kind, counts in kinds for who, count in counts.items() if count >= least)

    def finish(self) -> dict[str, float]:
        """Tell what each endpoint's calls cost, in average calls: the mean of their share of bytes and of time."""
        relative = [_relative(one) for one in (self._size, self._time)]
        endpoints = sorted({endpoint for shares in relative for endpoint in shares})
        found: dict[str, float] = {}
        for endpoint in endpoints:
            known = [shares[endpoint] for shares in relative if endpoint in shares]
            found[endpoint] = round(sum(known) / len(known), 4)
        return found


def _relative(totals: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Tell each endpoint's mean against that of all calls; empty where that is zero or nothing was known."""
    calls, amount = (sum(total[i] for total in totals.values()) for i in (0, 1))
    if not calls or amount <= 0:
        return {}
    return {endpoint: total[1] / total[0] / (amount / calls) for endpoint, total in totals.items()}


def _add(totals: dict[str, list[float]], endpoint: str, amount: float) -> None:
    total = totals.setdefault(endpoint, [0.0, 0.0])
    total[0] += 1
    total[1] += amount


def _count(counts: dict[str, int], who: str, calls: int) -> None:
    if calls and who and (who in counts or len(counts) < _MAX_COUNTED):
        counts[who] = counts.get(who, 0) + calls
