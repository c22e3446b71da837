"""From the parameters of a body, named by JSON pointers or flat, to one JSON schema with objects and arrays."""

from collections.abc import Callable, Mapping
from typing import Final

from authz_server.engine.endpoint import WILDCARD
from authz_server.engine.pointer import unescaped
from authz_server.engine.profile import EndpointProfile, ParameterProfile
from trainer.description import ParameterFacts
from trainer.openapi.schema import Schema, is_required, one_or_all, value_schema

__all__ = ["Shown", "body_schema"]

Shown = Callable[[str, int], Schema]
"""What is added to a place's schema, given its parameter's key (empty: it only holds others) and, where it holds others, in how
many calls it was."""


_MAX_OPTIONAL: Final = 3
"""Optional properties of one kind of object, beside several that are always there, that may together be more than these."""


class _Node:
    """A place in a body: what stands there itself, and what is below."""

    def __init__(self) -> None:
        self.key = ""
        self.own: ParameterProfile | None = None
        self.facts: ParameterFacts | None = None
        self.required = False
        self.children: dict[str, _Node] = {}
        self.items: _Node | None = None
        self.rest: _Node | None = None

    def below(self, part: str) -> "_Node":
        if part == "*":
            self.items = self.items or _Node()
            return self.items
        if part in (WILDCARD, "{long}"):
            self.rest = self.rest or _Node()
            return self.rest
        return self.children.setdefault(unescaped(part), _Node())

    def below_it(self) -> list["_Node"]:
        return [*self.children.values(), *[one for one in (self.items, self.rest) if one is not None]]

    def count(self) -> int:
        """How often this place was there, as far as is told: a value of its own (null, an empty array) or what stands below."""
        own = self.facts.values if self.facts is not None else 0
        listed = self.items.calls() if self.items is not None else 0
        return own + max([listed, *[child.count() for child in self.children.values()]])

    def calls(self) -> int:
        """In how many calls this place was, as far as is told; at most, since one call may have several kinds of it."""
        return (self.facts.calls if self.facts is not None else 0) + max([0, *[child.calls() for child in self.below_it()]])

    def most(self) -> int:
        """How often this place was there at most: its kinds and what stands below may all have come apart."""
        return (self.facts.values if self.facts is not None else 0) + sum([child.most() for child in self.below_it()])

    def leaves(self) -> set[str]:
        """List the keys of all parameters here and below."""
        return {self.key} - {""} | {key for child in self.below_it() for key in child.leaves()}

    def is_required(self) -> bool:
        """Whether a leaf below is: then whatever holds it is required too."""
        return self.required or any(child.is_required() for child in self.below_it())


def body_schema(
    names: Mapping[str, str],
    profile: EndpointProfile,
    facts: Mapping[str, ParameterFacts],
    vocabulary: Mapping[str, str],
    shown: Shown,
    *,
    nested: bool,
    typed: bool = True,
) -> Schema:
    """Rebuild a body from its parameters; `names` are their keys by name, JSON pointers where `nested`, else flat.

    `typed`: the format said of each value what type it has, as JSON does and XML doesn't.
    """
    root = _Node()
    for name, key in sorted(names.items()):
        node = root if nested else root.children.setdefault(name, _Node())
        for part in name.split("/")[1:] if nested else ():
            node = node.below(part)
        node.key, node.own, node.facts = key, profile.parameters[key], facts.get(key)
        node.required = is_required(profile, key)
    together = [frozenset(names.split(" ")) for names in profile.combinations or ()]
    return _Writer(vocabulary, shown, together, typed=nested and typed).schema(root, root=True)


class _Writer:
    """Writes places as schemas; `together`: the keys that normal calls have together, empty where too many ways are normal."""

    def __init__(self, vocabulary: Mapping[str, str], shown: Shown, together: list[frozenset[str]], *, typed: bool) -> None:
        self._vocabulary = vocabulary
        self._shown = shown
        self._together = together
        self._typed = typed

    def schema(self, node: _Node, *, root: bool = False, listed: bool = False) -> Schema:
        """Write one place; `listed`: in an array, which may hold several kinds of items."""
        schema = value_schema(node.key, node.own, self._vocabulary, typed=self._typed) if node.own is not None else {}
        types = set([schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", []))
        if node.children or node.rest is not None or (root and node.own is None and node.items is None):
            types.add("object")
            if node.children:
                schema["properties"] = {name: self.schema(child, listed=listed) for name, child in sorted(node.children.items())}
            required = self._required(node, root=root, listed=listed)
            if required:
                schema["required"] = required
            if node.rest is not None:
                schema["additionalProperties"] = self.schema(node.rest, listed=listed)
        if node.items is not None:
            types.add("array")
            schema["items"] = self.schema(node.items, listed=True)
        if types:
            schema = {"type": one_or_all(types), **{name: value for name, value in schema.items() if name != "type"}}
        below = node.calls() if node.below_it() else 0
        return schema if root and node.own is None else schema | self._shown(node.key, below)

    def _required(self, node: _Node, *, root: bool, listed: bool) -> list[str]:
        """List the properties that are there whenever one of their siblings is.

        That is: as often as any of them; or, for what has several leaves of which none is always there, normal calls have one of
        these whenever they have a sibling. At the root one leaf must be required by itself. Where it isn't known what comes
        together, the commonest ones aren't required if their siblings may have come without them, as in a map or where one
        place holds several kinds of objects.
        """
        children = node.children.values()
        counts = [child.count() for child in children]
        often = max(counts, default=0)
        keys = node.leaves() - {node.key}
        ways = [way for way in self._together if way & keys]
        others = [count for count in [*counts, node.rest.count() if node.rest is not None else 0] if 0 < count < often]
        apart = sum(others) > often and (counts.count(often) == 1 or len(others) > _MAX_OPTIONAL)
        varied = (apart or (node.rest is not None and node.rest.count() >= often)) and (listed or not ways)
        sure = not varied
        if root:  # the only property that a body may have stands in each that isn't empty
            sure = any(child.is_required() for child in children) or (len(children) == 1 and node.own is None and bool(ways))

        def required(child: _Node) -> bool:
            if root and child.is_required():
                return True
            own = child.leaves()
            if not sure or not often or not all(way & own for way in ways):
                return False
            in_turn = bool(ways) and not listed and len(own) > 1 and child.most() >= often
            return in_turn or (not root and child.count() >= often)

        return sorted([name for name, child in node.children.items() if required(child)])
