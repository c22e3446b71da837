import pytest
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry

from authz_server.access_log import is_final
from trainer.access_log_entry import to_raw


def entry(*, method: int = 3, **headers: str) -> HTTPAccessLogEntry:
    made = HTTPAccessLogEntry()
    common, request = made.common_properties, made.request
    common.start_time.seconds = 1_700_000_000
    common.duration.nanos = 12_500_000
    common.downstream_remote_address.socket_address.address = "10.0.0.7"
    tls = common.tls_properties
    tls.peer_certificate_properties.subject_alt_name.add().uri = "spiffe://td/ns/shop/sa/web"
    tls.local_certificate_properties.subject_alt_name.add().uri = "spiffe://td/ns/shop/sa/cart"
    request.request_method = method
    request.path, request.authority, request.request_id, request.user_agent = "/cart?n=1", "cart.shop", "r-1", "app/1"
    request.request_body_bytes = 9
    request.request_headers.update(headers)
    made.response.response_code.value = 201
    made.response.response_body_bytes = 33
    return made


def test_entry_is_taken_over() -> None:
    raw = to_raw(entry(Cookie="sid=1"), 5.0)
    assert ("POST", "/cart?n=1", "shop/cart", "r-1", 1_700_000_000.0) == (
        *(raw.method, raw.target, raw.workload, raw.request_id, raw.ts),
    )
    assert ("spiffe://td/ns/shop/sa/web", "10.0.0.7") == (raw.source, raw.address)
    assert {"cookie": "sid=1", "user-agent": "app/1"} == raw.headers
    assert (None, 9, True) == (raw.body, raw.body_size, raw.truncated)


def test_method_that_envoy_has_no_number_for_comes_from_the_header() -> None:
    assert "PROPFIND" == to_raw(entry(method=0, **{":method": "PROPFIND"}), 5.0).method


@pytest.mark.parametrize(("kind", "expected"), [(0, True), (6, True), (4, False), (5, False), (9, False)])
def test_only_the_end_of_a_call_counts(kind: int, expected: bool) -> None:
    made = entry()
    made.common_properties.access_log_type = kind
    assert expected == is_final(made)
