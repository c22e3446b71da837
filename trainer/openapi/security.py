"""From credentials in headers and cookies, recognised by their names, to OpenAPI's security schemes.

What they are by their names is decided in `engine/pointer.py`, so that a Finding on one points to its scheme.
"""

from typing import Any, Final

from authz_server.engine.model import WorkloadModel
from authz_server.engine.pointer import is_credential, parameter_id
from trainer.description import Description, EndpointFacts

__all__ = ["MUTUAL_TLS", "requirements", "security_schemes"]

MUTUAL_TLS: Final = "mutualTLS"
_ALWAYS: Final = 0.99
_SOMETIMES: Final = 0.01
"""Share of an endpoint's calls with a credential from which on it is one of the ways in."""


def security_schemes(model: WorkloadModel, description: Description) -> dict[str, dict[str, Any]]:
    """List the schemes of a workload by the names of their components."""
    found: dict[str, dict[str, Any]] = {}
    for key in sorted(model.shared.parameters):
        location, _, name = key.partition(":")
        if is_credential(location, name):
            found[parameter_id("", location, name)] = _scheme(location, name, description)
    if any(model.edges.principals):
        found[MUTUAL_TLS] = {"type": "mutualTLS", "description": "The mesh's own identities (SPIFFE)."}
    return found


def _scheme(location: str, name: str, description: Description) -> dict[str, Any]:
    if location == "header" and name == "authorization":
        counts: dict[str, int] = {}
        for facts in description.endpoints.values():
            for scheme, count in facts.schemes.items():
                counts[scheme] = counts.get(scheme, 0) + count
        most = max(sorted(counts), key=lambda scheme: counts[scheme], default="other")
        if most != "other":
            return {"type": "http", "scheme": most}
    return {"type": "apiKey", "in": location, "name": name}


def requirements(facts: EndpointFacts | None, schemes: dict[str, dict[str, Any]]) -> list[dict[str, list[str]]]:
    """List the combinations of credentials that calls of an endpoint come with; an empty one: also without any."""
    if facts is None or not facts.taught:
        return []
    always: list[str] = []
    sometimes: list[str] = []
    for key, parameter in sorted(facts.parameters.items()):
        location, _, name = key.partition(":")
        scheme = parameter_id("", location, name)
        if scheme in schemes:
            share = parameter.calls / facts.taught
            if share >= _ALWAYS:
                always.append(scheme)
            elif share >= _SOMETIMES:
                sometimes.append(scheme)
    identified = 1 - facts.principals.get("", 0) / facts.taught
    if MUTUAL_TLS in schemes and identified >= _SOMETIMES:
        (always if identified >= _ALWAYS else sometimes).append(MUTUAL_TLS)
    both: dict[str, list[str]] = {scheme: [] for scheme in always}
    if not sometimes:
        return [both] if both else []
    return [*[{**both, scheme: []} for scheme in sometimes], both]
