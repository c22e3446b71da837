"""A recorded call as an access log shows it: who, whom, what, how it ended, how large. No value of any parameter.

Ids, sessions, addresses and times are no features: they name a call or a client, and a cluster of one client says nothing.
"""

from typing import Final

import msgspec

from authz_server.engine.call import Parameter
from authz_server.engine.record import CallRecord

__all__ = ["AMOUNTS", "CATEGORIES", "NO_ANSWER", "UNKNOWN", "Telemetry", "to_telemetry"]

CATEGORIES: Final = {
    "source": "principal that calls, as Envoy authenticated it",
    "destination": "workload that is called",
    "method": "HTTP method",
    "path": "path template; `{*}` stands for data",
    "status": "HTTP status of the answer",
    "body": "kind of request body",
    "form": "how the request is written: `plain`, or what is odd about it",
}
"""Columns that hold names, and what they mean."""
AMOUNTS: Final = {
    "request_bytes": ("bytes", "size of the request body"),
    "response_bytes": ("bytes", "size of the response"),
    "duration_ms": ("milliseconds", "how long the call took"),
    "path_characters": ("characters", "length of the path without its query"),
    "query_parameters": ("parameters", "number of query parameters"),
}
"""Columns that hold numbers: their unit, and what they mean."""
UNKNOWN: Final = "unknown"
NO_ANSWER: Final = "no answer"
"""What Envoy logs as status 0."""
_PLAIN: Final = "plain"
_LARGEST: Final = 1e15
"""A petabyte, or 30,000 years: what is said to be more is taken for this, so that no sum of squares overflows."""


class Telemetry(msgspec.Struct, frozen=True, gc=False):
    """One call. `categories` and `amounts` stand in the order of `CATEGORIES` and `AMOUNTS`; None: not known.

    The category `path` is empty here: templates are learned of many calls, from `segments`.
    """

    ts: float
    segments: tuple[Parameter, ...]
    categories: tuple[str, ...]
    amounts: tuple[float | None, ...]
    label: int | None = None
    attack: str = ""
    verdict: str = ""


def to_telemetry(record: CallRecord) -> Telemetry:
    """View a record as telemetry."""
    return Telemetry(
        record.ts,
        record.segments,
        (
            record.principal or UNKNOWN,
            record.workload or UNKNOWN,
            record.method,
            "",
            to_status(record.status),
            record.body.value,
            "+".join(sorted(record.flags)) or _PLAIN,
        ),
        (
            _known(record.body_size),
            _known(record.resp_size),
            _known(record.duration_ms),
            float(sum([1 + segment.length for segment in record.segments])),
            float(sum([parameter.key.startswith("query:") for parameter in record.parameters])),
        ),
        record.label,
        (record.attack or "unnamed") if record.label == 1 else "",
        record.verdict,
    )


def to_status(status: int | None) -> str:
    """Name a status; None is unknown, 0 no answer."""
    return UNKNOWN if status is None else str(status) if status else NO_ANSWER


def _known(amount: float | None) -> float | None:
    return min(float(amount), _LARGEST) if amount is not None and amount >= 0 else None
