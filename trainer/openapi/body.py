"""From the parameters of a body, named by JSON pointers or flat, to one JSON schema with objects and arrays."""

from collections.abc import Callable, Mapping

from authz_server.engine.endpoint import WILDCARD
from authz_server.engine.pointer import unescaped
from authz_server.engine.profile import EndpointProfile, ParameterProfile
from trainer.description import ParameterFacts
from trainer.openapi.schema import Schema, is_required, one_or_all, value_schema

__all__ = ["Shown", "body_schema"]

Shown = Callable[[str, int], Schema]
"""What is added to a place's schema, given its parameter's key (empty: it only holds others) and in how many calls it was."""


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

    def count(self) -> int:
        """How often this place was there, as far as what stands below tells."""
        own = self.facts.values if self.facts is not None else 0
        listed = self.items.calls() if self.items is not None else 0
        return max([own, listed, *[child.count() for child in self.children.values()]])

    def calls(self) -> int:
        below = [*self.children.values(), *([self.items] if self.items else [])]
        return max([self.facts.calls if self.facts is not None else 0, *[child.calls() for child in below]])

    def is_required(self) -> bool:
        """Whether a leaf below is: then whatever holds it is required too."""
        below = [*self.children.values(), *([self.items] if self.items else [])]
        return self.required or any(child.is_required() for child in below)


def body_schema(
    names: Mapping[str, str],
    profile: EndpointProfile,
    facts: Mapping[str, ParameterFacts],
    vocabulary: Mapping[str, str],
    shown: Shown,
    *,
    typed: bool,
) -> Schema:
    """Rebuild a body from its parameters; `names` are their keys by name, JSON pointers where `typed`, else flat."""
    root = _Node()
    for name, key in sorted(names.items()):
        node = root if typed else root.children.setdefault(name, _Node())
        for part in name.split("/")[1:] if typed else ():
            node = node.below(part)
        node.key, node.own, node.facts = key, profile.parameters[key], facts.get(key)
        node.required = is_required(profile, key)
    return _node_schema(root, vocabulary, shown, typed=typed, root=True)


def _node_schema(node: _Node, vocabulary: Mapping[str, str], shown: Shown, *, typed: bool, root: bool) -> Schema:
    schema = value_schema(node.key, node.own, vocabulary, typed=typed) if node.own is not None else {}
    types = set([schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", []))

    def inner(child: _Node) -> Schema:
        return _node_schema(child, vocabulary, shown, typed=typed, root=False)

    if node.children or node.rest is not None or (root and node.own is None and node.items is None):
        types.add("object")
        if node.children:
            schema["properties"] = {name: inner(child) for name, child in sorted(node.children.items())}
        required = _required(node, root=root)
        if required:
            schema["required"] = required
        if node.rest is not None:
            schema["additionalProperties"] = inner(node.rest)
    if node.items is not None:
        types.add("array")
        schema["items"] = inner(node.items)
    if types:
        schema = {"type": one_or_all(types), **{name: value for name, value in schema.items() if name != "type"}}
    return schema if root and node.own is None else schema | shown(node.key, node.calls())


def _required(node: _Node, *, root: bool) -> list[str]:
    """Below the root, a property is required that is there as often as any of its siblings."""
    if root:
        return sorted([name for name, child in node.children.items() if child.is_required()])
    most = max([child.count() for child in node.children.values()], default=0)
    return sorted([name for name, child in node.children.items() if most and child.count() >= most])
