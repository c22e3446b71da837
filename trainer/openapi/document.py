"""From a workload's model and description to its OpenAPI 3.1 document.

All parameters, body schemas and security schemes are components, under the names of `engine/pointer.py`, and operations refer to
them: so a Finding points to the same place in every revision. What was counted stands in `x-meshwarden` beside what it is about.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from authz_server.engine.call import CONNECTION, BodyKind, Kind
from authz_server.engine.evidence import MAX_SURPRISE
from authz_server.engine.finding import FindingCode
from authz_server.engine.model import WorkloadModel
from authz_server.engine.pointer import (
    is_credential,
    operation_id,
    parameter_id,
    path_names,
    to_method,
    to_path,
)
from authz_server.engine.profile import EndpointProfile, ParameterProfile
from trainer.description import Description, EndpointFacts, ParameterFacts, ResponseFacts, Spread
from trainer.openapi.body import body_schema
from trainer.openapi.request_body import content, graphql_parameters, graphql_selection, is_of_graphql, reference
from trainer.openapi.schema import Schema, is_required, progress, value_schema
from trainer.openapi.security import requirements, security_schemes

__all__ = ["FACTS", "GRAPHQL", "OPENAPI", "TEMPLATE", "to_document"]

OPENAPI: Final = "3.1.0"
FACTS: Final = "x-meshwarden"
TEMPLATE: Final = "x-meshwarden-template"
GRAPHQL: Final = "x-graphql"
"""Refers to what GraphQL documents select, with which arguments."""

_UNSAID: Final = re.compile(
    # Sent by clients of any API in their own interest; OpenAPI ignores three of them.
    r"accept(?:-.*)?|user-agent|content-(?:type|encoding|language)|sec-.*|dnt|origin|referer|pragma|cache-control|priority"
    r"|upgrade(?:-insecure-requests)?|if-.*|range|x-requested-with\Z"
)
_NEW_IN_CALL: Final = (FindingCode.UNKNOWN_PARAMETER, FindingCode.UNKNOWN_COMBINATION, FindingCode.BODY_KIND)
_LISTED: Final = 0.01
"""Share of an endpoint's calls from which on a header or cookie is listed there."""
_ALWAYS: Final = 0.999
_MAX_FORMS: Final = 8
_GRPC: Final = re.compile(r"POST /((?:[A-Za-z0-9_]+\.)*[A-Za-z0-9_]+)/([A-Za-z0-9_]+)\Z")

_Facts = dict[str, Any]


def to_document(
    model: WorkloadModel, description: Description | None, revision: str, vocabulary: Mapping[str, str]
) -> dict[str, Any]:
    """Make the document; `description` None: the bundle has none. `vocabulary`: which values may be read, by digest.

    The same arguments give the same document, in the same order.
    """
    description = description or Description(model.workload, {}, 0)
    schemes = security_schemes(model, description)
    components: dict[str, dict[str, Any]] = {"parameters": {}, "schemas": {}, "securitySchemes": schemes}
    _add_shared(components, model, description, vocabulary)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint, profile in sorted(model.endpoints.items(), key=lambda item: _order(item[0])):
        if endpoint.startswith(f"{CONNECTION} "):
            continue
        item = paths.setdefault(to_path(endpoint), {TEMPLATE: endpoint.partition(" ")[2]})
        facts = description.endpoints.get(endpoint)
        item[to_method(endpoint)] = _operation(endpoint, profile, facts, model, components, vocabulary)
    return {
        "openapi": OPENAPI,
        "info": _info(model, description, revision),
        "paths": paths,
        "components": {name: dict(sorted(section.items())) for name, section in components.items() if section},
    }


def _order(endpoint: str) -> tuple[str, str]:
    method, _, template = endpoint.partition(" ")
    return template, method


def _info(model: WorkloadModel, description: Description, revision: str) -> dict[str, Any]:
    chance = 10 ** -min(MAX_SURPRISE, model.surprises.get(FindingCode.UNKNOWN_ENDPOINT, 0.0))
    return {
        "title": model.workload or "unnamed",
        "version": revision or "unpublished",
        "description": (
            f"What {model.n:,} calls from {_time(model.first_ts)} to {_time(model.last_ts)} looked like; written by meshwarden. "
            "A call that this doesn't allow is unusual, which is not yet wrong."
        ),
        FACTS: {
            "calls": model.n,
            "firstSeen": _time(model.first_ts),
            "lastSeen": _time(model.last_ts),
            "progress": round(1 - chance, 6),
            "callsElsewhere": description.unmatched,
        },
    }


def _time(ts: float) -> str:
    """Write seconds since the epoch as RFC 3339, to the second."""
    return datetime.fromtimestamp(min(max(ts, 0.0), 253402300799.0), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _add_shared(
    components: dict[str, dict[str, Any]], model: WorkloadModel, description: Description, vocabulary: Mapping[str, str]
) -> None:
    """Add headers and cookies, which clients send to all endpoints alike."""
    for key, profile in sorted(model.shared.parameters.items()):
        location, _, name = key.partition(":")
        together = [facts.parameters[key] for facts in description.endpoints.values() if key in facts.parameters]
        facts = _merged(together) if together else None
        identifier = parameter_id("", location, name)
        if identifier in components["securitySchemes"]:
            components["securitySchemes"][identifier][FACTS] = _parameter_facts(key, profile, facts, model.shared.n)
            continue
        shares = [
            one.parameters[key].calls / one.taught for one in description.endpoints.values() if _is_listed(key, one, model.shared)
        ]
        required = bool(shares) and min(shares) >= _ALWAYS
        components["parameters"][identifier] = _parameter(key, name, profile, facts, model.shared.n, vocabulary, required)


def _merged(together: list[ParameterFacts]) -> ParameterFacts:
    return ParameterFacts(
        sum(one.calls for one in together),
        sum(one.values for one in together),
        min(one.first_ts for one in together),
        max(one.last_ts for one in together),
    )


def _is_listed(key: str, facts: EndpointFacts, shared: EndpointProfile) -> bool:
    """Tell whether a header or cookie belongs into the operation: clients' own ones and credentials don't."""
    location, _, name = key.partition(":")
    if key not in shared.parameters or key not in facts.parameters or is_credential(location, name):
        return False
    return facts.parameters[key].calls >= _LISTED * facts.taught and not (location == "header" and _UNSAID.match(name))


def _parameter(
    key: str,
    name: str,
    profile: ParameterProfile,
    facts: ParameterFacts | None,
    calls: int,
    vocabulary: Mapping[str, str],
    required: bool,  # noqa: FBT001  # private
) -> dict[str, Any]:
    location = key.partition(":")[0]
    return {
        "name": name,
        "in": location,
        "required": required or location == "path",
        "schema": value_schema(key, profile, vocabulary),
        FACTS: _parameter_facts(key, profile, facts, calls),
    }


def _parameter_facts(key: str, profile: ParameterProfile, facts: ParameterFacts | None, calls: int) -> _Facts:
    """What was counted of one parameter: in how many of the endpoint's calls it came, and how much is still new about it."""
    told: _Facts = {"calls": facts.calls if facts is not None else profile.n}
    if facts is not None:
        told["presence"] = round(facts.calls / calls, 4) if calls else 0.0
        if facts.values != facts.calls:
            told["values"] = facts.values
        told |= {"firstSeen": _time(facts.first_ts), "lastSeen": _time(facts.last_ts)}
    elif key.startswith("path:"):
        told["presence"] = 1.0
    told["progress"] = progress(profile.surprises)
    if profile.values is not None:
        told["distinct"] = len(profile.values)
    told["kinds"] = sorted([kind.value for kind in profile.kinds])
    if profile.structures and Kind.STRING in profile.kinds:
        told["forms"] = sorted(profile.structures, key=lambda form: (len(form), form))[:_MAX_FORMS]
    return told


def _operation(
    endpoint: str,
    profile: EndpointProfile,
    facts: EndpointFacts | None,
    model: WorkloadModel,
    components: dict[str, dict[str, Any]],
    vocabulary: Mapping[str, str],
) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": operation_id(endpoint), "tags": [_tag(endpoint)]}
    references = _own_parameters(endpoint, profile, facts, components["parameters"], vocabulary)
    if facts is not None:
        listed = [key for key in sorted(facts.parameters) if _is_listed(key, facts, model.shared)]
        references += [reference("parameters", parameter_id(endpoint, *key.split(":", 1))) for key in listed]
    if references:
        operation["parameters"] = references
    body = _request_body(endpoint, profile, facts, components["schemas"], vocabulary)
    if body:
        operation["requestBody"] = body
    taken_apart = [name for name in components["schemas"] if name == f"fields.{operation_id(endpoint)}"]
    if taken_apart and BodyKind.GRAPHQL in profile.bodies:
        operation[GRAPHQL] = reference("schemas", taken_apart[0])
    elif selected := _of_graphql(profile):
        facts_of = {name: parameter_id(endpoint, "query", name) for name in selected if is_of_graphql(name)}
        operation[GRAPHQL] = graphql_selection(facts_of, [name for name in facts_of if is_required(profile, selected[name])])
    operation["responses"] = _responses(facts)
    security = requirements(facts, components["securitySchemes"])
    if security:
        operation["security"] = security
    grpc = _GRPC.match(endpoint) if BodyKind.GRPC in profile.bodies else None
    if grpc:
        operation["x-grpc"] = {"service": grpc[1], "method": grpc[2]}
    operation[FACTS] = _operation_facts(profile, facts)
    return operation


def _tag(endpoint: str) -> str:
    """Group operations by the first segment that names something."""
    names = [part for part in endpoint.partition(" ")[2].split("/") if re.match(r"(?!api\Z|v[0-9]+\Z)[A-Za-z0-9_.-]+\Z", part)]
    return names[0] if names else "root"


def _own_parameters(
    endpoint: str,
    profile: EndpointProfile,
    facts: EndpointFacts | None,
    components: dict[str, Any],
    vocabulary: Mapping[str, str],
) -> list[dict[str, Any]]:
    calls = facts.taught if facts is not None else profile.n
    counted = facts.parameters if facts is not None else {}
    names = path_names(endpoint)
    references: list[dict[str, Any]] = []
    for position, name in names.items():
        key = f"path:{position}"
        identifier = parameter_id(endpoint, "path", name)
        one = profile.parameters.get(key)
        if one is None:
            components[identifier] = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        else:
            components[identifier] = _parameter(key, name, one, counted.get(key), calls, vocabulary, required=True)
        references.append(reference("parameters", identifier))
    queried, of_graphql = _queried(profile), _of_graphql(profile)
    for name, key in sorted(queried.items()):
        required = is_required(profile, key)
        identifier = parameter_id(endpoint, "query", name)
        one = profile.parameters[key]
        components[identifier] = _parameter(key, name, one, counted.get(key), calls, vocabulary, required)
        if name not in of_graphql:
            references.append(reference("parameters", identifier))
    if of_graphql:
        return references + graphql_parameters(
            of_graphql, lambda keys: body_schema(keys, profile, counted, vocabulary, _bare, nested=True)
        )
    return references


def _queried(profile: EndpointProfile) -> dict[str, str]:
    return {key.partition(":")[2]: key for key in profile.parameters if key.startswith("query:")}


def _of_graphql(profile: EndpointProfile) -> dict[str, str]:
    """Choose what was read out of a GraphQL request in the query string; empty where none was sent there."""
    queried = _queried(profile)
    if "operation/depth" not in queried:
        return {}
    return {name: key for name, key in queried.items() if is_of_graphql(name) or name.startswith("variables")}


def _bare(_key: str, _calls: int) -> Schema:
    return {}


def _request_body(
    endpoint: str,
    profile: EndpointProfile,
    facts: EndpointFacts | None,
    components: dict[str, Any],
    vocabulary: Mapping[str, str],
) -> dict[str, Any]:
    calls = facts.taught if facts is not None else profile.n
    counted = facts.parameters if facts is not None else {}

    def shown(key: str, times: int) -> Schema:
        told = _parameter_facts(key, profile.parameters[key], counted.get(key), calls) if key else {}
        if times and calls:
            there = min(times, calls)
            told |= {"calls": there, "presence": round(there / calls, 4)}
        return {FACTS: told} if told else {}

    sent = content(endpoint, profile, facts, components, vocabulary, shown)
    if not sent:
        return {}
    body: dict[str, Any] = {"content": sent, "required": BodyKind.NONE not in profile.bodies}
    if facts is not None:
        counts = {kind.value: count for kind, count in sorted(facts.bodies.items())}
        body[FACTS] = {"calls": counts, **_spread("bytes", facts.body_size)}
    return body


def _responses(facts: EndpointFacts | None) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    told = facts.responses if facts is not None else {}
    for status, response in sorted(told.items()):
        if status.isdigit() and 100 <= int(status) < 600:
            responses[status] = {"description": _phrase(int(status)), FACTS: _response_facts(response)}
    responses["default"] = {"description": "Not seen." if responses else "Nobody told how calls ended."}
    return responses


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"


def _response_facts(response: ResponseFacts) -> _Facts:
    return {"calls": response.calls, **_spread("bytes", response.size), **_spread("milliseconds", response.duration_ms)}


def _spread(unit: str, spread: Spread | None) -> _Facts:
    if spread is None:
        return {}
    return {unit: {"low": spread.low, "p50": spread.p50, "p99": spread.p99, "high": spread.high}}


def _operation_facts(profile: EndpointProfile, facts: EndpointFacts | None) -> _Facts:
    if facts is None:
        return {"calls": profile.n, "progress": progress(profile.surprises, _NEW_IN_CALL)}
    told: _Facts = {"calls": facts.calls}
    if facts.taught != facts.calls:
        told["learned"] = facts.taught
    told |= {"firstSeen": _time(facts.first_ts), "lastSeen": _time(facts.last_ts)}
    told["progress"] = progress(profile.surprises, _NEW_IN_CALL)
    unanswered = facts.responses.get("0")
    if unanswered is not None:
        told["unanswered"] = unanswered.calls
    callers = {name or "without identity": calls for name, calls in sorted(facts.principals.items())}
    if callers:
        told["callers"] = callers
    if profile.flags:
        told["requestForm"] = sorted([flag.value for flag in profile.flags])
    return told
