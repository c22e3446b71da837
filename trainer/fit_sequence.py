"""Workflows from sessions: precedence rules and transitions (fits `engine/sequence.py`).

Sees the calls of a workload in time order and keeps every caller's history as the server does (`engine/history.py`), so that
what is mined is what will be checked. The two halves, and what bounds them: `precedence.py` and `transitions.py`.
"""

from collections import defaultdict

from authz_server.engine.history import IDLE_SECONDS, CallerHistory
from authz_server.engine.sequence import SequenceModel
from trainer.precedence import PrecedenceLearner
from trainer.support import Quorum
from trainer.transitions import TransitionLearner

__all__ = ["GapLearner", "SequenceLearner"]


class GapLearner:
    """How long callers are silent within a session: a histogram by powers of two of a second."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._before: dict[str, float] = {}
        """When callers were last seen that weren't since `_since`; who wasn't for `IDLE_SECONDS` is in neither."""
        self._since = 0.0
        self._gaps: dict[int, int] = defaultdict(int)

    def update(self, caller: str, ts: float) -> None:
        """Count one call of a caller."""
        if ts - self._since >= IDLE_SECONDS:
            self._before = self._last if ts - self._since < 2 * IDLE_SECONDS else {}
            self._last, self._since = {}, ts
        before = self._last.get(caller)
        if before is None:
            before = self._before.get(caller)
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
    """Learns what came before each step; the caller's history is the owner's."""

    def __init__(self, gap: float) -> None:
        self._gap = gap
        self._precedence = PrecedenceLearner()
        self._transitions = TransitionLearner()

    def update(self, endpoint: str, history: CallerHistory, caller: str, window: int = 0) -> None:
        """Learn one step, before it is added to the history."""
        complete = history.watched >= self._gap
        self._transitions.update(endpoint, history.recent, caller, window, complete=complete)
        self._precedence.update(endpoint, history, caller, window, complete=complete)

    def merge(self, other: "SequenceLearner") -> None:
        """Take over another's counts (of other callers, or of a later time with the histories carried over)."""
        self._precedence.merge(other._precedence)
        self._transitions.merge(other._transitions)

    def finish(self, quorum: Quorum, share: float = 1.0) -> SequenceModel:
        """Mine the rules and transitions; `share` as for Prior."""
        transitions, contexts, floor = self._transitions.finish(quorum, share)
        return SequenceModel(self._gap, self._precedence.finish(quorum, share), transitions, contexts, floor)
