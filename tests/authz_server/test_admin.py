import http.client
import json
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz_server import admin as admin_module
from authz_server.admin import MAX_CONNECTIONS, MAX_DECISIONS, MAX_REQUEST_BYTES, Admin, Sources
from authz_server.decision_log import to_line
from authz_server.engine.errors import SettingError
from authz_server.engine.policy import Mode
from tests.factories_shell import deny


class State:
    """What the sources under test tell."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.asked: list[tuple[int, bool]] = []

    def decisions(self, n: int, denied: bool) -> object:
        self.asked.append((n, denied))
        return [to_line(deny(), 1e-4)][:n]


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def admin(state: State) -> Iterator[Admin]:
    def config() -> object:
        if state.reasons == ["broken"]:
            raise ValueError("hunter2")
        return {"mode": Mode.OFF}

    sources = Sources(lambda accept: (accept.encode(), "text/x"), lambda: state.reasons, state.decisions, config)
    admin = Admin("127.0.0.1:0", sources, request_seconds=0.5)
    admin.start()
    yield admin
    admin.close()


def get(admin: Admin, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", admin.port, timeout=5)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


def raw(admin: Admin, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", admin.port), timeout=5) as connection:
        connection.sendall(data)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def test_each_path_answers(admin: Admin) -> None:
    assert (200, b"ok\n") == get(admin, "/healthz")[:2]
    assert (200, b"text/plain") == get(admin, "/metrics", accept="text/plain")[:2]
    assert (200, {"ready": True, "reasons": []}) == (get(admin, "/readyz")[0], json.loads(get(admin, "/readyz")[1]))
    assert {"mode": "off"} == json.loads(get(admin, "/config")[1])
    assert "deny" == json.loads(get(admin, "/decisions")[1])[0]["verdict"]
    assert b"/decisions" in get(admin, "/")[1]
    assert 404 == get(admin, "/secret")[0]


def test_not_ready_is_503_with_the_reasons(admin: Admin, state: State) -> None:
    state.reasons = ["draining"]

    status, body, _ = get(admin, "/readyz")

    assert (503, {"ready": False, "reasons": ["draining"]}) == (status, json.loads(body))
    assert 200 == get(admin, "/healthz")[0]


def test_nothing_is_cached_sniffed_or_framed(admin: Admin) -> None:
    for path in ("/", "/config", "/nowhere"):
        headers = get(admin, path)[2]
        assert ("no-store", "nosniff", "close") == tuple(
            headers[name] for name in ("Cache-Control", "X-Content-Type-Options", "Connection")
        )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", (50, False)),
        ("?n=7", (7, False)),
        ("?n=0", (0, False)),
        (f"?n={MAX_DECISIONS}", (MAX_DECISIONS, False)),
        ("?verdict=deny", (50, True)),
        ("?n=3&verdict=deny", (3, True)),
    ],
)
def test_decisions_take_a_number_and_a_verdict(admin: Admin, state: State, query: str, expected: tuple[int, bool]) -> None:
    assert 200 == get(admin, "/decisions" + query)[0]
    assert [expected] == state.asked


@pytest.mark.parametrize(
    "query", ["?n=-1", f"?n={MAX_DECISIONS + 1}", "?n=x", "?n=", "?m=1", "?verdict=allow", "?&", "?n=1&" + "a=1&" * 9]
)
def test_any_other_query_is_a_bad_request(admin: Admin, state: State, query: str) -> None:
    assert 400 == get(admin, "/decisions" + query)[0]
    assert [] == state.asked


def test_head_has_the_headers_without_the_body(admin: Admin) -> None:
    status, body, headers = get(admin, "/healthz", "HEAD")

    assert (200, b"", "3") == (status, body, headers["Content-Length"])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(admin: Admin, method: str) -> None:
    status, _, headers = get(admin, "/config", method)

    assert (405, "GET, HEAD") == (status, headers["Allow"])


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\r\n\r\n", b"400"),
        (b"GET /\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\n\r\n", b"400"),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.0\n\n", b"200"),
        (b"GET /" + b"a" * MAX_REQUEST_BYTES, b"431"),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 2000, b"431"),
        (b"GET / HTTP/1.1\r\n", b"408"),
        (b"", b"408"),
    ],
    ids=str,
)
def test_a_malformed_large_or_slow_request_gets_its_status(admin: Admin, request_: bytes, status: bytes) -> None:
    assert b"HTTP/1.1 " + status == raw(admin, request_)[:12]


def test_a_dripping_client_is_cut_off_by_the_whole_requests_deadline(admin: Admin) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", admin.port), timeout=5) as connection:
        try:
            for _ in range(100):
                connection.sendall(b"G")
                time.sleep(0.05)
        except OSError:
            pass

    assert time.monotonic() - began < 3


def test_too_many_connections_are_closed_and_the_rest_served(admin: Admin) -> None:
    waiting = [socket.create_connection(("127.0.0.1", admin.port), timeout=5) for _ in range(MAX_CONNECTIONS)]
    try:
        time.sleep(0.1)
        with socket.create_connection(("127.0.0.1", admin.port), timeout=5) as late:
            assert b"" == late.recv(10)
    finally:
        for connection in waiting:
            connection.close()
    time.sleep(0.1)
    assert 200 == get(admin, "/healthz")[0]


def test_an_error_of_ours_is_500_without_its_words(admin: Admin, state: State, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    state.reasons = ["broken"]

    status, body, _ = get(admin, "/config")

    assert (500, False) == (status, b"hunter2" in body)
    assert ["admin_failed"] == [record.message for record in caplog.records]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_get_an_answer(admin: Admin, data: bytes) -> None:
    assert b"HTTP/1.1 " == raw(admin, data.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n\r\n")[:9]


def test_an_address_in_use_stops_the_start(admin: Admin) -> None:
    with pytest.raises(SettingError, match="admin: expected an address that can be listened on"):
        Admin(f"127.0.0.1:{admin.port}", _nothing())


def test_ipv6_is_served() -> None:
    try:
        admin = Admin("[::1]:0", _nothing())
    except SettingError:
        pytest.skip("no IPv6 here")
    admin.start()
    with socket.create_connection(("::1", admin.port), timeout=5) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    admin.close()


def test_closing_twice_or_before_the_start_is_fine() -> None:
    admin = Admin("127.0.0.1:0", _nothing())
    admin.close()
    admin.close()


def _nothing() -> Sources:
    def nothing(*_: Any) -> Any:
        return []

    return Sources(nothing, nothing, nothing, nothing)


def test_the_index_names_every_path() -> None:
    for path in ("/metrics", "/healthz", "/readyz", "/decisions", "/config"):
        assert path in admin_module._INDEX
