"""From Envoy's access log to OutcomeRecords."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import RequestMethod
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse

from authz_server.access_log import METADATA_NAMESPACE, AccessLogService, to_outcome_record
from authz_server.engine.record import OutcomeRecord
from tests.factories_engine import NOON

ID = "0123456789abcdef0123456789abcdef"


def entry(
    *, decision_id: str = ID, principal: str = "spiffe://cluster.local/ns/shop/sa/cart", status: int = 200
) -> HTTPAccessLogEntry:
    made = HTTPAccessLogEntry()
    common = made.common_properties
    common.start_time.seconds = int(NOON)
    common.start_time.nanos = 500_000_000
    common.duration.nanos = 12_345_678
    if decision_id:
        common.metadata.filter_metadata[METADATA_NAMESPACE].update({"decision_id": decision_id, "p_value": 1.0})
    if principal:
        names = common.tls_properties.local_certificate_properties.subject_alt_name
        names.add().dns = "cart.shop.svc"
        names.add().uri = principal
    made.request.request_method = RequestMethod.POST
    made.request.authority = "Cart.Example:8080"
    made.request.request_id = "r-1"
    made.response.response_code.value = status
    made.response.response_body_bytes = 512
    return made


def test_entry_is_taken_over() -> None:
    assert to_outcome_record(entry(), 0.0) == OutcomeRecord(ID, NOON + 0.5, "r-1", "shop/cart", "POST", 200, 512, 12.346)


def test_now_serves_where_the_entry_has_no_start() -> None:
    assert to_outcome_record(HTTPAccessLogEntry(), 7.5) == OutcomeRecord("", 7.5)


def test_without_our_metadata_the_id_is_empty() -> None:
    assert to_outcome_record(entry(decision_id=""), 0.0).id == ""


def test_metadata_of_others_is_no_decision_id() -> None:
    made = entry(decision_id="")
    made.common_properties.metadata.filter_metadata["envoy.filters.http.jwt"].update({"decision_id": "x"})
    made.common_properties.metadata.filter_metadata[METADATA_NAMESPACE].update({"other": "y"})
    assert to_outcome_record(made, 0.0).id == ""


def test_without_mutual_tls_the_workload_is_the_authority() -> None:
    assert to_outcome_record(entry(principal=""), 0.0).workload == "cart.example"


def test_where_there_is_no_duration_the_last_byte_counts() -> None:
    made = entry()
    made.common_properties.ClearField("duration")
    made.common_properties.time_to_last_downstream_tx_byte.seconds = 2
    assert to_outcome_record(made, 0.0).duration_ms == 2_000.0


def test_response_flags_are_named() -> None:
    made = entry(status=503)
    made.common_properties.response_flags.upstream_connection_failure = True
    made.common_properties.response_flags.upstream_retry_limit_exceeded = True
    record = to_outcome_record(made, 0.0)
    assert (record.status, record.flags) == (503, ("upstream_connection_failure", "upstream_retry_limit_exceeded"))


@pytest.mark.parametrize("name", [name for name in RequestMethod.keys() if name != "METHOD_UNSPECIFIED"])  # noqa: SIM118
def test_every_method_of_envoy_has_its_name(name: str) -> None:
    made = entry()
    made.request.request_method = RequestMethod.Value(name)
    assert to_outcome_record(made, 0.0).method == name


def test_a_method_envoy_does_not_know_is_empty() -> None:
    made = entry()
    made.request.request_method = RequestMethod.METHOD_UNSPECIFIED
    assert to_outcome_record(made, 0.0).method == ""


def test_request_id_is_cut_as_in_the_call() -> None:
    made = entry()
    made.request.request_id = "x" * 1_000
    assert to_outcome_record(made, 0.0).request_id == "x" * 64


def stream(service: AccessLogService, messages: list[StreamAccessLogsMessage]) -> StreamAccessLogsResponse:
    def iterate() -> Iterator[StreamAccessLogsMessage]:
        yield from messages

    context: Any = None
    return service._stream(iterate(), context)


def test_a_stream_hands_on_every_entry() -> None:
    taken: list[OutcomeRecord] = []
    message = StreamAccessLogsMessage()
    message.http_logs.log_entry.extend([entry(status=200), entry(status=404)])
    service = AccessLogService(taken.append)
    assert stream(service, [message, StreamAccessLogsMessage(), message]) == StreamAccessLogsResponse()
    assert ([record.status for record in taken], service.received, service.failed) == ([200, 404, 200, 404], 4, 0)


def test_one_bad_entry_is_counted_and_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    taken: list[int] = []

    def take(record: OutcomeRecord) -> None:
        if record.status == 500:
            raise KeyError(record.id)
        taken.append(record.status)

    message = StreamAccessLogsMessage()
    message.http_logs.log_entry.extend([entry(status=200), entry(status=500), entry(status=201)])
    service = AccessLogService(take)
    with caplog.at_level(logging.ERROR):
        stream(service, [message])
    assert (taken, service.received, service.failed) == ([200, 201], 3, 1)
    assert [event.message for event in caplog.records] == ["access_log_entry_failed"]
