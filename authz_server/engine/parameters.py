"""The point model: what is odd about one Call by itself.

Per endpoint and parameter: presence, type, range, length, character classes, structure, enumeration, and which parameters come
together (after Kruegel & Vigna, CCS 2003). Each check knows how surprising its failure is (`evidence.py`), fixed at training
time, so scoring is set look-ups and comparisons: about half a microsecond a parameter.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec

from authz_server.engine.call import BodyKind, Call, Flag, Kind, Parameter
from authz_server.engine.evidence import MAX_SURPRISE
from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.observe import MAX_SYMBOLS, class_names, structure, symbols

__all__ = [
    "FORMLESS",
    "EndpointProfile",
    "Interval",
    "ParameterProfile",
    "ReadyProfile",
    "ReadyShared",
    "combination",
    "score_parameter",
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


class Interval(msgspec.Struct, frozen=True, gc=False):
    """The normal interval of a number or length, both ends normal."""

    low: float
    high: float


class ParameterProfile(msgspec.Struct, frozen=True, gc=False):
    """What is normal for one parameter, learned from `n` observations.

    `kinds`, `structures`, `values` (digests): the normal ones; None where too many to be one. `examples`: how to show
    `structures`. `surprises` holds -log10 of the chance that the next normal observation fails a check; a check without entry
    isn't made.
    """

    n: int
    kinds: frozenset[Kind]
    classes: int
    lengths: Interval
    surprises: dict[FindingCode, float]
    numbers: Interval | None = None
    structures: frozenset[str] | None = None
    symbols: frozenset[str] | None = None
    values: frozenset[str] | None = None


class EndpointProfile(msgspec.Struct, frozen=True, gc=False):
    """What is normal for one endpoint (or, for headers and cookies, one workload), learned from `n` calls.

    `required`: parameters that are (nearly) always there, with the surprise of their absence. `combinations`: the normal
    combinations of query and body parameter names, None where too many. `surprises`: as in ParameterProfile.
    """

    n: int
    parameters: dict[str, ParameterProfile]
    surprises: dict[FindingCode, float]
    required: dict[str, float] = {}
    combinations: frozenset[str] | None = None
    bodies: frozenset[BodyKind] = frozenset()
    flags: frozenset[Flag] = frozenset()


def combination(call: Call) -> str:
    """Name the combination of query and body parameters of a call: their sorted, distinct keys."""
    keys = tuple([key for parameter in call.parameters if (key := parameter.key)[0] in "qb"])
    return _cached_combination(keys) if len(keys) <= _CACHED_KEYS else _combination(keys)


def _combination(keys: tuple[str, ...]) -> str:
    return " ".join(sorted(set(keys)))


_CACHED_KEYS: Final = 32
_cached_combination = lru_cache(maxsize=1024)(_combination)


_Known = tuple[frozenset[str], int, frozenset[str] | None, ParameterProfile]
"""Of a known parameter: its normal values, its bit in a combination (0: not part of one), its normal forms, its profile."""
_NO_VALUES: Final[frozenset[str]] = frozenset()
_STRANGE: Final = -1
"""The combination of a call that has a parameter which isn't known here."""


class ReadyShared:
    """The profile of headers and cookies, which clients send everywhere alike, ready to score at all endpoints of a workload."""

    __slots__ = ("known", "profile")

    def __init__(self, profile: EndpointProfile) -> None:
        self.profile = profile
        self.known = {
            key: _to_known(parameter, _STRANGE if key[0] in "qb" else 0) for key, parameter in profile.parameters.items()
        }


class ReadyProfile:
    """An EndpointProfile ready to score. Shared by all threads: all that changes is which combinations were found to be known."""

    __slots__ = ("_common", "_fine", "_own", "_positions", "_profile")

    def __init__(self, positions: tuple[int, ...], profile: EndpointProfile, shared: ReadyShared) -> None:
        """`positions` are the endpoint's path parameters."""
        self._positions = positions
        self._profile = profile
        self._common = shared
        self._own: dict[str, _Known] = {}
        self._fine: set[int] = set()
        bit = 1
        for key, parameter in profile.parameters.items():
            part = key[0] in "qb"
            self._own[key] = _to_known(parameter, bit if part else 0)
            bit <<= part

    def score(self, call: Call) -> list[Surprise]:
        """List what is odd about a call by itself."""
        found: list[Surprise] = []
        own, common = self._own, self._common.known
        for position in self._positions:
            parameter = call.segments[position]
            entry = own.get(parameter.key)
            if entry is not None and parameter.digest not in entry[0]:
                _score(parameter, entry[3], entry[2], found)
        combined = 0
        for parameter in call.parameters:
            key = parameter.key
            entry = own.get(key) or common.get(key)
            if entry is None:
                if key[0] in "qb":
                    combined = _STRANGE
                _add_unknown(parameter, self._profile, self._common.profile, found)
                continue
            values, bit, forms, profile = entry
            combined |= bit
            if parameter.digest not in values:  # most values are known ones: no further call for these
                _score(parameter, profile, forms, found)
        if combined not in self._fine and call.body is not _TRUNCATED:
            self._score_combination(call, combined, found)
        _score_form(call, self._profile, found)
        return found

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
            if amount > 0 and not any(key not in profile.parameters and key[0] in "qb" for key in keys):
                told = (_combination_in_words, frozenset(keys), len(combinations))
                found.append(Surprise(_UNKNOWN_COMBINATION, amount, "", told, "", profile.n))


def _to_known(profile: ParameterProfile, bit: int) -> _Known:
    return profile.values or _NO_VALUES, bit, _forms(profile), profile


def _forms(profile: ParameterProfile) -> frozenset[str] | None:
    """List the structures that are normal with their punctuation marks, which are their texts'; None: neither was learned."""
    known, marks = profile.structures, profile.symbols
    if known is None or marks is None:
        return known if marks is None else _NO_VALUES
    return frozenset([form for form in known if symbols(form) <= marks])


def score_parameter(parameter: Parameter, profile: ParameterProfile) -> list[Surprise]:
    """List what is odd about one parameter, by a profile that isn't ready: to list its forms would cost more than it saves."""
    found: list[Surprise] = []
    if parameter.digest not in (profile.values or _NO_VALUES):
        forms = None if profile.structures is None and profile.symbols is None else _NO_VALUES
        _score(parameter, profile, forms, found)
    return found


def _score(parameter: Parameter, profile: ParameterProfile, forms: frozenset[str] | None, found: list[Surprise]) -> None:
    """Judge a parameter whose value isn't one of the known ones."""
    number = parameter.number
    if number is None and profile.values is not None:
        _add(found, _VALUE, profile, parameter, _value_in_words)
    of_kind = parameter.kind in profile.kinds
    if not of_kind:
        _add(found, _TYPE, profile, parameter, _type_in_words)
        if parameter.kind is _EMPTY:
            return
    before = len(found)
    if number is not None and (of_kind or profile.numbers is not None):
        _score_number(parameter, number, profile, found)
    else:
        unseen = parameter.classes & ~profile.classes
        if unseen:
            _add(found, _CHARACTERS, profile, parameter, _characters_in_words, unseen.bit_count() - 1)
        elif forms is not None and (parameter.kind in FORMLESS or structure(parameter.text) not in forms):
            _score_composition(parameter, profile, found)
    if number is not None and len(found) > before:
        return  # its digits say no more than its size
    lengths = profile.lengths
    if not lengths.low <= parameter.length <= lengths.high:
        _add(found, _LENGTH, profile, parameter, _length_in_words, _distance(lengths, parameter.length))


def _score_number(parameter: Parameter, number: float, profile: ParameterProfile, found: list[Surprise]) -> None:
    """Judge a number by the normal interval; where numbers never had a sign, one that has is as odd as a new character."""
    interval = profile.numbers
    if interval is not None and not interval.low <= number <= interval.high:
        base = profile.surprises.get(_RANGE, 0.0)
        signed = profile.surprises.get(_CHARACTERS, 0.0) if parameter.classes & ~profile.classes else 0.0
        extra = _distance(interval, number) + max(0.0, signed - base)
        _add(found, _RANGE, profile, parameter, _range_in_words, extra)


def _score_composition(parameter: Parameter, profile: ParameterProfile, found: list[Surprise]) -> None:
    """Judge how a text is put together: its structure, and which punctuation marks it has how often."""
    known, marks = profile.structures, profile.symbols
    if known is not None and parameter.kind not in FORMLESS and structure(parameter.text) not in known:
        _add(found, _STRUCTURE, profile, parameter, _structure_in_words)
    if marks is not None:
        unseen = symbols(parameter.text) - marks
        if unseen:
            _add(found, _SYMBOLS, profile, parameter, _symbols_in_words, len(unseen) - 1)


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


def _value_in_words(parameter: Parameter, profile: ParameterProfile) -> tuple[str, str]:
    return _shown(parameter), f"one of {len(profile.values or ())} known values"


def _type_in_words(parameter: Parameter, profile: ParameterProfile) -> tuple[str, str]:
    return _shown(parameter), _or(sorted(profile.kinds))


def _characters_in_words(parameter: Parameter, profile: ParameterProfile) -> tuple[str, str]:
    only = f"{_or(class_names(profile.classes))} only, " if profile.classes else ""
    return _shown(parameter), f"{only}without {', '.join(class_names(parameter.classes & ~profile.classes))}"


def _length_in_words(parameter: Parameter, profile: ParameterProfile) -> tuple[str, str]:
    seen = f"{parameter.length} characters" if parameter.number is None else _shown(parameter)
    return seen, f"{_between(profile.lengths)} characters long"


def _range_in_words(parameter: Parameter, profile: ParameterProfile) -> tuple[str, str]:
    kind = "an integer" if Kind.NUMBER not in profile.kinds else "a number"
    return _shown(parameter), f"{kind} {_between(profile.numbers)}" if profile.numbers is not None else kind


def _structure_in_words(parameter: Parameter, profile: ParameterProfile) -> tuple[str, str]:
    return _shown(parameter), f"of the form {_or(sorted(profile.structures or (), key=_by_length)[:4])}"


def _symbols_in_words(parameter: Parameter, profile: ParameterProfile) -> tuple[str, str]:
    marks = profile.symbols or frozenset()
    unseen = symbols(parameter.text) - marks
    normal = sorted([mark for mark in marks if any(mark[0] == new[0] for new in unseen)]) or sorted(marks)
    return _shown(parameter), f"with {_or([_times(mark) for mark in normal[:6]])}" if normal else "without punctuation"


def _by_length(form: str) -> tuple[int, str]:
    return len(form), form


def _times(mark: str) -> str:
    count = f"{mark[1:]} or more" if mark[1:] == str(MAX_SYMBOLS) else mark[1:]
    return f"{count} `{mark[0]}`"


def _shown(parameter: Parameter) -> str:
    """Show what was seen without showing a value: a number as it is, a text as its mask."""
    if parameter.number is not None:
        return f"{parameter.number:.15g}"
    if parameter.kind in _WORDLESS:
        return parameter.kind.value
    return f"{parameter.kind.value} of the form `{parameter.text}`"


_WORDLESS: Final = frozenset({Kind.NULL, Kind.EMPTY, Kind.OBJECT, Kind.ARRAY})


def _add_unknown(parameter: Parameter, profile: EndpointProfile, shared: EndpointProfile, found: list[Surprise]) -> None:
    if parameter.key[0] == "h" or parameter.key[0] == "c":
        code, where, in_words = _UNKNOWN_HEADER, shared, _unknown_header_in_words
    else:
        code, where, in_words = _UNKNOWN_PARAMETER, profile, _unknown_parameter_in_words
    amount = where.surprises.get(code, 0.0)
    if amount > 0:
        found.append(Surprise(code, amount, parameter.key, (in_words, parameter, where), "", where.n))


def _unknown_header_in_words(parameter: Parameter, profile: EndpointProfile) -> tuple[str, str]:
    return _shown(parameter), f"one of {len(profile.parameters)} other headers and cookies"


def _unknown_parameter_in_words(parameter: Parameter, profile: EndpointProfile) -> tuple[str, str]:
    names = sorted(key.partition(":")[2] for key in profile.parameters if not key.startswith(("path:", "header:")))
    return _shown(parameter), f"only {_or(names[:8])}" if names else "no parameter at all"


def _combination_in_words(keys: frozenset[str], known: int) -> tuple[str, str]:
    names = ", ".join(sorted(key.partition(":")[2] for key in keys if key[0] in "qb")) or "no parameter"
    return names, f"one of {known} other combinations"


def _score_form(call: Call, profile: EndpointProfile, found: list[Surprise]) -> None:
    if call.flags:
        amount = profile.surprises.get(_REQUEST_FORM, 0.0)
        for flag in call.flags:
            if flag not in profile.flags and amount > 0:
                found.append(Surprise(_REQUEST_FORM, amount, "", flag.value.replace("_", " "), "not so", profile.n))
    if call.body not in profile.bodies and call.body is not _TRUNCATED:
        amount = profile.surprises.get(_BODY_KIND, 0.0)
        if amount > 0:
            found.append(Surprise(_BODY_KIND, amount, "", (_body_in_words, call.body, profile.bodies), "", profile.n))


def _body_in_words(body: BodyKind, normal: frozenset[BodyKind]) -> tuple[str, str]:
    return f"body: {body.value}", f"body: {_or(sorted(normal))}"


def _between(interval: Interval) -> str:
    if interval.low == interval.high:
        return f"{interval.low:.15g}"
    return f"from {interval.low:.15g} to {interval.high:.15g}"


def _or(words: list[str]) -> str:
    if len(words) < 2:
        return words[0] if words else "nothing"
    return f"{', '.join(words[:-1])} or {words[-1]}"
