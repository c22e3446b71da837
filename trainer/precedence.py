"""Precedence rules from sessions: what had come before each step, counted; then the rules that nearly every step obeyed.

Three forms (`engine/sequence.py`): ever before, since a step, once for each time. Rules that follow from others are marked. The
latter two guard changing steps alone (all methods but the safe ones of RFC 9110, 9.2.1), since reading changes nothing and is
done at any time, in other tabs too. A reading step may be needed each time (the page with the form, the invitation that is
accepted) or at all, not since another. Bounded by the square of the endpoints, and by the cube of the changing ones, of which a
caller's `_MAX_ENDPOINTS` latest are paired up.

Of those that need a reading step each time some hold by chance: as often as others like them were broken just once (Good 1953:
what is still to come of a kind is about what came once). So they are kept from that support on where hardly any was. Whoever
breaks many on purpose can switch this form off, not the others.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import msgspec

from authz_server.engine.evidence import MAX_SURPRISE, surprise
from authz_server.engine.history import CallerHistory
from authz_server.engine.sequence import START, PrecedenceRule
from trainer.support import UNSEEN, Quorum, Support, add_support, to_support

__all__ = ["PrecedenceLearner"]

_MIN_SUPPORT: Final = 30
"""Steps that a rule must have held for before it is one."""
_MIN_SURPRISE: Final = 1.5
"""A rule must be broken by fewer than 3 % of normal steps, judged by the upper end of what its evidence allows."""
_CHANCE_SURPRISE: Final = 2.3
"""And where some of very many candidates would hold by chance (all but a changing step that another one must come before at all),
by fewer than 1 in 200,"""
_BROKEN_SURPRISE: Final = 3.0
"""or 1 in 1,000 if it was ever broken."""
_STRICT_SURPRISE: Final = 3.5
"""Rules that a single retry breaks, whose first answer got lost, are kept where 3,000 steps saw no such retry."""
_MAX_BROKEN: Final = 3
"""Times that a rule may have been broken: as often as one caller may break it for once, and no rule is better than a loose one,
since every normal step that breaks a rule is a false alarm."""
_ODD_SHARE: Final = 2e-5
"""Share of the steps that may be the only one to break a candidate with as much support as a reading step that is needed each
time must have: a session has dozens of steps, and is to be alarmed once in a thousand, for other reasons too."""
_MAX_BROKEN_SHARE: Final = 1e-4
"""Share of the steps that may have broken it where there are very many."""
_MAX_SURPLUS: Final = 1
"""How many times more than what it needs an endpoint may come: once, which is a retry whose first answer got lost."""
_MAX_RULES: Final = 16
"""Rules kept for one endpoint, those first that don't follow from others, the best supported first."""
_MAX_ENDPOINTS: Final = 24
"""Most recent distinct endpoints of a caller that are paired up."""
_MAX_REPEATS: Final = 8
"""Times that an endpoint counts in one history: no single caller, however long, can teach a rule or break it for all."""
_MAX_WAITING: Final = 512
"""Orders of changing steps that wait at one endpoint until they are counted."""
_NEARLY: Final = 0.5
"""How much weaker, in units of surprise, the rules may be that another one follows from."""
_SAFE: Final = ("GET ", "HEAD ", "OPTIONS ", "TRACE ")

Candidates = dict[tuple[str, str, str, int], PrecedenceRule]
"""Rules by endpoint, since, needs and surplus (-1: None)."""


class _Guard:
    """What had come before the steps at one endpoint.

    `whole`: steps with a complete history; of these, `ever` had the other endpoint before, `each[surplus]` often enough.
    `since`: by the step reached back to, steps that had it before; `after`: of these, which had the other endpoint after it.
    For these two steps wait, by the changing steps before them, the latest first, until many alike can be counted at once.
    """

    __slots__ = ("_waiting", "after", "each", "ever", "since", "whole")

    def __init__(self) -> None:
        self.whole = UNSEEN
        self.ever: dict[str, int] = defaultdict(int)
        self.each: tuple[dict[str, int], ...] = tuple([defaultdict(int) for _ in range(_MAX_SURPLUS + 1)])
        self.since: dict[str, Support] = {}
        self.after: dict[tuple[str, str], int] = defaultdict(int)
        self._waiting: dict[tuple[str, ...], Support] = {}

    def add(self, changing: tuple[str, ...], step: Support) -> None:
        """Count a step, before which those that are `changing` came."""
        add_support(self._waiting, changing, step)
        if len(self._waiting) >= _MAX_WAITING:
            self.settle()

    def settle(self) -> None:
        """Count the steps that wait."""
        for changing, steps in self._waiting.items():
            for index, since in enumerate(changing):
                add_support(self.since, since, steps)
                for needs in changing[:index]:
                    self.after[since, needs] += steps.count
        self._waiting.clear()

    def merge(self, other: "_Guard") -> None:
        self.whole = self.whole.plus(other.whole)
        for since, support in other.since.items():
            add_support(self.since, since, support)
        for mine, others in zip((self.ever, *self.each), (other.ever, *other.each), strict=True):
            for needs, count in others.items():
                mine[needs] += count
        for key, count in other.after.items():
            self.after[key] += count


class PrecedenceLearner:
    """Counts, for each step, what its caller's history held."""

    def __init__(self) -> None:
        self._guards: dict[str, _Guard] = defaultdict(_Guard)

    def update(self, endpoint: str, history: CallerHistory, caller: str, window: int, *, complete: bool) -> None:
        """Count one step, before it is added to the history; an empty `caller` is anonymous, or a population."""
        times = history.counts.get(endpoint, 0)
        if times >= _MAX_REPEATS and caller:
            return
        guard, step = self._guards[endpoint], to_support(caller, window)
        changes = not endpoint.startswith(_SAFE)
        recent = sorted(history.ever, key=history.ever.__getitem__, reverse=True)[:_MAX_ENDPOINTS]
        if complete:
            guard.whole = guard.whole.plus(step)
            for needs in recent:
                guard.ever[needs] += 1
            if changes:
                for needs in recent:
                    excess = times + 1 - history.counts[needs]
                    for surplus in range(max(0, excess), _MAX_SURPLUS + 1):
                        guard.each[surplus][needs] += 1
        if changes:
            guard.add(tuple([name for name in recent if not name.startswith(_SAFE)]), step)

    def merge(self, other: "PrecedenceLearner") -> None:
        """Take over another's counts (of other callers, or of a later time with the histories carried over)."""
        for endpoint, guard in other._guards.items():
            guard.settle()
            self._guards[endpoint].merge(guard)

    def finish(self, quorum: Quorum, share: float = 1.0) -> dict[str, tuple[PrecedenceRule, ...]]:
        """Mine the rules; `share` as for Prior."""
        candidates: Candidates = {}
        for endpoint, guard in self._guards.items():
            guard.settle()
            candidates |= _candidates(endpoint, guard, quorum, share)
        floor = _floor(self._guards)
        candidates = {key: rule for key, rule in candidates.items() if rule.n > floor or not _reads_each(key)}
        found: dict[str, list[PrecedenceRule]] = defaultdict(list)
        direct = _minimal(candidates)
        for key, rule in candidates.items():
            found[key[0]].append(rule if key in direct else msgspec.structs.replace(rule, implied=True))
        return {endpoint: _strongest(rules) for endpoint, rules in sorted(found.items())}


def _reads_each(key: tuple[str, str, str, int]) -> bool:
    """Tell whether a candidate needs a reading step each time."""
    return key[3] >= 0 and key[2].startswith(_SAFE)


def _floor(guards: Mapping[str, _Guard]) -> int:
    """Find the support above which hardly any candidate that needs a reading step each time was broken once."""
    once: list[int] = []
    for guard in guards.values():
        n = guard.whole.count
        readings = {needs for each in guard.each for needs, obeyed in each.items() if obeyed == n - 1 and needs.startswith(_SAFE)}
        once += [n] * len(readings)
    once.sort(reverse=True)
    allowed = int(_ODD_SHARE * sum(guard.whole.count for guard in guards.values()))
    return once[allowed] if len(once) > allowed else 0


def _candidates(endpoint: str, guard: _Guard, quorum: Quorum, share: float) -> Candidates:
    """List all rules with support of one endpoint."""
    found: Candidates = {}
    whole, n = guard.whole, guard.whole.count
    if quorum.has(whole):
        for needs, obeyed in guard.ever.items():
            _add(found, endpoint, needs, START, None, n, obeyed, share)
        for surplus, each in enumerate(guard.each):
            for needs, obeyed in each.items():
                _add(found, endpoint, needs, START, surplus, n, obeyed, share)
    normal = {since: support.count for since, support in guard.since.items() if quorum.has(support)}
    for (since, needs), obeyed in guard.after.items():
        if since in normal:
            _add(found, endpoint, needs, since, None, normal[since], obeyed, share)
    return found


def _add(
    found: Candidates, endpoint: str, needs: str, since: str, surplus: int | None, n: int, obeyed: int, share: float
) -> None:
    """Take a rule that holds on enough evidence."""
    broken = n - obeyed
    if n < _MIN_SUPPORT or needs == endpoint or broken > max(_MAX_BROKEN, n * _MAX_BROKEN_SHARE):
        return
    amount = round(min(MAX_SURPRISE, surprise((broken / share + 1) / (n / share + 2))), 4)
    rule = PrecedenceRule(needs, amount, n, since, surplus)
    if amount >= _least(endpoint, rule, broken):
        found[endpoint, since, needs, -1 if surplus is None else surplus] = rule


def _least(endpoint: str, rule: PrecedenceRule, broken: int) -> float:
    """Tell the surprise that a rule must reach: each time a normal step breaks one is a false alarm."""
    if rule.surplus == 0 or rule.since == endpoint:
        return _STRICT_SURPRISE
    reads = endpoint.startswith(_SAFE) or rule.needs.startswith(_SAFE)
    if rule.since == START and rule.surplus is None and not reads:
        return _MIN_SURPRISE
    return _BROKEN_SURPRISE if broken else _CHANCE_SURPRISE


def _minimal(candidates: Candidates) -> Candidates:
    """Leave out each rule that follows from those that are left then, hardly weaker ones than it (`_NEARLY`).

    One at a time, so that what was left out still follows in the end; first for the endpoints that come last, and the needs that
    come first, so that what stays are the direct ones.
    """
    depth: dict[str, int] = defaultdict(int)
    for endpoint, since, _, surplus in candidates:
        depth[endpoint] += since == START and surplus < 0
    left = dict(candidates)
    last_first = sorted(
        candidates, key=lambda key: (-depth[key[0]], key[0], key[1] == START, key[3] >= 0, depth[key[2]], key[1], key[2])
    )
    needs_of: dict[str, set[str]] = defaultdict(set)
    for endpoint, _, needs, _ in candidates:
        needs_of[endpoint].add(needs)
    for key in last_first:
        rule = left.pop(key)
        if not _follows(key, rule.surprise - _NEARLY, left, needs_of[key[0]]):
            left[key] = rule
    return left


def _follows(key: tuple[str, str, str, int], least: float, left: Candidates, others: set[str]) -> bool:
    """Tell whether a rule follows from the rules that are `left`.

    `x` since `s` follows from `y` since `s`, where `y` needs `x` since `s` or the endpoint needs `x` since `y`. That `x` came at
    all also follows from its having come each time, or since a step that is needed itself; that it came each time, from its not
    coming again without.
    """
    endpoint, since, needs, surplus = key

    def has(*wanted: tuple[str, str, str, int]) -> bool:
        return all(one in left and left[one].surprise >= least for one in wanted)

    if surplus >= 0:
        if any(has((endpoint, START, needs, less)) for less in range(surplus)):
            return True
        if surplus == 0 and has((endpoint, endpoint, needs, -1), (endpoint, START, needs, -1)):
            return True
        pairs = [(first, surplus - first) for first in range(surplus + 1)]
        return any(
            has((endpoint, START, other, first), (other, START, needs, second)) for other in others for first, second in pairs
        )
    for other in others:
        if has((endpoint, since, other, -1)) and (has((other, since, needs, -1)) or has((endpoint, other, needs, -1))):
            return True
    if since != START:
        return False
    each = any(has((endpoint, START, needs, more)) for more in range(_MAX_SURPLUS + 1))
    return each or any(has((endpoint, START, other, -1), (endpoint, other, needs, -1)) for other in others)


def _strongest(rules: list[PrecedenceRule]) -> tuple[PrecedenceRule, ...]:
    """Keep the rules that say most."""
    return tuple(sorted(rules, key=lambda rule: (rule.implied, -rule.surprise, rule.needs, rule.since))[:_MAX_RULES])
