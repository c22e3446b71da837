"""From what is seen of one value and what is documented of it to where the two contradict each other.

Learned limits are rounded outwards (`trainer/fit_parameters.py`), so a limit counts as broken only where rounding can't be why.
"""

import math
from collections.abc import Iterator
from typing import Final

from authz_server.engine.observe import is_secret
from trainer.openapi.contract import Field

__all__ = ["conflicts"]

_KINDS: Final = {
    "uuid": frozenset({"uuid", "empty"}),
    "email": frozenset({"email", "empty"}),
    "date": frozenset({"date", "empty"}),
    "date-time": frozenset({"date", "empty"}),
}
"""Kinds that a documented format allows."""
_ALWAYS: Final = 0.999


def conflicts(key: str, ours: Field, theirs: Field) -> Iterator[tuple[str, str]]:
    """List contradictions as (seen, documented) in words."""
    odd = _odd_types(key, ours, theirs)
    if odd:
        yield " or ".join(sorted(ours.types)), " or ".join(sorted(theirs.types))
        return
    if theirs.required and not ours.required and ours.presence is not None and ours.presence < _ALWAYS:
        yield f"in {ours.presence:.1%} of the calls", "required"
    odd_kinds = ours.kinds - _KINDS.get(theirs.format, ours.kinds)
    if odd_kinds:
        yield " or ".join(sorted(ours.kinds)), f"format {theirs.format}"
    if {ours.format, theirs.format} == {"date", "date-time"}:
        yield f"format {ours.format}", f"format {theirs.format}"
    if theirs.enum is not None:
        yield from _enumerations(key, ours, theirs.enum)
    yield from _limits(ours, theirs)


def _odd_types(key: str, ours: Field, theirs: Field) -> frozenset[str]:
    """Types that were seen and aren't documented; an integer is a number, and what isn't JSON is always a text too."""
    if not theirs.types or (theirs.types & {"array", "object"} and not key.startswith("body:/")):
        return frozenset()
    allowed = set(theirs.types) | ({"integer"} if "number" in theirs.types else set())
    if not key.startswith("body:/") and "string" in allowed:
        return frozenset()
    return ours.types - allowed


def _enumerations(key: str, ours: Field, documented: frozenset[str]) -> Iterator[tuple[str, str]]:
    words = ", ".join([one or '""' for one in sorted(documented)])
    if "string" not in ours.types or is_secret(key):
        return
    if ours.enum is not None or ours.unread:
        others = [one or '""' for one in sorted((ours.enum or ours.named) - documented)]
        if ours.unread:
            others.append(f"{ours.unread} that can't be named")
        if others:
            yield ", ".join(others), f"one of {words}"
    elif ours.distinct is None or ours.distinct > len(documented):
        yield f"{ours.distinct or 'very many'} different values", f"one of {words}"


def _limits(ours: Field, theirs: Field) -> Iterator[tuple[str, str]]:
    exact = "number" not in ours.types
    low, high = ours.minimum, ours.maximum
    if low is not None and theirs.minimum is not None and low + _step(low, exact=exact) < theirs.minimum:
        yield f"from {low:g}", f"at least {theirs.minimum:g}"
    if high is not None and theirs.maximum is not None and high - _step(high, exact=exact) > theirs.maximum:
        yield f"up to {high:g}", f"at most {theirs.maximum:g}"
    shortest, longest = ours.min_length, ours.max_length
    if shortest is not None and theirs.min_length is not None and shortest + _length_step(shortest) < theirs.min_length:
        yield f"from {shortest} characters", f"at least {theirs.min_length}"
    if longest is not None and theirs.max_length is not None and longest - _length_step(longest) > theirs.max_length:
        yield f"up to {longest} characters", f"at most {theirs.max_length}"


def _step(number: float, *, exact: bool) -> float:
    """How coarse a learned limit is: two significant digits, but for small integers."""
    if number == 0 or (exact and abs(number) <= 100):
        return 0.0
    return float(10.0 ** (math.floor(math.log10(abs(number))) - 1))


def _length_step(length: int) -> int:
    return (1 << max(0, length.bit_length() - 6)) - 1
