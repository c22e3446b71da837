"""The point model: what is odd about one Call by itself.

Per endpoint and parameter: presence, type, range, length, character classes, structure, enumeration, and which parameters come
together (after Kruegel & Vigna, CCS 2003). Each check knows how surprising its failure is (`evidence.py`), fixed at training
time, so scoring is set look-ups and comparisons: about half a microsecond a parameter.
"""

import math
from functools import lru_cache
from typing import Final

import msgspec

from authz_server.engine.call import BodyKind, Call, Flag, Kind, Parameter
from authz_server.engine.evidence import MAX_SURPRISE
from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.observe import MAX_SYMBOLS, class_names, structure, symbols

__all__ = ["FORMLESS", "EndpointProfile", "Interval", "ParameterProfile", "combination", "score_call", "score_parameter"]

_PER_DECADE: Final = 1.0
"""Extra surprise for every tenfold distance, in widths of the normal interval, outside of it.

Likewise each further new character class or punctuation mark in one value counts a decade: several at once are odder than one.
"""


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


def score_call(call: Call, positions: tuple[int, ...], profile: EndpointProfile, shared: EndpointProfile) -> list[Surprise]:
    """List what is odd about a call at a known endpoint; `positions` are the endpoint's path parameters.

    `shared` is the workload's profile of headers and cookies, which clients send everywhere alike.
    """
    found: list[Surprise] = []
    own, common = profile.parameters, shared.parameters
    for position in positions:
        parameter = call.segments[position]
        known = own.get(parameter.key)
        if known is not None:
            _score(parameter, known, found)
    for parameter in call.parameters:
        known = own.get(parameter.key)
        if known is None:
            known = common.get(parameter.key)
            if known is None:
                _add_unknown(parameter, profile, shared, found)
                continue
        values = known.values
        if values is None or parameter.digest not in values:  # most values are known ones: no further call for these
            _score(parameter, known, found)
    if call.body is not BodyKind.TRUNCATED:
        _score_combination(call, profile, found)
    _score_form(call, profile, found)
    return found


def score_parameter(parameter: Parameter, profile: ParameterProfile) -> list[Surprise]:
    """List what is odd about one parameter."""
    found: list[Surprise] = []
    _score(parameter, profile, found)
    return found


def _score(parameter: Parameter, profile: ParameterProfile, found: list[Surprise]) -> None:
    values = profile.values
    if values is not None:
        if parameter.digest in values:
            return
        if parameter.number is None:
            _add(found, FindingCode.VALUE, profile, parameter, f"one of {len(values)} known values")
    if parameter.kind not in profile.kinds:
        _add(found, FindingCode.TYPE, profile, parameter, _or(sorted(profile.kinds)))
        if parameter.kind is Kind.EMPTY:
            return
    before = len(found)
    number = parameter.number
    if number is not None and (profile.numbers is not None or parameter.kind in profile.kinds):
        _score_number(parameter, number, profile, found)
    else:
        unseen = parameter.classes & ~profile.classes
        if unseen:
            only = f"{_or(class_names(profile.classes))} only, " if profile.classes else ""
            words = f"{only}without {', '.join(class_names(unseen))}"
            _add(found, FindingCode.CHARACTERS, profile, parameter, words, unseen.bit_count() - 1)
        else:
            _score_composition(parameter, profile, found)
    lengths = profile.lengths
    if number is not None and len(found) > before:
        return  # its digits say no more than its size
    if not lengths.low <= parameter.length <= lengths.high:
        words = f"{_between(lengths)} characters long"
        _add(found, FindingCode.LENGTH, profile, parameter, words, _distance(lengths, parameter.length))


def _score_number(parameter: Parameter, number: float, profile: ParameterProfile, found: list[Surprise]) -> None:
    """Judge a number by the normal interval; where numbers never had a sign, one that has is as odd as a new character."""
    interval = profile.numbers
    if interval is not None and not interval.low <= number <= interval.high:
        kind = "an integer" if Kind.NUMBER not in profile.kinds else "a number"
        base = profile.surprises.get(FindingCode.RANGE, 0.0)
        signed = profile.surprises.get(FindingCode.CHARACTERS, 0.0) if parameter.classes & ~profile.classes else 0.0
        extra = _distance(interval, number) + max(0.0, signed - base)
        _add(found, FindingCode.RANGE, profile, parameter, f"{kind} {_between(interval)}", extra)


def _score_composition(parameter: Parameter, profile: ParameterProfile, found: list[Surprise]) -> None:
    """Judge how a text is put together: its structure, and which punctuation marks it has how often."""
    known = profile.structures
    if known is not None and parameter.kind not in FORMLESS and structure(parameter.text) not in known:
        _add(found, FindingCode.STRUCTURE, profile, parameter, f"of the form {_or(sorted(known, key=_by_length)[:4])}")
    marks = profile.symbols
    if marks is not None:
        unseen = symbols(parameter.text) - marks
        if unseen:
            normal = sorted([mark for mark in marks if any(mark[0] == new[0] for new in unseen)]) or sorted(marks)
            words = f"with {_or([_times(mark) for mark in normal[:6]])}" if normal else "without punctuation"
            _add(found, FindingCode.SYMBOLS, profile, parameter, words, len(unseen) - 1)


FORMLESS: Final = frozenset({Kind.HEX, Kind.TOKEN, Kind.UUID})
"""Random identifiers: what they are made of is their type, how it is mixed is chance."""


def _by_length(form: str) -> tuple[int, str]:
    return len(form), form


def _times(mark: str) -> str:
    count = f"{mark[1:]} or more" if mark[1:] == str(MAX_SYMBOLS) else mark[1:]
    return f"{count} `{mark[0]}`"


def _distance(interval: Interval, value: float) -> float:
    """Measure how far outside an interval a value is, in decades of the interval's width (0 just outside)."""
    width = interval.high - interval.low + 1.0
    outside = max(interval.low - value, value - interval.high)
    return _PER_DECADE * math.log10(1.0 + outside / width)


def _add(
    found: list[Surprise], code: FindingCode, profile: ParameterProfile, parameter: Parameter, normal: str, extra: float = 0.0
) -> None:
    amount = profile.surprises.get(code)
    if amount is not None:
        amount = min(MAX_SURPRISE, amount + extra)
        found.append(Surprise(code, amount, parameter.key, _shown(parameter, code), normal, profile.n))


def _shown(parameter: Parameter, code: FindingCode) -> str:
    """Show what was seen without showing a value: a number as it is, a text as its mask."""
    if parameter.number is not None:
        return f"{parameter.number:.15g}"
    if code is FindingCode.LENGTH:
        return f"{parameter.length} characters"
    if parameter.kind in _WORDLESS:
        return parameter.kind.value
    return f"{parameter.kind.value} of the form `{parameter.text}`"


_WORDLESS: Final = frozenset({Kind.NULL, Kind.EMPTY, Kind.OBJECT, Kind.ARRAY})


def _add_unknown(parameter: Parameter, profile: EndpointProfile, shared: EndpointProfile, found: list[Surprise]) -> None:
    if parameter.key[0] == "h" or parameter.key[0] == "c":
        amount = shared.surprises.get(FindingCode.UNKNOWN_HEADER, 0.0)
        normal, n = f"one of {len(shared.parameters)} other headers and cookies", shared.n
        code = FindingCode.UNKNOWN_HEADER
    else:
        amount = profile.surprises.get(FindingCode.UNKNOWN_PARAMETER, 0.0)
        names = sorted(key.partition(":")[2] for key in profile.parameters if not key.startswith(("path:", "header:")))
        normal, n = f"only {_or(names[:8])}" if names else "no parameter at all", profile.n
        code = FindingCode.UNKNOWN_PARAMETER
    if amount > 0:
        found.append(Surprise(code, amount, parameter.key, _shown(parameter, code), normal, n))


def _score_combination(call: Call, profile: EndpointProfile, found: list[Surprise]) -> None:
    """Judge presence: a combination seen before is fine; else tell what is missing, or, with nothing missing, the combination."""
    combinations = profile.combinations
    if combinations is not None and combination(call) in combinations:
        return
    keys = {parameter.key for parameter in call.parameters}
    before = len(found)
    for key, amount in profile.required.items():
        if key not in keys:
            found.append(Surprise(FindingCode.MISSING_PARAMETER, amount, key, "absent", "present", profile.n))
    if combinations is not None and len(found) == before:
        unknown = any(key not in profile.parameters and key[0] in "qb" for key in keys)
        amount = profile.surprises.get(FindingCode.UNKNOWN_COMBINATION, 0.0)
        if amount > 0 and not unknown:
            names = ", ".join(sorted(key.partition(":")[2] for key in keys if key[0] in "qb")) or "no parameter"
            normal = f"one of {len(combinations)} other combinations"
            found.append(Surprise(FindingCode.UNKNOWN_COMBINATION, amount, "", names, normal, profile.n))


def _score_form(call: Call, profile: EndpointProfile, found: list[Surprise]) -> None:
    if call.flags:
        amount = profile.surprises.get(FindingCode.REQUEST_FORM, 0.0)
        for flag in call.flags:
            if flag not in profile.flags and amount > 0:
                found.append(Surprise(FindingCode.REQUEST_FORM, amount, "", flag.value.replace("_", " "), "not so", profile.n))
    if call.body not in profile.bodies and call.body is not BodyKind.TRUNCATED:
        amount = profile.surprises.get(FindingCode.BODY_KIND, 0.0)
        if amount > 0:
            normal = _or(sorted(profile.bodies))
            found.append(Surprise(FindingCode.BODY_KIND, amount, "", f"body: {call.body.value}", f"body: {normal}", profile.n))


def _between(interval: Interval) -> str:
    if interval.low == interval.high:
        return f"{interval.low:.15g}"
    return f"from {interval.low:.15g} to {interval.high:.15g}"


def _or(words: list[str]) -> str:
    if len(words) < 2:
        return words[0] if words else "nothing"
    return f"{', '.join(words[:-1])} or {words[-1]}"
