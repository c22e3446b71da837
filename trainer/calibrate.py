"""From held-out scores to calibrations (fits `engine/calibration.py`)."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

import msgspec

from authz_server.engine.calibration import MIN_EXCESSES, Calibration

__all__ = ["MARGIN", "MIN_OWN", "CalibrationLearner", "mesh_calibration", "to_calibration"]

MIN_OWN: Final = 20_000
"""Held-out calls from which on an endpoint has a calibration of its own; below, its workload's pooled one serves it better."""
_MAX_MESH_SCORES: Final = 200
_MAX_SCORES: Final = 2_000
"""Distinct positive scores kept."""
MARGIN: Final = 0.1
"""Added to held-out scores, about 26 % in chance: the scoring models saw other calls than the published one, so that the same
oddity scores a little more or less with each, and equal calls must not end up on the wrong side of each other."""
_TAIL_SHARE: Final = 0.005
"""The tail is fitted to the scores of the highest half percent of calls (SPOT uses 2 % of the calls)."""


class CalibrationLearner:
    """Collects the held-out scores of one workload by endpoint."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._scores: dict[str, list[float]] = {}

    def update(self, endpoint: str, score: float) -> None:
        """Count one held-out call."""
        self._counts[endpoint] = self._counts.get(endpoint, 0) + 1
        if score > 0:
            self._scores.setdefault(endpoint, []).append(round(score + MARGIN, 3))

    def merge(self, other: "CalibrationLearner") -> None:
        """Take over another's scores."""
        for endpoint, count in other._counts.items():
            self._counts[endpoint] = self._counts.get(endpoint, 0) + count
        for endpoint, scores in other._scores.items():
            self._scores.setdefault(endpoint, []).extend(scores)

    def finish(self) -> dict[str, Calibration]:
        """Make the calibrations: pooled under the empty key, and an endpoint's own where it has enough calls."""
        pooled = [score for scores in self._scores.values() for score in scores]
        found = {"": to_calibration(sum(self._counts.values()), pooled)}
        for endpoint, count in sorted(self._counts.items()):
            if endpoint and count >= MIN_OWN:
                found[endpoint] = to_calibration(count, self._scores.get(endpoint, []))
        return found


def mesh_calibration(learners: Iterable[CalibrationLearner]) -> Calibration:
    """Calibrate on the calls of all workloads together, as far as high scores go."""
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


def to_calibration(n: int, scores: list[float]) -> Calibration:
    """Calibrate on `scores`, the positive or highest ones of `n` held-out calls."""
    scores = sorted(scores)
    excesses = max(MIN_EXCESSES, int(n * _TAIL_SHARE))
    tail_from = tail_scale = 0.0
    if len(scores) > excesses:
        tail_from = scores[-excesses - 1]
        tail_scale = round(sum(score - tail_from for score in scores[-excesses:]) / excesses, 4)
    distinct = _thinned(sorted(set(scores)))
    above = tuple([len(scores) - bisect_right(scores, score) for score in distinct])
    return Calibration(n, len(scores), tuple(distinct), above, tail_from, tail_scale, excesses if tail_scale else 0)


def _thinned(scores: list[float]) -> list[float]:
    """Keep all of the highest half, and of the lower ones as many, evenly."""
    if len(scores) <= _MAX_SCORES:
        return scores
    lower, upper = scores[: -_MAX_SCORES // 2], scores[-_MAX_SCORES // 2 :]
    return lower[:: -(-len(lower) * 2 // _MAX_SCORES)] + upper
