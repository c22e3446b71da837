"""From a recorded call to the request that policies are held against: what was recorded is known, the rest isn't.

In: a CallRecord. Out: a Request whose unknown attributes are None. Recorded are principal, port (of live calls), method and
the path's form; not recorded are host, addresses, token, and headers' values. Which forms of a path can't be trusted to be what
Envoy's filter saw is decided here.
"""

import re
from typing import Final

from authz_server.engine.call import Flag
from authz_server.engine.record import CallRecord
from authz_server.engine.target import MAX_SEGMENTS, MAX_TARGET
from trainer.policies.meaning.masked_path import MaskedPath
from trainer.policies.meaning.match import Request

__all__ = ["to_request"]

_UNREADABLE: Final = frozenset(
    {
        Flag.ENCODED_SLASH,
        Flag.DOT_SEGMENT,
        Flag.BACKSLASH,
        Flag.BAD_ENCODING,
        Flag.ABSOLUTE_FORM,
        Flag.EMPTY_PATH,
    }
)
"""Where the recorded segments, which are decoded, may not be the ones that Envoy's filter tells apart.

Not among them: a double slash (Istio's default keeps it, as the record does), `;` and `%25` (a segment of unsure spelling, which
`masked_path.py` knows how to treat).
"""
_SPIFFE = re.compile(r"[^/]+/ns/[^/]+/sa/[^/]+\Z")
_ESCAPED: Final = 3
"""Characters of the target that one recorded character may have taken."""


def to_request(record: CallRecord) -> Request:
    """Make the request; a principal is known where it is a SPIFFE id, or where Envoy asked about the call and named none."""
    if Flag.NOT_HTTP in record.flags:
        return Request(principal=_principal(record), port=record.port or None, tcp=True)
    return Request(
        principal=_principal(record),
        port=record.port or None,
        method=None if record.method.startswith("!") else record.method,
        path=None if _is_unreadable(record) else MaskedPath(record.segments),
    )


def _principal(record: CallRecord) -> str | None:
    if _SPIFFE.match(record.principal):
        return f"spiffe://{record.principal}"
    return "" if record.verdict and not record.principal else None


def _is_unreadable(record: CallRecord) -> bool:
    if not _UNREADABLE.isdisjoint(record.flags):
        return True
    if Flag.TOO_MANY not in record.flags:
        return False
    length = sum(segment.length for segment in record.segments) + len(record.segments)
    return len(record.segments) > MAX_SEGMENTS or length * _ESCAPED >= MAX_TARGET
