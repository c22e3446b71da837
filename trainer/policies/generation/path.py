"""From a learned path template to a path of AuthorizationPolicy that Envoy reads as it was meant.

The trainer's templates are decoded segments; AuthorizationPolicy's are compared with the undecoded path, and `*`, `{` and `}`
mean something there. What Envoy accepts in a template says its `uri_template_internal.cc`; anything else makes it refuse the
whole configuration of the listener. So what can't be said exactly is said wider, never as something that is misread.
"""

import re
from typing import Final

from authz_server.engine.endpoint import WILDCARD
from authz_server.engine.target import MAX_SEGMENTS

__all__ = ["ANY", "METHOD", "overlaps", "precedes", "to_path"]

ANY: Final = "{**}"
"""Zero or more characters, slashes too; the last operator of a template."""
METHOD = re.compile(r"[A-Z][A-Z_-]{0,31}\Z")
"""What can be a method in a policy: Envoy compares it as it is, and `canonical.py` marks everything else."""

_LITERAL = re.compile(r"[A-Za-z0-9._~$@:-]*\Z")
"""Segments that are the same decoded and undecoded, and mean nothing else to Istio or Envoy."""


def to_path(template: str) -> str:
    """Write a template as a path of AuthorizationPolicy that matches all it matches; empty where only `everything` would.

    >>> to_path("/cart/{*}/items/")
    '/cart/{*}/items/'
    >>> to_path("/a*/b{}")
    '/{*}/{*}'
    """
    segments = [part if _LITERAL.match(part) else WILDCARD for part in template.removeprefix("/").split("/")]
    if len(segments) > MAX_SEGMENTS and segments[-1] == WILDCARD:
        segments[-1] = ANY  # beyond the last segment that is read there may be more
    if any(part in (WILDCARD, ANY) for part in segments):
        empty = next((i for i, part in enumerate(segments[:-1]) if not part), None)
        if empty is not None:  # Envoy takes no empty segment inside a template
            segments = [*segments[:empty], ANY]
    return "" if segments == [ANY] else "/" + "/".join(segments)


def precedes(path: str, other: str) -> bool:
    """Tell whether calls that match both were learned at `path`: a literal beats `{*}`, left to right (`engine/endpoint.py`)."""
    return path != other and overlaps(path, other) and _wildcards(path) < _wildcards(other)


def overlaps(path: str, other: str) -> bool:
    """Tell whether some call can match both.

    >>> overlaps("/a/{*}", "/{*}/b"), overlaps("/a/{*}", "/a/")
    (True, False)
    """
    ours, theirs = path.split("/"), other.split("/")
    if path.endswith(ANY) or other.endswith(ANY):
        return all(_meet(*pair) for pair in zip(ours, theirs, strict=False) if ANY not in pair)
    return len(ours) == len(theirs) and all(_meet(*pair) for pair in zip(ours, theirs, strict=True))


def _meet(one: str, other: str) -> bool:
    return one == other or (one == WILDCARD and bool(other)) or (other == WILDCARD and bool(one))


def _wildcards(path: str) -> list[int]:
    return [{WILDCARD: 1, ANY: 2}.get(part, 0) for part in path.split("/")]
