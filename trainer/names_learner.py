"""Which parameters there are, each with what it looks like; for `fit_parameters.py`.

Bounded, since an attacker chooses names too.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from authz_server.engine.finding import FindingCode
from authz_server.engine.profile import ParameterProfile
from trainer.look import Look, is_formless
from trainer.parameter_learner import ParameterLearner
from trainer.prior import Prior
from trainer.support import UNSEEN, Quorum, Support, rare_callers, sprayed

__all__ = ["MAX_PARAMETERS", "NamesLearner"]

_MIN_OBSERVED: Final = 50
_TIMES_EACH: Final = 20
"""Observations in all, and of each value on average, from which on a parameter's values are its own."""
MAX_PARAMETERS: Final = 512
"""Parameters of one endpoint that are learned; an attacker chooses names too."""


class NamesLearner:
    """Learners by parameter key, at most `MAX_PARAMETERS`."""

    def __init__(self) -> None:
        self.learners: dict[str, ParameterLearner] = {}
        self._overflow = UNSEEN

    def add_look(self, key: str, look: Look, support: Support) -> None:
        """Count observations of a parameter that look alike."""
        learner = self._learner(key)
        if learner is None:
            self._overflow = self._overflow.plus(support)
        else:
            learner.add_look(look, support)

    def merge(self, other: "NamesLearner") -> None:
        """Take over another's observations; the other stays as it is."""
        self._overflow = self._overflow.plus(other._overflow)
        for key, theirs in sorted(other.learners.items()):
            learner = self._learner(key)
            if learner is None:
                self._overflow = self._overflow.plus(theirs.total)
            else:
                learner.merge(theirs)

    def _learner(self, key: str) -> ParameterLearner | None:
        """Find or make the learner of a key; None: there are too many."""
        learner = self.learners.get(key)
        if learner is None:
            if len(self.learners) >= MAX_PARAMETERS:
                self._make_room()
            if len(self.learners) >= MAX_PARAMETERS:
                return None
            learner = self.learners[key] = ParameterLearner(formless=is_formless(key))
        return learner

    def _make_room(self) -> None:
        """Forget the names that one caller invented."""
        for key in sprayed({key: learner.total for key, learner in self.learners.items()}, MAX_PARAMETERS // 8):
            self._overflow = self._overflow.plus(self.learners.pop(key).total)

    def rare(self, quorum: Quorum) -> int:
        """Count the callers that brought parameters which aren't normal."""
        return rare_callers([self._overflow, *(learner.total for learner in self.learners.values())], quorum)

    def pool(self, prior: Prior, quorum: Quorum) -> None:
        """Tell the prior how often something new came."""
        for learner in self.learners.values():
            learner.pool(prior, quorum)

    def finish(self, prior: Prior, quorum: Quorum, kin: Mapping[str, ParameterLearner]) -> dict[str, ParameterProfile]:
        """Make the profiles of the normal ones; `kin` has, for those that learn together with others, what they learned."""
        return {
            key: _finish(learner, kin.get(key), prior, quorum)
            for key, learner in sorted(self.learners.items())
            if quorum.has(learner.total) or key.startswith("path:")
        }


def _finish(learner: ParameterLearner, together: ParameterLearner | None, prior: Prior, quorum: Quorum) -> ParameterProfile:
    """Make a profile of what is known of a parameter and its kin; but its values are its own, where they are few and came often.

    A `status` of orders and one of parcels look alike and have nothing else in common. It is then of its own calls that all is
    told: in those of its kin other values came.
    """
    if together is None:
        return learner.finish(prior, quorum)
    profile, own = together.finish(prior, quorum), learner.finish(prior, quorum)
    if not own.complete or own.n < max(_MIN_OBSERVED, _TIMES_EACH * len(own.values or ())) or own.values == profile.values:
        return profile
    surprises = dict(profile.surprises)
    surprises.pop(FindingCode.VALUE, None)
    if FindingCode.VALUE in own.surprises:
        surprises[FindingCode.VALUE] = own.surprises[FindingCode.VALUE]
    return msgspec.structs.replace(profile, n=own.n, values=own.values, complete=True, surprises=surprises)
