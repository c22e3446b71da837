"""Which calls inside the mesh a call causes, from the calls that share its request id (fits `engine/follow.py`).

Sees the calls of all workloads in time order. A caused call is one under the same request id whose caller is the workload that
was called: mutual TLS says who that is. Lost records only make a rule weaker, never wrong: what doesn't always follow isn't
learned. Bounded: request ids that are under way, calls of one, and sets of what one causes.
"""

from collections import OrderedDict
from collections.abc import Mapping
from itertools import combinations
from typing import Final, NamedTuple

from authz_server.engine.canonical import to_workload
from authz_server.engine.endpoint import EndpointTable
from authz_server.engine.finding import FindingCode
from authz_server.engine.follow import Follow, Follows, Place, outcome_class
from authz_server.engine.record import CallRecord
from trainer.eligible import calibrates
from trainer.prior import Prior
from trainer.trail import Trail

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
"""Distinct places that one call causes and that are told apart."""
_MAX_SETS: Final = 1_000
"""Sets of caused places of one endpoint and outcome; where there are more, only what follows always is looked for."""
_MAX_RULES: Final = 4
"""Conditions of a kind (one place, two places) kept under which one thing follows: those with the most evidence."""


class _Seen(NamedTuple):
    place: Place
    source: str
    outcome: str | None
    """None: the call can't be a cause, because it may not teach."""
    ts: float


_Places = frozenset[Place]
_Given = tuple[Place, ...]


class _Caused:
    """What calls of one endpoint and outcome caused: how often each set of places, and each place by itself."""

    __slots__ = ("calls", "places", "sets")

    def __init__(self) -> None:
        self.calls = 0
        self.places: dict[Place, int] = {}
        self.sets: dict[_Places, int] | None = {}

    def add(self, places: _Places) -> None:
        self.calls += 1
        for place in places:
            self.places[place] = self.places.get(place, 0) + 1
        if self.sets is not None:
            self.sets[places] = self.sets.get(places, 0) + 1
            if len(self.sets) > _MAX_SETS:
                self.sets = None


class FollowLearner:
    """Counts, by endpoint and outcome, what was caused."""

    def __init__(self) -> None:
        self._under_way: OrderedDict[str, list[_Seen]] = OrderedDict()
        self._caused: dict[tuple[Place, str], _Caused] = {}

    def update(self, record: CallRecord, endpoint: str) -> None:
        """Take one call; `endpoint` is the one that its workload's model matches, empty: none."""
        if record.request_id and endpoint:
            outcome = outcome_class(record.status or 0) if calibrates(record) else None
            seen = _Seen((record.workload, endpoint), to_workload(record.principal, "", ""), outcome, record.ts)
            self._add(record.request_id, seen)

    def learn(self, trail: Trail, tables: Mapping[str, EndpointTable]) -> None:
        """Take calls of all workloads; `tables` match the endpoints of those that have a model."""
        places: list[Place | None] = []
        for target in trail.targets:
            table = tables.get(target.workload)
            endpoint = table.match(target.method, target.segments)[0] if table is not None else ""
            places.append((target.workload, endpoint) if endpoint else None)
        sources = [to_workload(principal, "", "") for principal in trail.principals]
        columns = zip(trail.request_id, trail.target, trail.principal, trail.status, trail.teaches, trail.ts, strict=True)
        for request_id, target, principal, status, teaches, ts in columns:
            place = places[target]
            if place is not None:
                self._add(request_id, _Seen(place, sources[principal], outcome_class(status or 0) if teaches else None, ts))

    def _add(self, request_id: str, seen: _Seen) -> None:
        calls = self._under_way.get(request_id)
        if calls is None:
            calls = self._under_way[request_id] = []
            if len(self._under_way) > _UNDER_WAY:
                self._close(self._under_way.popitem(last=False)[1])
        if len(calls) < _MAX_CALLS:
            calls.append(seen)

    def finish(self) -> dict[str, Follows]:
        """Make the rules, by workload."""
        while self._under_way:
            self._close(self._under_way.popitem(last=False)[1])
        kept = {key: _rules(caused) for key, caused in sorted(self._caused.items()) if caused.calls >= _MIN_CALLS}
        prior = Prior()
        for rules in kept.values():
            for _, _, n, gone in rules:
                prior.add(FindingCode.MISSING_CALL, n, gone)
        found: dict[str, Follows] = {}
        for ((workload, endpoint), outcome), rules in kept.items():
            follows = tuple(
                Follow(*to, n, prior.surprise(FindingCode.MISSING_CALL, n, gone), given) for to, given, n, gone in rules
            )
            if follows:
                found.setdefault(workload, {}).setdefault(endpoint, {})[outcome] = follows
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
            caused.add(frozenset(sorted(places)[:_MAX_CAUSED]))


_Rule = tuple[Place, _Given, int, int]
"""What follows, under which condition, how many calls were such, and how many of them weren't followed so."""


def _rules(caused: _Caused) -> list[_Rule]:
    """Keep what always follows and, of the rest, the best supported conditions of one place, then of two, under which it does."""
    kept: list[_Rule] = []
    for place in sorted(caused.places):
        always = _rule(place, (), caused.calls, caused.places[place])
        if always is not None:
            kept.append(always)
        elif caused.sets is not None:
            kept += _conditional(place, caused.sets)
    return kept


def _conditional(place: Place, sets: dict[_Places, int]) -> list[_Rule]:
    """Look for conditions until every set that has the place is one under which it was to be expected."""
    kept: list[_Rule] = []
    for size in (1, 2):
        uncovered = [one - {place} for one in sets if place in one and not any(one.issuperset(rule[1]) for rule in kept)]
        conditions = sorted({given for one in uncovered for given in combinations(sorted(one), size)})
        rules = [_rule(place, given, *_count(place, given, sets)) for given in conditions]
        holding = [rule for rule in rules if rule is not None]
        kept += sorted(holding, key=lambda rule: (-rule[2], rule[1]))[:_MAX_RULES]
    return kept


def _count(place: Place, given: _Given, sets: dict[_Places, int]) -> tuple[int, int]:
    """Count the calls that caused all of `given`, and those of them that caused `place` too."""
    such = [(one, count) for one, count in sets.items() if one.issuperset(given)]
    return sum(count for _, count in such), sum(count for one, count in such if place in one)


def _rule(place: Place, given: _Given, calls: int, followed: int) -> _Rule | None:
    if calls < _MIN_CALLS or followed < _ALWAYS_SHARE * calls:
        return None
    return place, given, calls, calls - followed
