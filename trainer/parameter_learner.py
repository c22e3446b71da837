"""What one parameter's values look like, learned observation by observation; for `fit_parameters.py`.

An observation is a look (`look.py`), a number and a digest, each with who stands behind it: alike ones are counted first and
learned at once. All add up exactly, so the result doesn't depend on order or partition. Bounded: some hundred distinct values,
structures, lengths and magnitudes.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from authz_server.engine.call import Kind, Parameter
from authz_server.engine.finding import FindingCode
from authz_server.engine.profile import Interval, ParameterProfile
from trainer.look import Bucket, Look, to_look, to_number_bucket
from trainer.prior import Prior
from trainer.support import QUORUM, UNSEEN, Counter, Quorum, Support, to_support

__all__ = ["ParameterLearner", "Traits"]

_MAX_VALUES: Final = 128
_MAX_STRUCTURES: Final = 128
_MAX_SYMBOLS: Final = 128
_WORTH_CHECKING: Final = 0.5
"""Below this surprise (a chance of a third) a check tells nothing and only costs."""
_MAX_ENUMERATION: Final = 64


class Traits(NamedTuple):
    """What makes two parameters alike: normal kinds, character classes (single bits) and numbers, of `n` observations."""

    n: int
    kinds: tuple[Kind, ...]
    classes: tuple[int, ...]
    numbers: Interval | None


class ParameterLearner:
    """Learns one parameter; `formless`: see `look.py`."""

    def __init__(self, *, formless: bool = False) -> None:
        self._formless = formless
        self.total = UNSEEN
        self._kinds: Counter[Kind] = Counter(32)
        self._classes: Counter[int] = Counter(64)
        self._structures: Counter[str] = Counter(_MAX_STRUCTURES)
        self._symbols: Counter[str] = Counter(_MAX_SYMBOLS)
        self._values: Counter[str] = Counter(_MAX_VALUES)
        self._lengths: Counter[Bucket] = Counter(4096)
        self._numbers: Counter[Bucket] = Counter(4096)

    def update(self, parameter: Parameter, caller: str, window: int = 0, times: int = 1) -> None:
        """Count an observation that was made so many times by one caller in one window."""
        support = to_support(caller, window, times)
        self.add_look(to_look(parameter), support)
        self.add_values([(parameter.digest, support)])
        if parameter.number is not None:
            self.add_number(to_number_bucket(parameter.number), support)

    def add_look(self, look: Look, support: Support) -> None:
        """Count observations of values that look alike."""
        self.total = self.total.plus(support)
        self._kinds.add_support(look.kind, support)
        self._lengths.add_support(look.length, support)
        classes = look.classes
        while classes:
            lowest = classes & -classes
            self._classes.add_support(lowest, support)
            classes ^= lowest
        if look.structure is not None and not self._structures.overflowed:
            self._structures.add_support(look.structure, support)
        for mark in look.symbols or ():
            self._symbols.add_support(mark, support)

    def add_number(self, bucket: Bucket, support: Support) -> None:
        """Count observations of numbers in one bucket, whose looks are counted too."""
        self._numbers.add_support(bucket, support)

    def add_values(self, values: Iterable[tuple[str, Support]]) -> None:
        """Count observations of values, by digest, whose looks are counted too; of no more than matter."""
        for digest, support in values:
            if self._values.overflowed:
                break
            self._values.add_support(digest, support)

    def merge(self, other: "ParameterLearner") -> None:
        """Take over another's observations; the other stays as it is."""
        self.total = self.total.plus(other.total)
        self._kinds.merge(other._kinds)
        self._classes.merge(other._classes)
        self._structures.merge(other._structures)
        self._symbols.merge(other._symbols)
        self._values.merge(other._values)
        self._lengths.merge(other._lengths)
        self._numbers.merge(other._numbers)

    def merge_written(self, other: "ParameterLearner") -> None:
        """Take over how another's values are written: their characters, punctuation marks and lengths, and who stands behind."""
        self.total = self.total.plus(other.total)
        self._classes.merge(other._classes)
        self._symbols.merge(other._symbols)
        self._lengths.merge(other._lengths)

    def traits(self, quorum: Quorum) -> Traits:
        """Tell what makes it like others."""
        numbers = _interval(self._numbers.values.items(), quorum)
        return Traits(self.total.count, tuple(self._kinds.normal(quorum)), tuple(self._classes.normal(quorum)), numbers)

    def normal_classes(self, quorum: Quorum) -> dict[int, int]:
        """Tell how many values had each normal character class, a single bit."""
        return {one: support.count for one, support in self._classes.values.items() if quorum.has(support)}

    def rare_classes(self, quorum: Quorum) -> set[int]:
        """Tell which character classes came but aren't normal."""
        return {one for one, support in self._classes.values.items() if not quorum.has(support)}

    def pool(self, prior: Prior, quorum: Quorum) -> None:
        """Tell the prior how often something new came."""
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
            _with_chance(frozenset(self._kinds.normal(quorum)) or frozenset(self._kinds.values)),
            sum(self._classes.normal(quorum)),
            lengths or Interval(0, 0),
            surprises,
            _interval(self._numbers.values.items(), quorum),
            structures,
            frozenset(self._symbols.normal(quorum)) if FindingCode.SYMBOLS in surprises else None,
            values,
            complete=values is not None and len(values) == len(self._values.values) and not self._values.sprayers.count,
        )


def _with_chance(kinds: frozenset[Kind]) -> frozenset[Kind]:
    """Add what normal values are by chance: one hash in 43 of eight hexadecimal digits has no letter and reads as an integer."""
    return kinds | {Kind.INTEGER} if Kind.HEX in kinds else kinds


def _interval(supports: Iterable[tuple[Bucket, Support]], quorum: Quorum) -> Interval | None:
    """Span the normal values: from the one that `quorum` distinct callers were at or below, to the one they were at or above.

    None where these two cross: the callers agree on nothing.
    """
    ordered = sorted(supports, key=lambda item: item[0])
    low, high = _reached(ordered, quorum), _reached(reversed(ordered), quorum)
    return Interval(low[0], high[1]) if low is not None and high is not None and low <= high else None


def _reached(ordered: Iterable[tuple[Bucket, Support]], quorum: Quorum) -> Bucket | None:
    together = UNSEEN
    bucket = None
    for bucket, support in ordered:
        together = together.plus(support)
        if quorum.has(together):
            return bucket
    return bucket
