"""Callers whose calls are odd far too often to be by chance: they neither teach nor calibrate.

An attacker who is already there while we learn would otherwise make novelty look usual. If N of a caller's n calls are odd where
a share q of everybody else's is, the chance of that is the binomial's upper tail; below `_CHANCE` it is the caller. The same odd
thing again and again counts once: whoever has a long name has it in every call, and by himself can't make it look usual. Where
such callers make up more of the traffic than `_MAX_SHARE`, the workload changed, and nobody is left out.
"""

from typing import Final

from scipy.stats import binom

from authz_server.engine.decide import to_score
from authz_server.engine.edges import EDGE_CODES
from authz_server.engine.finding import Surprise
from trainer.support import Quorum

__all__ = ["ODD", "Suspects", "to_oddity"]

ODD: Final = 2.5
"""Score from which on a held-out call counts as odd: one that the model gives a chance of 1 in 300."""
_MIN_ODD: Final = 3
_CHANCE: Final = 1e-6
_MAX_SHARE: Final = 0.05
_MAX_CALLERS: Final = 200_000
_MAX_ODD: Final = 256


class Suspects:
    """Counts calls and odd calls by caller."""

    def __init__(self) -> None:
        self._calls: dict[str, int] = {}
        self._odd: dict[str, set[str]] = {}
        self._total = self._total_odd = 0

    def count(self, caller: str, times: int) -> None:
        """Count held-out calls that nothing is odd about."""
        self._total += times
        if caller and (caller in self._calls or len(self._calls) < _MAX_CALLERS):
            self._calls[caller] = self._calls.get(caller, 0) + times

    def update(self, caller: str, score: float, what: str) -> None:
        """Count one held-out call; `what` names the oddest thing about it. Nothing can be said of anonymous ones."""
        self._total += 1
        self._total_odd += score >= ODD
        if caller and (caller in self._calls or len(self._calls) < _MAX_CALLERS):
            self._calls[caller] = self._calls.get(caller, 0) + 1
            if score >= ODD:
                odd = self._odd.setdefault(caller, set())
                if len(odd) < _MAX_ODD:
                    odd.add(what)

    def finish(self, quorum: Quorum) -> frozenset[str]:
        """Name the suspects; a heavy caller is a population and never one."""
        found = {
            caller
            for caller, odd in self._odd.items()
            if len(odd) >= _MIN_ODD and caller not in quorum.heavy and self._chance(caller, len(odd)) < _CHANCE
        }
        if sum(self._calls[caller] for caller in found) > _MAX_SHARE * self._total:
            return frozenset()
        return frozenset(found)

    def _chance(self, caller: str, odd: int) -> float:
        others = self._total - self._calls[caller]
        share = (self._total_odd - odd + 1) / (others + 1)
        return float(binom.sf(odd - 1, self._calls[caller], min(1.0, share)))


def to_oddity(endpoint: str, found: list[Surprise]) -> tuple[float, str]:
    """Tell how odd a call is apart from who calls, and name the oddest thing about it."""
    odd = [one for one in found if one.code not in EDGE_CODES]
    if not odd:
        return 0.0, ""
    most = max(odd, key=lambda one: one.amount)
    # What is sent everywhere alike is one odd thing, not one at each endpoint.
    where = "" if most.key.startswith(("header:", "cookie:")) else endpoint
    return to_score(odd), f"{where} {most.code} {most.key} {most.seen}"
