"""Which characters the parameters of a workload have (fits `engine/alphabet.py`).

In: what was learned of each parameter. Out: all that is normal for any of them, and how often what was new to one was new to all.
Passwords and the like don't count: that people make them up of any characters says nothing of other fields. A name counts once,
at however many endpoints it stands: that `email` has an `@` here and there is one fact. Follows from what adds up exactly, so the
result doesn't depend on order or partition.
"""

import math
from collections import Counter as Tally
from collections.abc import Iterable
from typing import Final

from authz_server.engine.alphabet import Alphabet
from trainer.look import is_formless
from trainer.parameter_learner import ParameterLearner
from trainer.support import Quorum

__all__ = ["fit_alphabet"]

_LATE: Final = 0.01
"""A class that at most this share of a parameter's values has came late where it is normal: it stands for the next new one."""


def fit_alphabet(learners: Iterable[tuple[str, ParameterLearner]], quorum: Quorum) -> Alphabet:
    """Make the alphabet of parameters, each with its key; one key may come several times."""
    values: Tally[str] = Tally()
    normal: dict[str, Tally[int]] = {}
    rare: dict[str, set[int]] = {}
    for key, learner in learners:
        if quorum.has(learner.total) and not is_formless(key):
            name = key if key.startswith("path:") else key.partition(":")[2]
            values[name] += learner.total.count
            normal.setdefault(name, Tally()).update(learner.normal_classes(quorum))
            rare.setdefault(name, set()).update(learner.rare_classes(quorum))
    having = Tally(one for counts in normal.values() for one in counts)
    others = [having[one] for name, classes in rare.items() for one in classes if one not in normal[name]]
    for name, counts in normal.items():
        others += [having[one] - 1 for one, count in counts.items() if count <= _LATE * values[name]]
    return Alphabet(sum(having), round(-math.log10((others.count(0) + 1) / (len(others) + 2)), 4))
