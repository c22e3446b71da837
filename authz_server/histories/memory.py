"""The callers' histories in this process's memory: bounded, lost when it ends, unknown to other replicas."""

from threading import Lock
from typing import Final

from authz_server.engine.counters import Counters
from authz_server.engine.history import History, Past, Snapshot, add_step, take_back
from authz_server.engine.pace import NO_PACES
from authz_server.engine.record import OutcomeRecord
from authz_server.histories.outcomes import Outcomes
from authz_server.histories.visit import Visit

__all__ = ["MemoryHistories"]

_UNWATCHED: Final = -1.0
"""A past without session was never watched: nothing follows from its being empty."""
_NO_PAST: Final = Snapshot(_UNWATCHED, {}, ())


class MemoryHistories:
    """One lock around `History`, the paces and the pending outcomes, held for a few microseconds."""

    def __init__(self, since: float) -> None:
        """Begin to watch; `since` in seconds since the epoch."""
        self._lock = Lock()
        self._history = History(since)
        self._counters = Counters()
        self.outcomes = Outcomes(self._lock, self._counters)

    def __len__(self) -> int:
        """Count the callers remembered."""
        return len(self._history)

    def visit(self, visit: Visit) -> Past | None:
        """As Histories has it; never None."""
        paces = NO_PACES
        with self._lock:
            if visit.footprint is not None:
                paces = self._counters.visit(
                    visit.workload, visit.session, visit.address, visit.ts, visit.footprint, visit.limits
                )
            if not visit.session:
                if visit.footprint is not None:
                    self.outcomes.expect(visit)
                return _NO_PAST if paces is NO_PACES else Snapshot(_UNWATCHED, {}, (), paces)
            caller = self._history.caller(visit.workload, visit.session, visit.ts)
            past = Snapshot(caller.watched, caller.ever.copy(), caller.recent, paces, caller.counts.copy())
            if visit.endpoint:
                self.outcomes.expect(visit, caller, add_step(caller, visit.endpoint))
            elif visit.footprint is not None:
                self.outcomes.expect(visit)
        return past

    def take_back(self, visit: Visit, *, relieves: bool = False) -> None:
        """As Histories has it."""
        with self._lock:
            waiting = self.outcomes.withdraw(visit.decision_id)
            if waiting is not None:
                take_back(*waiting)
            if visit.footprint is not None:
                relief = visit.footprint.cost if relieves else None
                self._counters.refuse(visit.workload, visit.session, visit.address, visit.ts, relief)

    def settle(self, record: OutcomeRecord) -> None:
        """As Histories has it."""
        self.outcomes.settle(record)
