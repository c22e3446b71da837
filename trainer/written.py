"""How values are written anywhere in a workload, from what was learned of each parameter.

In: the learners of parameters. Out: by place (`engine/parameters.py`'s `QUERY`, `h` for headers, `c` for cookies) one profile
that values of unknown parameters are held against. It costs nothing per call, since all was counted already.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from authz_server.engine.finding import FindingCode
from authz_server.engine.parameters import QUERY
from authz_server.engine.profile import ParameterProfile
from trainer.parameter_learner import ParameterLearner
from trainer.prior import Prior
from trainer.support import Quorum

__all__ = ["as_written", "to_written"]

_CHECKS: Final = (FindingCode.CHARACTERS, FindingCode.SYMBOLS, FindingCode.LENGTH)
"""How a value is written; its type and values are matters of its parameter, or of its position in a path."""
_PLACES: Final = {"q": QUERY, "b": QUERY, "h": "h", "c": "c"}
"""Where a value came, by the first letter of its key; path segments have a profile of their own."""


def to_written(
    learners: Mapping[tuple[str, str], ParameterLearner], shared: Mapping[str, ParameterLearner], prior: Prior, quorum: Quorum
) -> dict[str, ParameterProfile]:
    """Profile the values of each place together.

    `learners` by endpoint and parameter key, `shared` by key: headers and cookies. They stay as they are.
    """
    together: dict[str, ParameterLearner] = {}
    keyed = [(key, learner) for (_, key), learner in sorted(learners.items())]
    for key, learner in [*keyed, *sorted(shared.items())]:
        place = _PLACES.get(key[0])
        if place is not None:
            together.setdefault(place, ParameterLearner()).merge_written(learner)
    return {place: as_written(learner.finish(prior, quorum)) for place, learner in together.items()}


def as_written(profile: ParameterProfile) -> ParameterProfile:
    """Keep of a profile how values are written, whosever they are."""
    surprises = {code: amount for code, amount in profile.surprises.items() if code in _CHECKS}
    return msgspec.structs.replace(profile, surprises=surprises, values=None)
