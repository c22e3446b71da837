"""How fast callers go, as far as this process sees it: what is judged by while the Redis that counts for all can't be asked.

Each replica counts its own share, so a caller that spreads its calls over several is seen at a fraction of its pace by each. It
counts all the time, so that an outage doesn't make everybody new.
"""

from threading import Lock

from authz_server.engine.counters import Counters
from authz_server.engine.pace import NO_PACES, Paces
from authz_server.engine.record import OutcomeRecord
from authz_server.histories.outcomes import Outcomes
from authz_server.histories.visit import Visit

__all__ = ["LocalPaces"]


class LocalPaces:
    """Counters and the calls whose outcome may still be an error; one lock, held for a few microseconds."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counters = Counters()
        self._outcomes = Outcomes(self._lock, self._counters)

    def __len__(self) -> int:
        """Count the callers counted."""
        return len(self._counters)

    def visit(self, visit: Visit) -> Paces:
        """Count a call; nothing where its workload has no volume model."""
        if visit.footprint is None:
            return NO_PACES
        with self._lock:
            self._outcomes.expect(visit)
            return self._counters.visit(visit.workload, visit.session, visit.address, visit.ts, visit.footprint, visit.limits)

    def take_back(self, visit: Visit, *, relieves: bool = False) -> None:
        """Take note that a call was refused; `relieves` as Histories has it."""
        if visit.footprint is None:
            return
        with self._lock:
            self._outcomes.withdraw(visit.decision_id)
            relief = visit.footprint.cost if relieves else None
            self._counters.refuse(visit.workload, visit.session, visit.address, visit.ts, relief)

    def settle(self, record: OutcomeRecord) -> None:
        """Count an error, where the call was one of this process's."""
        self._outcomes.settle(record)
