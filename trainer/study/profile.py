"""What is in each cluster, in the words of the table: its share, what is most special about its names, its typical amounts."""

from typing import Final

import msgspec
import numpy as np

from trainer.study.clusters import Integers
from trainer.study.features import Encoding, levels_of
from trainer.study.sample import OTHER
from trainer.study.table import Table, shown

__all__ = ["Profile", "Trait", "profile"]

_TRAITS: Final = 4


class Trait(msgspec.Struct, frozen=True):
    """A level of a category: its share in the cluster, and in all other clusters."""

    name: str
    level: str
    inside: float
    outside: float


class Profile(msgspec.Struct, frozen=True):
    """One cluster, numbered from 1: its calls in the sample, its most special levels, the medians of amounts known in it."""

    cluster: int
    calls: int
    traits: tuple[Trait, ...]
    medians: dict[str, float]


def profile(table: Table, encoding: Encoding, clusters: Integers, count: int) -> tuple[Profile, ...]:
    """Describe each of `count` clusters."""
    return tuple([_profile(table, encoding, clusters == one, one + 1) for one in range(count)])


def _profile(table: Table, encoding: Encoding, inside: Integers, number: int) -> Profile:
    here, there = int(inside.sum()), int((~inside).sum())
    traits = []
    for feature in encoding.categories:
        levels = np.array(levels_of(feature, table.categories[feature.name]), dtype=object)
        for level in (*feature.levels, OTHER):
            equal = levels == level
            share = float((equal & inside).sum()) / max(1, here)
            other = float((equal & ~inside).sum()) / max(1, there)
            if share > other:
                traits.append(Trait(feature.name, shown(level), share, other))
    traits.sort(key=lambda trait: (trait.outside - trait.inside, trait.name, trait.level))
    medians = {}
    for name, column in table.amounts.items():
        known = column[inside & ~np.isnan(column)]
        if len(known):
            medians[name] = float(np.median(known))
    return Profile(number, here, tuple(traits[:_TRAITS]), medians)
