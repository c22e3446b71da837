"""The callers' histories in this process's memory: bounded, lost when it ends, unknown to other replicas."""

from threading import Lock

from authz_server.engine.history import History, Past, Snapshot, add_step, take_back
from authz_server.engine.record import OutcomeRecord
from authz_server.histories.outcomes import Outcomes
from authz_server.histories.visit import Visit

__all__ = ["MemoryHistories"]


class MemoryHistories:
    """One lock around `History` and the pending outcomes, held for a few microseconds."""

    def __init__(self, since: float) -> None:
        """Begin to watch; `since` in seconds since the epoch."""
        self._lock = Lock()
        self._history = History(since)
        self.outcomes = Outcomes(self._lock)

    def __len__(self) -> int:
        """Count the callers remembered."""
        return len(self._history)

    def visit(self, visit: Visit) -> Past | None:
        """As Histories has it; never None."""
        with self._lock:
            caller = self._history.caller(visit.workload, visit.session, visit.ts)
            past = Snapshot(caller.watched, caller.ever.copy(), caller.recent)
            if visit.endpoint:
                step = add_step(caller, visit.endpoint)
                self.outcomes.expect(visit.decision_id, visit.join_key, caller, step)
        return past

    def take_back(self, visit: Visit) -> None:
        """As Histories has it."""
        with self._lock:
            waiting = self.outcomes.withdraw(visit.decision_id)
            if waiting is not None:
                take_back(*waiting)

    def settle(self, record: OutcomeRecord) -> None:
        """As Histories has it."""
        self.outcomes.settle(record)
