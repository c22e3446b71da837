"""What one parameter's values look like, learned observation by observation; for `fit_parameters.py`.

Identical observations are counted first and taken apart later, in batches; both steps add up exactly, so the result doesn't
depend on order or partition. Bounded: some hundred distinct values, structures, lengths and magnitudes.
"""

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

from authz_server.engine.call import Kind, Parameter
from authz_server.engine.finding import FindingCode
from authz_server.engine.observe import is_secret, structure, symbols
from authz_server.engine.parameters import FORMLESS, Interval, ParameterProfile
from trainer.prior import Prior
from trainer.support import QUORUM, Counter, Quorum, Support

__all__ = ["ParameterLearner", "Traits", "is_formless"]

_BATCH: Final = 512
_MAX_VALUES: Final = 128
_MAX_STRUCTURES: Final = 128
_MAX_SYMBOLS: Final = 128
_WORTH_CHECKING: Final = 0.5
"""Below this surprise (a chance of a third) a check tells nothing and only costs."""
_MAX_ENUMERATION: Final = 64


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

    def update(self, parameter: Parameter, caller: str, window: int = 0, times: int = 1) -> None:
        """Count an observation that was made so many times by one caller in one window."""
        support = self._batch.get(parameter)
        if support is None:
            if len(self._batch) >= _BATCH:
                self.settle()
            support = self._batch[parameter] = Support()
        support.add(caller, window, times)

    def merge(self, other: "ParameterLearner") -> None:
        """Take over another's observations."""
        other.settle()
        self.settle()
        self.total.merge(other.total)
        self._kinds.merge(other._kinds)
        self._classes.merge(other._classes)
        self._structures.merge(other._structures)
        self._symbols.merge(other._symbols)
        self._values.merge(other._values)
        self._lengths.merge(other._lengths)
        self._numbers.merge(other._numbers)

    def settle(self) -> None:
        """Take apart what was counted so far, which needs less memory then; first what looks alike together."""
        alike: dict[tuple[Kind, int, int, str, bool], Support] = {}
        numbers = self._numbers
        values = self._values
        for parameter, support in self._batch.items():
            numeric = parameter.number is not None
            looks = (parameter.kind, parameter.length, parameter.classes, parameter.text, numeric)
            together = alike.get(looks)
            if together is None:
                together = alike[looks] = Support()
            together.merge(support)
            if parameter.number is not None:
                numbers.add_support(_number_bucket(parameter.number), support)
            if not values.overflowed:
                values.add_support(parameter.digest, support)
        self._batch.clear()
        for (kind, length, classes, text, numeric), support in alike.items():
            self.total.merge(support)
            self._kinds.add_support(kind, support)
            self._lengths.add_support(_length_bucket(length), support)
            self._add_classes(classes, support)
            if not numeric:
                self._add_text(kind, text, support)

    def _add_text(self, kind: Kind, text: str, support: Support) -> None:
        if self._formless:
            return
        if kind not in FORMLESS and not self._structures.overflowed:
            self._structures.add_support(structure(text), support)
        for mark in symbols(text):
            self._symbols.add_support(mark, support)

    def _add_classes(self, classes: int, support: Support) -> None:
        while classes:
            lowest = classes & -classes
            self._classes.add_support(lowest, support)
            classes ^= lowest

    def traits(self, quorum: Quorum) -> Traits:
        """Tell what makes it like others."""
        self.settle()
        numbers = _interval(self._numbers.values.items(), quorum)
        return Traits(self.total.count, tuple(self._kinds.normal(quorum)), tuple(self._classes.normal(quorum)), numbers)

    def pool(self, prior: Prior, quorum: Quorum) -> None:
        """Tell the prior how often something new came."""
        self.settle()
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
        self.settle()
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
