"""How often something new comes in contexts of the same kind and age: the pooled prior of `engine/evidence.py`.

A young endpoint has little history of its own; what similar ones of its age did is the best guess. Contexts are pooled by check
and by the power of two of their observations, with the neighbouring powers.
"""

from collections import defaultdict
from typing import Final

from authz_server.engine.evidence import chance_of_new, surprise
from authz_server.engine.finding import FindingCode

__all__ = ["Prior"]

_NEVER_SURE: Final = 1.0
"""One new thing more than was seen: with nothing new in n observations the chance is still about 1/n."""


class Prior:
    """Pools (observations, new things) of all contexts, then tells how surprising something new is in one of them.

    `share` is the share of the traffic that was seen, in (0, 1]: a model of four fifths of the calls is to be as surprised as
    the one of all calls that it stands in for, so everything is counted as if in proportion.
    """

    def __init__(self, share: float = 1.0) -> None:
        self._share = share
        self._seen: dict[tuple[FindingCode, int], float] = defaultdict(float)
        self._rare: dict[tuple[FindingCode, int], float] = defaultdict(float)
        self._rates: dict[tuple[FindingCode, int], float] = {}

    def add(self, code: FindingCode, n: int, rare: int) -> None:
        """Pool one context: `rare` new things among `n` observations."""
        n = round(n / self._share)
        key = (code, n.bit_length())
        self._seen[key] += n
        self._rare[key] += rare / self._share
        self._rates.clear()

    def surprise(self, code: FindingCode, n: int, rare: int) -> float:
        """Tell -log10 of the chance that the next observation of a context is new."""
        n, new = round(n / self._share), rare / self._share
        return round(surprise(chance_of_new(n, new, self._rate(code, n.bit_length()))), 4)

    def _rate(self, code: FindingCode, age: int) -> float:
        """Tell how often something new came in contexts of that age, and of those next to it."""
        rate = self._rates.get((code, age))
        if rate is None:
            ages = range(age - 1, age + 2)
            seen = sum(self._seen.get((code, one), 0.0) for one in ages)
            rare = sum(self._rare.get((code, one), 0.0) for one in ages)
            rate = self._rates[code, age] = (rare + _NEVER_SURE) / (seen + _NEVER_SURE)
        return rate
