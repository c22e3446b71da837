"""What is odd about a Call at no known endpoint, held against what is normal anywhere in the workload.

That an endpoint is unknown says little where new ones come every day. How its path is written, which headers and cookies come
with it and the request's form tell a probe from one more page that nobody had opened so far. Costs nothing where the endpoint is
known.
"""

from typing import Final

from authz_server.engine.call import Call
from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.parameters import score_parameter
from authz_server.engine.profile import EndpointProfile, ParameterProfile

__all__ = ["score_unplaced"]

_CONTENT_TYPE: Final = "header:content-type"
"""Is an endpoint's own, not shared by all."""


def score_unplaced(call: Call, segments: ParameterProfile | None, shared: EndpointProfile) -> list[Surprise]:
    """List what is odd about a call apart from its endpoint; `segments`: how path segments are written, None: not known."""
    found: list[Surprise] = []
    if segments is not None:
        for segment in call.segments:
            if segment.length:
                found += score_parameter(segment, segments)
    unknown = shared.surprises.get(FindingCode.UNKNOWN_HEADER, 0.0)
    for parameter in call.parameters:
        key = parameter.key
        if key[0] not in "hc" or key == _CONTENT_TYPE:
            continue
        known = shared.parameters.get(key)
        if known is not None:
            found += score_parameter(parameter, known)
        elif unknown > 0:
            normal = f"one of {len(shared.parameters)} other headers and cookies"
            found.append(Surprise(FindingCode.UNKNOWN_HEADER, unknown, key, parameter.kind.value, normal, shared.n))
    amount = shared.surprises.get(FindingCode.REQUEST_FORM, 0.0)
    if amount > 0:
        for flag in call.flags:
            if flag not in shared.flags:
                found.append(
                    Surprise(FindingCode.REQUEST_FORM, amount, "", flag.value.replace("_", " "), "not so anywhere", shared.n)
                )
    return found
