"""Would the API server take this object, as its CustomResourceDefinition says? Schema, CEL rules, and fields it doesn't know.

In: an object and the schemas of a directory. Out: every problem with the path to it. Needs `jsonschema` and
`common-expression-language`; Istio's definitions are in its Helm chart `base` (`files/crd-all.gen.yaml`).

What an API server does beside isn't done here: defaults, pruning, rules that compare with what was there (`oldSelf`).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from authz_server.engine.errors import SettingError, cut

__all__ = ["Schemas", "check_schema", "read_crds"]

Schemas = dict[tuple[str, str], dict[str, Any]]
"""openAPIV3Schema by apiVersion and kind."""

_SUFFIXES: Final = frozenset({".yaml", ".yml"})
_OBJECT: Final = frozenset({"apiVersion", "kind", "metadata"})
"""Known at the root of every object, whatever its schema says."""


def read_crds(place: Path) -> Schemas:
    """Read the definitions of a file or directory; raises SettingError where there is none or a library is missing."""
    try:
        import cel  # noqa: F401
        import jsonschema  # noqa: F401
    except ImportError as error:
        raise SettingError(
            f"crds: expected the package {error.name}: pip install jsonschema common-expression-language"
        ) from error
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # definitions are the operator's own, and larger than policies
    found: Schemas = {}
    file = place
    try:
        files = sorted(file for file in place.iterdir() if file.suffix in _SUFFIXES) if place.is_dir() else [place]
        for file in files:
            for document in yaml.load_all(file.read_bytes(), Loader=loader):  # a safe one
                if isinstance(document, dict) and document.get("kind") == "CustomResourceDefinition":
                    found |= _schemas(document["spec"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise SettingError(f"crds: expected CustomResourceDefinitions in {file}: {cut(' '.join(str(error).split()))}") from error
    if not found:
        raise SettingError(f"crds: expected CustomResourceDefinitions in {place}, found none")
    return found


def _schemas(spec: Mapping[str, Any]) -> Schemas:
    kind = spec["names"]["kind"]
    return {
        (f"{spec['group']}/{version['name']}", kind): version["schema"]["openAPIV3Schema"]
        for version in spec["versions"]
        if version.get("served", True)
    }


def check_schema(document: Mapping[str, Any], schemas: Schemas) -> list[str]:
    """Hold an object against the definition of its kind; an empty list: the API server takes it."""
    name = (str(document.get("apiVersion")), str(document.get("kind")))
    schema = schemas.get(name)
    if schema is None:
        return [f"expected an object of a defined kind, got {cut(' '.join(name))!r}"]
    from jsonschema import Draft7Validator

    problems = [
        f"{'.'.join(str(part) for part in error.absolute_path) or 'the object'}: expected {error.validator}"
        f" {cut(error.validator_value)}, got {cut(error.instance)!r}"
        for error in sorted(Draft7Validator(schema).iter_errors(document), key=lambda error: error.json_path)
    ]
    return [*problems, *_unknown(document, schema, "", _OBJECT), *_cel(document, schema, "")]


def _below(value: object, schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, object, Mapping[str, Any]]]:
    """Walk one level down: each field or item with its own schema, where it has one."""
    if isinstance(value, Mapping):
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties")
        for key, one in value.items():
            inner = properties.get(key, rest)
            if isinstance(inner, Mapping):
                yield f"{path}.{key}".lstrip("."), one, inner
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for i, one in enumerate(value):
            yield f"{path}[{i}]", one, schema["items"]


def _unknown(value: object, schema: Mapping[str, Any], path: str, known: frozenset[str] = frozenset()) -> Iterator[str]:
    open_ended = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(value, Mapping) and schema.get("type") == "object" and not open_ended:
        for key in value:
            if key not in schema.get("properties", {}) and key not in known:
                yield f"{f'{path}.{cut(key)}'.lstrip('.')}: unknown field"
    for below, one, inner in _below(value, schema, path):
        yield from _unknown(one, inner, below)


def _cel(value: object, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" not in rule["rule"]:
            problem = _broken(value, rule)
            if problem:
                yield f"{path or 'the object'}: {problem}"
    for below, one, inner in _below(value, schema, path):
        yield from _cel(one, inner, below)


def _broken(value: object, rule: Mapping[str, Any]) -> str:
    """Evaluate one rule; a rule that can't be evaluated counts as broken, as it does for the API server."""
    import cel

    try:
        holds = cel.evaluate(rule["rule"], {"self": value})
    except (RuntimeError, TypeError, ValueError) as error:
        return f"{rule.get('message', rule['rule'])} ({cut(error)})"
    return "" if holds is True else str(rule.get("message", rule["rule"]))
