"""Which parameters there are, each with what it looks like; for `fit_parameters.py`.

What callers sent is gathered first and counted in bulk: most of it repeats, and counting alike things at once costs a tenth of
taking each by itself. Bounded, since an attacker chooses names too.
"""

from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Final

from authz_server.engine.call import Parameter
from authz_server.engine.parameters import ParameterProfile
from trainer.parameter_learner import ParameterLearner, is_formless
from trainer.prior import Prior
from trainer.support import Quorum, Support, rare_callers, sprayed

__all__ = ["MAX_PARAMETERS", "NamesLearner"]

MAX_PARAMETERS: Final = 512
"""Parameters of one endpoint that are learned; an attacker chooses names too."""
_GATHERED: Final = 2048
"""Observations that are gathered before they are counted."""


class NamesLearner:
    """Learners by parameter key, at most `MAX_PARAMETERS`."""

    def __init__(self) -> None:
        self._learners: dict[str, ParameterLearner] = {}
        self._overflow = Support()
        self._gathered: list[tuple[Parameter, str]] = []
        self._anonymous: list[Parameter] = []
        self._window = 0

    def update(self, parameters: Sequence[Parameter], caller: str, window: int) -> None:
        """Count the parameters of one call."""
        if window != self._window or len(self._gathered) + len(self._anonymous) > _GATHERED:
            self._count()
            self._window = window
        if caller:
            self._gathered.extend(zip(parameters, repeat(caller)))
        else:
            self._anonymous.extend(parameters)

    def _count(self) -> None:
        for (parameter, caller), times in Tally(self._gathered).items():
            self._add(parameter, caller, times)
        for parameter, times in Tally(self._anonymous).items():
            self._add(parameter, "", times)
        self._gathered.clear()
        self._anonymous.clear()

    def _add(self, parameter: Parameter, caller: str, times: int) -> None:
        learner = self._learners.get(parameter.key)
        if learner is None:
            if len(self._learners) >= MAX_PARAMETERS:
                self._make_room()
            if len(self._learners) >= MAX_PARAMETERS:
                self._overflow.add(caller, self._window, times)
                return
            learner = self._learners[parameter.key] = ParameterLearner(formless=is_formless(parameter.key))
        learner.update(parameter, caller, self._window, times)

    def settle(self) -> None:
        """Count and take apart everything gathered so far, which needs less memory then."""
        self._count()
        for learner in self._learners.values():
            learner.settle()

    def merge(self, other: "NamesLearner") -> None:
        """Take over another's observations; the other stays as it is."""
        self._count()
        other._count()
        self._overflow.merge(other._overflow)
        for key, learner in sorted(other._learners.items()):
            mine = self._learners.get(key)
            if mine is None:
                if len(self._learners) >= MAX_PARAMETERS:
                    self._make_room()
                if len(self._learners) >= MAX_PARAMETERS:
                    learner.settle()
                    self._overflow.merge(learner.total)
                    continue
                mine = self._learners[key] = ParameterLearner(formless=is_formless(key))
            mine.merge(learner)

    def _make_room(self) -> None:
        """Forget the names that one caller invented."""
        for learner in self._learners.values():
            learner.settle()
        for key in sprayed({key: learner.total for key, learner in self._learners.items()}, MAX_PARAMETERS // 8):
            self._overflow.merge(self._learners.pop(key).total)

    @property
    def learners(self) -> Mapping[str, ParameterLearner]:
        """The learners by key, with everything counted."""
        self._count()
        return self._learners

    def rare(self, quorum: Quorum) -> int:
        """Count the callers that brought parameters which aren't normal."""
        self.settle()
        return rare_callers([self._overflow, *(learner.total for learner in self._learners.values())], quorum)

    def pool(self, prior: Prior, quorum: Quorum) -> None:
        """Tell the prior how often something new came."""
        for learner in self.learners.values():
            learner.pool(prior, quorum)

    def finish(self, prior: Prior, quorum: Quorum, kin: Mapping[str, ParameterLearner]) -> dict[str, ParameterProfile]:
        """Make the profiles of the normal ones; `kin` has, for those that learn together with others, what they learned."""
        return {
            key: kin.get(key, learner).finish(prior, quorum)
            for key, learner in sorted(self.learners.items())
            if quorum.has(learner.total) or key.startswith("path:")
        }
