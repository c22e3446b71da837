"""What the point model's Surprises say: what was seen, and what is normal, without showing a value.

Formed when somebody reads them, not when they are found.
"""

from typing import Final

from authz_server.engine.call import BodyKind, Kind, Parameter
from authz_server.engine.observe import MAX_SYMBOLS, class_names, symbols
from authz_server.engine.profile import EndpointProfile, Interval, ParameterProfile

__all__ = [
    "body_in_words",
    "characters_in_words",
    "combination_in_words",
    "length_in_words",
    "range_in_words",
    "structure_in_words",
    "symbols_in_words",
    "type_in_words",
    "unknown_header_in_words",
    "unknown_parameter_in_words",
    "value_in_words",
]


def value_in_words(parameter: Parameter, profile: ParameterProfile) -> tuple[str, str]:
    """Tell of a value that isn't among the known ones."""
    known = len(profile.values or ())
    return _shown(parameter), f"one of {known} known values" if known > 1 else "always the same value"


def type_in_words(parameter: Parameter, profile: ParameterProfile) -> tuple[str, str]:
    """Tell of another type."""
    return _shown(parameter), _or(sorted(profile.kinds))


def characters_in_words(parameter: Parameter, profile: ParameterProfile) -> tuple[str, str]:
    """Tell of characters of a new class."""
    only = f"{_or(class_names(profile.classes))} only, " if profile.classes else ""
    return _shown(parameter), f"{only}without {', '.join(class_names(parameter.classes & ~profile.classes))}"


def length_in_words(parameter: Parameter, profile: ParameterProfile) -> tuple[str, str]:
    """Tell of a length outside the normal ones."""
    seen = _characters(f"{parameter.length}") if parameter.number is None else _shown(parameter)
    return seen, f"{_characters(_between(profile.lengths))} long"


def _characters(how_many: str) -> str:
    return f"{how_many} character{'' if how_many == '1' else 's'}"


def range_in_words(parameter: Parameter, profile: ParameterProfile) -> tuple[str, str]:
    """Tell of a number outside the normal ones."""
    kind = "an integer" if Kind.NUMBER not in profile.kinds else "a number"
    return _shown(parameter), f"{kind} {_between(profile.numbers)}" if profile.numbers is not None else kind


def structure_in_words(parameter: Parameter, profile: ParameterProfile) -> tuple[str, str]:
    """Tell of a text that is put together in another way."""
    forms = sorted(profile.structures or (), key=_by_length)[:4]
    return _shown(parameter), f"of the form {_or(forms)}" if forms else "no text of any form"


def symbols_in_words(parameter: Parameter, profile: ParameterProfile) -> tuple[str, str]:
    """Tell of punctuation that isn't known, or not so often."""
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


def unknown_header_in_words(parameter: Parameter, profile: EndpointProfile) -> tuple[str, str]:
    """Tell of a header or cookie that nobody sends."""
    return _shown(parameter), f"one of {len(profile.parameters)} other headers and cookies"


def unknown_parameter_in_words(parameter: Parameter, profile: EndpointProfile) -> tuple[str, str]:
    """Tell of a parameter that nobody sends."""
    names = sorted(key.partition(":")[2] for key in profile.parameters if not key.startswith(("path:", "header:")))
    return _shown(parameter), f"only {_or(names[:8])}" if names else "no parameter at all"


def combination_in_words(keys: frozenset[str], known: int) -> tuple[str, str]:
    """Tell of parameters that never came together; `known`: how many combinations are."""
    names = ", ".join(sorted(key.partition(":")[2] for key in keys if key[0] in "qb")) or "no parameter"
    return names, f"one of {known} other combinations"


def body_in_words(body: BodyKind, normal: frozenset[BodyKind]) -> tuple[str, str]:
    """Tell of another kind of body."""
    return f"body: {body.value}", f"body: {_or(sorted(normal))}"


def _between(interval: Interval) -> str:
    if interval.low == interval.high:
        return f"{interval.low:.15g}"
    return f"from {interval.low:.15g} to {interval.high:.15g}"


def _or(words: list[str]) -> str:
    if len(words) < 2:
        return words[0] if words else "nothing"
    return f"{', '.join(words[:-1])} or {words[-1]}"
