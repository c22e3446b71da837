"""Who calls whom: which principals a workload knows, and which of them call which endpoint.

A principal isn't the caller's word: Envoy took it from a verified certificate. So one that never called an endpoint is lateral
movement or a new deployment, however usual its request looks. Costs two dictionary look-ups a call.
"""

from typing import Final

import msgspec

from authz_server.engine.finding import FindingCode, Surprise

__all__ = ["EDGE_CODES", "EdgeModel", "Edges", "score_edge"]

EDGE_CODES: Final = frozenset({FindingCode.UNKNOWN_PRINCIPAL, FindingCode.UNKNOWN_EDGE})
"""That somebody is new says who calls, not what: by itself it makes no suspect of a caller while we learn."""
_TOLD = 4


class Edges(msgspec.Struct, frozen=True, gc=False):
    """Who calls one endpoint: calls by normal principal, of `n` in all; `surprise` is that of any other principal."""

    n: int
    principals: dict[str, int]
    surprise: float


class EdgeModel(msgspec.Struct, frozen=True, gc=False):
    """The callers of one workload: calls by normal principal of `n` in all, `surprise` of any other; `endpoints` likewise.

    The empty principal is a caller without identity. An endpoint without entry has too many callers to tell.
    """

    n: int = 0
    principals: dict[str, int] = {}
    surprise: float = 0.0
    endpoints: dict[str, Edges] = {}


def score_edge(endpoint: str, principal: str, model: EdgeModel) -> Surprise | None:
    """Tell whether it is odd that this principal calls `endpoint` (empty: none that is known)."""
    if principal not in model.principals:
        if model.surprise <= 0:
            return None
        words = (_unknown_principal_in_words, principal, len(model.principals))
        return Surprise(FindingCode.UNKNOWN_PRINCIPAL, model.surprise, "", words, "", model.n)
    edges = model.endpoints.get(endpoint)
    if edges is None or principal in edges.principals or edges.surprise <= 0:
        return None
    told = (_unknown_edge_in_words, principal, endpoint, edges)
    return Surprise(FindingCode.UNKNOWN_EDGE, edges.surprise, "", told, "", edges.n)


def _unknown_principal_in_words(principal: str, known: int) -> tuple[str, str]:
    return _name(principal), "the one known caller" if known == 1 else f"one of {known} known callers"


def _unknown_edge_in_words(principal: str, endpoint: str, edges: Edges) -> tuple[str, str]:
    return f"{_name(principal)} called {endpoint}", f"called by {_told(edges)}"


def _name(principal: str) -> str:
    return principal or "a caller without identity"


def _told(edges: Edges) -> str:
    usual = sorted(edges.principals, key=lambda principal: (-edges.principals[principal], principal))
    more = f" and {len(usual) - _TOLD} more" if len(usual) > _TOLD else ""
    return (", ".join(_name(principal) for principal in usual[:_TOLD]) or "nobody regularly") + more
