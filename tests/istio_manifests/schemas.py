"""Would an API server take an object? Kubernetes' own kinds by its OpenAPI schemas, Istio's by its CRDs with their CEL rules,
those of the Prometheus operator by what our objects use of its CRDs (v0.82).

In: an object. Out: problems. Istio's definitions are read from the directory MESHWARDEN_CRDS.
"""

import importlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema
import yaml

__all__ = ["CRDS", "KUBERNETES", "problems"]

CRDS: Final = Path(os.environ.get("MESHWARDEN_CRDS", Path(__file__).parents[3] / "shared" / "istio" / "crds"))
KUBERNETES: Final = ("1.30", "1.37")
"""The oldest version that the README names, and the newest whose schemas there are."""


def problems(thing: Mapping[str, Any]) -> list[str]:
    """Hold an object against the schema of its kind; an empty list: it is taken. A kind without a schema is a problem."""
    group = thing["apiVersion"].partition("/")[0]
    if group.endswith("istio.io"):
        return list(_istio(thing))
    if group == "monitoring.coreos.com":
        return _messages(_MONITORING[thing["kind"]], thing)
    return [problem for version in KUBERNETES for problem in _kubernetes(json.dumps(thing), version)]


@cache
def _kubernetes(text: str, version: str) -> list[str]:
    """As text, because combinations share most of their objects, and one takes a while to be held against its schema."""
    validate: Any = importlib.import_module("kubernetes_validate")
    try:
        validate.validate(json.loads(text), version, strict=True)
    except validate.ValidationError as error:
        return [f"{version}: {'.'.join(str(part) for part in error.path)}: {error.message}"]
    return []


def _istio(thing: Mapping[str, Any]) -> Iterator[str]:
    schema = _crds().get((thing["apiVersion"], thing["kind"]))
    if schema is None:
        yield f"no definition of {thing['apiVersion']} {thing['kind']}"
        return
    yield from _messages(schema, thing)
    yield from _walk(thing, schema, "")


@cache
def _crds() -> dict[tuple[str, str], dict[str, Any]]:
    found = {}
    for file in sorted(CRDS.glob("*.yaml")):
        spec = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]
        for version in spec["versions"]:
            name = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            found[name] = version["schema"]["openAPIV3Schema"]
    return found


def _messages(schema: Mapping[str, Any], thing: Mapping[str, Any]) -> list[str]:
    found = jsonschema.Draft7Validator(schema).iter_errors(thing)
    return [f"{error.json_path}: {error.message}" for error in found]


def _walk(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Look for unknown fields, and evaluate CEL rules."""
    for rule in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" not in rule["rule"] and not _holds(rule["rule"], value):
            yield f"{path or '$'}: {rule.get('message', rule['rule'])}"
    rest = schema.get("additionalProperties")
    properties = schema.get("properties", {})
    if isinstance(value, Mapping):
        for key, one in value.items():
            inner = properties.get(key, rest)
            if isinstance(inner, Mapping):
                yield from _walk(one, inner, f"{path}.{key}")
            elif not (rest or schema.get("x-kubernetes-preserve-unknown-fields") or (not path and key in _ROOT)):
                yield f"{path}.{key}: unknown field"
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for i, one in enumerate(value):
            yield from _walk(one, schema["items"], f"{path}[{i}]")


_ROOT: Final = ("apiVersion", "kind", "metadata")


def _holds(rule: str, value: Any) -> bool:
    import cel

    context = cel.Context()
    context.add_variable("self", value)
    # Kubernetes' CEL has it, the language's standard hasn't.
    context.add_function("substring", lambda text, start, end=None: text[start:end])
    return cel.evaluate(rule, context) is True


def _closed(required: tuple[str, ...] = (), **properties: object) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


_TEXT: Final = {"type": "string", "minLength": 1}
_TEXTS: Final = {"type": "object", "additionalProperties": _TEXT}
_DURATION: Final = {
    "type": "string",
    "pattern": "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$",
}
_ALERT: Final = _closed(("alert", "expr"), alert=_TEXT, expr=_TEXT, labels=_TEXTS, annotations=_TEXTS, **{"for": _DURATION})
_GROUP: Final = _closed(("name", "rules"), name=_TEXT, rules={"type": "array", "items": _ALERT})
_ENDPOINT: Final = _closed(("port",), port=_TEXT, path=_TEXT, interval=_DURATION, scrapeTimeout=_DURATION)
_SELECTOR: Final = _closed(("matchLabels",), matchLabels=_TEXTS)
_SERVICE_MONITOR: Final = _closed(
    ("selector", "endpoints"), jobLabel=_TEXT, selector=_SELECTOR, endpoints={"type": "array", "items": _ENDPOINT}
)


def _object(spec: dict[str, Any]) -> dict[str, Any]:
    return _closed(
        ("apiVersion", "kind", "metadata", "spec"), apiVersion=_TEXT, kind=_TEXT, metadata={"type": "object"}, spec=spec
    )


_MONITORING: Final = {
    "PrometheusRule": _object(_closed(("groups",), groups={"type": "array", "items": _GROUP})),
    "ServiceMonitor": _object(_SERVICE_MONITOR),
}
