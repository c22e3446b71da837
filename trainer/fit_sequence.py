"""Workflows from sessions: precedence rules and transitions (fits `engine/sequence.py`).

Sees the calls of a workload in time order and keeps every caller's history as the server does (`engine/history.py`), so that
what is mined is what will be checked. Bounded by the square of the endpoints, and by `History` in callers.
"""

from collections import defaultdict
from typing import Final

from authz_server.engine.evidence import MAX_SURPRISE, surprise
from authz_server.engine.finding import FindingCode
from authz_server.engine.history import IDLE_SECONDS, CallerHistory
from authz_server.engine.sequence import START, PrecedenceRule, SequenceModel, Transition
from trainer.prior import Prior
from trainer.support import Quorum, Support, rare_callers

__all__ = ["GapLearner", "SequenceLearner"]

_MIN_SUPPORT: Final = 30
"""Steps that must have obeyed a rule before it is one."""
_MIN_SURPRISE: Final = 1.5
"""A rule must be broken by fewer than 3 % of normal steps, judged by the upper end of what its evidence allows."""
_MAX_RULES: Final = 12
"""Rules kept for one endpoint, the best supported first."""
_MAX_ENDPOINTS: Final = 24
"""Most recent distinct endpoints of a caller that are paired up; 24 squared is what one call may cost."""


class GapLearner:
    """How long callers are silent within a session: a histogram by powers of two of a second."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._gaps: dict[int, int] = defaultdict(int)

    def update(self, caller: str, ts: float) -> None:
        """Count one call of a caller."""
        before = self._last.get(caller)
        if before is not None and 0 <= ts - before < IDLE_SECONDS:
            self._gaps[int((ts - before) * 16).bit_length()] += 1
        elif len(self._last) > 200_000:
            self._last.clear()
        self._last[caller] = ts

    def merge(self, other: "GapLearner") -> None:
        """Take over another's gaps (of other callers)."""
        for bucket, count in other._gaps.items():
            self._gaps[bucket] += count

    def finish(self) -> float:
        """Tell the gap that at most one in a thousand exceeds, in seconds, in [1, IDLE_SECONDS]."""
        total = sum(self._gaps.values())
        if total < 1000:
            return IDLE_SECONDS
        below = 0
        for bucket in sorted(self._gaps):
            below += self._gaps[bucket]
            if below >= total * 0.999:
                return min(IDLE_SECONDS, max(1.0, 2.0**bucket / 16))
        return IDLE_SECONDS


class SequenceLearner:
    """Counts, for each step, what had come before it; the caller's history is the owner's."""

    def __init__(self, gap: float) -> None:
        self._gap = gap
        self._next: dict[str, dict[str, Support]] = defaultdict(dict)
        self._steps: dict[tuple[str, str], int] = defaultdict(int)
        """(endpoint, since) -> steps at the endpoint with `since` in their history (START: with a complete history)."""
        self._obeyed: dict[tuple[str, str, str], int] = defaultdict(int)
        """(endpoint, since, needs) -> of these, steps with `needs` after `since`."""

    def update(self, endpoint: str, history: CallerHistory, caller: str, window: int = 0) -> None:
        """Count one step, before it is added to the history."""
        complete = history.watched >= self._gap
        previous = history.recent[-1] if history.recent else START
        if previous or complete:
            following = self._next[previous]
            if endpoint not in following:
                following[endpoint] = Support()
            following[endpoint].add(caller, window)
        recent = sorted(history.ever.items(), key=lambda item: -item[1])[:_MAX_ENDPOINTS]
        if complete:
            self._steps[endpoint, START] += 1
            for needs, _ in recent:
                self._obeyed[endpoint, START, needs] += 1
        for index, (since, _) in enumerate(recent):
            self._steps[endpoint, since] += 1
            for needs, _ in recent[:index]:
                self._obeyed[endpoint, since, needs] += 1

    def merge(self, other: "SequenceLearner") -> None:
        """Take over another's counts (of other callers, or of a later time with the histories carried over)."""
        for previous, following in other._next.items():
            for endpoint, support in following.items():
                self._next[previous].setdefault(endpoint, Support()).merge(support)
        for key, count in other._steps.items():
            self._steps[key] += count
        for rule, count in other._obeyed.items():
            self._obeyed[rule] += count

    def finish(self, quorum: Quorum, share: float = 1.0) -> SequenceModel:
        """Mine the rules and transitions; `share` as for Prior."""
        return SequenceModel(self._gap, self._rules(share), self._transitions(quorum, share))

    def _rules(self, share: float) -> dict[str, tuple[PrecedenceRule, ...]]:
        found: dict[str, list[PrecedenceRule]] = defaultdict(list)
        for (endpoint, since, needs), obeyed in self._obeyed.items():
            n = self._steps[endpoint, since]
            if n < _MIN_SUPPORT or needs == endpoint:
                continue
            amount = min(MAX_SURPRISE, surprise(((n - obeyed) / share + 1) / (n / share + 2)))
            if amount >= _MIN_SURPRISE:
                found[endpoint].append(PrecedenceRule(needs, round(amount, 4), n, since))
        return {endpoint: _strongest(rules) for endpoint, rules in sorted(found.items())}

    def _transitions(self, quorum: Quorum, share: float) -> dict[str, Transition]:
        prior = Prior(share)
        counted = {}
        for previous, following in self._next.items():
            n = sum(support.count for support in following.values())
            rare = rare_callers(following.values(), quorum)
            counted[previous] = (n, rare)
            prior.add(FindingCode.TRANSITION, n, rare)
        return {
            previous: Transition(
                n,
                frozenset(endpoint for endpoint, support in self._next[previous].items() if quorum.has(support)),
                prior.surprise(FindingCode.TRANSITION, n, rare),
            )
            for previous, (n, rare) in sorted(counted.items())
        }


def _strongest(rules: list[PrecedenceRule]) -> tuple[PrecedenceRule, ...]:
    """Keep the best supported rules; of rules with the same need, those with different reach are different rules."""
    ordered = sorted(rules, key=lambda rule: (-rule.surprise, rule.needs, rule.since))
    return tuple(ordered[:_MAX_RULES])
