"""Everything learned about one workload, as it lies in the bundle, and made ready for the request path.

A bundle is a directory: `manifest.json` (this module's Manifest) and one JSON file a workload (WorkloadModel). JSON, because a
person can read and diff it and decoding it can't execute anything; msgspec checks every field's type while decoding.
"""

from typing import Final

import msgspec

from authz_server.engine.alphabet import NO_ALPHABET, Alphabet
from authz_server.engine.calibration import Calibration
from authz_server.engine.call import CONNECTION, Call
from authz_server.engine.edges import EdgeModel
from authz_server.engine.endpoint import EndpointTable, path_parameters
from authz_server.engine.errors import BundleError
from authz_server.engine.finding import FindingCode
from authz_server.engine.follow import Follows
from authz_server.engine.numeric import NumericModel, ReadyNumeric
from authz_server.engine.parameters import ReadyProfile, ReadyShared, to_known
from authz_server.engine.profile import EndpointProfile, ParameterProfile
from authz_server.engine.sequence import ReadySequence, SequenceModel
from authz_server.engine.volume import ReadyVolume, VolumeModel

__all__ = ["SCHEMA_VERSION", "Manifest", "Match", "ReadyModel", "WorkloadEntry", "WorkloadModel", "decode_model", "encode_model"]

SCHEMA_VERSION: Final = 3
"""Raised where a model of before would be misread: of other fields, or of parameters that `observe.py` named in another way, so
that normal calls would have unknown ones."""

Match = tuple[str, tuple[str, ...]]
"""An endpoint and nothing, or nothing and the methods that the best matching template is known with."""


class WorkloadModel(msgspec.Struct, frozen=True):
    """One workload: `n` calls learned from, between `first_ts` and `last_ts` (seconds since the epoch).

    `endpoints` by `METHOD /template`. `shared`: headers and cookies, alike at all endpoints. `calibration`: pooled under the
    empty key, and per endpoint where there were enough calls. `surprises`: of an unknown endpoint or method.
    `numeric`: None unless asked for. `follows`: what must follow inside the mesh. `volume`: None where too little is known of
    callers and times. `segments`: how path segments are written anywhere, for calls of no known endpoint.
    `alphabet`, `shared_alphabet`: the characters of endpoints' parameters, and of `shared`.
    """

    workload: str
    n: int
    first_ts: float
    last_ts: float
    endpoints: dict[str, EndpointProfile]
    shared: EndpointProfile
    sequence: SequenceModel
    calibration: dict[str, Calibration]
    surprises: dict[FindingCode, float]
    edges: EdgeModel = EdgeModel()
    numeric: NumericModel | None = None
    follows: Follows = {}
    volume: VolumeModel | None = None
    segments: ParameterProfile | None = None
    written: dict[str, ParameterProfile] = {}
    alphabet: Alphabet = NO_ALPHABET
    shared_alphabet: Alphabet = NO_ALPHABET


class WorkloadEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One workload in the manifest: its file's name, SHA-256 digest (hexadecimal) and counts.

    `description` names a second file with its digest, for people and documents: the server doesn't read it. Empty: there is none.
    """

    file: str
    sha256: str
    calls: int
    endpoints: int
    description: str = ""
    description_sha256: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """What a bundle is: when (`created`, seconds since the epoch) and of how many calls it was made, under which hash key."""

    schema_version: int
    revision: str
    created: float
    calls: int
    key_id: str
    workloads: dict[str, WorkloadEntry]


class ReadyModel:
    """A WorkloadModel with its endpoints compiled for matching. Shared by all threads; doesn't change but for `profiles`.

    `profiles`: of the endpoints that were called so far, each made ready when it is first called, since many never are.
    """

    __slots__ = (
        *("connections", "model", "numeric", "positions", "profiles", "revision", "segments", "sequence", "shared", "table"),
        "volume",
    )

    def __init__(self, model: WorkloadModel, revision: str) -> None:
        """Compile; raises BundleError where the arrays of a numeric model aren't as they should be."""
        self.model = model
        self.revision = revision
        self.table = EndpointTable(model.endpoints)
        self.positions = {endpoint: path_parameters(endpoint) for endpoint in model.endpoints}
        self.connections = any(endpoint.startswith(f"{CONNECTION} ") for endpoint in model.endpoints)
        self.profiles: dict[str, ReadyProfile] = {}
        self.shared = ReadyShared(model.shared, model.shared_alphabet, model.written)
        self.segments = to_known(model.segments) if model.segments is not None else None
        self.sequence = ReadySequence(model.sequence)
        self.numeric = ReadyNumeric(model.numeric) if model.numeric is not None else None
        self.volume = ReadyVolume(model.volume) if model.volume is not None else None

    def profile(self, endpoint: str) -> ReadyProfile:
        """Make a known endpoint's profile ready to score."""
        profile = self.model.endpoints[endpoint]
        made = self.profiles[endpoint] = ReadyProfile(self.positions[endpoint], profile, self.shared, self.model.alphabet)
        return made

    def match(self, call: Call) -> Match:
        """Find the endpoint of a call."""
        return self.table.match(call.method, call.segments)


_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(WorkloadModel)


def encode_model(model: WorkloadModel) -> bytes:
    """Write a workload's model; the same model gives the same bytes."""
    return _ENCODER.encode(model)


def decode_model(data: bytes) -> WorkloadModel:
    """Read a workload's model; raises BundleError, naming the field that isn't as expected."""
    try:
        return _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise BundleError(f"expected a workload model of schema version {SCHEMA_VERSION}: {error}") from error
