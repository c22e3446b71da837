"""AuthorizationPolicy's CustomResourceDefinition as an API server applies it: unknown fields, schema, CEL.

Istio's own file, where this machine has it; else the little that the tests lean on.
"""

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cel
import jsonschema
import msgspec
import yaml

__all__ = ["CustomResource"]

_CRDS = Path(os.environ.get("MESHWARDEN_CRDS", Path(__file__).parents[5] / "shared" / "istio" / "crds"))
_FILE = "authorizationpolicies.security.istio.io.yaml"
_FALLBACK = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "action": {"type": "string", "enum": ["ALLOW", "DENY", "AUDIT", "CUSTOM"]},
                "rules": {"type": "array", "maxItems": 512, "items": {"type": "object"}},
                "selector": {"type": "object", "properties": {"matchLabels": {"type": "object", "additionalProperties": {}}}},
                "targetRef": {"type": "object", "additionalProperties": {}},
                "targetRefs": {"type": "array", "maxItems": 16},
                "provider": {"type": "object", "additionalProperties": {}},
            },
        }
    },
}
_FREE = {"apiVersion", "kind", "metadata", "status"}


class CustomResource(msgspec.Struct, frozen=True):
    """A schema."""

    schema: dict[str, Any]

    @classmethod
    def load(cls) -> "CustomResource":
        """Read Istio's, or take the fallback."""
        return cls(_schema())

    def unknown(self, thing: Mapping[str, Any]) -> list[str]:
        """Fields that the schema doesn't name."""
        properties = {name: one for name, one in self.schema["properties"].items() if name not in _FREE}
        rest = {name: one for name, one in thing.items() if name not in _FREE}
        return list(_unknown(rest, {"type": "object", "properties": properties}, ""))

    def problems(self, thing: Mapping[str, Any]) -> list[tuple[str, str]]:
        """What is invalid: field and reason."""
        rest = {name: one for name, one in thing.items() if name not in _FREE}
        schema = {**self.schema, "required": []}
        found = [
            (".".join(str(part) for part in error.absolute_path), error.message)
            for error in jsonschema.Draft7Validator(schema).iter_errors(rest)
        ]
        return found or list(_rules(rest, self.schema, ""))


@cache
def _schema() -> dict[str, Any]:
    try:
        document = yaml.safe_load((_CRDS / _FILE).read_text("utf-8"))
    except OSError:
        return _FALLBACK
    version = next(one for one in document["spec"]["versions"] if one["name"] == "v1")
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def _unknown(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if isinstance(value, Mapping) and "properties" in schema:
        for name, one in value.items():
            if name in schema["properties"]:
                yield from _unknown(one, schema["properties"][name], f"{path}.{name}")
            elif not schema.get("x-kubernetes-preserve-unknown-fields"):
                yield f"{path}.{name}"
    elif isinstance(value, list) and "items" in schema:
        for number, one in enumerate(value):
            yield from _unknown(one, schema["items"], f"{path}[{number}]")


def _rules(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        if not cel.evaluate(rule["rule"], {"self": value}):
            yield path.lstrip("."), rule.get("message", rule["rule"])
    if isinstance(value, Mapping):
        for name, one in value.items():
            below = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            if isinstance(below, Mapping):
                yield from _rules(one, below, f"{path}.{name}")
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _rules(one, schema.get("items", {}), f"{path}[{number}]")
