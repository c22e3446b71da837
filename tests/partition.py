"""Cut observations into parts, learn each by itself, and merge in any order: what every learner's battery needs."""

import random
from collections.abc import Callable, Sequence
from typing import Protocol, Self, TypeVar


class Mergeable(Protocol):
    """A learner, as far as merging goes."""

    def merge(self, other: Self, /) -> None:
        """Take over another's observations."""


L = TypeVar("L", bound=Mergeable)
T = TypeVar("T")


def parts_of(items: Sequence[T], parts: int, rng: random.Random) -> list[list[T]]:
    """Cut at random: some parts may be empty."""
    cut: list[list[T]] = [[] for _ in range(parts)]
    for item in items:
        cut[rng.randrange(parts)].append(item)
    return cut


def merged(make: Callable[[], L], update: Callable[[L, T], None], parts: Sequence[Sequence[T]], rng: random.Random) -> L:
    """Learn every part, then merge neighbours and strangers at random until one learner is left."""
    learners = []
    for part in parts:
        learner = make()
        for item in part:
            update(learner, item)
        learners.append(learner)
    while len(learners) > 1:
        taken = learners.pop(rng.randrange(len(learners)))
        learners[rng.randrange(len(learners))].merge(taken)
    return learners[0]
