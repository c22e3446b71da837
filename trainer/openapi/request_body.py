"""From the parameters of an endpoint's bodies to OpenAPI's request body: as it was sent, by media type.

Files in forms and GraphQL documents are taken apart into facts (`engine/bodies`): a size, how deep a document selects. No client
sends those, so they aren't properties of the body; they stand in a schema of their own, which Findings point to.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from authz_server.engine.call import BodyKind
from authz_server.engine.pointer import body_schema_id, is_json_name, operation_id
from authz_server.engine.profile import EndpointProfile
from trainer.description import EndpointFacts
from trainer.openapi.body import Shown, body_schema
from trainer.openapi.media import media_types
from trainer.openapi.schema import Schema, is_required

__all__ = ["content", "graphql_parameters", "graphql_selection", "is_of_graphql", "reference"]

_FILE_FACTS: Final = ("filename", "extension", "type", "size", "magic")
_OPERATION: Final = re.compile(r"operation(?:/|\Z)|(?:fields|arguments)/")
_QUERY: Final[Schema] = {"type": "string", "description": "A GraphQL document; `x-graphql` says what is selected."}
_TAKEN_APART: Final = (
    "What was read out of GraphQL documents and files: facts of a call by name, which nobody sends as properties."
)


def reference(section: str, identifier: str) -> dict[str, str]:
    """Refer to a component."""
    return {"$ref": f"#/components/{section}/{identifier}"}


def is_of_graphql(name: str) -> bool:
    """Tell whether a name is a fact of a GraphQL document, where one was sent."""
    return _OPERATION.match(name) is not None


def content(
    endpoint: str,
    profile: EndpointProfile,
    facts: EndpointFacts | None,
    schemas: dict[str, Any],
    vocabulary: Mapping[str, str],
    shown: Shown,
) -> dict[str, Any]:
    """Tell the schema by media type, and add what they refer to to `schemas`."""
    counted = facts.parameters if facts is not None else {}
    kinds = sorted(kind for kind in profile.bodies if kind is not BodyKind.NONE)
    names: dict[bool, dict[str, str]] = {}
    for key in profile.parameters:
        location, _, name = key.partition(":")
        if location == "body":
            names.setdefault(is_json_name(name), {})[name] = key

    def write(keys: Mapping[str, str], *, nested: bool, typed: bool = True) -> Schema:
        return body_schema(keys, profile, counted, vocabulary, shown, nested=nested, typed=typed)

    for nested, keys in names.items():
        identifier = body_schema_id(endpoint, next(iter(keys)))
        schemas[identifier] = write(keys, nested=nested, typed=kinds != [BodyKind.XML])
    flat = names.get(False, {})
    found: dict[str, Any] = {}
    for kind in kinds:
        schema: Schema = {}
        media: dict[str, Any] = {"schema": schema}
        if kind is BodyKind.GRAPHQL and flat:
            schema |= _own(schemas, f"graphql.{operation_id(endpoint)}", _of_graphql(flat, write))
        elif kind is BodyKind.MULTIPART and _files(flat):
            sent, encoding = _with_files(flat, profile, vocabulary, shown, write)
            schema |= _own(schemas, f"multipart.{operation_id(endpoint)}", sent)
            media |= {"encoding": encoding} if encoding else {}
        elif kind is not BodyKind.OPAQUE and names:
            nested = kind not in (BodyKind.FORM, BodyKind.MULTIPART)
            keys = names.get(nested) or names[not nested]
            schema |= reference("schemas", body_schema_id(endpoint, next(iter(keys))))
        found |= dict.fromkeys(media_types(kind, profile, vocabulary), media)
    return found


def _own(schemas: dict[str, Any], identifier: str, schema: Schema) -> Schema:
    """Add a schema beside the one of the facts, which says that it is none."""
    schemas[identifier] = schema
    schemas[f"fields.{identifier.partition('.')[2]}"]["description"] = _TAKEN_APART
    return reference("schemas", identifier)


def _of_graphql(flat: Mapping[str, str], write: Any) -> Schema:
    """Write a GraphQL request as JSON: the document itself, its variables, and the rest of what clients send."""
    schema: Schema = write({f"/{name}": key for name, key in flat.items() if not is_of_graphql(name)}, nested=True)
    schema["properties"] = dict(sorted({**schema.get("properties", {}), "query": _QUERY}.items()))
    schema["required"] = sorted({*schema.get("required", []), "query"})
    return schema


def graphql_parameters(names: Mapping[str, str], write: Any) -> list[dict[str, Any]]:
    """Write the parameters of a GraphQL request in a query string."""
    found: list[dict[str, Any]] = [{"name": "query", "in": "query", "required": True, "schema": _QUERY}]
    variables = {name.removeprefix("variables"): key for name, key in names.items() if name.startswith("variables")}
    if variables:
        schema = write(variables)
        found.append({"name": "variables", "in": "query", "content": {"application/json": {"schema": schema}}})
    return found


def graphql_selection(identifiers: Mapping[str, str], required: Collection[str]) -> Schema:
    """Write what was read out of a document in a query string, by name: the schemas of the components of these identifiers."""
    return {
        "type": "object",
        "description": _TAKEN_APART,
        "properties": {name: {"$ref": f"#/components/parameters/{identifiers[name]}/schema"} for name in sorted(identifiers)},
        "required": sorted(required),
    }


def _files(flat: Mapping[str, str]) -> list[str]:
    """Name the parts that are files."""
    return sorted([name.removesuffix("/magic") for name in flat if name.endswith("/magic") and f"{name[:-6]}/size" in flat])


def _with_files(
    flat: Mapping[str, str], profile: EndpointProfile, vocabulary: Mapping[str, str], shown: Shown, write: Any
) -> tuple[Schema, dict[str, Any]]:
    """Write a form with files, and how these are encoded, where that can be read."""
    files = _files(flat)
    facts = {f"{file}/{fact}" for file in files for fact in _FILE_FACTS}
    schema: Schema = write({f"/{name}": key for name, key in flat.items() if name not in facts}, nested=True, typed=False)
    encoding = {}
    for file in files:
        size = flat[f"{file}/size"]
        schema.setdefault("properties", {})[file] = {"type": "string", "format": "binary", **_of_file(shown(size, 0))}
        if is_required(profile, size):
            schema["required"] = sorted({*schema.get("required", []), file})
        types = profile.parameters.get(flat.get(f"{file}/type", ""))
        known = sorted([vocabulary.get(digest, "") for digest in types.values or ()]) if types is not None else []
        if known and all(known):
            encoding[file] = {"contentType": ", ".join(known)}
    schema["properties"] = dict(sorted(schema["properties"].items()))
    return schema, encoding


def _of_file(told: Schema) -> Schema:
    """Keep of what was counted of a file's size what was counted of the file."""
    return {name: {one: fact for one, fact in facts.items() if one not in ("distinct", "kinds")} for name, facts in told.items()}
