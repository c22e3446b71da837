"""Which step of which caller a decision was, until its outcome is known: joins access log entries to histories.

Bounded: the oldest pending decision goes first, and its step then counts as having succeeded.
"""

from collections import OrderedDict
from threading import Lock
from typing import Final

from authz_server.engine.counters import Counters
from authz_server.engine.history import CallerHistory, take_back
from authz_server.engine.record import OutcomeRecord
from authz_server.histories.visit import Visit, join_key

__all__ = ["MAX_PENDING", "Outcomes"]

MAX_PENDING: Final = 10_000
"""Decisions waiting for their outcome; at 1,000 calls a second and 1 s of access log buffering, 10 times what is needed."""


class Outcomes:
    """Pending steps by decision id and, for access logs without our metadata, by request id, workload and method.

    `lock` is the one that guards the histories and `counters`, where errors are counted; it is held for microseconds only.
    """

    def __init__(self, lock: Lock, counters: Counters | None = None) -> None:
        self._lock = lock
        self._counters = counters
        self._pending: OrderedDict[str, tuple[Visit, CallerHistory | None, int]] = OrderedDict()
        self._ids: dict[str, str] = {}
        self.joined = 0
        self.unknown = 0

    def expect(self, visit: Visit, caller: CallerHistory | None = None, step: int = 0) -> None:
        """Remember a call until its outcome comes; `caller` None: it was no step. The caller holds the lock."""
        decision_id = visit.decision_id
        pending = self._pending
        pending[decision_id] = (visit, caller, step)
        self._ids[visit.join_key] = decision_id
        if len(pending) > MAX_PENDING:
            self._forget(pending.popitem(last=False)[1][0])

    def withdraw(self, decision_id: str) -> tuple[CallerHistory, int] | None:
        """Forget a call that no outcome will come for; return its step, None where there is none. The caller holds the lock."""
        waiting = self._pending.pop(decision_id, None)
        if waiting is None:
            return None
        visit, caller, step = waiting
        self._forget(visit)
        return (caller, step) if caller is not None else None

    def settle(self, record: OutcomeRecord) -> None:
        """Take a step back if its call failed (no answer, 4xx or 5xx), and count the error."""
        with self._lock:
            decision_id = record.id
            if not decision_id and record.request_id:
                decision_id = self._ids.get(join_key(record.request_id, record.workload, record.method), "")
            waiting = self._pending.pop(decision_id, None)
            if waiting is None:
                self.unknown += 1
                return
            visit, caller, step = waiting
            self._forget(visit)
            self.joined += 1
            if 100 <= record.status < 400:
                return
            if caller is not None:
                take_back(caller, step)
            if visit.footprint is not None and self._counters is not None:
                self._counters.fail(visit.workload, visit.session, visit.address, visit.ts)

    def _forget(self, visit: Visit) -> None:
        """Forget the key of a call, unless a later one came under the same request id."""
        if self._ids.get(visit.join_key) == visit.decision_id:
            del self._ids[visit.join_key]
