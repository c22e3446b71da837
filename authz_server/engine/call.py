"""The words of the engine: Call, Caller, Outcome, Parameter.

A Call holds no clear value. The one place that sees clear values is `observe.py`; what it makes of a value (type, length,
character classes, a mask, a number, a keyed digest) is a Parameter, and a Parameter is all that models, store, log and
console ever get. So none of them can leak what it doesn't have, and live scoring and training can't disagree.
"""

from enum import StrEnum
from typing import Final

import msgspec

__all__ = ["CONNECTION", "BodyKind", "Call", "Caller", "Flag", "Kind", "Location", "Outcome", "Parameter"]


CONNECTION: Final = "TCP"
"""The method of a connection without HTTP: its one path segment is the destination port, `TCP /6379`. No HTTP method reads so."""


class Location(StrEnum):
    """Where in the request a parameter stands (OpenAPI's `in`, and `body`)."""

    PATH = "path"
    QUERY = "query"
    HEADER = "header"
    COOKIE = "cookie"
    BODY = "body"


class Kind(StrEnum):
    """The type of one value, as its text shows it (or JSON says it)."""

    NULL = "null"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    EMPTY = "empty"
    WORD = "word"
    """Letters, `-`, `_` and `.` alone: a name rather than data."""
    UUID = "uuid"
    DATE = "date"
    EMAIL = "email"
    HEX = "hex"
    TOKEN = "token"  # noqa: S105  # a type, not a secret
    """16 or more letters and digits mixed: an identifier nobody typed."""
    STRING = "string"
    OBJECT = "object"
    ARRAY = "array"


class BodyKind(StrEnum):
    """What the body is, by its content type and its bytes."""

    NONE = "none"
    JSON = "json"
    FORM = "form"
    MULTIPART = "multipart"
    XML = "xml"
    GRAPHQL = "graphql"
    GRPC = "grpc"
    PROTOBUF = "protobuf"
    """One message without gRPC's framing."""
    OPAQUE = "opaque"
    """Known by its size and its first bytes alone."""
    TRUNCATED = "truncated"
    """Envoy sent only the first bytes: unknown, neither clean nor abnormal."""


class Flag(StrEnum):
    """A fact about how the request is written: its readings may disagree, or it exceeds what we read."""

    DOUBLE_SLASH = "double_slash"
    ENCODED_SLASH = "encoded_slash"
    DOT_SEGMENT = "dot_segment"
    PATH_PARAMETER = "path_parameter"
    """A `;` in the path: some servers cut the segment there."""
    BACKSLASH = "backslash"
    DOUBLE_ENCODING = "double_encoding"
    BAD_ENCODING = "bad_encoding"
    CONTROL_CHARACTER = "control_character"
    ABSOLUTE_FORM = "absolute_form"
    EMPTY_PATH = "empty_path"
    DUPLICATE_PARAMETER = "duplicate_parameter"
    DUPLICATE_KEY = "duplicate_key"
    """A JSON object has a key twice: parsers disagree on which counts (RFC 8259, 4)."""
    DOCTYPE = "doctype"
    """XML with a document type declaration, where entities come from: nothing of it is read or expanded."""
    OPAQUE_ENCODING = "opaque_encoding"
    """Compressed in a way that we can't undo (br, zstd, snappy)."""
    MALFORMED_BODY = "malformed_body"
    CONTENT_MISMATCH = "content_mismatch"
    """The content type says one thing, the bytes another."""
    TOO_MANY = "too_many"
    """More segments, parameters, levels or characters than we read."""
    NOT_HTTP = "not_http"


class Parameter(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One observed value, without the value.

    `key` is location and name, `query:count`, `body:/items/*/id`; a path segment's name is its position, `path:2`.
    `text` is the value masked (letters to `a` and `A`, digits to `0`, everything else but non-ASCII kept), at most
    64 characters; a path segment that is a name stays clear. `length` is in characters, `classes` a bit mask of
    `observe.CLASS_NAMES`. `number` is the value where it is one and its name isn't a secret's, above 10^6 to three
    significant digits. `digest` is a keyed hash for values of up to 256 characters whose name isn't a
    secret's, and for long random tokens in cookies and headers: sessions, which tell callers apart and can't be guessed.
    """

    key: str
    kind: Kind
    length: int
    classes: int
    text: str
    number: float | None = None
    digest: str = ""


class Caller(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Who calls: `principal` as Envoy authenticated it (SPIFFE without the scheme), `session` and `address` as keyed digests."""

    principal: str = ""
    session: str = ""
    address: str = ""


class Outcome(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How a call ended: `status` 0 when there was no answer, `size` in bytes, `duration_ms`, Envoy's response `flags`."""

    status: int = 0
    size: int = 0
    duration_ms: float = 0.0
    flags: tuple[str, ...] = ()


class Call(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One API call, normalised: who, to which workload, method, path segments, parameters, facts about its form.

    `ts` is seconds since the epoch. `segments` are the path's, in order, the empty ones too. `parameters` are sorted by nothing:
    they stand as the request had them, at most `canonical.MAX_PARAMETERS`. `port` is where the call arrived, 0 if nobody told.
    """

    ts: float
    workload: str
    method: str
    segments: tuple[Parameter, ...]
    parameters: tuple[Parameter, ...] = ()
    flags: tuple[Flag, ...] = ()
    caller: Caller = Caller()
    body: BodyKind = BodyKind.NONE
    body_size: int = 0
    request_id: str = ""
    port: int = 0

    @property
    def path(self) -> str:
        """The path as it may be shown: names clear, data masked."""
        return "/" + "/".join([segment.text for segment in self.segments])
