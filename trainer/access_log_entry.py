"""From an entry of Envoy's gRPC access log to a RawCall: what is known of a call without seeing its body.

The outcome of the same entry is `authz_server/access_log.py`'s. `path` is the path as Envoy sent it on, after a rewrite.
"""

from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry

from authz_server.access_log import to_outcome_record
from authz_server.engine.canonical import RawCall

__all__ = ["to_raw"]


def to_raw(entry: HTTPAccessLogEntry, now: float) -> RawCall:
    """Take over one entry; headers are those that Envoy logs always and those named in `additional_request_headers_to_log`."""
    common, request = entry.common_properties, entry.request
    outcome = to_outcome_record(entry, now)
    headers = {name.lower(): value for name, value in request.request_headers.items()}
    for name, value in (("user-agent", request.user_agent), ("referer", request.referer)):
        if value:
            headers.setdefault(name, value)
    names = common.tls_properties.peer_certificate_properties.subject_alt_name
    return RawCall(
        outcome.ts,
        headers.get(":method", "") or outcome.method,
        request.path,
        headers,
        None,
        request.request_body_bytes,
        truncated=request.request_body_bytes > 0,
        source=next((name.uri for name in names if name.uri), ""),
        address=common.downstream_remote_address.socket_address.address,
        workload=outcome.workload,
        request_id=request.request_id,
    )
