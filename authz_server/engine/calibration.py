"""From a score to a p-value: the share of normal calls at least this odd, measured on held-out calls.

Conformal prediction (Vovk 2005): p = (1 + k) / (1 + n) with k of n held-out calls scoring at least as high. That keeps the
promise on average over all held-out sets; a user has one, so k gets its standard error added (training-conditional validity,
Vovk 2012), and denying at p <= budget then refuses at most that share of normal calls with good confidence. Beyond what n
allows an exponential tail is fitted to the excesses over a high threshold (peaks over threshold with shape 0, as in SPOT,
Siffer 2017).
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["MESH", "MIN_EXCESSES", "Calibration", "calibrated", "p_value"]

MIN_EXCESSES: Final = 30
"""Excesses needed before a tail is fitted; with fewer, p stops at 1 / (n + 1)."""
MESH: Final = "*"
"""The key of the calibration of all workloads together, which small ones have beside their own."""
_MAX_EXCESS: Final = 600.0
"""Scales beyond the threshold that are told apart: a p-value is small, never 0."""


class Calibration(msgspec.Struct, frozen=True, gc=False):
    """The held-out scores of one context: `n` calls, `positive` of them with a score above 0.

    `scores` are the distinct positive ones, ascending, `above[i]` how many calls scored more than `scores[i]`. Where there were
    too many some are left out, and a score in between then counts as the next lower one: p is never too small.
    `tail_from` and `tail_scale` (in units of score) describe the fitted tail; a scale of 0 means there is none.
    """

    n: int = 0
    positive: int = 0
    scores: tuple[float, ...] = ()
    above: tuple[int, ...] = ()
    tail_from: float = 0.0
    tail_scale: float = 0.0
    tail_count: int = 0


def p_value(calibration: Calibration, score: float) -> float:
    """Calibrate a score, in (0, 1]; 1 for a call without any surprise.

    >>> p_value(Calibration(n=999, positive=2, scores=(1.0, 2.0), above=(1, 0)), 2.0)
    0.003
    """
    if score <= 0:
        return 1.0
    lower = bisect_left(calibration.scores, score)
    at_least = calibration.above[lower - 1] if lower else calibration.positive
    counted = min(1.0, (1 + at_least + math.sqrt(at_least)) / (calibration.n + 1))
    if at_least > 0 or calibration.tail_scale <= 0:
        return counted
    excess = (score - calibration.tail_from) / calibration.tail_scale
    return min(counted, (1 + calibration.tail_count) / (calibration.n + 1) * math.exp(-min(excess, _MAX_EXCESS)))


_NONE: Final = Calibration()


def calibrated(calibrations: Mapping[str, Calibration], endpoint: str, score: float) -> float:
    """Calibrate a score with the calibration of its endpoint, else of its workload, and beyond what these know with the mesh's.

    n calls can't give a p-value below 1 / (n + 1), so a workload with few calls could refuse nothing for months. Scores are
    surprises, which mean the same everywhere, so for a score higher than any of the workload's own, those of all workloads tell:
    exchangeability across workloads is assumed there, and only there.

    >>> own = {"": Calibration(n=99), MESH: Calibration(n=9_999)}
    >>> calibrated(own, "GET /", 3.0), calibrated({"": Calibration(n=99)}, "GET /", 3.0)
    (0.0001, 0.01)
    """
    own = calibrations.get(endpoint) or calibrations.get("", _NONE)
    chance = p_value(own, score)
    mesh = calibrations.get(MESH)
    if mesh is None or score <= 0 or (own.scores and own.scores[-1] >= score):
        return chance
    return min(chance, p_value(mesh, score))
