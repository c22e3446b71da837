"""What an OpenAPI document says of each endpoint, in one form: ours and anybody's, 3.0, 3.1 and Swagger 2.

In: a parsed document. Out: a Contract, its endpoints by `METHOD /template` in our grammar, its values by the same keys as in the
model (`query:count`, `body:/items/*/id`). References are followed within the document only; what isn't understood is a note.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from authz_server.engine.endpoint import WILDCARD
from authz_server.engine.errors import cut
from trainer.openapi.request_body import is_of_graphql

__all__ = ["Contract", "Field", "Operation", "to_contract"]

_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_FORMS: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
_IGNORED_HEADERS: Final = frozenset({"accept", "content-type", "authorization"})
"""Parameters of these names are ignored (OpenAPI 3.1, Parameter Object)."""
_MAX_DEPTH: Final = 12
_FACTS: Final = "x-meshwarden"

_Node = Mapping[str, Any]


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said of one value: `types` empty: anything; `is_open`: what is below isn't said.

    Only ours has `calls`, `presence`, `kinds`, `distinct` and, where not all values of an enumeration can be named, `named` ones
    and the number of `unread` ones; `enum` is None then.
    """

    types: frozenset[str] = frozenset()
    required: bool = False
    format: str = ""
    enum: frozenset[str] | None = None
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str = ""
    deprecated: bool = False
    is_open: bool = False
    calls: int = 0
    presence: float | None = None
    kinds: frozenset[str] = frozenset()
    distinct: int | None = None
    named: frozenset[str] = frozenset()
    unread: int = 0


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said of one endpoint; `credentials`: alternatives, each the names of its schemes, mutual TLS apart."""

    fields: dict[str, Field] = {}
    media: frozenset[str] = frozenset()
    responses: dict[str, int] = {}
    """Calls by status; 0 in documents that aren't ours."""
    credentials: frozenset[frozenset[str]] = frozenset()
    deprecated: bool = False
    calls: int = 0


class Contract(msgspec.Struct, frozen=True):
    """A document: its title, endpoints, the paths of its servers' URLs, and what of it wasn't understood."""

    title: str
    endpoints: dict[str, Operation]
    prefixes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def to_contract(document: _Node) -> Contract:
    """Read a document. Never raises for what it says, however odd: that is left out, with a note."""
    reader = _Reader(document)
    endpoints = dict(reader.endpoints())
    title = _mapping(document.get("info")).get("title", "")
    return Contract(str(title), endpoints, tuple(reader.prefixes()), tuple(sorted(set(reader.notes))))


def _mapping(value: object) -> _Node:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _segments(path: str) -> list[str]:
    return path.removeprefix("/").split("/")


class _Reader:
    def __init__(self, document: _Node) -> None:
        self._document = document
        self._old = str(document.get("swagger", "")) == "2.0"
        schemes = _mapping(_mapping(document.get("components")).get("securitySchemes") or document.get("securityDefinitions"))
        self._mutual = {name for name, scheme in schemes.items() if _mapping(scheme).get("type") == "mutualTLS"}
        self.notes: list[str] = []

    def prefixes(self) -> Iterator[str]:
        if self._old:
            yield str(self._document.get("basePath", "")).rstrip("/")
        for server in _list(self._document.get("servers")):
            url = str(_mapping(server).get("url", ""))
            yield re.sub(r"^[a-z][a-z0-9+.-]*://[^/]*", "", url).rstrip("/")

    def endpoints(self) -> Iterator[tuple[str, Operation]]:
        for path, raw in _mapping(self._document.get("paths")).items():
            item = self._follow(raw)
            template = "/" + "/".join([WILDCARD if "{" in part else part for part in _segments(str(path))])
            template = str(item.get("x-meshwarden-template", template))
            common = _list(item.get("parameters"))
            for name, operation in item.items():
                method = str(name).removeprefix("x-") if _FACTS in _mapping(operation) else str(name)
                if isinstance(operation, Mapping) and (method in _METHODS or method != name):
                    yield f"{method.upper()} {template}", self._operation(str(path), operation, common)

    def _operation(self, path: str, operation: _Node, common: list[Any]) -> Operation:
        fields: dict[str, Field] = {}
        media: set[str] = set()
        for raw in [*common, *_list(operation.get("parameters"))]:
            self._add_parameter(self._follow(raw), path, fields, media)
        body = self._follow(operation.get("requestBody"))
        for name, content in _mapping(body.get("content")).items():
            media.add(str(name))
            self._add_body(_mapping(content).get("schema"), str(name), fields)
        taken_apart = self._follow(operation.get("x-graphql"))
        for name, inner in _mapping(taken_apart.get("properties")).items():
            if is_of_graphql(str(name)):
                fields[f"graphql:{name}"] = self._field(self._follow(inner), required=name in _list(taken_apart.get("required")))
        if self._old and media:
            media = {str(name) for name in _list(operation.get("consumes") or self._document.get("consumes"))} or media
        responses = {
            str(status): int(_mapping(_mapping(self._follow(response)).get(_FACTS)).get("calls", 0))
            for status, response in _mapping(operation.get("responses")).items()
            if not str(status).startswith("x-")
        }
        calls = int(_mapping(operation.get(_FACTS)).get("calls", 0))
        deprecated = operation.get("deprecated") is True
        return Operation(fields, frozenset(media), responses, self._credentials(operation), deprecated, calls)

    def _credentials(self, operation: _Node) -> frozenset[frozenset[str]]:
        needed = operation.get("security", self._document.get("security"))
        return frozenset([frozenset(str(name) for name in _mapping(one) if name not in self._mutual) for one in _list(needed)])

    def _add_parameter(self, parameter: _Node, path: str, fields: dict[str, Field], media: set[str]) -> None:
        location, name = str(parameter.get("in", "")), str(parameter.get("name", ""))
        required = parameter.get("required") is True
        if location == "body":
            media.add("application/json")
            self._add_body(parameter.get("schema"), "application/json", fields)
            return
        if location == "formData":
            media.add("application/x-www-form-urlencoded")
            fields[f"body:{name}"] = self._field(parameter, required=required)
            return
        if location == "path":
            position = next((i for i, part in enumerate(_segments(path)) if f"{{{name}}}" in part), None)
            if position is None:
                self.notes.append(f"{path}: a path parameter that isn't in the path: {cut(name)}")
                return
            name = str(position)
        elif location == "header":
            name = name.lower()
            if name in _IGNORED_HEADERS:
                return
        elif location not in ("query", "cookie"):
            return
        contents = [_mapping(content).get("schema") for content in _mapping(parameter.get("content")).values()]
        schema = parameter if self._old else parameter.get("schema") or (contents[0] if contents else {})
        field = self._field(self._follow(schema), required=required, facts=parameter)
        deprecated = field.deprecated or parameter.get("deprecated") is True
        fields[f"{location}:{name}"] = msgspec.structs.replace(field, deprecated=deprecated)
        if location == "query" and not contents:
            repeated = parameter.get("collectionFormat") == "multi" if self._old else parameter.get("explode") is not False
            self._walk_pairs(schema, f"query:{name}", fields, depth=0, repeated=repeated)

    def _add_body(self, schema: object, media: str, fields: dict[str, Field]) -> None:
        if media.partition(";")[0].strip() in _FORMS:
            whole = self._follow(schema)
            needed = _list(whole.get("required"))
            for name, inner in self._properties(whole, 0).items():
                fields[f"body:{name}"] = self._field(self._follow(inner), required=name in needed)
                self._walk_pairs(inner, f"body:{name}", fields, depth=0)
        else:
            self._walk(schema, "", fields, required=True, depth=0)

    def _walk(self, schema: object, pointer: str, fields: dict[str, Field], *, required: bool, depth: int) -> None:
        if depth > _MAX_DEPTH:
            self.notes.append(f"deeper than {_MAX_DEPTH} levels, or without end: {cut(pointer)}")
            return
        node = self._follow(schema)
        properties = self._properties(node, 0)
        field = self._field(node, required=required)
        rest = node.get("additionalProperties")
        closed = bool(properties) or "items" in node or isinstance(rest, Mapping)
        if not closed and (not field.types or field.types & {"object", "array"}):
            field = msgspec.structs.replace(field, is_open=True)
        known = fields.get(f"body:{pointer}")
        fields[f"body:{pointer}"] = field if known is None else _either(known, field)
        needed = {str(name) for part in self._parts(node, 0) for name in _list(part.get("required"))}
        for name, inner in properties.items():
            step = str(name).replace("~", "~0").replace("/", "~1")
            self._walk(inner, f"{pointer}/{step}", fields, required=name in needed, depth=depth + 1)
        if isinstance(node.get("items"), Mapping):
            self._walk(node["items"], f"{pointer}/*", fields, required=False, depth=depth + 1)
        if isinstance(rest, Mapping) and rest:
            self._walk(rest, f"{pointer}/{WILDCARD}", fields, required=False, depth=depth + 1)

    def _walk_pairs(self, schema: object, key: str, fields: dict[str, Field], *, depth: int, repeated: bool = True) -> None:
        """Add what is below a value that is sent as pairs, as `address[city]`, `items[*][id]` and `metadata[{*}]`.

        `repeated`: arrays come as so many pairs, not as one with commas.
        """
        if depth > _MAX_DEPTH:
            self.notes.append(f"deeper than {_MAX_DEPTH} levels, or without end: {cut(key)}")
            return
        node = self._follow(schema)
        below = {f"{key}[{name}]": inner for name, inner in self._properties(node, 0).items()}
        for one in (node, *self._choices(node)):
            if isinstance(one.get("items"), Mapping) and repeated:
                below[f"{key}[*]"] = one["items"]
            if isinstance(one.get("additionalProperties"), Mapping):
                below[f"{key}[{WILDCARD}]"] = one["additionalProperties"]
        for name, inner in below.items():
            fields[name] = self._field(self._follow(inner), required=False)
            self._walk_pairs(inner, name, fields, depth=depth + 1)

    def _parts(self, node: _Node, depth: int) -> Iterator[_Node]:
        """A schema and all that it is composed of by `allOf`."""
        yield node
        for part in _list(node.get("allOf")) if depth < _MAX_DEPTH else ():
            yield from self._parts(self._follow(part), depth + 1)

    def _choices(self, node: _Node) -> list[_Node]:
        return [self._follow(one) for kind in ("oneOf", "anyOf") for one in _list(node.get(kind))]

    def _properties(self, node: _Node, depth: int) -> dict[str, Any]:
        """All properties a value may have, whichever way they are composed."""
        found: dict[str, Any] = {}
        for part in self._parts(node, 0):
            found |= _mapping(part.get("properties"))
            for choice in self._choices(part) if depth < _MAX_DEPTH else ():
                found = self._properties(choice, depth + 1) | found
        return found

    def _field(self, schema: _Node, *, required: bool, facts: _Node | None = None) -> Field:
        joined: dict[str, Any] = {}
        for part in self._parts(schema, 0):
            joined = {**{k: v for k, v in part.items() if k not in ("allOf", "$ref")}, **joined}
        types = _types(joined)
        choices = self._choices(joined)
        if choices and not types:
            inner = [_types(choice) for choice in choices]
            types = frozenset[str]().union(*inner) if all(inner) else frozenset()
        told = _mapping(_mapping(facts if facts is not None else schema).get(_FACTS))
        enum = joined.get("enum", [joined["const"]] if "const" in joined else None)
        known = _list(joined.get("x-enum-known"))
        return Field(
            types,
            required,
            str(joined.get("format", "")),
            frozenset(_scalar(one) for one in enum) if isinstance(enum, list) else None,
            _number(joined.get("minimum")),
            _number(joined.get("maximum")),
            _whole(joined.get("minLength")),
            _whole(joined.get("maxLength")),
            str(joined.get("pattern", "")),
            joined.get("deprecated") is True,
            calls=int(told.get("calls", 0)),
            presence=_number(told.get("presence")),
            kinds=frozenset(str(kind) for kind in _list(told.get("kinds"))),
            distinct=_whole(told.get("distinct")),
            named=frozenset(str(one) for one in known),
            unread=(_whole(joined.get("x-enum-size")) or len(known)) - len(known),
        )

    def _follow(self, value: object) -> _Node:
        """Follow references within the document, to a node."""
        seen: set[str] = set()
        node = _mapping(value)
        while "$ref" in node:
            reference = str(node["$ref"])
            if not reference.startswith("#/") or reference in seen:
                self.notes.append(f"not followed: {cut(reference)}")
                return {}
            seen.add(reference)
            found: Any = self._document
            for part in reference[2:].split("/"):
                step = part.replace("~1", "/").replace("~0", "~").replace("%7B", "{").replace("%7D", "}")
                found = _mapping(found).get(step)
            if found is None:
                self.notes.append(f"leads nowhere: {cut(reference)}")
            node = _mapping(found)
        return node


def _types(schema: _Node) -> frozenset[str]:
    raw = schema.get("type")
    types = {str(one) for one in raw} if isinstance(raw, list) else {str(raw)} if raw else set()
    if not types and "properties" in schema:
        types = {"object"}
    if types and (schema.get("nullable") is True or schema.get("x-nullable") is True):
        types.add("null")
    return frozenset(types)


def _either(one: Field, other: Field) -> Field:
    """What is said of a value that stands in several bodies: what either allows."""
    types = one.types | other.types if one.types and other.types else frozenset[str]()
    return Field(types, one.required and other.required, is_open=one.is_open or other.is_open, calls=max(one.calls, other.calls))


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
