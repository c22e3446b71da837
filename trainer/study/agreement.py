"""How well clusters agree with what is known of calls: labels of the traffic's collector, or our own verdicts.

The clusters were made without either. The smallest cluster of the training part is read as 'anomalous', as such studies do;
each other cluster's rates stand beside it, so that a reader sees whether another reading would have been better.
"""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

import msgspec
from sklearn.metrics import adjusted_rand_score, homogeneity_completeness_v_measure

from trainer.evaluate import Rate, wilson
from trainer.study.table import shown

__all__ = ["Agreement", "Part", "Reading", "agree"]


class Part(StrEnum):
    """Which calls were looked at."""

    ALL = "all"
    TEST = "test"


class Reading(msgspec.Struct, frozen=True):
    """If `cluster` (from 1) is read as 'anomalous': the share of the positives, and of the others, that is in it."""

    cluster: int
    true_positives: Rate
    false_positives: Rate


class Agreement(msgspec.Struct, frozen=True):
    """Clusters against two classes, `positive` and the other, over the `n` calls of which the class is known.

    `rand`: adjusted Rand index, 1 for the same, 0 for chance. `homogeneity`: 1 if each cluster holds one class; `completeness`:
    1 if each class is in one cluster. `purity`: right guesses if each cluster is taken for its majority; `majority`: right
    guesses without clusters. None, and no kinds: only one class is there. `kinds`: positives of each kind, by cluster.
    """

    against: str
    part: Part
    positive: str
    n: int
    positives: int
    rand: float | None
    homogeneity: float | None
    completeness: float | None
    purity: float
    majority: float
    smallest: int
    readings: tuple[Reading, ...]
    kinds: dict[str, tuple[int, ...]]


def agree(
    against: str, positive: str, part: Part, classes: Sequence[str | None], clusters: Sequence[int], count: int
) -> Agreement | None:
    """Compare clusters (from 0, the last of `count` the smallest) with classes.

    A class is the kind of a positive, empty for the others, None where unknown; nothing is known of any call: None.
    """
    known = [(one, cluster) for one, cluster in zip(classes, clusters, strict=True) if one is not None]
    if not known:
        return None
    truth = [bool(one) for one, _ in known]
    assigned = [cluster for _, cluster in known]
    cells = Counter(zip(truth, assigned, strict=True))
    positives = sum(truth)
    both = 0 < positives < len(known)
    rand = homogeneity = completeness = None
    if both:
        rand = float(adjusted_rand_score(truth, assigned))
        homogeneity, completeness, _ = (float(one) for one in homogeneity_completeness_v_measure(truth, assigned))
    readings = [
        Reading(one + 1, wilson(cells[True, one], positives), wilson(cells[False, one], len(known) - positives))
        for one in range(count)
    ]
    kinds = Counter(known)
    ranked = sorted({kind for kind, _ in known if kind}, key=lambda kind: (-sum(kinds[kind, one] for one in range(count)), kind))
    return Agreement(
        against,
        part,
        positive,
        len(known),
        positives,
        rand,
        homogeneity,
        completeness,
        sum([max(cells[True, one], cells[False, one]) for one in range(count)]) / len(known),
        max(positives, len(known) - positives) / len(known),
        count,
        tuple(readings),
        {shown(kind): tuple([kinds[kind, one] for one in range(count)]) for kind in ranked[:20]},
    )
