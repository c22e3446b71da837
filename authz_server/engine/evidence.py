"""How surprising is something never seen, given how much was seen.

After n observations of a context, of which n1 were new things seen once, the chance that the next one is new is about n1/n
(Good 1953, eq. 9). *Never seen* is not yet *abnormal*: an unknown parameter where nothing new came in 10,000 calls has p = 1e-4,
where something new comes every tenth call p = 0.1.
"""

import math
from typing import Final

__all__ = ["MAX_SURPRISE", "PRIOR_WEIGHT", "chance_of_new", "surprise"]

PRIOR_WEIGHT: Final = 200.0
"""Observations that the pooled rate of similar contexts counts for; a context's own history outweighs it beyond that."""
MAX_SURPRISE: Final = 8.0
"""No single observation counts for more than one in 10^8: nobody has seen enough traffic to say more."""


def chance_of_new(n: int, rare: float, prior: float) -> float:
    """Estimate the chance that the next observation of a context is new.

    `n` observations so far, `rare` of them new things that haven't become normal (Good's n1), `prior` in (0, 1) the pooled chance
    in contexts of the same kind and age. A context without history is as surprising as the prior says.

    >>> round(chance_of_new(10_000, 0, 1e-4), 7)
    2e-06
    >>> round(chance_of_new(10_000, 1_000, 0.1), 2)
    0.1
    """
    return min(1.0, (rare + PRIOR_WEIGHT * prior) / (n + PRIOR_WEIGHT))


def surprise(chance: float) -> float:
    """Express a chance as -log10, in [0, `MAX_SURPRISE`].

    >>> surprise(0.001), surprise(0.0)
    (3.0, 8.0)
    """
    return MAX_SURPRISE if chance <= 10**-MAX_SURPRISE else max(0.0, -math.log10(chance))
