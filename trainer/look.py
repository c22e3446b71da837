"""What a value looks like: all of a Parameter that is learned but its number and its digest, so that most values look alike."""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from authz_server.engine.call import Kind, Parameter
from authz_server.engine.observe import is_secret, structure, symbols
from authz_server.engine.parameters import FORMLESS

__all__ = ["Bucket", "Look", "is_formless", "to_alike", "to_length_bucket", "to_look", "to_number_bucket"]

_MARKED: Final = ~0b110_1111
"""Classes of characters that are counted as marks: control characters and, from the seventh bit on, each punctuation mark."""
_NONE: Final[frozenset[str]] = frozenset()

Bucket = tuple[float, float]
"""Both ends, the values in between being taken as alike."""


class Look(NamedTuple):
    """A value's type, length, character classes, structure and punctuation marks; the last two None where they say nothing."""

    kind: Kind
    length: Bucket
    classes: int
    structure: str | None
    symbols: frozenset[str] | None


@lru_cache(maxsize=4096)
def is_formless(key: str) -> bool:
    """Tell whether a parameter's structure and values say nothing: people make up passwords, each browser release is new."""
    return is_secret(key) or key == "header:user-agent" or key.startswith("header:sec-ch-ua")


def to_alike(parameters: Iterable[Parameter]) -> tuple[list[int], list[Parameter]]:
    """Number what is alike in all that matters but its number and its digest; and give the first one of each kind.

    What a profile says of alike parameters is the same, too, where the number is, and the value isn't one of the normal ones.
    """
    numbers: dict[tuple[str, Kind, int, int, str], int] = {}
    firsts: list[Parameter] = []
    found = []
    for one in parameters:
        key = one.key
        text = "" if one.number is not None or is_formless(key) else one.text
        number = numbers.setdefault((key, one.kind, one.length, one.classes, text), len(firsts))
        if number == len(firsts):
            firsts.append(one)
        found.append(number)
    return found, firsts


def to_look(parameter: Parameter) -> Look:
    """Tell what a value looks like."""
    kind, classes = parameter.kind, parameter.classes
    length = to_length_bucket(parameter.length)
    if parameter.number is not None or is_formless(parameter.key):
        return Look(kind, length, classes, None, None)
    if kind not in FORMLESS:
        return Look(kind, length, classes, structure(parameter.text), symbols(parameter.text))
    marks = symbols(parameter.text) if classes & _MARKED or parameter.key.startswith("path:") else _NONE
    return Look(kind, length, classes, None, marks)


@lru_cache(maxsize=4096)
def to_length_bucket(length: int) -> Bucket:
    """Lengths beyond 64 to about 3 %: as many distinct ones as are worth telling apart."""
    step = 1 << max(0, length.bit_length() - 6)
    low = length // step * step
    return low, low + step - 1


def to_number_bucket(number: float) -> Bucket:
    """Numbers beyond 100, and fractions, to two significant digits: bounded in number, never narrower than what was seen."""
    if number == 0 or (abs(number) <= 100 and number == int(number)):
        return number, number
    step = 10.0 ** (math.floor(math.log10(abs(number))) - 1)
    low = math.floor(number / step) * step
    return float(f"{low:.12g}"), float(f"{low + step:.12g}")
