"""How path segments are written anywhere in a workload, from what was learned of each endpoint.

In: the learners of path parameters, and the endpoints with their support, whose names are segments too. Out: one profile that
segments of unknown endpoints are held against (`engine/unplaced.py`). It costs nothing per call, since all was counted already.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from authz_server.engine.endpoint import WILDCARD
from authz_server.engine.observe import Observer
from authz_server.engine.profile import ParameterProfile
from trainer.look import to_look
from trainer.parameter_learner import ParameterLearner
from trainer.prior import Prior
from trainer.support import Quorum, Support
from trainer.written import as_written

__all__ = ["to_segments"]

_KEY: Final = "path:0"


def to_segments(
    learners: Mapping[tuple[str, str], ParameterLearner], endpoints: Mapping[str, Support], prior: Prior, quorum: Quorum
) -> ParameterProfile | None:
    """Profile the segments of all `endpoints` (`METHOD /template`) together; None where there are none.

    `learners` by endpoint and parameter key; they stay as they are.
    """
    together = ParameterLearner()
    for (_, key), learner in sorted(learners.items()):
        if key.startswith("path:"):
            together.merge(learner)
    observer = Observer()
    for endpoint, support in sorted(endpoints.items()):
        for name in endpoint.partition(" ")[2].split("/"):
            if name and name != WILDCARD:
                together.add_look(to_look(observer.text(_KEY, name)), support)
    if not together.total.count:
        return None
    return msgspec.structs.replace(as_written(together.finish(prior, quorum)), numbers=None, structures=None)
