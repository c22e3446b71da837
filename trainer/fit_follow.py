"""Which calls inside the mesh a call causes, from the calls that share its request id (fits `engine/follow.py`).

Sees the calls of all workloads in time order. A caused call is one under the same request id whose caller is the workload that
was called: mutual TLS says who that is. Lost records only make a rule weaker, never wrong: what doesn't always follow isn't
learned. Bounded: request ids that are under way, calls of one, and pairs.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from authz_server.engine.canonical import to_workload
from authz_server.engine.finding import FindingCode
from authz_server.engine.follow import Follow, Follows, Place, outcome_class
from authz_server.engine.record import CallRecord
from trainer.eligible import calibrates
from trainer.prior import Prior

__all__ = ["FollowLearner"]

_MIN_CALLS: Final = 100
"""Calls with an outcome before it is said what always follows them."""
_ALWAYS_SHARE: Final = 0.99
"""Share of the calls that must be followed so before it is a rule; how sure it is then is another question (`prior.py`)."""
_UNDER_WAY: Final = 20_000
"""Request ids that may still get calls: at 1,000 a second the last 20 s of them."""
_MAX_CALLS: Final = 256
"""Calls under one request id that are looked at; a request id may be the client's word."""
_MAX_CAUSED: Final = 32
"""Distinct places that one call causes, of which pairs are counted."""
_MAX_PAIRS: Final = 200_000
_MAX_GIVEN: Final = 4
"""Conditions kept under which one thing follows: those with the most evidence."""
_ALWAYS: Final = ("", "")


class _Seen(NamedTuple):
    place: Place
    source: str
    outcome: str | None
    """None: the call can't be a cause, because it may not teach."""
    ts: float


_Cause = tuple[Place, str]


class _Caused:
    """What calls of one endpoint and outcome caused: how many there were by condition, and how often what followed under it."""

    __slots__ = ("calls", "followed")

    def __init__(self) -> None:
        self.calls: dict[Place, int] = {}
        self.followed: dict[tuple[Place, Place], int] = {}


class FollowLearner:
    """Counts, by endpoint and outcome, what was caused."""

    def __init__(self) -> None:
        self._under_way: OrderedDict[str, list[_Seen]] = OrderedDict()
        self._caused: dict[_Cause, _Caused] = {}
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
        outcome = outcome_class(record.status or 0) if calibrates(record) else None
        if len(calls) < _MAX_CALLS:
            calls.append(_Seen((record.workload, endpoint), to_workload(record.principal, "", ""), outcome, record.ts))

    def finish(self) -> dict[str, Follows]:
        """Make the rules, by workload."""
        while self._under_way:
            self._close(self._under_way.popitem(last=False)[1])
        found: dict[str, Follows] = {}
        prior = Prior()
        for caused in self._caused.values():
            for n, gone in _holding(caused).values():
                prior.add(FindingCode.MISSING_CALL, n, gone)
        for ((workload, endpoint), outcome), caused in sorted(self._caused.items()):
            rules = _to_rules(caused, prior)
            if rules:
                found.setdefault(workload, {}).setdefault(endpoint, {})[outcome] = rules
        return found

    def _close(self, calls: list[_Seen]) -> None:
        """Count a request id's calls: for each, which places its workload called after it."""
        for cause in calls:
            if cause.outcome is None:
                continue
            workload = cause.place[0]
            places = {call.place for call in calls if call.source == workload and call.ts >= cause.ts}
            caused = self._caused.get((cause.place, cause.outcome))
            if caused is None:
                caused = self._caused[cause.place, cause.outcome] = _Caused()
            conditions = [_ALWAYS, *sorted(places)[:_MAX_CAUSED]]
            for given in conditions:
                caused.calls[given] = caused.calls.get(given, 0) + 1
                for place in conditions[1:]:
                    if place != given:
                        self._count(caused, given, place)

    def _count(self, caused: _Caused, given: Place, place: Place) -> None:
        pair = (given, place)
        if pair not in caused.followed:
            if self._pairs >= _MAX_PAIRS:
                return
            self._pairs += 1
        caused.followed[pair] = caused.followed.get(pair, 0) + 1


def _holding(caused: _Caused) -> dict[tuple[Place, Place], tuple[int, int]]:
    """List what (nearly) always follows under a condition: how many calls were such, and how many weren't followed so."""
    counts = {pair: (caused.calls[pair[0]], caused.calls[pair[0]] - count) for pair, count in caused.followed.items()}
    return {pair: (n, gone) for pair, (n, gone) in counts.items() if n >= _MIN_CALLS and gone <= (1 - _ALWAYS_SHARE) * n}


def _to_rules(caused: _Caused, prior: Prior) -> tuple[Follow, ...]:
    """Keep what always follows and, of what doesn't, the best supported conditions under which it does."""
    rules = [
        Follow(*place, n, prior.surprise(FindingCode.MISSING_CALL, n, gone), given)
        for (given, place), (n, gone) in _holding(caused).items()
    ]
    always = {(rule.workload, rule.endpoint) for rule in rules if rule.given == _ALWAYS}
    kept: dict[Place, list[Follow]] = {}
    for rule in sorted(rules, key=lambda rule: (-rule.n, rule.given)):
        place = (rule.workload, rule.endpoint)
        others = kept.setdefault(place, [])
        if (rule.given == _ALWAYS or place not in always) and len(others) < _MAX_GIVEN:
            others.append(rule)
    return tuple(rule for place in sorted(kept) for rule in kept[place])
