"""What is odd about a Call at no known endpoint, held against what is normal anywhere in the workload.

That an endpoint is unknown says little where new ones come every day. How its path and its values are written, which headers and
cookies come with it and the request's form tell a probe from one more page that nobody had opened so far. Costs nothing where the
endpoint is known.
"""

from typing import Final

from authz_server.engine.call import Call, Flag, Parameter
from authz_server.engine.evidence import MAX_SURPRISE
from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.parameters import QUERY, Known, ReadyShared, oddness, score_known
from authz_server.engine.profile import EndpointProfile

__all__ = ["score_unplaced"]

_CONTENT_TYPE: Final = "header:content-type"
"""Is an endpoint's own, not shared by all."""
# To ask an enumeration for a member costs ten times what a name costs.
_UNKNOWN_HEADER: Final = FindingCode.UNKNOWN_HEADER
_REQUEST_FORM: Final = FindingCode.REQUEST_FORM


def score_unplaced(call: Call, segments: Known | None, shared: ReadyShared) -> list[Surprise]:
    """List what is odd about a call apart from its endpoint; `segments`: how path segments are written, None: not known."""
    found: list[Surprise] = []
    if segments is not None:
        for segment in call.segments:
            if segment.length:
                score_known(segment, segments, found)
    profile = shared.profile
    for parameter in call.parameters:
        key = parameter.key
        if key == _CONTENT_TYPE:
            continue
        in_header = key[0] == "h" or key[0] == "c"
        known = shared.known.get(key) if in_header else shared.written.get(QUERY) if parameter.length else None
        if known is not None:
            score_known(parameter, known, found)
        elif in_header:
            amount = min(MAX_SURPRISE, profile.surprises.get(_UNKNOWN_HEADER, 0.0) + oddness(parameter, shared.written))
            if amount > 0:
                found.append(Surprise(_UNKNOWN_HEADER, amount, key, (_header_in_words, parameter, profile), "", profile.n))
    amount = profile.surprises.get(_REQUEST_FORM, 0.0) if call.flags else 0.0
    if amount > 0:
        for flag in call.flags:
            if flag not in profile.flags:
                found.append(Surprise(_REQUEST_FORM, amount, "", (_flag_in_words, flag), "", profile.n))
    return found


def _header_in_words(parameter: Parameter, shared: EndpointProfile) -> tuple[str, str]:
    return parameter.kind.value, f"one of {len(shared.parameters)} other headers and cookies"


def _flag_in_words(flag: Flag) -> tuple[str, str]:
    return flag.value.replace("_", " "), "not so anywhere"
