"""When a path of a policy matches a path of which only the form was recorded: yes, no, or can't be told.

In: a value of a policy, and the recorded segments, names clear and data masked. What a mask and a length rule out is no match,
what `{*}` takes whatever the data were is one, and where two data of this form would be treated differently the answer is None.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from authz_server.engine.call import Kind, Parameter
from authz_server.engine.observe import CLASS_NAMES, MAX_TEXT, Observer, names_itself
from authz_server.engine.target import decode
from trainer.policies.meaning.values import SEGMENT, is_template

__all__ = ["MaskedPath", "matches_masked"]

_EXACT_BELOW: Final = 1e6
"""`observe.py` keeps three significant digits of larger numbers."""
_UNRESERVED: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
"""What Envoy's normalisation leaves and decodes (RFC 3986, 2.3): such a segment was written as it is recorded."""
_PLAIN_CLASSES: Final = sum(
    1 << CLASS_NAMES.index(name)
    for name in CLASS_NAMES
    if name in ("lower-case letters", "upper-case letters", "digits", "`-`", "`.`", "`_`", "`~`")
)
_TAKEN_CLASSES: Final = sum(
    1 << bit
    for bit, name in enumerate(CLASS_NAMES)
    if name in ("lower-case letters", "upper-case letters", "digits", "spaces", "control characters")
    or name.strip("`") in SEGMENT
)
"""Characters that `{*}` takes as they are, and those that a request can only hold encoded, which it takes as well."""


class MaskedPath(msgspec.Struct, frozen=True, gc=False):
    """The segments of a recorded path; of one that is a name the text is the value, of others a mask of it."""

    segments: tuple[Parameter, ...]


def matches_masked(value: str, path: MaskedPath) -> bool | None:
    """Match a path of a policy, exact, with `*` at one end, or a template."""
    segments = path.segments
    if value == "*":
        return True
    if is_template(value):
        return _matches_template(value, segments)
    if value.startswith("*"):
        return _matches_end(value[1:].split("/"), segments)
    if value.endswith("*"):
        return _matches_start(value[:-1].split("/"), segments)
    wanted = value.split("/")
    if wanted[0] or len(wanted) != len(segments) + 1:
        return False
    return _all_of(map(_equals, wanted[1:], segments))


def _matches_start(wanted: Sequence[str], segments: Sequence[Parameter]) -> bool | None:
    if wanted[0]:
        return False
    if len(wanted) == 1:
        return True
    if len(wanted) - 1 > len(segments):
        return False
    whole = len(wanted) - 2
    return _all_of([*map(_equals, wanted[1:-1], segments[:whole]), _starts(wanted[-1], segments[whole])])


def _matches_end(wanted: Sequence[str], segments: Sequence[Parameter]) -> bool | None:
    """The path is an empty text, a slash and the segments; what is wanted ends it."""
    whole = len(wanted) - 1
    if whole > len(segments) or (whole == len(segments) and wanted[0]):
        return False
    first = True if whole == len(segments) else _ends(wanted[0], segments[len(segments) - whole - 1])
    return _all_of([first, *map(_equals, wanted[1:], segments[len(segments) - whole :])])


def _matches_template(template: str, segments: Sequence[Parameter]) -> bool | None:
    head, rest, tail = template.partition("{**}")
    wanted = head.split("/")[1:]
    if not template.startswith("/"):
        return False
    if not rest:
        return _all_of(map(_takes, wanted, segments)) if len(wanted) == len(segments) else False
    before = len(wanted) - 1
    after = tail.split("/")[1:]
    if len(segments) < before + max(1, 1 + len(after)):
        return False
    middle = segments[before : len(segments) - len(after)]
    return _all_of(
        [
            *map(_takes, wanted[:before], segments[:before]),
            *(_is_taken(segment) for segment in middle if segment.length),
            *map(_equals, after, segments[len(segments) - len(after) :]),
        ]
    )


def _takes(wanted: str, segment: Parameter) -> bool | None:
    if wanted != "{*}":
        return _equals(wanted, segment)
    return _is_taken(segment) if segment.length else False


def _is_taken(segment: Parameter) -> bool | None:
    """Tell whether all characters are ones that a wildcard of a template takes; others may have been sent encoded or not."""
    return True if segment.classes & ~_TAKEN_CLASSES == 0 else None


def _equals(wanted: str, segment: Parameter) -> bool | None:
    if not segment.length or not wanted:
        return not segment.length and not wanted
    if _is_clear(segment):
        return wanted == segment.text
    if not _may_be(wanted, segment):
        return False
    return True if _is_exact(segment) else None


def _starts(wanted: str, segment: Parameter) -> bool | None:
    if not wanted:
        return True
    if _is_clear(segment):
        return segment.text.startswith(wanted)
    if _is_plain(segment) and set(wanted) <= _UNRESERVED:
        if len(wanted) > segment.length or not segment.text.startswith(_mask(wanted)[:MAX_TEXT]):
            return False
        return None
    return None


def _ends(wanted: str, segment: Parameter) -> bool | None:
    if not wanted:
        return True
    if _is_clear(segment):
        return segment.text.endswith(wanted)
    if not _is_plain(segment) or segment.length > MAX_TEXT or not set(wanted) <= _UNRESERVED:
        return None
    return None if segment.text.endswith(_mask(wanted)) else False


def _is_clear(segment: Parameter) -> bool:
    """A name of characters that are always written as they are."""
    return names_itself(segment) and _is_plain(segment)


def _is_exact(segment: Parameter) -> bool:
    """Tell whether a number is recorded as it is: with its length there is one way to write it."""
    small = segment.number is not None and abs(segment.number) < _EXACT_BELOW
    return small and segment.kind is Kind.INTEGER and _is_plain(segment)


def _is_plain(segment: Parameter) -> bool:
    return segment.classes & ~_PLAIN_CLASSES == 0


_observer = Observer()


def _may_be(wanted: str, segment: Parameter) -> bool:
    """Tell whether a value of a policy has the form that was recorded; small numbers are recorded as they are."""
    seen = _observer.segment(segment.key, *decode(wanted))
    same = (seen.kind, seen.length, seen.classes, seen.text, seen.number)
    return same == (segment.kind, segment.length, segment.classes, segment.text, segment.number)


def _mask(text: str) -> str:
    """Mask letters and digits, also those of a name."""
    return "".join(["0" if c.isdigit() else "a" if c.islower() else "A" if c.isupper() else c for c in text])


def _all_of(truths: Iterable[bool | None]) -> bool | None:
    found = list(truths)
    return False if False in found else None if None in found else True
