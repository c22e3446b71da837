"""From a score to a p-value: the share of normal calls at least this odd, measured on held-out calls.

Conformal prediction (Vovk 2005) counts: (1 + k) / (1 + n) with k of n held-out calls scoring at least as high. That keeps the
promise on average over all held-out sets and for independent calls; a user has one set, and what is odd comes in clusters (the
same form sent twice, one user with an unusual name, one new release). So k is replaced by its upper limit at one standard error
(training-conditional validity, Vovk 2012), also where k is 0, and counted in clusters: with m clusters m + 1 + sqrt(m + 0.75)
(Gehrels 1986, eq. 7). Denying at p <= budget then refuses at most that share of normal calls in five of six trainings.

Beyond the highest held-out score an exponential tail goes on from there (peaks over threshold with shape 0, as in SPOT, Siffer
2017): that a call is odder than all of them is counted, how much odder is extrapolated.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

__all__ = ["MESH", "MIN_EXCESSES", "Calibration", "calibrated", "p_value"]

MIN_EXCESSES: Final = 30
"""Excesses needed before a tail is fitted; with fewer, p stops where counting ends, at 1.87 clusters in n."""
MESH: Final = "*"
"""The key of the calibration of all workloads together, which small ones have beside their own."""
_MAX_EXCESS: Final = 600.0
"""Scales beyond the highest score that are told apart: a p-value is small, never 0."""


class Calibration(msgspec.Struct, frozen=True, gc=False):
    """The held-out scores of one context: `n` calls, `positive` of them with a score above 0.

    `scores` are the distinct positive ones, ascending, `above[i]` how many calls scored more than `scores[i]`. Where there were
    too many some are left out, and a score in between then counts as the next lower one: p is never too small.
    `tail_scale` (in units of score): how far one has to go beyond the highest score for a chance e times smaller, fitted to
    `tail_count` excesses over `tail_from`; 0 means there is no tail. `together`: how many odd calls come in a cluster, 1 or more.
    """

    n: int = 0
    positive: int = 0
    scores: tuple[float, ...] = ()
    above: tuple[int, ...] = ()
    tail_from: float = 0.0
    tail_scale: float = 0.0
    tail_count: int = 0
    together: float = 1.0


def p_value(calibration: Calibration, score: float) -> float:
    """Calibrate a score, in (0, 1]; 1 for a call without any surprise.

    >>> round(p_value(Calibration(n=999, positive=2, scores=(1.0, 2.0), above=(1, 0)), 2.0), 5)
    0.00332
    """
    if score <= 0:
        return 1.0
    scores = calibration.scores
    lower = bisect_left(scores, score)
    at_least = calibration.above[lower - 1] if lower else calibration.positive
    counted = _counted(at_least, calibration.n, calibration.together)
    if at_least > 0 or not scores or calibration.tail_scale <= 0:
        return counted
    return counted * math.exp(-min((score - scores[-1]) / calibration.tail_scale, _MAX_EXCESS))


@lru_cache(maxsize=4096)
def _counted(at_least: int, n: int, together: float) -> float:
    """Tell the upper limit of the share of calls of which `at_least` were counted among `n`."""
    clusters = at_least / together
    limit = together * (clusters + 1 + math.sqrt(clusters + 0.75))
    return min(1.0, limit / (n + together))


_NONE: Final = Calibration()


def calibrated(calibrations: Mapping[str, Calibration], endpoint: str, score: float) -> float:
    """Calibrate a score with the calibration of its endpoint, else of its workload, and beyond what these know with the mesh's.

    n calls can't prove a p-value below about 2 / n, so a workload with few calls could refuse nothing for months. Scores are
    surprises, which mean the same everywhere, so for a score higher than any of the workload's own, those of all workloads tell:
    exchangeability across workloads is assumed there, and only there.

    >>> own = {"": Calibration(n=99), MESH: Calibration(n=9_999)}
    >>> [round(calibrated(known, "GET /", 3.0), 5) for known in (own, {"": Calibration(n=99)})]
    [0.00019, 0.01866]
    """
    own = calibrations.get(endpoint) or calibrations.get("", _NONE)
    chance = p_value(own, score)
    scores = own.scores
    if (scores and scores[-1] >= score) or score <= 0:
        return chance
    mesh = calibrations.get(MESH)
    return chance if mesh is None else min(chance, p_value(mesh, score))
