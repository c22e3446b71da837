import io
from typing import Any

import msgspec
import pytest

from authz_server.engine.errors import FormatError
from trainer.importers.envoy_json import iter_imported, to_seconds
from trainer.importers.imported import ImportedCall

ISTIO = {
    "authority": "reviews:9080",
    "bytes_received": 0,
    "bytes_sent": 375,
    "connection_termination_details": None,
    "downstream_local_address": "10.44.1.23:9080",
    "downstream_remote_address": "10.44.0.17:41372",
    "duration": 17,
    "method": "GET",
    "path": "/reviews/0?full=1",
    "protocol": "HTTP/1.1",
    "request_id": "c2c9b6d5-7d6c-9c1a-8f0e-5a2f3b1e7d11",
    "requested_server_name": "outbound_.9080_._.reviews.default.svc.cluster.local",
    "response_code": 200,
    "response_flags": "-",
    "start_time": "2026-11-21T20:43:00.500Z",
    "upstream_cluster": "inbound|9080||",
    "user_agent": "curl/8.5",
    "x_forwarded_for": None,
}


def read(*lines: Any) -> list[ImportedCall | FormatError]:
    return list(iter_imported(io.BytesIO(b"\n".join([msgspec.json.encode(line) for line in lines])), "log"))


def one(**changes: Any) -> ImportedCall:
    (imported,) = read(ISTIO | changes)
    assert isinstance(imported, ImportedCall), imported
    return imported


def test_istios_default_line_is_taken_over() -> None:
    imported = one()
    raw = imported.raw
    assert ("GET", "/reviews/0?full=1", "reviews", "10.44.0.17") == (raw.method, raw.target, raw.workload, raw.address)
    assert {":authority": "reviews:9080", "user-agent": "curl/8.5"} == raw.headers
    assert (200, 375, 17.0) == (imported.status, imported.resp_size, imported.duration_ms)
    assert 1_795_293_780.5 == raw.ts


def test_peers_names_are_workload_and_caller() -> None:
    sans = {"downstream_local_uri_san": "spiffe://td/ns/shop/sa/cart", "downstream_peer_uri_san": "spiffe://td/ns/shop/sa/web"}
    assert ("shop/cart", "spiffe://td/ns/shop/sa/web") == (one(**sans).raw.workload, one(**sans).raw.source)


def test_body_that_was_not_logged_is_unknown() -> None:
    assert (None, 12, True) == (
        one(bytes_received=12).raw.body,
        one(bytes_received=12).raw.body_size,
        one(bytes_received=12).raw.truncated,
    )


def test_numbers_as_text_and_dashes_are_read() -> None:
    imported = one(response_code="503", duration="-", bytes_sent="7", user_agent="-")
    assert (503, 7, None) == (imported.status, imported.resp_size, imported.duration_ms)
    assert "user-agent" not in imported.raw.headers


@pytest.mark.parametrize("method", [None, "-"])
def test_line_without_method_is_no_call(method: str | None) -> None:
    assert [] == read(ISTIO | {"method": method})


@pytest.mark.parametrize("wrong", [{"response_code": "many"}, {"start_time": "noon"}, {"path": 7}, {"duration": []}])
def test_bad_line_says_where_and_the_next_is_read(wrong: dict[str, Any]) -> None:
    problem, following = read(ISTIO | wrong, ISTIO)
    assert str(problem).startswith("log, line 1: expected an access log entry")
    assert isinstance(following, ImportedCall)


@pytest.mark.parametrize(
    ("time", "expected"),
    [("1970-01-01T00:00:01Z", 1.0), ("1970-01-01T01:00:01+01:00", 1.0), ("1970-01-01T00:00:01", 1.0), ("1.5", 1.5), (2, 2.0)],
)
def test_to_seconds(time: str | float, expected: float) -> None:
    assert expected == to_seconds(time)
