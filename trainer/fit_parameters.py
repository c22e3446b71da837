"""Profiles of endpoints from Calls (fits `engine/parameters.py`): parameters, how they are combined, the request's form.

Parts: `names_learner.py` (which parameters there are), `parameter_learner.py` (what each looks like). All add up exactly, so the
result doesn't depend on order or partition. Everything kept is bounded.
"""

from collections import Counter as Tally
from collections.abc import Mapping
from typing import Final

from authz_server.engine.call import BodyKind, Call, Flag
from authz_server.engine.finding import FindingCode
from authz_server.engine.parameters import EndpointProfile, ParameterProfile
from trainer.names_learner import NamesLearner
from trainer.parameter_learner import ParameterLearner
from trainer.prior import Prior
from trainer.shape import Shape, to_shape
from trainer.support import Counter, Quorum, Support

__all__ = ["EndpointProfileLearner", "SharedLearner"]

_GATHERED: Final = 512
"""Calls that are gathered before they are counted."""
_MAX_COMBINATIONS: Final = 256
_REQUIRED: Final = 1.0
"""A parameter is required when its absence is at least this surprising (a chance of one in ten)."""

_Gathered = tuple[str, BodyKind, tuple[Flag, ...], str, bool]
"""Of a call: combination, kind of body, flags, caller, whether it succeeded."""


class EndpointProfileLearner:
    """Learns one endpoint: its own parameters (path, query, body), their combinations, the body's kind, the request's form."""

    def __init__(self, positions: tuple[int, ...]) -> None:
        self._positions = positions
        self._total = Support()
        self._whole = Support()
        self._names = NamesLearner()
        self._combinations: Counter[str] = Counter(_MAX_COMBINATIONS)
        self._failed: Counter[str] = Counter(_MAX_COMBINATIONS)
        self._bodies: Counter[BodyKind] = Counter(16)
        self._flags: Counter[Flag] = Counter(32)
        self._gathered: list[_Gathered] = []
        self._window = 0

    def update(self, call: Call, caller: str, window: int = 0, *, succeeded: bool = True, shape: Shape | None = None) -> None:
        """Count one call; combinations are those of calls that succeeded, if any did.

        `shape` is the call's, None: not made yet.
        """
        if window != self._window or len(self._gathered) > _GATHERED:
            self._count()
            self._window = window
        shape = shape or to_shape(call)
        names = self._names
        if self._positions:
            names.update([call.segments[position] for position in self._positions], caller, window)
        own = shape.own(call.parameters)
        if own:
            names.update(own, caller, window)
        self._gathered.append((shape.combination, call.body, call.flags, caller, succeeded))

    def _count(self) -> None:
        """Count what was gathered: in few calls anything differs but the values."""
        window = self._window
        for (combination, body, flags, caller, succeeded), times in Tally(self._gathered).items():
            self._total.add(caller, window, times)
            for flag in flags:
                self._flags.add(flag, caller, window, times)
            if body is not BodyKind.TRUNCATED:
                self._bodies.add(body, caller, window, times)
                self._whole.add(caller, window, times)
                (self._combinations if succeeded else self._failed).add(combination, caller, window, times)
        self._gathered.clear()

    def settle(self) -> None:
        """Count and take apart everything gathered so far, which needs less memory then."""
        self._count()
        self._names.settle()

    @property
    def total(self) -> Support:
        """Who called it, how often."""
        self._count()
        return self._total

    def merge(self, other: "EndpointProfileLearner") -> None:
        """Take over another's calls of the same endpoint."""
        self._count()
        other._count()
        self._total.merge(other._total)
        self._whole.merge(other._whole)
        self._names.merge(other._names)
        self._combinations.merge(other._combinations)
        self._failed.merge(other._failed)
        self._bodies.merge(other._bodies)
        self._flags.merge(other._flags)

    def pool(self, prior: Prior, quorum: Quorum) -> None:
        """Tell the prior how often something new came."""
        self.settle()
        self._names.pool(prior, quorum)
        for code, rare in self._rare(quorum).items():
            prior.add(code, self.total.count, rare)

    def _outcome_combinations(self) -> Counter[str]:
        """The combinations of calls that succeeded or, where none ever did, of those that failed."""
        return self._combinations if self._combinations.values or self._combinations.overflowed else self._failed

    def _rare(self, quorum: Quorum) -> dict[FindingCode, int]:
        combinations = self._outcome_combinations()
        return {
            FindingCode.UNKNOWN_PARAMETER: self._names.rare(quorum),
            FindingCode.REQUEST_FORM: self._flags.rare(quorum),
            FindingCode.BODY_KIND: self._bodies.rare(quorum),
            FindingCode.MISSING_PARAMETER: 0,
            **({} if combinations.overflowed else {FindingCode.UNKNOWN_COMBINATION: combinations.rare(quorum)}),
        }

    @property
    def learners(self) -> Mapping[str, ParameterLearner]:
        """The learners of its parameters, by key."""
        return self._names.learners

    def finish(self, prior: Prior, quorum: Quorum, kin: Mapping[str, ParameterLearner] | None = None) -> EndpointProfile:
        """Make the profile; `kin` has, for parameters that learn together with others, what they learned."""
        self.settle()
        n = self._total.count
        rare = self._rare(quorum)
        surprises = {code: prior.surprise(code, n, count) for code, count in rare.items()}
        parameters = self._names.finish(prior, quorum, kin or {})
        combinations = self._outcome_combinations()
        return EndpointProfile(
            n,
            parameters,
            {code: amount for code, amount in surprises.items() if code is not FindingCode.MISSING_PARAMETER},
            self._required(parameters, prior),
            None if combinations.overflowed else frozenset(combinations.normal(quorum)),
            frozenset(self._bodies.normal(quorum)),
            frozenset(self._flags.normal(quorum)),
        )

    def _required(self, parameters: dict[str, ParameterProfile], prior: Prior) -> dict[str, float]:
        """Which query and body parameters are (nearly) always there, and how surprising it is that one isn't."""
        combinations = self._outcome_combinations()
        n = self._whole.count if combinations.overflowed else sum(support.count for support in combinations.values.values())
        required = {}
        for key in parameters:
            if key[0] in "qb":
                amount = prior.surprise(FindingCode.MISSING_PARAMETER, n, max(0, n - self._present(key, combinations)))
                if amount >= _REQUIRED:
                    required[key] = amount
        return required

    def _present(self, key: str, combinations: Counter[str]) -> int:
        """In how many whole calls a parameter was present; one may stand several times in one call."""
        if combinations.overflowed:
            return min(self._names.learners[key].total.count, self._whole.count)
        return sum(support.count for names, support in combinations.values.items() if key in names.split(" "))


class SharedLearner:
    """Learns what clients send to every endpoint of a workload alike: headers and cookies."""

    def __init__(self) -> None:
        self.total = Support()
        self._names = NamesLearner()

    def update(self, call: Call, caller: str, window: int = 0, shape: Shape | None = None) -> None:
        """Count one call; `shape` is the call's, None: not made yet."""
        self.total.add(caller, window)
        shared = (shape or to_shape(call)).shared(call.parameters)
        if shared:
            self._names.update(shared, caller, window)

    def settle(self) -> None:
        """Count and take apart everything gathered so far, which needs less memory then."""
        self._names.settle()

    def merge(self, other: "SharedLearner") -> None:
        """Take over another's calls."""
        self.total.merge(other.total)
        self._names.merge(other._names)

    def pool(self, prior: Prior, quorum: Quorum) -> None:
        """Tell the prior how often something new came."""
        self._names.pool(prior, quorum)
        prior.add(FindingCode.UNKNOWN_HEADER, self.total.count, self._names.rare(quorum))

    def finish(self, prior: Prior, quorum: Quorum) -> EndpointProfile:
        """Make the profile."""
        n = self.total.count
        amount = prior.surprise(FindingCode.UNKNOWN_HEADER, n, self._names.rare(quorum))
        return EndpointProfile(n, self._names.finish(prior, quorum, {}), {FindingCode.UNKNOWN_HEADER: amount})
