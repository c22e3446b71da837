"""The point model: what is odd about one Call by itself.

Per endpoint and parameter: presence, type, range, length, character classes, structure, enumeration, and which parameters come
together (after Kruegel & Vigna, CCS 2003). Each check knows how surprising its failure is (`evidence.py`), fixed at training
time, so scoring is set look-ups and comparisons: about half a microsecond a parameter.
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from authz_server.engine.alphabet import NO_ALPHABET, Alphabet, strangeness
from authz_server.engine.call import BodyKind, Call, Kind, Parameter
from authz_server.engine.evidence import MAX_SURPRISE
from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.observe import structure, symbols
from authz_server.engine.parameter_words import (
    body_in_words,
    characters_in_words,
    combination_in_words,
    length_in_words,
    range_in_words,
    structure_in_words,
    symbols_in_words,
    type_in_words,
    unknown_header_in_words,
    unknown_parameter_in_words,
    value_in_words,
)
from authz_server.engine.profile import EndpointProfile, Interval, ParameterProfile

__all__ = [
    "FORMLESS",
    "QUERY",
    "Known",
    "ReadyProfile",
    "ReadyShared",
    "combination",
    "oddness",
    "score_known",
    "score_parameter",
    "to_known",
]

_PER_DECADE: Final = 1.0
"""Extra surprise for every tenfold distance, in widths of the normal interval, outside of it.

Likewise each further new character class or punctuation mark in one value counts a decade: several at once are odder than one.
"""

# To ask an enumeration for a member costs ten times what a name costs.
_EMPTY: Final = Kind.EMPTY
_TRUNCATED: Final = BodyKind.TRUNCATED
_VALUE: Final = FindingCode.VALUE
_TYPE: Final = FindingCode.TYPE
_CHARACTERS: Final = FindingCode.CHARACTERS
_LENGTH: Final = FindingCode.LENGTH
_RANGE: Final = FindingCode.RANGE
_STRUCTURE: Final = FindingCode.STRUCTURE
_SYMBOLS: Final = FindingCode.SYMBOLS
_UNKNOWN_HEADER: Final = FindingCode.UNKNOWN_HEADER
_UNKNOWN_PARAMETER: Final = FindingCode.UNKNOWN_PARAMETER
_MISSING_PARAMETER: Final = FindingCode.MISSING_PARAMETER
_UNKNOWN_COMBINATION: Final = FindingCode.UNKNOWN_COMBINATION
_REQUEST_FORM: Final = FindingCode.REQUEST_FORM
_BODY_KIND: Final = FindingCode.BODY_KIND


def combination(call: Call) -> str:
    """Name the combination of query and body parameters of a call: their sorted, distinct keys."""
    keys = tuple([key for parameter in call.parameters if (key := parameter.key)[0] in "qb"])
    return _cached_combination(keys) if len(keys) <= _CACHED_KEYS else _combination(keys)


def _combination(keys: tuple[str, ...]) -> str:
    return " ".join(sorted(set(keys)))


_CACHED_KEYS: Final = 32
_cached_combination = lru_cache(maxsize=1024)(_combination)


_Normal = tuple[frozenset[Kind], float, float, float, float, int, frozenset[str] | None]
"""What suffices for nothing to be odd about a new value: its kinds, lengths (from, to), numbers (from, to), the character classes
that it must not have, its forms. What isn't so is judged check by check; so is any text where the values are named."""
Known = tuple[frozenset[str], int, _Normal, frozenset[str] | None, ParameterProfile, Alphabet]
"""Of a known parameter: its normal values, its bit in a combination (0: not part of one), what is normal of other values, its
normal forms, its profile, and the alphabet of all parameters beside it."""
_NO_VALUES: Final[frozenset[str]] = frozenset()
_STRANGE: Final = -1
"""The combination of a call that has a parameter which isn't known here."""


class ReadyShared:
    """The profile of headers and cookies, which clients send everywhere alike, ready to score at all endpoints of a workload."""

    __slots__ = ("known", "profile", "written")

    def __init__(
        self,
        profile: EndpointProfile,
        alphabet: Alphabet = NO_ALPHABET,
        written: Mapping[str, ParameterProfile] | None = None,
    ) -> None:
        """`written`: how values are written anywhere, as a WorkloadModel has it."""
        self.profile = profile
        self.written = {place: to_known(one) for place, one in (written or {}).items()}
        self.known = {
            key: to_known(parameter, _STRANGE if key[0] in "qb" else 0, alphabet) for key, parameter in profile.parameters.items()
        }


class ReadyProfile:
    """An EndpointProfile ready to score. Shared by all threads: all that changes is which combinations were found to be known."""

    __slots__ = ("_common", "_fine", "_known", "_positions", "_profile", "_written")

    def __init__(
        self, positions: tuple[int, ...], profile: EndpointProfile, shared: ReadyShared, alphabet: Alphabet = NO_ALPHABET
    ) -> None:
        """`positions` are the endpoint's path parameters; `alphabet` is that of all endpoints' parameters."""
        self._positions = positions
        self._profile = profile
        self._common = shared.profile
        self._written = shared.written
        self._known = shared.known.copy()
        self._fine: set[int] = set()
        bit = 1
        for key, parameter in profile.parameters.items():
            part = key[0] in "qb"
            self._known[key] = to_known(parameter, bit if part else 0, alphabet)
            bit <<= part

    def score(self, call: Call) -> list[Surprise]:
        """List what is odd about a call by itself."""
        found: list[Surprise] = []
        known, profile = self._known, self._profile
        parameters = call.parameters
        if self._positions:
            parameters = (*[call.segments[position] for position in self._positions], *parameters)
        combined = 0
        for parameter in parameters:
            entry = known.get(parameter.key)
            if entry is None:
                combined |= self._add_unknown(parameter, found)
                continue
            values, bit, normal, forms, judged, alphabet = entry
            combined |= bit
            if parameter.digest in values:
                continue
            # Most values are known or normal ones: no further call for these.
            kinds, low, high, least, most, alien, normal_forms = normal
            if parameter.kind in kinds and low <= parameter.length <= high:
                number = parameter.number
                if number is not None:
                    if least <= number <= most:
                        continue
                elif not parameter.classes & alien and (normal_forms is None or structure(parameter.text) in normal_forms):
                    continue
            _score(parameter, judged, forms, alphabet, found)
        body = call.body
        if combined not in self._fine and body is not _TRUNCATED:
            self._score_combination(call, combined, found)
        if call.flags or body not in profile.bodies:
            _score_form(call, profile, found)
        return found

    def _add_unknown(self, parameter: Parameter, found: list[Surprise]) -> int:
        """Judge a parameter that isn't known here, by its name and its value; return its part in the combination."""
        location = parameter.key[0]
        if location == "p":
            return 0
        if location == "h" or location == "c":
            code, where, in_words = _UNKNOWN_HEADER, self._common, unknown_header_in_words
        else:
            code, where, in_words = _UNKNOWN_PARAMETER, self._profile, unknown_parameter_in_words
        amount = min(MAX_SURPRISE, where.surprises.get(code, 0.0) + oddness(parameter, self._written))
        if amount > 0:
            found.append(Surprise(code, amount, parameter.key, (in_words, parameter, where), "", where.n))
        return _STRANGE if location in "qb" else 0

    def _score_combination(self, call: Call, combined: int, found: list[Surprise]) -> None:
        """Judge presence: a combination seen before is fine; else tell what is missing, or else the combination."""
        profile = self._profile
        combinations = profile.combinations
        if combinations is None and not profile.required:
            return
        if combinations is not None and combination(call) in combinations:
            if combined != _STRANGE:
                self._fine.add(combined)
            return
        keys = {parameter.key for parameter in call.parameters}
        before = len(found)
        for key, amount in profile.required.items():
            if key not in keys:
                found.append(Surprise(_MISSING_PARAMETER, amount, key, "absent", "present", profile.n))
        if combinations is not None and len(found) == before:
            amount = profile.surprises.get(_UNKNOWN_COMBINATION, 0.0)
            if amount > 0 and combined != _STRANGE:
                told = (combination_in_words, frozenset(keys), len(combinations))
                found.append(Surprise(_UNKNOWN_COMBINATION, amount, "", told, "", profile.n))


def to_known(profile: ParameterProfile, bit: int = 0, alphabet: Alphabet = NO_ALPHABET) -> Known:
    """Make a parameter's profile ready; `bit`: its own in a combination."""
    forms = _forms(profile)
    kinds = profile.kinds if forms is None else profile.kinds - FORMLESS
    lengths, numbers = profile.lengths, profile.numbers or Interval(-math.inf, math.inf)
    named = profile.values is not None  # then a new text is odd, whatever it looks like
    alien = -1 if named else ~profile.classes
    normal = (kinds, lengths.low, lengths.high, numbers.low, numbers.high, alien, _NO_VALUES if named else forms)
    return profile.values or _NO_VALUES, bit, normal, forms, profile, alphabet


def _forms(profile: ParameterProfile) -> frozenset[str] | None:
    """List the structures that are normal with their punctuation marks, which are their texts'; None: neither was learned."""
    known, marks = profile.structures, profile.symbols
    if known is None or marks is None:
        return known if marks is None else _NO_VALUES
    return frozenset([form for form in known if symbols(form) <= marks])


def oddness(parameter: Parameter, written: Mapping[str, Known]) -> float:
    """Tell how odd a value is among all that came in the same place, whatever they were called; 0: not at all."""
    location = parameter.key[0]
    known = written.get(QUERY if location == "b" else location)
    if known is None or not parameter.length:
        return 0.0
    found: list[Surprise] = []
    score_known(parameter, known, found)
    return max([one.amount for one in found], default=0.0)


def score_parameter(parameter: Parameter, profile: ParameterProfile) -> list[Surprise]:
    """List what is odd about one parameter, by a profile that isn't ready: to list its forms would cost more than it saves."""
    found: list[Surprise] = []
    if parameter.digest not in (profile.values or _NO_VALUES):
        forms = None if profile.structures is None and profile.symbols is None else _NO_VALUES
        _score(parameter, profile, forms, NO_ALPHABET, found)
    return found


def score_known(parameter: Parameter, known: Known, found: list[Surprise]) -> None:
    """Add what is odd about one parameter, by a profile that is ready."""
    values, _, _, forms, profile, alphabet = known
    if parameter.digest not in values:
        _score(parameter, profile, forms, alphabet, found)


def _score(
    parameter: Parameter, profile: ParameterProfile, forms: frozenset[str] | None, alphabet: Alphabet, found: list[Surprise]
) -> None:
    """Judge a parameter whose value isn't one of the known ones."""
    number = parameter.number
    if number is None and profile.values is not None:
        _add(found, _VALUE, profile, parameter, value_in_words)
    of_kind = parameter.kind in profile.kinds
    if not of_kind:
        _add(found, _TYPE, profile, parameter, type_in_words)
        if parameter.kind is _EMPTY:
            return
    before = len(found)
    if number is not None and (of_kind or profile.numbers is not None):
        _score_number(parameter, number, profile, found)
    else:
        unseen = parameter.classes & ~profile.classes
        if unseen:
            _add(found, _CHARACTERS, profile, parameter, characters_in_words, strangeness(alphabet, unseen))
        elif forms is not None:
            form = "" if parameter.kind in FORMLESS else structure(parameter.text)
            if not form or form not in forms:
                _score_composition(parameter, form, profile, found)
    if number is not None and len(found) > before:
        return  # its digits say no more than its size
    lengths = profile.lengths
    if not lengths.low <= parameter.length <= lengths.high:
        _add(found, _LENGTH, profile, parameter, length_in_words, _distance(lengths, parameter.length))


def _score_number(parameter: Parameter, number: float, profile: ParameterProfile, found: list[Surprise]) -> None:
    """Judge a number by the normal interval; where numbers never had a sign, one that has is as odd as a new character."""
    interval = profile.numbers
    if interval is not None and not interval.low <= number <= interval.high:
        base = profile.surprises.get(_RANGE, 0.0)
        signed = profile.surprises.get(_CHARACTERS, 0.0) if parameter.classes & ~profile.classes else 0.0
        extra = _distance(interval, number) + max(0.0, signed - base)
        _add(found, _RANGE, profile, parameter, range_in_words, extra)


def _score_composition(parameter: Parameter, form: str, profile: ParameterProfile, found: list[Surprise]) -> None:
    """Judge how a text is put together: which punctuation marks it has how often, else its structure, which has the same ones."""
    known, marks = profile.structures, profile.symbols
    if marks is not None:
        unseen = symbols(parameter.text) - marks
        if unseen:
            _add(found, _SYMBOLS, profile, parameter, symbols_in_words, len(unseen) - 1)
            return
    if known is not None and form not in known and parameter.kind not in FORMLESS:
        _add(found, _STRUCTURE, profile, parameter, structure_in_words)


QUERY: Final = "q"
"""The key under which it is known how values of query and body are written; of headers and cookies it is `h` and `c`."""
FORMLESS: Final = frozenset({Kind.HEX, Kind.TOKEN, Kind.UUID})
"""Random identifiers: what they are made of is their type, how it is mixed is chance."""


def _distance(interval: Interval, value: float) -> float:
    """Measure how far outside an interval a value is, in decades of the interval's width (0 just outside)."""
    width = interval.high - interval.low + 1.0
    outside = max(interval.low - value, value - interval.high)
    return _PER_DECADE * math.log10(1.0 + outside / width)


def _add(
    found: list[Surprise],
    code: FindingCode,
    profile: ParameterProfile,
    parameter: Parameter,
    in_words: Callable[[Parameter, ParameterProfile], tuple[str, str]],
    extra: float = 0.0,
) -> None:
    amount = profile.surprises.get(code)
    if amount is not None:
        amount = min(MAX_SURPRISE, amount + extra)
        found.append(Surprise(code, amount, parameter.key, (in_words, parameter, profile), "", profile.n))


def _score_form(call: Call, profile: EndpointProfile, found: list[Surprise]) -> None:
    if call.flags:
        amount = profile.surprises.get(_REQUEST_FORM, 0.0)
        for flag in call.flags:
            if flag not in profile.flags and amount > 0:
                found.append(Surprise(_REQUEST_FORM, amount, "", flag.value.replace("_", " "), "not so", profile.n))
    if call.body not in profile.bodies and call.body is not _TRUNCATED:
        amount = profile.surprises.get(_BODY_KIND, 0.0)
        if amount > 0:
            found.append(Surprise(_BODY_KIND, amount, "", (body_in_words, call.body, profile.bodies), "", profile.n))
