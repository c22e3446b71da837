"""A Call at a known endpoint as figures and categories: what the numeric view (`numeric.py`) and studies look at.

Counts, shares and places in normal intervals, of the call as a whole; no value can be read out of them.
"""

import math
from typing import Final

from authz_server.engine.call import Call, Kind
from authz_server.engine.observe import structure
from authz_server.engine.parameters import combination
from authz_server.engine.profile import EndpointProfile

__all__ = ["FIGURES", "to_categories", "to_figures"]

_KINDS: Final = tuple(Kind)
FIGURES: Final = (
    "number of values",
    "number of headers and cookies",
    "characters in all values, as a power of 2",
    "characters in the longest value, as a power of 2",
    "bytes of body, as a power of 2",
    "classes of characters",
    "different punctuation marks",
    "share of digits",
    "share of letters",
    "runs of characters per character",
    "highest number, in its normal interval",
    "average number, in its normal interval",
    "longest value, in its normal interval",
    "unknown parameters",
    "absent parameters",
    "oddities of form",
    *(f"values of type {kind.value}" for kind in _KINDS),
)
"""What each figure of a call is; the order is part of the bundle's format. Values are those of path, query and body.

Powers of 2 are those of the figure plus 1. In its normal interval: 0 at the lower end, 1 at the upper one, cut to -3 and 4.
Characters are looked at as far as a mask keeps them."""
_FIRST_KIND: Final = len(FIGURES) - len(_KINDS)
_KIND_AT: Final = {kind: _FIRST_KIND + index for index, kind in enumerate(_KINDS)}
_PUNCTUATION_FROM: Final = 7
"""The lowest bit of `Parameter.classes` that is a punctuation mark."""


def to_figures(call: Call, positions: tuple[int, ...], profile: EndpointProfile) -> list[float]:
    """Measure a call: one figure for each of `FIGURES`, all finite and bounded. About 2 microseconds a parameter."""
    known = profile.parameters
    figures = [0.0] * len(FIGURES)
    total = longest = classes = 0
    digits = letters = shown = runs = 0
    values = unknown = headers = numbers = 0
    stretch = highest = -3.0
    average = 0.0
    for parameter in (*[call.segments[position] for position in positions], *call.parameters):
        first = parameter.key[0]
        if first == "h" or first == "c":
            headers += 1
            continue
        values += 1
        figures[_KIND_AT[parameter.kind]] += 1.0
        length, text = parameter.length, parameter.text
        total += length
        longest = max(longest, length)
        classes |= parameter.classes
        shown += len(text)
        digits += text.count("0")
        letters += text.count("a") + text.count("A")
        runs += len(structure(text))
        normal = known.get(parameter.key)
        if normal is None:
            unknown += 1
            continue
        stretch = max(stretch, _position(length, normal.lengths.low, normal.lengths.high))
        if parameter.number is not None and normal.numbers is not None:
            position = _position(parameter.number, normal.numbers.low, normal.numbers.high)
            highest = max(highest, position)
            average += position
            numbers += 1
    shown = shown or 1
    figures[:_FIRST_KIND] = (
        float(values),
        float(headers),
        math.log2(1 + total),
        math.log2(1 + longest),
        math.log2(1 + max(0, call.body_size)),
        float(classes.bit_count()),
        float((classes >> _PUNCTUATION_FROM).bit_count()),
        digits / shown,
        letters / shown,
        runs / shown,
        highest if numbers else 0.0,
        average / (numbers or 1),
        stretch if values > unknown else 0.0,
        float(unknown),
        float(_absent(call, profile)),
        float(len(call.flags)),
    )
    return figures


def _position(value: float, low: float, high: float) -> float:
    return min(4.0, max(-3.0, (value - low) / ((high - low) or 1.0)))


def _absent(call: Call, profile: EndpointProfile) -> int:
    required = profile.required
    return len(required.keys() - {parameter.key for parameter in call.parameters}) if required else 0


def to_categories(call: Call, endpoint: str) -> tuple[str, ...]:
    """Name what a call is, one value a category column: endpoint, kind of body, combination of parameters."""
    return endpoint, call.body.value, combination(call)
