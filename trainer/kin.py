"""Parameters of one name that behave alike at several endpoints learn together.

`email` at sign-up and at the profile page is the same thing, whether it comes by query or body; what is normal at one is evidence
for the other. Alike are those with nearly the same types and character classes and overlapping numbers, so that `id` as an
integer here and as a UUID there stay apart.
"""

from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from authz_server.engine.profile import Interval
from trainer.look import is_formless
from trainer.parameter_learner import ParameterLearner, Traits
from trainer.support import Quorum

__all__ = ["to_kin"]

_ALIKE: Final = 0.6
"""Least overlap (Jaccard) of types, of character classes, and of number intervals."""

Key = tuple[str, str]
"""Endpoint and parameter key."""
Item = TypeVar("Item")


def to_kin(learners: Mapping[Key, ParameterLearner], quorum: Quorum) -> dict[Key, ParameterLearner]:
    """Map each learner that has kin to what they learned together; the learners themselves stay as they are."""
    by_name: dict[str, list[Key]] = {}
    for key in sorted(learners):
        location, _, name = key[1].partition(":")
        if location != "path":
            by_name.setdefault(name, []).append(key)
    kin = {}
    for keys in by_name.values():
        for family in _families({key: learners[key].traits(quorum) for key in keys} if len(keys) > 1 else {}):
            together = ParameterLearner(formless=is_formless(family[0][1]))
            for key in family:
                together.merge(learners[key])
            kin.update(dict.fromkeys(family, together))
    return kin


def _families(traits: Mapping[Key, Traits]) -> list[list[Key]]:
    """Group what is alike, each with the most observed one of its group; families of one are left out."""
    families: list[tuple[Traits, list[Key]]] = []
    for key, its in sorted(traits.items(), key=lambda item: (-item[1].n, item[0])):
        for head, members in families:
            if _alike(head, its):
                members.append(key)
                break
        else:
            families.append((its, [key]))
    return [members for _, members in families if len(members) > 1]


def _alike(one: Traits, other: Traits) -> bool:
    if _overlap(one.kinds, other.kinds) < _ALIKE or _overlap(one.classes, other.classes) < _ALIKE:
        return False
    if one.numbers is None or other.numbers is None:
        return one.numbers is other.numbers
    return _shared(one.numbers, other.numbers) >= _ALIKE


def _overlap(one: Iterable[Item], other: Iterable[Item]) -> float:
    mine, theirs = set(one), set(other)
    return len(mine & theirs) / len(mine | theirs) if mine or theirs else 1.0


def _shared(one: Interval, other: Interval) -> float:
    """Share of the joint span that both cover; integers count as one wide."""
    both = min(one.high, other.high) - max(one.low, other.low) + 1
    return max(0.0, both) / (max(one.high, other.high) - min(one.low, other.low) + 1)
