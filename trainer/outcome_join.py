"""Which outcome belongs to which call: two streams, both roughly in time order, joined in memory bounded by a time window."""

from collections import deque
from collections.abc import Iterator
from typing import Final

from authz_server.engine.record import OutcomeRecord

__all__ = ["JOIN_SECONDS", "OutcomeJoin"]

JOIN_SECONDS: Final = 120.0
"""How long after its call an outcome is looked for; a longer stream stays without."""
_SLACK_SECONDS: Final = 10.0
"""How much earlier than its call an outcome may be, where two clocks are read."""

_OUTLIERS: Final = 16
"""Outcomes in a row that must be beyond the window before reading ahead stops: one wrong clock must not end the join."""
_MAX_HELD: Final = 250_000
"""Outcomes in memory, some 100 MB; at 1,000 calls a second a full window is 130,000."""

_Key = tuple[str, str, str]


class OutcomeJoin:
    """Outcomes read ahead of the calls, only as far as needed and at most `window` seconds; forgotten when their time is past."""

    def __init__(self, outcomes: Iterator[OutcomeRecord], window: float = JOIN_SECONDS) -> None:
        self._outcomes = outcomes
        self._window = window
        self._by_id: dict[str, OutcomeRecord] = {}
        self._by_request: dict[_Key, deque[OutcomeRecord]] = {}
        self._order: deque[OutcomeRecord] = deque()
        self._latest = deque([float("-inf")] * _OUTLIERS, _OUTLIERS)

    def take(self, call_id: str, key: _Key | None, ts: float) -> OutcomeRecord | None:
        """Find the outcome of a call: by its decision id, else the first unclaimed one of its request id, workload and method."""
        self._forget(ts - _SLACK_SECONDS)
        found = self._claim(call_id, key)
        while found is None and min(self._latest) <= ts + self._window and self._read_ahead():
            newest = self._order[-1]
            if newest.id == call_id if newest.id else key is not None and _key(newest) == key:
                found = self._claim(call_id, key)
        return found

    def _claim(self, call_id: str, key: _Key | None) -> OutcomeRecord | None:
        found = self._by_id.pop(call_id, None)
        if found is None and key is not None:
            waiting = self._by_request.get(key)
            if waiting:
                found = waiting.popleft()
                if not waiting:
                    del self._by_request[key]
        return found

    def _read_ahead(self) -> bool:
        outcome = next(self._outcomes, None)
        if outcome is None:
            self._latest.extend([float("inf")] * _OUTLIERS)
            return False
        self._latest.append(outcome.ts)
        self._order.append(outcome)
        if outcome.id:
            self._by_id[outcome.id] = outcome
        else:
            self._by_request.setdefault(_key(outcome), deque()).append(outcome)
        return True

    def _forget(self, before: float) -> None:
        order = self._order
        while order and (order[0].ts < before or len(order) > _MAX_HELD):
            old = order.popleft()
            if old.id:
                if self._by_id.get(old.id) is old:
                    del self._by_id[old.id]
            elif (waiting := self._by_request.get(_key(old))) and waiting[0] is old:
                self._claim("", _key(old))


def _key(outcome: OutcomeRecord) -> _Key:
    return (outcome.request_id, outcome.workload, outcome.method)
