"""Profiles of parameters and endpoints from Calls (fits `engine/parameters.py`).

Identical observations are counted first and taken apart later, in batches; both steps add up exactly, so the result doesn't
depend on order or partition. Everything kept is bounded: per parameter some hundred distinct values, structures, lengths and
magnitudes.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from authz_server.engine.call import BodyKind, Call, Flag, Kind, Parameter
from authz_server.engine.finding import FindingCode
from authz_server.engine.observe import is_secret, structure, symbols
from authz_server.engine.parameters import FORMLESS, EndpointProfile, Interval, ParameterProfile, combination
from trainer.prior import Prior
from trainer.support import QUORUM, Counter, Quorum, Support, rare_callers, sprayed

__all__ = ["EndpointProfileLearner", "ParameterLearner", "SharedLearner", "Traits", "is_formless"]

_BATCH: Final = 512
_MAX_VALUES: Final = 128
_MAX_STRUCTURES: Final = 128
_MAX_SYMBOLS: Final = 128
_MAX_COMBINATIONS: Final = 256
_MAX_PARAMETERS: Final = 512
"""Parameters of one endpoint that are learned; an attacker chooses names too."""
_WORTH_CHECKING: Final = 0.5
"""Below this surprise (a chance of a third) a check tells nothing and only costs."""
_MAX_ENUMERATION: Final = 64
_REQUIRED: Final = 1.0
"""A parameter is required when its absence is at least this surprising (a chance of one in ten)."""


def is_formless(key: str) -> bool:
    """Tell whether a parameter's structure and values say nothing: people make up passwords, each browser release is new."""
    return is_secret(key) or key == "header:user-agent" or key.startswith("header:sec-ch-ua")


class Traits(NamedTuple):
    """What makes two parameters alike: normal kinds, character classes (single bits) and numbers, of `n` observations."""

    n: int
    kinds: tuple[Kind, ...]
    classes: tuple[int, ...]
    numbers: Interval | None


class ParameterLearner:
    """Learns one parameter; `formless`: see `is_formless`."""

    def __init__(self, *, formless: bool = False) -> None:
        self._formless = formless
        self.total = Support()
        self._batch: dict[Parameter, Support] = {}
        self._kinds: Counter[Kind] = Counter(32)
        self._classes: Counter[int] = Counter(64)
        self._structures: Counter[str] = Counter(_MAX_STRUCTURES)
        self._symbols: Counter[str] = Counter(_MAX_SYMBOLS)
        self._values: Counter[str] = Counter(_MAX_VALUES)
        self._lengths: Counter[Bucket] = Counter(4096)
        self._numbers: Counter[Bucket] = Counter(4096)

    def update(self, parameter: Parameter, caller: str, window: int = 0) -> None:
        """Count one observation."""
        support = self._batch.get(parameter)
        if support is None:
            if len(self._batch) >= _BATCH:
                self._fold()
            support = self._batch[parameter] = Support()
        support.add(caller, window)

    def merge(self, other: "ParameterLearner") -> None:
        """Take over another's observations."""
        other._fold()
        self._fold()
        self.total.merge(other.total)
        self._kinds.merge(other._kinds)
        self._classes.merge(other._classes)
        self._structures.merge(other._structures)
        self._symbols.merge(other._symbols)
        self._values.merge(other._values)
        self._lengths.merge(other._lengths)
        self._numbers.merge(other._numbers)

    def _fold(self) -> None:
        for parameter, support in self._batch.items():
            self.total.merge(support)
            self._kinds.add_support(parameter.kind, support)
            self._lengths.add_support(_length_bucket(parameter.length), support)
            self._add_classes(parameter.classes, support)
            if parameter.number is not None:
                self._numbers.add_support(_number_bucket(parameter.number), support)
            else:
                if parameter.kind not in FORMLESS and not self._formless:
                    self._structures.add_support(structure(parameter.text), support)
                for mark in () if self._formless else symbols(parameter.text):
                    self._symbols.add_support(mark, support)
            self._values.add_support(parameter.digest, support)
        self._batch.clear()

    def _add_classes(self, classes: int, support: Support) -> None:
        while classes:
            lowest = classes & -classes
            self._classes.add_support(lowest, support)
            classes ^= lowest

    def traits(self, quorum: Quorum) -> Traits:
        """Tell what makes it like others."""
        self._fold()
        numbers = _interval(self._numbers.values.items(), quorum)
        return Traits(self.total.count, tuple(self._kinds.normal(quorum)), tuple(self._classes.normal(quorum)), numbers)

    def pool(self, prior: Prior, quorum: Quorum) -> None:
        """Tell the prior how often something new came."""
        self._fold()
        for code, rare in self._rare(quorum).items():
            prior.add(code, self.total.count, rare)

    def _rare(self, quorum: Quorum) -> dict[FindingCode, int]:
        rare = {FindingCode.TYPE: self._kinds.rare(quorum), FindingCode.CHARACTERS: self._classes.rare(quorum)}
        if not self._symbols.overflowed and not self._formless:
            rare[FindingCode.SYMBOLS] = self._symbols.rare(quorum)
        if not self._structures.overflowed and not self._formless:
            rare[FindingCode.STRUCTURE] = self._structures.rare(quorum)
        if not self._values.overflowed:
            rare[FindingCode.VALUE] = self._values.rare(quorum)
        extremes = 2 * (QUORUM - 1)
        rare[FindingCode.LENGTH] = 0 if len(self._lengths.values) == 1 else extremes
        if self._numbers.values:
            rare[FindingCode.RANGE] = 0 if len(self._numbers.values) == 1 else extremes
        return rare

    def finish(self, prior: Prior, quorum: Quorum) -> ParameterProfile:
        """Make the profile."""
        self._fold()
        n = self.total.count
        surprises = {code: prior.surprise(code, n, rare) for code, rare in self._rare(quorum).items()}
        surprises = {code: amount for code, amount in surprises.items() if amount >= _WORTH_CHECKING}
        values = None
        if not self._values.overflowed and "" not in self._values.values:
            values = frozenset(self._values.normal(quorum))
        if values is None or len(values) > _MAX_ENUMERATION or self._formless:
            surprises.pop(FindingCode.VALUE, None)
        lengths = _interval(self._lengths.values.items(), quorum)
        if lengths is None:
            surprises.pop(FindingCode.LENGTH, None)
        structures = frozenset(self._structures.normal(quorum)) if FindingCode.STRUCTURE in surprises else None
        return ParameterProfile(
            n,
            frozenset(self._kinds.normal(quorum)) or frozenset(self._kinds.values),
            sum(self._classes.normal(quorum)),
            lengths or Interval(0, 0),
            surprises,
            _interval(self._numbers.values.items(), quorum),
            structures,
            frozenset(self._symbols.normal(quorum)) if FindingCode.SYMBOLS in surprises else None,
            values,
        )


Bucket = tuple[float, float]
"""Both ends, the values in between being taken as alike."""


def _length_bucket(length: int) -> Bucket:
    """Lengths beyond 64 to about 3 %: as many distinct ones as are worth telling apart."""
    step = 1 << max(0, length.bit_length() - 6)
    low = length // step * step
    return low, low + step - 1


def _number_bucket(number: float) -> Bucket:
    """Numbers beyond 100, and fractions, to two significant digits: bounded in number, never narrower than what was seen."""
    if number == 0 or (abs(number) <= 100 and number == int(number)):
        return number, number
    step = 10.0 ** (math.floor(math.log10(abs(number))) - 1)
    low = math.floor(number / step) * step
    return float(f"{low:.12g}"), float(f"{low + step:.12g}")


def _interval(supports: Iterable[tuple[Bucket, Support]], quorum: Quorum) -> Interval | None:
    """Span the normal values: from the one that `quorum` distinct callers were at or below, to the one they were at or above.

    None where these two cross: the callers agree on nothing.
    """
    ordered = sorted(supports, key=lambda item: item[0])
    low, high = _reached(ordered, quorum), _reached(reversed(ordered), quorum)
    return Interval(low[0], high[1]) if low is not None and high is not None and low <= high else None


def _reached(ordered: Iterable[tuple[Bucket, Support]], quorum: Quorum) -> Bucket | None:
    together = Support()
    bucket = None
    for bucket, support in ordered:
        together.merge(support)
        if quorum.has(together):
            return bucket
    return bucket


class _Names:
    """Learners by parameter key, bounded."""

    def __init__(self) -> None:
        self.learners: dict[str, ParameterLearner] = {}
        self.overflow = Support()

    def update(self, parameter: Parameter, caller: str, window: int) -> None:
        learner = self.learners.get(parameter.key)
        if learner is None:
            if len(self.learners) >= _MAX_PARAMETERS:
                self._make_room()
            if len(self.learners) >= _MAX_PARAMETERS:
                self.overflow.add(caller, window)
                return
            learner = self.learners[parameter.key] = ParameterLearner(formless=is_formless(parameter.key))
        learner.update(parameter, caller, window)

    def merge(self, other: "_Names") -> None:
        self.overflow.merge(other.overflow)
        for key, learner in sorted(other.learners.items()):
            mine = self.learners.get(key)
            if mine is None:
                if len(self.learners) >= _MAX_PARAMETERS:
                    self._make_room()
                if len(self.learners) >= _MAX_PARAMETERS:
                    learner._fold()
                    self.overflow.merge(learner.total)
                    continue
                mine = self.learners[key] = ParameterLearner(formless=is_formless(key))
            mine.merge(learner)

    def _make_room(self) -> None:
        """Forget the names that one caller invented."""
        for learner in self.learners.values():
            learner._fold()
        for key in sprayed({key: learner.total for key, learner in self.learners.items()}, _MAX_PARAMETERS // 8):
            self.overflow.merge(self.learners.pop(key).total)

    def rare(self, quorum: Quorum) -> int:
        return rare_callers([self.overflow, *(learner.total for learner in self.learners.values())], quorum)

    def pool(self, prior: Prior, quorum: Quorum) -> None:
        for learner in self.learners.values():
            learner.pool(prior, quorum)

    def finish(self, prior: Prior, quorum: Quorum, kin: Mapping[str, ParameterLearner]) -> dict[str, ParameterProfile]:
        return {
            key: kin.get(key, learner).finish(prior, quorum)
            for key, learner in sorted(self.learners.items())
            if quorum.has(learner.total) or key.startswith("path:")
        }


class EndpointProfileLearner:
    """Learns one endpoint: its own parameters (path, query, body), their combinations, the body's kind, the request's form."""

    def __init__(self, positions: tuple[int, ...]) -> None:
        self._positions = positions
        self.total = Support()
        self._whole = Support()
        self._names = _Names()
        self._combinations: Counter[str] = Counter(_MAX_COMBINATIONS)
        self._failed: Counter[str] = Counter(_MAX_COMBINATIONS)
        self._bodies: Counter[BodyKind] = Counter(16)
        self._flags: Counter[Flag] = Counter(32)

    def update(self, call: Call, caller: str, window: int = 0, *, succeeded: bool = True) -> None:
        """Count one call; combinations are those of calls that succeeded, if any did."""
        self.total.add(caller, window)
        names = self._names
        for position in self._positions:
            names.update(call.segments[position], caller, window)
        for parameter in call.parameters:
            if parameter.key[0] == "q" or parameter.key[0] == "b" or parameter.key == "header:content-type":
                names.update(parameter, caller, window)
        for flag in call.flags:
            self._flags.add(flag, caller, window)
        if call.body is not BodyKind.TRUNCATED:
            self._bodies.add(call.body, caller, window)
            self._whole.add(caller, window)
            (self._combinations if succeeded else self._failed).add(combination(call), caller, window)

    def merge(self, other: "EndpointProfileLearner") -> None:
        """Take over another's calls of the same endpoint."""
        self.total.merge(other.total)
        self._whole.merge(other._whole)
        self._names.merge(other._names)
        self._combinations.merge(other._combinations)
        self._failed.merge(other._failed)
        self._bodies.merge(other._bodies)
        self._flags.merge(other._flags)

    def pool(self, prior: Prior, quorum: Quorum) -> None:
        """Tell the prior how often something new came."""
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
        n = self.total.count
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
        self._names = _Names()

    def update(self, call: Call, caller: str, window: int = 0) -> None:
        """Count one call."""
        self.total.add(caller, window)
        for parameter in call.parameters:
            if (parameter.key[0] == "h" and parameter.key != "header:content-type") or parameter.key[0] == "c":
                self._names.update(parameter, caller, window)

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
