"""Which step of which caller a decision was, until its outcome is known: joins access log entries to histories.

Bounded: the oldest pending decision goes first, and its step then counts as having succeeded.
"""

from collections import OrderedDict
from threading import Lock
from typing import Final

from authz_server.engine.history import CallerHistory, take_back
from authz_server.engine.record import OutcomeRecord
from authz_server.histories.visit import join_key

__all__ = ["MAX_PENDING", "Outcomes"]

MAX_PENDING: Final = 20_000
"""Decisions waiting for their outcome; at 1,000 calls a second and 1 s of access log buffering, 20 times what is needed."""


class Outcomes:
    """Pending steps by decision id and, for access logs without our metadata, by request id, workload and method.

    `lock` is the one that guards the histories; it is held for microseconds only.
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._pending: OrderedDict[str, tuple[CallerHistory, int, str]] = OrderedDict()
        self._ids: dict[str, str] = {}
        self.joined = 0
        self.unknown = 0

    def expect(self, decision_id: str, join_key: str, caller: CallerHistory, step: int) -> None:
        """Remember a step until its outcome comes. The caller holds the lock."""
        self._pending[decision_id] = (caller, step, join_key)
        self._ids[join_key] = decision_id
        if len(self._pending) > MAX_PENDING:
            old_id, (_, _, old_key) = self._pending.popitem(last=False)
            self._forget(old_key, old_id)

    def withdraw(self, decision_id: str) -> tuple[CallerHistory, int] | None:
        """Forget a step that no outcome will come for; return it, None if it is forgotten already. The caller holds the lock."""
        waiting = self._pending.pop(decision_id, None)
        if waiting is None:
            return None
        caller, step, key = waiting
        self._forget(key, decision_id)
        return caller, step

    def settle(self, record: OutcomeRecord) -> None:
        """Take a step back if its call failed (no answer, 4xx or 5xx)."""
        with self._lock:
            decision_id = record.id
            if not decision_id and record.request_id:
                decision_id = self._ids.get(join_key(record.request_id, record.workload, record.method), "")
            waiting = self._pending.pop(decision_id, None)
            if waiting is None:
                self.unknown += 1
                return
            caller, step, key = waiting
            self._forget(key, decision_id)
            self.joined += 1
            if not 100 <= record.status < 400:
                take_back(caller, step)

    def _forget(self, key: str, decision_id: str) -> None:
        """Forget the key of a decision, unless a later call came under the same request id."""
        if self._ids.get(key) == decision_id:
            del self._ids[key]
