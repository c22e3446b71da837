"""Profiles of endpoints from calls, counted (fits `engine/parameters.py`): parameters, how they are combined, the form.

Parts: `names_learner.py` (which parameters there are), `parameter_learner.py` (what each looks like). All add up exactly, so the
result doesn't depend on order or partition. Everything kept is bounded.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from authz_server.engine.call import BodyKind, Flag
from authz_server.engine.finding import FindingCode
from authz_server.engine.profile import EndpointProfile, ParameterProfile
from trainer.names_learner import NamesLearner
from trainer.parameter_learner import ParameterLearner
from trainer.prior import Prior
from trainer.support import UNSEEN, Counter, Quorum, Support

__all__ = ["EndpointProfileLearner", "SharedLearner"]

_MAX_COMBINATIONS: Final = 256
_REQUIRED: Final = 1.0
"""A parameter is required when its absence is at least this surprising (a chance of one in ten)."""


class EndpointProfileLearner:
    """Learns one endpoint: its own parameters (path, query, body), their combinations, the body's kind, the request's form."""

    def __init__(self) -> None:
        self.total = UNSEEN
        """Who called it, how often."""
        self._whole = UNSEEN
        self.names = NamesLearner()
        self._combinations: Counter[str] = Counter(_MAX_COMBINATIONS)
        self._failed: Counter[str] = Counter(_MAX_COMBINATIONS)
        self._bodies: Counter[BodyKind] = Counter(16)
        self._flags: Counter[Flag] = Counter(32)

    def add_form(self, combination: str, body: BodyKind, flags: Iterable[Flag], support: Support, *, succeeded: bool) -> None:
        """Count calls that differ in their values alone, which `names` is told apart from this."""
        self.total = self.total.plus(support)
        for flag in flags:
            self._flags.add_support(flag, support)
        if body is not BodyKind.TRUNCATED:
            self._bodies.add_support(body, support)
            self._whole = self._whole.plus(support)
            (self._combinations if succeeded else self._failed).add_support(combination, support)

    def merge(self, other: "EndpointProfileLearner") -> None:
        """Take over another's calls of the same endpoint; the other stays as it is."""
        self.total = self.total.plus(other.total)
        self._whole = self._whole.plus(other._whole)
        self.names.merge(other.names)
        self._combinations.merge(other._combinations)
        self._failed.merge(other._failed)
        self._bodies.merge(other._bodies)
        self._flags.merge(other._flags)

    def pool(self, prior: Prior, quorum: Quorum) -> None:
        """Tell the prior how often something new came."""
        self.names.pool(prior, quorum)
        for code, rare in self._rare(quorum).items():
            prior.add(code, self.total.count, rare)

    def _outcome_combinations(self) -> Counter[str]:
        """The combinations of calls that succeeded or, where none ever did, of those that failed."""
        return self._combinations if self._combinations.values or self._combinations.overflowed else self._failed

    def _rare(self, quorum: Quorum) -> dict[FindingCode, int]:
        combinations = self._outcome_combinations()
        return {
            FindingCode.UNKNOWN_PARAMETER: self.names.rare(quorum),
            FindingCode.REQUEST_FORM: self._flags.rare(quorum),
            FindingCode.BODY_KIND: self._bodies.rare(quorum),
            FindingCode.MISSING_PARAMETER: 0,
            **({} if combinations.overflowed else {FindingCode.UNKNOWN_COMBINATION: combinations.rare(quorum)}),
        }

    def finish(self, prior: Prior, quorum: Quorum, kin: Mapping[str, ParameterLearner] | None = None) -> EndpointProfile:
        """Make the profile; `kin` has, for parameters that learn together with others, what they learned."""
        n = self.total.count
        rare = self._rare(quorum)
        surprises = {code: prior.surprise(code, n, count) for code, count in rare.items()}
        parameters = self.names.finish(prior, quorum, kin or {})
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
            return min(self.names.learners[key].total.count, self._whole.count)
        return sum(support.count for names, support in combinations.values.items() if key in names.split(" "))


class SharedLearner:
    """Learns what clients send to every endpoint of a workload alike, headers and cookies, and how requests are written."""

    def __init__(self) -> None:
        self.total = UNSEEN
        self.names = NamesLearner()
        self._flags: Counter[Flag] = Counter(32)

    def merge(self, other: "SharedLearner") -> None:
        """Take over another's calls; the other stays as it is."""
        self.total = self.total.plus(other.total)
        self.names.merge(other.names)
        self._flags.merge(other._flags)

    def add_flags(self, flags: Iterable[Flag], support: Support) -> None:
        """Count the flags of calls that are counted elsewhere."""
        for flag in flags:
            self._flags.add_support(flag, support)

    def pool(self, prior: Prior, quorum: Quorum) -> None:
        """Tell the prior how often something new came."""
        self.names.pool(prior, quorum)
        prior.add(FindingCode.UNKNOWN_HEADER, self.total.count, self.names.rare(quorum))

    def finish(self, prior: Prior, quorum: Quorum) -> EndpointProfile:
        """Make the profile; tells the prior how often a new flag came, which it has from the endpoints' learners till then."""
        n = self.total.count
        prior.add(FindingCode.REQUEST_FORM, n, self._flags.rare(quorum))
        surprises = {
            FindingCode.UNKNOWN_HEADER: prior.surprise(FindingCode.UNKNOWN_HEADER, n, self.names.rare(quorum)),
            FindingCode.REQUEST_FORM: prior.surprise(FindingCode.REQUEST_FORM, n, self._flags.rare(quorum)),
        }
        parameters = self.names.finish(prior, quorum, {})
        return EndpointProfile(n, parameters, surprises, flags=frozenset(self._flags.normal(quorum)))
