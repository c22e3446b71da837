"""How numbers are spread, in bounded memory: buckets of 2 % (DDSketch, Masson 2019). Merging adds up exactly."""

import math
from typing import Final

from trainer.description import Spread

__all__ = ["Spreader"]

_PER_E: Final = 50.0
"""Buckets per factor e: quantiles are within 1 % of a value that was seen."""


class Spreader:
    """Counts numbers from 0 up."""

    __slots__ = ("buckets", "high", "low", "n")

    def __init__(self) -> None:
        self.n = 0
        self.low, self.high = math.inf, 0.0
        self.buckets: dict[int, int] = {}

    def add(self, number: float, times: int = 1) -> None:
        """Count a number, from 0 up, so many times."""
        bucket = round(math.log(number) * _PER_E) if number > 1e-9 else -(1 << 30)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + times
        self.n += times
        self.low, self.high = min(self.low, number), max(self.high, number)

    def merge(self, other: "Spreader") -> None:
        """Take over another's counts; the other stays as it is."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.n += other.n
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def finish(self) -> Spread | None:
        """Tell how they are spread, None: there were none."""
        if not self.n:
            return None
        return Spread(self.n, self.low, self._quantile(0.5), self._quantile(0.99), self.high)

    def _quantile(self, share: float) -> float:
        below = bucket = 0
        for bucket, count in sorted(self.buckets.items()):  # noqa: B007  # the last one reached is what is asked for
            below += count
            if below >= share * self.n:
                break
        number = math.exp(bucket / _PER_E) if bucket > -(1 << 30) else 0.0
        return min(max(float(f"{number:.3g}"), self.low), self.high)
