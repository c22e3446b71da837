"""How each call ended: Envoy's gRPC access log (ALS) to OutcomeRecords, live.

An entry is joined to its Check by the decision id that our answer put into the dynamic metadata, which is exact even where one
request id passes several workloads; without it by request id, workload and method. ALS may drop entries: a gap is not an absence.
"""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Final

import grpc
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse

from authz_server.engine.canonical import to_workload
from authz_server.engine.record import OutcomeRecord

__all__ = ["METADATA_NAMESPACE", "AccessLogService", "is_final", "to_outcome_record"]

METADATA_NAMESPACE: Final = "envoy.filters.http.ext_authz"
"""Where Envoy keeps what an ext_authz server answers as dynamic metadata."""
_SERVICE: Final = "envoy.service.accesslog.v3.AccessLogService"

_log = logging.getLogger(__name__)


def to_outcome_record(entry: HTTPAccessLogEntry, now: float) -> OutcomeRecord:
    """Take over one access log entry; `now` (seconds since the epoch) serves where the entry has no start time."""
    common, request, response = entry.common_properties, entry.request, entry.response
    start = common.start_time
    ts = start.seconds + start.nanos * 1e-9 if start.seconds else now
    duration = common.duration if common.HasField("duration") else common.time_to_last_downstream_tx_byte
    return OutcomeRecord(
        _decision_id(entry),
        ts,
        request.request_id[:64],
        _workload(entry),
        _METHODS.get(request.request_method, ""),
        response.response_code.value,
        response.response_body_bytes,
        round(duration.seconds * 1e3 + duration.nanos * 1e-6, 3),
        tuple([field.name for field, _ in common.response_flags.ListFields()]) if common.HasField("response_flags") else (),
    )


_METHODS: Final = dict(enumerate(("", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")))
"""`envoy.config.core.v3.RequestMethod`; Envoy logs any other method as unspecified."""


def _decision_id(entry: HTTPAccessLogEntry) -> str:
    metadata = entry.common_properties.metadata.filter_metadata
    if METADATA_NAMESPACE not in metadata:
        return ""
    fields = metadata[METADATA_NAMESPACE].fields
    return fields["decision_id"].string_value if "decision_id" in fields else ""


def _workload(entry: HTTPAccessLogEntry) -> str:
    names = entry.common_properties.tls_properties.local_certificate_properties.subject_alt_name
    principal = next((name.uri for name in names if name.uri), "")
    return to_workload(principal, "", entry.request.authority)


_NOT_SET: Final = 0
_DOWNSTREAM_END: Final = 6
"""`envoy.data.accesslog.v3.AccessLogType`."""


def is_final(entry: HTTPAccessLogEntry) -> bool:
    """Tell whether an entry says how a call ended; periodic and upstream entries are about the same call once more."""
    common = entry.common_properties
    return not common.intermediate_log_entry and common.access_log_type in (_NOT_SET, _DOWNSTREAM_END)


class AccessLogService:
    """The gRPC method StreamAccessLogs: hands every HTTP entry to `take`, and never ends a stream because of one bad entry."""

    def __init__(self, take: Callable[[OutcomeRecord], None]) -> None:
        self._take = take
        self._streams: set[grpc.ServicerContext] = set()
        self.received = 0
        self.failed = 0

    def handler(self) -> grpc.GenericRpcHandler:
        """Bind the service for `grpc.server`."""
        method = grpc.stream_unary_rpc_method_handler(
            self._stream, StreamAccessLogsMessage.FromString, StreamAccessLogsResponse.SerializeToString
        )
        return grpc.method_handlers_generic_handler(_SERVICE, {"StreamAccessLogs": method})

    def end_streams(self) -> None:
        """End all streams from our side: an Envoy never ends one, so a server that drains would wait for them in vain."""
        for context in self._streams.copy():
            context.cancel()

    def _stream(self, messages: Iterator[StreamAccessLogsMessage], context: grpc.ServicerContext) -> StreamAccessLogsResponse:
        self._streams.add(context)
        try:
            self._take_all(messages)
        finally:
            self._streams.discard(context)
        return StreamAccessLogsResponse()

    def _take_all(self, messages: Iterator[StreamAccessLogsMessage]) -> None:
        for message in messages:
            now = time.time()
            for entry in message.http_logs.log_entry:
                self.received += 1
                try:
                    if is_final(entry):
                        self._take(to_outcome_record(entry, now))
                except Exception:
                    self.failed += 1
                    _log.exception("access_log_entry_failed")
