"""Which endpoint a Call is: a trie over learned path templates, methods at its leaves.

Templates are Istio's: `{*}` is exactly one non-empty segment. Literal beats template at every position, left to right, and if the
literal branch leads nowhere the template branch is tried; so matching is total and deterministic, and its cost is bounded by
the number of learned templates.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

__all__ = ["WILDCARD", "EndpointTable", "Segment", "path_parameters"]

WILDCARD: Final = "{*}"


class Segment(Protocol):
    """A path segment as far as matching looks at it."""

    @property
    def text(self) -> str:
        """Clear where it is a name, else masked."""


class _Node:
    __slots__ = ("literals", "methods", "wildcard")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.wildcard: _Node | None = None
        self.methods: dict[str, str] = {}


class EndpointTable:
    """All endpoints of a workload, ready to match. Immutable after construction."""

    def __init__(self, endpoints: Iterable[str]) -> None:
        """Build from `METHOD /template` texts."""
        self._root = _Node()
        for endpoint in endpoints:
            method, _, template = endpoint.partition(" ")
            node = self._root
            for part in template.removeprefix("/").split("/"):
                if part == WILDCARD:
                    node.wildcard = node.wildcard or _Node()
                    node = node.wildcard
                else:
                    node = node.literals.setdefault(part, _Node())
            node.methods[method] = endpoint

    def match(self, method: str, segments: Sequence[Segment]) -> tuple[str, tuple[str, ...]]:
        """Find the endpoint of a call.

        Its text and nothing, or an empty text and the methods that the best matching template is known with (none: no template).
        """
        found = _find(self._root, segments, 0, method)
        if found is not None:
            return found.methods[method], ()
        other = _find(self._root, segments, 0, None)
        return "", tuple(sorted(other.methods)) if other is not None else ()


def _find(node: _Node, segments: Sequence[Segment], position: int, method: str | None) -> _Node | None:
    while position < len(segments):
        text = segments[position].text
        literal = node.literals.get(text)
        position += 1
        if node.wildcard is not None and text:
            if literal is not None:
                found = _find(literal, segments, position, method)
                if found is not None:
                    return found
            node = node.wildcard
        elif literal is not None:
            node = literal
        else:
            return None
    return node if (method in node.methods if method is not None else node.methods) else None


def path_parameters(endpoint: str) -> tuple[int, ...]:
    """Positions of the wildcard segments of an endpoint.

    >>> path_parameters("GET /users/{*}/items/{*}")
    (1, 3)
    """
    parts = endpoint.partition(" ")[2].removeprefix("/").split("/")
    return tuple(i for i, part in enumerate(parts) if part == WILDCARD)
