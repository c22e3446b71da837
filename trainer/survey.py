"""What must be known of a workload before its profiles can be learned: endpoints, callers, silences, times. Mergeable."""

from collections.abc import Collection

import numpy as np

from authz_server.engine.canonical import to_workload
from authz_server.engine.record import CallRecord
from trainer.batch import Batch, Ids, Sender
from trainer.batch_callers import to_callers
from trainer.eligible import caller_of, succeeded, was_refused
from trainer.fit_endpoint import EndpointLearner
from trainer.fit_sequence import GapLearner
from trainer.support import WINDOWS, CallerCounts
from trainer.tally import Tally

__all__ = ["Survey"]


class Survey:
    """Surveys one workload."""

    def __init__(self, mesh: Collection[str] = ()) -> None:
        """Begin; `mesh`: the workloads there are."""
        self._mesh = frozenset(mesh)
        self.teaching = 0
        self.endpoints = EndpointLearner()
        self.failing = EndpointLearner()
        """Of calls that ended with 4xx."""
        self.gaps = GapLearner()
        self.callers = CallerCounts()
        self.first_ts = float("inf")
        self.last_ts = float("-inf")

    def learn(self, batch: Batch, window: Ids) -> None:
        """Count calls that may calibrate, each with its window."""
        self.first_ts = min(self.first_ts, float(batch.ts.min()))
        self.last_ts = max(self.last_ts, float(batch.ts.max()))
        sessions = [sender.session for sender in batch.senders]
        for sender, ts in zip(batch.sender.tolist(), batch.ts.tolist(), strict=True):
            if sessions[sender]:
                self.gaps.update(sessions[sender], ts)
        callers, caller = to_callers(batch, frozenset())
        for name, times in zip(callers, np.bincount(caller, minlength=len(callers)).tolist(), strict=True):
            self.callers.add(name, times)
        pairs, counts = np.unique(batch.sender * WINDOWS + window, return_counts=True)
        for pair, times in zip(pairs.tolist(), counts.tolist(), strict=True):
            sender = batch.senders[pair // WINDOWS]
            self._behind(sender, pair % WINDOWS, times)
        self.teaching += int(batch.succeeded.sum())
        for learner, rows in ((self.endpoints, batch.succeeded), (self.failing, batch.refused)):
            target = batch.target[rows]
            for _, one, support in Tally(window[rows], np.zeros_like(target), target, caller[rows], callers):
                learner.add(batch.targets[one].method, batch.segments(one), support)

    def update(self, record: CallRecord, window: int = 0) -> None:
        """Count one call that may calibrate."""
        if record.ts < self.first_ts:
            self.first_ts = record.ts
        if record.ts > self.last_ts:
            self.last_ts = record.ts
        if record.session:
            self.gaps.update(record.session, record.ts)
        caller = caller_of(record)
        self.callers.add(caller)
        self._behind(record, window, 1)
        if succeeded(record):
            self.teaching += 1
            self.endpoints.update(record, caller, window)
        elif was_refused(record):
            self.failing.update(record, caller, window)

    def _behind(self, sender: Sender | CallRecord, window: int, times: int) -> None:
        if sender.principal and to_workload(sender.principal, "", "") in self._mesh:
            self.callers.behind(sender.principal, caller_of(sender), window, times)

    def merge(self, other: "Survey") -> None:
        """Take over another's calls."""
        self.teaching += other.teaching
        self.endpoints.merge(other.endpoints)
        self.failing.merge(other.failing)
        self.gaps.merge(other.gaps)
        self.callers.merge(other.callers)
        self.first_ts = min(self.first_ts, other.first_ts)
        self.last_ts = max(self.last_ts, other.last_ts)
