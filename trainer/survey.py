"""What must be known of a workload before its profiles can be learned: endpoints, callers, silences, times. Mergeable."""

from authz_server.engine.record import CallRecord
from trainer.eligible import caller_of, succeeded, was_refused
from trainer.fit_endpoint import EndpointLearner
from trainer.fit_sequence import GapLearner
from trainer.partial_record import SurveyedCall
from trainer.support import CallerCounts

__all__ = ["Survey"]


class Survey:
    """Surveys one workload."""

    def __init__(self) -> None:
        self.teaching = 0
        self.endpoints = EndpointLearner()
        self.failing = EndpointLearner()
        """Of calls that ended with 4xx."""
        self.gaps = GapLearner()
        self.callers = CallerCounts()
        self.first_ts = float("inf")
        self.last_ts = float("-inf")

    def update(self, record: CallRecord | SurveyedCall, window: int = 0) -> None:
        """Count one call that may calibrate."""
        if record.ts < self.first_ts:
            self.first_ts = record.ts
        if record.ts > self.last_ts:
            self.last_ts = record.ts
        if record.session:
            self.gaps.update(record.session, record.ts)
        caller = caller_of(record)
        self.callers.add(caller)
        if succeeded(record):
            self.teaching += 1
            self.endpoints.update(record, caller, window)
        elif was_refused(record):
            self.failing.update(record, caller, window)

    def merge(self, other: "Survey") -> None:
        """Take over another's calls."""
        self.teaching += other.teaching
        self.endpoints.merge(other.endpoints)
        self.failing.merge(other.failing)
        self.gaps.merge(other.gaps)
        self.callers.merge(other.callers)
        self.first_ts = min(self.first_ts, other.first_ts)
        self.last_ts = max(self.last_ts, other.last_ts)
