"""From body bytes and headers to named values: which format a body has, by its content type and its bytes, is decided here.

Bounded in depth, width, number and (compressed) size; what is malformed is a Flag, never an exception. A truncated body is
unknown: it yields nothing. How each format is read: `engine/bodies`.
"""

from functools import lru_cache
from typing import Final

from authz_server.engine.bodies import compression, form, graphql, grpc, json_, magic, multipart, protobuf, xml_
from authz_server.engine.bodies.leaf import MAX_DEPTH, MAX_LEAVES, Fact, Leaf, Scalar
from authz_server.engine.call import BodyKind, Flag

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_LEAVES", "Fact", "Leaf", "Scalar", "to_leaves"]

MAX_BYTES: Final = 4 << 20
"""Of a larger body nothing but size and magic is read; the server takes 1 MiB by default, an importer more."""

_LINES: Final = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json-lines"}
)
_FORMATS: Final = {
    "application/x-www-form-urlencoded": BodyKind.FORM,
    "multipart/form-data": BodyKind.MULTIPART,
    "application/xml": BodyKind.XML,
    "text/xml": BodyKind.XML,
    "application/graphql": BodyKind.GRAPHQL,
    "application/protobuf": BodyKind.PROTOBUF,
    "application/x-protobuf": BodyKind.PROTOBUF,
    "application/x-google-protobuf": BodyKind.PROTOBUF,
    "application/proto": BodyKind.PROTOBUF,
}
# To ask an enumeration for a member costs ten times what a name costs.
_GRPC: Final = BodyKind.GRPC
_JSON: Final = BodyKind.JSON
_FORM: Final = BodyKind.FORM
_SPACE: Final = b" \t\r\n"
_XML_STARTS: Final = (b"<?xml", b"<!DOCTYPE", b"\xef\xbb\xbf<?xml")


@lru_cache(maxsize=1024)
def _format(content_type: str) -> tuple[BodyKind, str]:
    """Tell what a content type promises, and the type without its parameters."""
    media = content_type.partition(";")[0].strip().lower()
    if media.startswith("application/grpc"):
        return BodyKind.GRPC, media
    if media.endswith(("/json", "+json")) or media in _LINES:
        return BodyKind.JSON, media
    if media.endswith("+xml") and not media.startswith("image/"):
        return BodyKind.XML, media
    return _FORMATS.get(media, BodyKind.OPAQUE), media


def to_leaves(
    content_type: str, data: bytes, flags: set[Flag], content_encoding: str = "", grpc_encoding: str = ""
) -> tuple[BodyKind, list[Leaf]]:
    """Read a whole body into its leaves; the other arguments are the headers as sent, empty when absent.

    Without a content type, or with a wrong one, bytes that start like JSON and parse as JSON are JSON, and bytes that start like
    XML are XML (browsers and attackers lie); the mismatch is flagged. A JSON object whose `query` is a GraphQL document is
    GraphQL.
    """
    kind, media = _format(content_type[:512])
    if content_encoding and content_encoding != "identity":
        inflated = compression.inflate_all(data, content_encoding, flags)
        if inflated is None:
            return BodyKind.OPAQUE, magic.to_leaves("", data)
        data = inflated
    if len(data) > MAX_BYTES:
        flags.add(Flag.TOO_MANY)
        return BodyKind.OPAQUE, magic.to_leaves("", data)
    if kind is _GRPC:
        return kind, grpc.to_leaves(media, data, grpc_encoding, flags)
    if kind is _JSON or data.lstrip(_SPACE)[:1] in (b"{", b"["):
        try:
            document = json_.parse_lines(data) if media in _LINES else json_.parse(data)
        except json_.MALFORMED:
            if kind is _JSON:
                flags.add(Flag.MALFORMED_BODY)
                return kind, []
        else:
            if kind is not _JSON:
                flags.add(Flag.CONTENT_MISMATCH)
            return _from_json(document, data, flags)
    if kind is _FORM:
        return kind, form.to_leaves(data, flags)
    return _others(kind, media, content_type, data, flags)


def _from_json(document: object, data: bytes, flags: set[Flag]) -> tuple[BodyKind, list[Leaf]]:
    leaves = json_.to_leaves(document, data, flags)
    first = document[0] if isinstance(document, list) and document else document
    if isinstance(first, dict) and "query" in first:
        found = graphql.from_json(document, leaves, flags)
        if found is not None:
            return BodyKind.GRAPHQL, _bounded(found, flags)
    return _JSON, leaves


def _others(kind: BodyKind, media: str, content_type: str, data: bytes, flags: set[Flag]) -> tuple[BodyKind, list[Leaf]]:
    if kind is BodyKind.MULTIPART:
        return kind, multipart.to_leaves(content_type, data, flags)
    if kind is BodyKind.XML:
        return kind, xml_.to_leaves(data, flags)
    if kind is BodyKind.PROTOBUF:
        return kind, protobuf.to_leaves([data], flags)
    if kind is BodyKind.GRAPHQL:
        found = graphql.to_leaves([data.decode("utf-8", "replace")], flags)
        if found is None:
            flags.add(Flag.MALFORMED_BODY)
        return kind, found or []
    if data.startswith(_XML_STARTS):
        flags.add(Flag.CONTENT_MISMATCH)
        return BodyKind.XML, xml_.to_leaves(data, flags)
    leaves = magic.to_leaves("", data)
    if magic.disagrees(media, str(leaves[1][1])):
        flags.add(Flag.CONTENT_MISMATCH)
    return kind, leaves


def _bounded(leaves: list[Leaf], flags: set[Flag]) -> list[Leaf]:
    if len(leaves) > MAX_LEAVES:
        flags.add(Flag.TOO_MANY)
        del leaves[MAX_LEAVES:]
    return leaves
