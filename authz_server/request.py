"""From Envoy's CheckRequest (upb message) to a RawCall; nothing is interpreted here that `engine/canonical.py` could.

Facts of Envoy this leans on: `path` is the raw request target with query; header keys are lower-case, but with
`encode_raw_headers` the map is empty and `header_map` must be read; with `pack_as_bytes` the body is in `raw_body`; the header
`x-envoy-auth-partial-body: true` says that the body is only its beginning.
"""

from typing import Final

from envoy.service.auth.v3.attribute_context_pb2 import AttributeContext
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from google.protobuf.json_format import MessageToDict

from authz_server.engine.canonical import RawCall, to_workload
from authz_server.engine.claims import flat_claims

__all__ = ["JWT_NAMESPACE", "WORKLOAD_EXTENSION", "to_raw"]

JWT_NAMESPACE: Final = "envoy.filters.http.jwt_authn"
"""Metadata of the filter that verifies tokens; Envoy sends it if `metadata_context_namespaces` names it."""
WORKLOAD_EXTENSION: Final = "workload"
"""The `context_extensions` key (set per route or virtual host in Envoy) that names the workload where there is no mTLS."""


def to_raw(request: CheckRequest, now: float) -> RawCall:
    """Take over one request. `now` (seconds since the epoch) serves where Envoy sent no time."""
    attributes = request.attributes
    source, destination = attributes.source, attributes.destination
    inner = attributes.request
    stamp = inner.time
    ts = stamp.seconds + stamp.nanos * 1e-9 if stamp.seconds else now
    address = source.address.socket_address.address
    port = destination.address.socket_address.port_value
    extensions = attributes.context_extensions
    extension = extensions.get(WORKLOAD_EXTENSION, "") if extensions else ""
    if not inner.HasField("http"):
        workload = to_workload(destination.principal, extension, "")
        return RawCall(ts, "", "", {}, source=source.principal, address=address, workload=workload, http=False, port=port)
    http = inner.http
    sent = http.headers
    headers = {name: sent[name] for name in sent} or _from_header_map(http)  # a third less than `dict(sent)`, 1.5 microseconds
    body = http.raw_body or http.body.encode("utf-8", "surrogateescape")
    truncated = headers.get("x-envoy-auth-partial-body") == "true"  # Envoy passes over the client's own
    return RawCall(
        ts,
        http.method or headers.get(":method", ""),
        http.path or headers.get(":path", ""),
        headers,
        body,
        http.size if http.size > 0 else len(body),
        truncated,
        source.principal,
        address,
        to_workload(destination.principal, extension, http.host or headers.get(":authority", "")),
        "",
        headers.get("x-request-id", "") or http.id,
        port=port,
        claims=_claims(attributes) if attributes.HasField("metadata_context") else {},
    )


def _claims(attributes: AttributeContext) -> dict[str, str]:
    """Take over the claims that Envoy's `jwt_authn` filter verified: every payload that it put into its metadata."""
    metadata = attributes.metadata_context.filter_metadata
    found: dict[str, str] = {}
    if JWT_NAMESPACE in metadata:
        for value in metadata[JWT_NAMESPACE].fields.values():
            if value.HasField("struct_value"):
                found.update(flat_claims(MessageToDict(value.struct_value)))
    return found


def _from_header_map(http: AttributeContext.HttpRequest) -> dict[str, str]:
    """Join raw headers as Envoy's map does: lower-case keys, duplicates with a comma, bytes that aren't UTF-8 as Latin-1."""
    headers: dict[str, str] = {}
    for header in http.header_map.headers:
        name = header.key.lower()
        value = header.value or _to_text(header.raw_value)
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _to_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
