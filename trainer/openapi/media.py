"""Media types of bodies: which ones a list of known names can read out of the digests of content types.

The header itself isn't kept in clear, but media types are public words.
"""

import re
from collections.abc import Mapping
from typing import Final

from authz_server.engine.call import BodyKind
from authz_server.engine.profile import EndpointProfile

__all__ = ["MEDIA", "media_types"]

_USUAL: Final = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "multipart": "multipart/form-data",
    "xml": "application/xml",
    "graphql": "application/json",
    "grpc": "application/grpc",
    "protobuf": "application/x-protobuf",
}
"""Media type by BodyKind where nobody can tell which one was sent; anything else is `*/*`."""
_FORMS: Final = {
    "json": re.compile(r"[a-z]+/(?:[a-z0-9.-]+\+)?json\Z|application/(?:x-)?(?:ndjson|jsonlines|jsonl|json-lines)\Z"),
    "graphql": re.compile(r"application/(?:[a-z0-9.-]+\+)?json\Z"),
    "form": re.compile(r"application/x-www-form-urlencoded\Z"),
    "xml": re.compile(r"(?:application|text)/(?:[a-z0-9.-]+\+)?xml\Z"),
    "grpc": re.compile(r"application/grpc"),
    "protobuf": re.compile(r"application/(?:x-(?:google-)?)?proto"),
}
_NAMES: Final = (
    *("application/json", "application/problem+json", "application/vnd.api+json", "application/hal+json", "application/ld+json"),
    *("application/merge-patch+json", "application/json-patch+json", "application/strategic-merge-patch+json"),
    *("application/x-ndjson", "application/ndjson", "application/jsonl", "application/csp-report", "application/reports+json"),
    *("application/fhir+json", "application/cloudevents+json", "application/scim+json", "text/json"),
    *("application/x-www-form-urlencoded", "application/xml", "text/xml", "application/soap+xml", "application/atom+xml"),
    *("application/grpc", "application/grpc+proto", "application/grpc-web", "application/grpc-web+proto", "application/graphql"),
    *("application/protobuf", "application/x-protobuf", "application/octet-stream", "application/pdf", "application/zip"),
    *("application/gzip", "application/x-gzip", "application/x-tar", "application/msgpack", "application/cbor"),
    *(
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/svg+xml",
        "image/heic",
        "image/avif",
        "video/mp4",
        "audio/mpeg",
    ),
    *("text/plain", "text/csv", "text/html", "text/markdown", "text/calendar", "application/javascript"),
)
MEDIA: Final = (
    *_NAMES,
    *[f"{name}{space}charset={charset}" for name in _NAMES for space in ("; ", ";") for charset in ("utf-8", "UTF-8")],
)
"""Content types as they are sent: public words, which tell of nobody."""


def media_types(kind: BodyKind, profile: EndpointProfile, vocabulary: Mapping[str, str]) -> list[str]:
    """Name the media types that bodies of one kind were sent as: those that can be read, else the usual one."""
    sent = profile.parameters.get("header:content-type")
    digests = sent.values or frozenset() if sent is not None else frozenset()
    known = {vocabulary[digest].partition(";")[0] for digest in digests if digest in vocabulary}
    if kind is BodyKind.OPAQUE:
        fit = {media for media in known if not any(form.match(media) for form in _FORMS.values())}
        all_known = sent is not None and sent.complete and all(digest in vocabulary for digest in digests)
        return sorted(fit) if fit and all_known else ["*/*"]
    form = _FORMS.get(kind.value)
    return sorted([media for media in known if form is not None and form.match(media)]) or [_USUAL.get(kind.value, "*/*")]
