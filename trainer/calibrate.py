"""From held-out scores to calibrations (fits `engine/calibration.py`).

What is odd seldom comes alone, and then n held-out calls tell less than n independent ones. How many come together is measured
by the index of dispersion: the variance of how many odd calls fall into equal parts of the traffic over their mean, which is 1
for calls that come independently and the size of the clusters for those that come in equal ones (Fano 1947). Nothing need be
known of what makes them come together: a form sent twice, a user, a release, an hour.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from authz_server.engine.calibration import MIN_EXCESSES, Calibration

__all__ = ["MARGIN", "MIN_OWN", "PARTS", "CalibrationLearner", "mesh_calibration", "to_calibration", "to_pooled", "to_together"]

MIN_OWN: Final = 20_000
"""Held-out calls from which on an endpoint has a calibration of its own; below, its workload's pooled one serves it better."""
_MAX_MESH_SCORES: Final = 200
_MAX_SCORES: Final = 2_000
"""Distinct positive scores kept."""
MARGIN: Final = 0.05
"""Added to held-out scores, about 12 % in chance: the scoring models saw other calls than the published one, so that the same
oddity scores a little more or less with each, and equal calls must not end up on the wrong side of each other."""
_TAIL_SHARE: Final = 0.005
"""The tail is fitted to the scores of the highest half percent of calls (SPOT uses 2 % of the calls)."""
_LEAST_SCALE: Final = 1 / math.log(10)
"""A score is a -log10 chance: one more of it is never taken for more than ten times odder, however alike the scores were."""

PARTS: Final = 512
"""Equal parts of the traffic that held-out calls are told apart by."""
_WIDTHS: Final = (1, 4, 16)
"""Parts taken as one when clusters are looked for, from a pair of calls to an hour's or a day's; the largest index counts."""
_FEW: Final = 10
"""Odd calls below which nothing can be said of clusters."""
_USUAL: Final = 2.0
"""What is then assumed: odd calls come in twos, as of a form that is sent twice. It is seldom fewer."""
_MOST: Final = 8.0
"""However many come together: or else one burst of oddities would blind a workload to all others."""

Held = tuple[float, int]
"""A held-out call's score and in which of `PARTS` of the traffic it came."""


class CalibrationLearner:
    """Collects the held-out scores of one workload by endpoint."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._scores: dict[str, list[Held]] = {}
        self._repeats: dict[str, int] = {}

    def count(self, endpoint: str, calls: int) -> None:
        """Count held-out calls of score zero."""
        self._counts[endpoint] = self._counts.get(endpoint, 0) + calls

    def update(self, endpoint: str, score: float, part: int = 0, who: str = "") -> None:
        """Count one held-out call that came in this of `PARTS` parts of the traffic.

        `who` names a caller and the odd thing about the call (empty: nobody known). Of one caller's calls with the same oddity no
        more than may come together count: or else whoever makes the same attack often enough would be calibrated as normal.
        """
        if score > 0 and who:
            repeats = self._repeats[who] = self._repeats.get(who, 0) + 1
            if repeats > _MOST:
                return
        self.count(endpoint, 1)
        if score > 0:
            self._scores.setdefault(endpoint, []).append((round(score + MARGIN, 3), part))

    def merge(self, other: "CalibrationLearner") -> None:
        """Take over another's scores."""
        for endpoint, count in other._counts.items():
            self._counts[endpoint] = self._counts.get(endpoint, 0) + count
        for endpoint, scores in other._scores.items():
            self._scores.setdefault(endpoint, []).extend(scores)

    def finish(self) -> dict[str, Calibration]:
        """Make the calibrations: pooled under the empty key, and an endpoint's own where it has enough calls."""
        found = {"": to_pooled(sum(self._counts.values()), [held for scores in self._scores.values() for held in scores])}
        for endpoint, count in sorted(self._counts.items()):
            if endpoint and count >= MIN_OWN:
                found[endpoint] = to_pooled(count, self._scores.get(endpoint, []))
        return found


def to_pooled(n: int, held: list[Held]) -> Calibration:
    """Calibrate on `held`, the positive ones of `n` held-out calls, counted in clusters."""
    if not held:
        return Calibration(n, together=_USUAL) if n else Calibration()
    highest = sorted(held)[-_excesses(n) :]
    return to_calibration(n, [score for score, _ in held], to_together([part for _, part in highest]))


def mesh_calibration(learners: Iterable[CalibrationLearner]) -> Calibration:
    """Calibrate on the calls of all workloads together, as far as high scores go.

    A part of the traffic is the same time for all of them, nearly: what comes together in several workloads is one cluster.
    """
    together = CalibrationLearner()
    for learner in learners:
        together.merge(learner)
    pooled = together.finish()[""]
    first = max(0, len(pooled.scores) - _MAX_MESH_SCORES)
    if not first:
        return pooled
    # Below the kept ones every score counts as the lowest of them does, which is too high a p-value, never too low a one.
    return msgspec.structs.replace(
        pooled, positive=pooled.above[first - 1], scores=pooled.scores[first:], above=pooled.above[first:]
    )


def to_together(parts: Sequence[int]) -> float:
    """Tell how many odd calls come in a cluster, from the part of the traffic that each came in; in [1, `_MOST`]."""
    if len(parts) < _FEW:
        return _USUAL
    return round(min(_MOST, max(1.0, *(_dispersion(parts, width) for width in _WIDTHS))), 2)


def _dispersion(parts: Sequence[int], width: int) -> float:
    """Give the index of dispersion of how many fall into each so wide window."""
    windows = PARTS // width
    counts = [0] * windows
    for part in parts:
        counts[part // width] += 1
    mean = len(parts) / windows
    return sum((count - mean) ** 2 for count in counts) / (windows - 1) / mean


def to_calibration(n: int, scores: list[float], together: float = 1.0) -> Calibration:
    """Calibrate on `scores`, the positive or highest ones of `n` held-out calls, of which so many come `together`."""
    scores = sorted(scores)
    excesses = min(_excesses(n), len(scores) - 1)
    tail_from = tail_scale = 0.0
    if excesses >= MIN_EXCESSES:
        tail_from = scores[-excesses - 1]
        mean = sum(score - tail_from for score in scores[-excesses:]) / excesses
        tail_scale = round(max(_LEAST_SCALE, mean * (1 + math.sqrt(together / excesses))), 4)
    distinct = _thinned(sorted(set(scores)))
    above = tuple([len(scores) - bisect_right(scores, score) for score in distinct])
    tail_count = excesses if tail_scale else 0
    return Calibration(n, len(scores), tuple(distinct), above, tail_from, tail_scale, tail_count, together)


def _excesses(n: int) -> int:
    return max(MIN_EXCESSES, int(n * _TAIL_SHARE))


def _thinned(scores: list[float]) -> list[float]:
    """Keep all of the highest half, and of the lower ones as many, evenly."""
    if len(scores) <= _MAX_SCORES:
        return scores
    lower, upper = scores[: -_MAX_SCORES // 2], scores[-_MAX_SCORES // 2 :]
    return lower[:: -(-len(lower) * 2 // _MAX_SCORES)] + upper
