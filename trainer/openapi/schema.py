"""From what is normal for a parameter to a JSON schema (2020-12, as OpenAPI 3.1 has it).

The schema says what the model holds calls against, no more: a value that it refuses is one that the model finds odd.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from authz_server.engine.call import Kind
from authz_server.engine.evidence import MAX_SURPRISE
from authz_server.engine.finding import FindingCode
from authz_server.engine.observe import CLASS_NAMES, MAX_TEXT, is_secret
from authz_server.engine.parameters import FORMLESS
from authz_server.engine.profile import EndpointProfile, Interval, ParameterProfile
from trainer.look import to_length_bucket
from trainer.openapi.words import INTEGER

__all__ = ["Schema", "is_required", "one_or_all", "progress", "value_schema"]

Schema = dict[str, Any]
"""A JSON schema as JSON has it."""

_SURE: Final = 2.0
"""Surprise from which on a person would sign for it: a chance of one in a hundred that the next call is otherwise."""
_LIKELY: Final = 1.0
"""Surprise from which on a limit is told, if enough values were seen: a chance of one in ten."""
_MIN_OBSERVED: Final = 20
"""Values that a limit, pattern or list of values is drawn from; fewer tell too little of the others."""
_TIMES_EACH: Final = 10
"""How often each value of a list came on average, where no other one ever did."""
_MAX_INTEGERS: Final = 12
_SPARSE: Final = 3
"""Integers are listed where there are few and wide gaps between them, as between 10, 50 and 100; else a range says it."""
_MAX_PUNCTUATION: Final = 6
"""Punctuation marks of a pattern; more say nothing."""
_MAX_FORMS: Final = 3
"""Structures of a pattern."""
_INSTANT: Final = re.compile(r"0-0-0a0:0:0(?:\.0)?(?:a|[-+]0:0)\Z")
"""The structure of an instant as RFC 3339 writes it, with its zone."""
_URI: Final = re.compile(r"a(?:\+a)?://")
"""How the structure of an absolute URI begins."""
_IPV4: Final = frozenset({"0.0.0.0"})  # noqa: S104  # a structure, not an address
_OF_HASHES: Final = frozenset({to_length_bucket(64), to_length_bucket(96), to_length_bucket(128)})
"""How the lengths of SHA-256, SHA-384 and SHA-512 are counted, which beyond 64 is by twos and fours."""
_TEXTS: Final = frozenset({Kind.EMPTY, Kind.WORD, Kind.UUID, Kind.DATE, Kind.EMAIL, Kind.HEX, Kind.TOKEN, Kind.STRING})
_FORMLESS: Final = FORMLESS | {Kind.INTEGER, Kind.NUMBER}
"""Kinds whose structure isn't learned."""
_TYPES: Final = {
    **dict.fromkeys(_TEXTS, "string"),
    Kind.NULL: "null",
    Kind.BOOLEAN: "boolean",
    Kind.INTEGER: "integer",
    Kind.NUMBER: "number",
    Kind.OBJECT: "object",
    Kind.ARRAY: "array",
}
_SHAPE: Final = (FindingCode.TYPE, FindingCode.CHARACTERS, FindingCode.LENGTH, FindingCode.RANGE)


def progress(surprises: Mapping[FindingCode, float], codes: tuple[FindingCode, ...] = _SHAPE) -> float:
    """Tell the learning progress: 1 less the chance that the next call brings something new (Good 1953), in [0, 1]."""
    chance = sum([10 ** -min(MAX_SURPRISE, surprises[code]) for code in codes if code in surprises])
    return round(max(0.0, 1.0 - chance), 4)


def is_required(profile: EndpointProfile, key: str) -> bool:
    """Tell whether successful calls have a parameter so regularly that a document may say so."""
    return profile.required.get(key, 0.0) >= _SURE


def value_schema(key: str, profile: ParameterProfile, vocabulary: Mapping[str, str], *, typed: bool = False) -> Schema:
    """Make the schema of one parameter; `typed`: JSON said the type, else it is a text whose form shows one."""
    kinds = _kinds(key, profile, typed=typed)
    types = {_TYPES[kind] for kind in kinds}
    if "number" in types:
        types.discard("integer")
    schema: Schema = {"type": one_or_all(types)} if types else {}
    if types & {"integer", "number"}:
        _add_range(schema, profile, vocabulary)
    if "string" in types:
        _add_text(schema, key, profile, kinds & _TEXTS, vocabulary, sole=types == {"string"})
    if schema.get("enum") in (["false", "true"], ["true"], ["false"]) and not typed:
        return {"type": "boolean"}
    return schema


def _kinds(key: str, profile: ParameterProfile, *, typed: bool) -> frozenset[Kind]:
    """Tell what a value was sent as: an identifier that is sometimes all digits is a text, and so is a number after zeros."""
    kinds = profile.kinds
    if typed:
        by_chance = Kind.HEX in kinds and profile.numbers is None  # such a hash stands for an integer, which JSON tells apart
        return kinds - {Kind.INTEGER} if by_chance else kinds
    if kinds & _TEXTS:
        return kinds & _TEXTS
    if kinds == {Kind.INTEGER} and (is_secret(key) or _is_padded(profile)):
        return frozenset({Kind.STRING})
    return kinds


def _is_padded(profile: ParameterProfile) -> bool:
    """Tell whether integers have zeros before them, as postal codes have."""
    numbers = profile.numbers
    return numbers is not None and numbers.low >= 0 and len(f"{numbers.low:.0f}") < profile.lengths.low


def one_or_all(types: set[str]) -> str | list[str]:
    """Write one type by itself, several as a list."""
    return min(types) if len(types) == 1 else sorted(types)


def _add_range(schema: Schema, profile: ParameterProfile, vocabulary: Mapping[str, str]) -> None:
    interval = profile.numbers
    if schema["type"] == "integer" and interval is not None and _is_closed(profile):
        digests = [f"{INTEGER}{digest}" for digest in profile.values or ()]
        known = sorted([int(vocabulary[digest]) for digest in digests if digest in vocabulary])
        all_known = len(known) == len(digests) <= _MAX_INTEGERS
        if all_known and len(known) > 2 and known[-1] - known[0] >= _SPARSE * len(known):
            schema["enum"] = known
            return
        if all_known and profile.complete:
            interval = Interval(known[0], known[-1])  # learned intervals are rounded outwards
    if interval is not None and _is_told(FindingCode.RANGE, profile):
        schema |= {"minimum": _plain(interval.low), "maximum": _plain(interval.high)}
        if schema["type"] == "integer" and max(-interval.low, interval.high) >= 2**31:
            schema["format"] = "int64"


def _is_told(code: FindingCode, profile: ParameterProfile) -> bool:
    return profile.n >= _MIN_OBSERVED and profile.surprises.get(code, 0.0) >= _LIKELY


def _is_closed(profile: ParameterProfile) -> bool:
    """Tell whether the known values are all: no other one is likely, or none ever came although each of them came often."""
    amount = profile.surprises.get(FindingCode.VALUE, 0.0)
    often = profile.n >= max(_MIN_OBSERVED, _TIMES_EACH * len(profile.values or ()))
    return amount >= _SURE or (amount > 0 and profile.complete and often)


def _plain(number: float) -> float:
    return int(number) if number == int(number) and abs(number) < 2**53 else number


def _add_text(
    schema: Schema, key: str, profile: ParameterProfile, kinds: frozenset[Kind], vocabulary: Mapping[str, str], *, sole: bool
) -> None:
    if is_secret(key):
        schema["format"] = "password"
    elif sole and profile.values and _is_closed(profile):
        known = sorted([vocabulary[digest] for digest in profile.values if digest in vocabulary])
        if len(known) == len(profile.values):
            schema["enum"] = known
            return
        schema["x-enum-size"] = len(profile.values)
        if known:
            schema["x-enum-known"] = known
    form = _format(profile, kinds) if sole else ""
    if form:
        schema["format"] = form
        if form not in ("email", "uri"):
            return
    _add_lengths(schema, profile, kinds)
    pattern = "" if schema.get("format") else _pattern(profile, kinds)
    if pattern:
        schema["pattern"] = pattern


def _format(profile: ParameterProfile, kinds: frozenset[Kind]) -> str:
    if kinds == {Kind.UUID}:
        return "uuid"
    if kinds == {Kind.EMAIL}:
        return "email"
    if kinds == {Kind.DATE} and profile.lengths.high == 10:
        return "date"
    instants = profile.structures and all(_INSTANT.match(form) for form in profile.structures)
    if kinds == {Kind.DATE} and instants:
        return "date-time"
    if profile.structures and all(_URI.match(form) for form in profile.structures):
        return "uri"
    return "ipv4" if profile.structures and profile.structures == _IPV4 and profile.lengths.high <= 15 else ""


def _add_lengths(schema: Schema, profile: ParameterProfile, kinds: frozenset[Kind]) -> None:
    if _is_told(FindingCode.LENGTH, profile):
        if profile.lengths.low:
            schema["minLength"] = int(profile.lengths.low)
        alike = kinds == {Kind.HEX} and (profile.lengths.low, profile.lengths.high) in _OF_HASHES
        schema["maxLength"] = int(profile.lengths.low if alike else profile.lengths.high)


def _pattern(profile: ParameterProfile, kinds: frozenset[Kind]) -> str:
    """Write the structures where they are few, else the character classes; nothing where neither says much."""
    if not _is_told(FindingCode.CHARACTERS, profile) or kinds == {Kind.EMPTY}:
        return ""
    letters, digits, marks = _classes(profile.classes)
    if kinds == {Kind.HEX}:
        letters = letters.replace("z", "f").replace("Z", "F")
    if marks is None:
        return ""
    sure = profile.surprises.get(FindingCode.STRUCTURE, 0.0) >= _SURE
    forms = profile.structures if sure and not profile.kinds & _FORMLESS else None
    if forms and len(forms - {""}) <= _MAX_FORMS and profile.lengths.high <= MAX_TEXT and not {"a", "0"} & forms:
        steps = {"a": f"[{letters}]+", "0": "[0-9]+", " ": " +"}
        found = sorted(["".join([steps.get(char) or _literal(char) for char in form]) for form in forms - {""}])
        optional = "?" if "" in forms else ""
        return f"^(?:{'|'.join(found)}){optional}$" if optional or len(found) > 1 else f"^{found[0]}$"
    inside = letters + digits + "".join([_in_class(mark) for mark in marks])
    if not inside or len(marks) > _MAX_PUNCTUATION:
        return ""
    return f"^[{inside}]{'*' if profile.lengths.low == 0 else '+'}$"


def _classes(mask: int) -> tuple[str, str, list[str] | None]:
    """Split character classes into letters, digits and punctuation (with space); None: others than ASCII's printable ones."""
    letters = digits = ""
    marks: list[str] | None = []
    for bit, name in enumerate(CLASS_NAMES):
        if not mask >> bit & 1:
            continue
        if name == "digits":
            digits = "0-9"
        elif name.endswith("case letters"):
            letters = "a-z" if name.startswith("lower") else letters + "A-Z"
        elif name == "spaces":
            marks = None if marks is None else [*marks, " "]
        elif name.startswith("`"):
            marks = None if marks is None else [*marks, name[1]]
        else:
            marks = None
    return letters, digits, marks


def _literal(char: str) -> str:
    return re.escape(char) if char in r"\^$.|?*+()[]{}/" else char


def _in_class(char: str) -> str:
    return f"\\{char}" if char in r"\^]-[" else char
