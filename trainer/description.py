"""What people want to know of a workload beside what is normal: how often, since when, how calls ended, who calls.

A Description lies in the bundle beside the model, and the server never loads it, so the request path stays lean. It is made by
`description_learner.py`; here is its form, in memory and as bytes.
"""

import msgspec

from authz_server.engine.call import BodyKind
from authz_server.engine.errors import BundleError

__all__ = [
    "Description",
    "EndpointFacts",
    "ParameterFacts",
    "ResponseFacts",
    "Spread",
    "decode_description",
    "encode_description",
]


class Spread(msgspec.Struct, frozen=True):
    """How numbers are spread: smallest, median, 99th percentile, largest, of `n`."""

    n: int
    low: float
    p50: float
    p99: float
    high: float


class ResponseFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """How calls ended with one status: sizes in bytes, durations in milliseconds; None where nobody told."""

    calls: int
    size: Spread | None = None
    duration_ms: Spread | None = None


class ParameterFacts(msgspec.Struct, frozen=True):
    """In how many calls a parameter came, how often in all (an array's items), and when first and last (seconds)."""

    calls: int
    values: int
    first_ts: float
    last_ts: float


class EndpointFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """One endpoint: `calls` in all, `taught` of them that taught what is normal; its parameters and bodies are those calls'.

    `responses` by status; `0`: there was no answer, empty: nobody told. `principals`: calls by caller. `schemes`: calls by
    scheme of the `Authorization` header. `ports`: calls by the port they arrived at.
    """

    calls: int
    taught: int
    first_ts: float
    last_ts: float
    responses: dict[str, ResponseFacts]
    parameters: dict[str, ParameterFacts] = {}
    bodies: dict[BodyKind, int] = {}
    body_size: Spread | None = None
    principals: dict[str, int] = {}
    schemes: dict[str, int] = {}
    ports: dict[str, int] = {}


class Description(msgspec.Struct, frozen=True):
    """One workload: its endpoints, as in its model, and how many calls came to none of them."""

    workload: str
    endpoints: dict[str, EndpointFacts]
    unmatched: int


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(Description).decode


def encode_description(description: Description) -> bytes:
    """Write a description; the same one gives the same bytes."""
    return _encode(description)


def decode_description(data: bytes) -> Description:
    """Read a description; raises BundleError, naming the field that isn't as expected."""
    try:
        return _decode(data)
    except msgspec.DecodeError as error:
        raise BundleError(f"expected the description of a workload: {error}") from error
