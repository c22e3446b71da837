"""Recorded calls with fewer fields, for the passes over a store that need no more: what isn't asked for isn't decoded."""

import msgspec

__all__ = ["CountedCall", "PathSegment", "SurveyedCall"]


class CountedCall(msgspec.Struct, frozen=True, gc=False):
    """What tells whether a call counts, and whose it is."""

    id: str
    ts: float
    workload: str
    principal: str = ""
    session: str = ""
    address: str = ""
    verdict: str = ""
    label: int | None = None
    split: str | None = None


class PathSegment(msgspec.Struct, frozen=True, gc=False):
    """What finds a call's endpoint."""

    length: int
    text: str


class SurveyedCall(msgspec.Struct, frozen=True, gc=False):
    """What tells where a call went, when, from whom, and how it ended."""

    id: str
    ts: float
    workload: str
    method: str
    segments: tuple[PathSegment, ...] = ()
    principal: str = ""
    session: str = ""
    address: str = ""
    request_id: str = ""
    verdict: str = ""
    status: int | None = None
    label: int | None = None
    split: str | None = None
