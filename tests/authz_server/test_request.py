"""From Envoy's CheckRequest to a RawCall."""

from collections.abc import Sequence
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from authz_server.engine.canonical import RawCall
from authz_server.request import to_raw
from tests.factories_engine import NOON, PRINCIPAL, raw_call

HEADERS = {":authority": "cart.example:8080", "x-request-id": "r-1"}


def check_request(
    *,
    http: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    extensions: dict[str, str] | None = None,
    **changes: Any,
) -> CheckRequest:
    """A GET of `/cart/items` by the workload `web` to `shop/cart`."""
    values = {
        "source": f"spiffe://{PRINCIPAL}",
        "destination": "spiffe://cluster.local/ns/shop/sa/cart",
        "seconds": int(NOON),
        **changes,
    }
    request = CheckRequest()
    attributes = request.attributes
    attributes.source.principal = values["source"]
    attributes.source.address.socket_address.address = "10.0.0.7"
    attributes.destination.principal = values["destination"]
    attributes.request.time.seconds = values["seconds"]
    attributes.context_extensions.update(extensions or {})
    fields = {"method": "GET", "path": "/cart/items", "host": "cart.example:8080", "size": -1, **(http or {})}
    for name, value in fields.items():
        setattr(attributes.request.http, name, value)
    attributes.request.http.headers.update(HEADERS if headers is None else headers)
    return request


def with_header_map(pairs: Sequence[tuple[str, str | bytes]], **changes: Any) -> CheckRequest:
    request = check_request(headers={}, **changes)
    values = [HeaderValue(key=k, value=v) if isinstance(v, str) else HeaderValue(key=k, raw_value=v) for k, v in pairs]
    request.attributes.request.http.header_map.CopyFrom(HeaderMap(headers=values))
    return request


def test_request_is_taken_over() -> None:
    assert to_raw(check_request(), 0.0) == raw_call(headers=HEADERS, body=b"")


def test_now_serves_where_envoy_sent_no_time() -> None:
    assert to_raw(check_request(seconds=0), 123.5).ts == 123.5


def test_fractions_of_a_second_are_kept() -> None:
    request = check_request()
    request.attributes.request.time.nanos = 250_000_000
    assert to_raw(request, 0.0).ts == NOON + 0.25


@pytest.mark.parametrize("target", ["//admin/people", "/a%2Fb;x?y=z?", "http://cart.example/a", "*", "", "/caf\u00e9", "/a b"])
def test_target_is_taken_as_it_arrived(target: str) -> None:
    assert to_raw(check_request(http={"path": target}), 0.0).target == target


WORKLOADS = [
    ({}, "shop/cart"),
    ({"destination": "", "extensions": {"workload": "shop/pay"}}, "shop/pay"),
    ({"destination": ""}, "cart.example"),
    ({"destination": "", "http": {"host": ""}}, "cart.example"),
    ({"destination": "", "http": {"host": "Cart.Example"}}, "cart.example"),
    ({"extensions": {"workload": "ignored"}}, "shop/cart"),
    ({"destination": "", "extensions": {"other": "x"}}, "cart.example"),
]


@pytest.mark.parametrize(("changes", "workload"), WORKLOADS)
def test_workload_comes_from_principal_then_extension_then_authority(changes: dict[str, Any], workload: str) -> None:
    assert to_raw(check_request(**changes), 0.0).workload == workload


BODIES = [
    ({}, {}, b"", False),
    ({"body": '{"a":1}'}, {}, b'{"a":1}', False),
    ({"raw_body": b"\xff\x00"}, {}, b"\xff\x00", False),
    ({"body": "{}"}, {"x-envoy-auth-partial-body": "false"}, b"{}", False),
    ({"body": '{"a'}, {"x-envoy-auth-partial-body": "true"}, b'{"a', True),
    ({"body": "caf\u00e9"}, {}, "caf\u00e9".encode(), False),
]


@pytest.mark.parametrize(("http", "headers", "body", "truncated"), BODIES)
def test_body(http: dict[str, Any], headers: dict[str, str], body: bytes, truncated: bool) -> None:
    raw = to_raw(check_request(http=http, headers={**HEADERS, **headers}), 0.0)
    assert (raw.body, raw.truncated) == (body, truncated)


@pytest.mark.parametrize(("size", "body", "body_size"), [(-1, "abc", 3), (0, "abc", 3), (5_000, "abc", 5_000), (-1, "", 0)])
def test_body_size_is_envoys_word_where_it_has_one(size: int, body: str, body_size: int) -> None:
    assert to_raw(check_request(http={"size": size, "body": body}), 0.0).body_size == body_size


def test_truncated_is_not_read_off_the_content_length() -> None:
    raw = to_raw(check_request(http={"body": "abc"}, headers={"content-length": "5000"}), 0.0)
    assert not raw.truncated


HEADER_MAPS: list[tuple[list[tuple[str, str | bytes]], dict[str, str]]] = [
    ([("X-User", "alice")], {"x-user": "alice"}),
    ([("x-user", b"alice")], {"x-user": "alice"}),
    ([("accept", "a"), ("accept", "b")], {"accept": "a,b"}),
    ([("Accept", "a"), ("accept", b"b")], {"accept": "a,b"}),
    ([("x-user", "Jos\u00e9".encode())], {"x-user": "Jos\u00e9"}),
    ([("x-user", b"Jos\xe9")], {"x-user": "Jos\u00e9"}),
    ([("x-empty", "")], {"x-empty": ""}),
]


@pytest.mark.parametrize(("pairs", "headers"), HEADER_MAPS)
def test_raw_headers_are_joined_as_envoys_map_does(pairs: list[tuple[str, str | bytes]], headers: dict[str, str]) -> None:
    assert to_raw(with_header_map(pairs), 0.0).headers == headers


def test_raw_headers_stand_in_for_empty_attributes_and_say_that_a_body_is_partial() -> None:
    pairs: list[tuple[str, str | bytes]] = [
        (":method", "POST"),
        (":path", b"/pay?x=1"),
        (":authority", b"Pay.Example:80"),
        ("x-request-id", b"r-9"),
        ("x-envoy-auth-partial-body", b"true"),
    ]
    request = with_header_map(pairs, destination="", http={"method": "", "path": "", "host": "", "body": "{"})
    raw = to_raw(request, 0.0)
    assert (raw.method, raw.target, raw.workload, raw.request_id, raw.truncated) == (
        "POST",
        "/pay?x=1",
        "pay.example",
        "r-9",
        True,
    )


def test_request_id_is_the_header_else_envoys_own() -> None:
    assert to_raw(check_request(http={"id": "77"}), 0.0).request_id == "r-1"
    assert to_raw(check_request(http={"id": "77"}, headers={}), 0.0).request_id == "77"


def test_a_check_without_http_attributes_has_source_and_workload() -> None:
    request = check_request()
    request.attributes.request.ClearField("http")
    expected = RawCall(NOON, "", "", {}, source=f"spiffe://{PRINCIPAL}", address="10.0.0.7", workload="shop/cart", http=False)
    assert to_raw(request, 0.0) == expected


def test_an_empty_request_is_a_check_without_http_attributes() -> None:
    assert to_raw(CheckRequest(), 5.0) == RawCall(5.0, "", "", {}, http=False)


def test_claims_that_envoy_verified_are_taken_over() -> None:
    request = check_request()
    metadata = request.attributes.metadata_context.filter_metadata
    metadata["envoy.filters.http.jwt_authn"].update({"payload": {"sub": "alice", "n": 7, "realm": {"id": "r"}}, "other": "x"})
    metadata["envoy.filters.http.lua"].update({"payload": {"sub": "mallory"}})
    assert to_raw(request, NOON).claims == {"sub": "alice", "n": "7", "realm.id": "r"}


def test_the_port_that_a_call_arrived_at_is_kept() -> None:
    request = check_request()
    request.attributes.destination.address.socket_address.port_value = 8443
    assert to_raw(request, NOON).port == 8443
