"""Which calls inside the mesh a call always causes, from the calls that share its request id (fits `engine/follow.py`).

Sees the calls of all workloads in time order. A caused call is one under the same request id whose caller is the workload that
was called: mutual TLS says who that is. Lost records only make a rule weaker, never wrong: what doesn't always follow isn't
learned. Bounded: request ids that are under way, calls of one, and pairs.
"""

from collections import OrderedDict, defaultdict
from typing import Final, NamedTuple

from authz_server.engine.canonical import to_workload
from authz_server.engine.evidence import MAX_SURPRISE, surprise
from authz_server.engine.follow import Follow, Follows, Place, outcome_class
from authz_server.engine.record import CallRecord
from trainer.eligible import calibrates

__all__ = ["FollowLearner"]

_MIN_CALLS: Final = 100
"""Calls with an outcome before it is said what always follows them."""
_MIN_SURPRISE: Final = 2.0
"""At most one normal call in a hundred may lack what always follows."""
_UNDER_WAY: Final = 20_000
"""Request ids that may still get calls: at 1,000 a second the last 20 s of them."""
_MAX_CALLS: Final = 256
"""Calls under one request id that are looked at; a request id may be the client's word."""
_MAX_PAIRS: Final = 100_000


class _Seen(NamedTuple):
    place: Place
    source: str
    outcome: str
    ts: float


class FollowLearner:
    """Counts, by endpoint and outcome, what was caused."""

    def __init__(self) -> None:
        self._under_way: OrderedDict[str, list[_Seen]] = OrderedDict()
        self._calls: dict[tuple[Place, str], int] = defaultdict(int)
        self._followed: dict[tuple[Place, str], dict[Place, int]] = defaultdict(dict)
        self._pairs = 0

    def update(self, record: CallRecord, endpoint: str) -> None:
        """Take one call; `endpoint` is the one that its workload's model matches, empty: none."""
        if not record.request_id or not endpoint:
            return
        calls = self._under_way.get(record.request_id)
        if calls is None:
            calls = self._under_way[record.request_id] = []
            if len(self._under_way) > _UNDER_WAY:
                self._close(self._under_way.popitem(last=False)[1])
        outcome = outcome_class(record.status) if record.status is not None and calibrates(record) else ""
        if len(calls) < _MAX_CALLS:
            calls.append(_Seen((record.workload, endpoint), to_workload(record.principal, "", ""), outcome, record.ts))

    def finish(self) -> dict[str, Follows]:
        """Make the rules, by workload."""
        while self._under_way:
            self._close(self._under_way.popitem(last=False)[1])
        found: dict[str, Follows] = {}
        for ((workload, endpoint), outcome), n in sorted(self._calls.items()):
            if n < _MIN_CALLS:
                continue
            followed = self._followed[(workload, endpoint), outcome]
            rules = [Follow(*place, n, _surprise(n, count)) for place, count in sorted(followed.items())]
            rules = [rule for rule in rules if rule.surprise >= _MIN_SURPRISE]
            if rules:
                found.setdefault(workload, {}).setdefault(endpoint, {})[outcome] = tuple(rules)
        return found

    def _close(self, calls: list[_Seen]) -> None:
        """Count a request id's calls: for each with an outcome, which places its workload called after it."""
        for cause in calls:
            if not cause.outcome:
                continue
            key = (cause.place, cause.outcome)
            self._calls[key] += 1
            workload = cause.place[0]
            for place in {call.place for call in calls if call.source == workload and call.ts >= cause.ts}:
                followed = self._followed[key]
                if place not in followed:
                    if self._pairs >= _MAX_PAIRS:
                        continue
                    self._pairs += 1
                followed[place] = followed.get(place, 0) + 1


def _surprise(n: int, followed: int) -> float:
    return round(min(MAX_SURPRISE, surprise((n - followed + 1) / (n + 2))), 4)
