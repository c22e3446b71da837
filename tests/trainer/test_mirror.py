import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.canonical import RawCall
from trainer.mirror import MAX_BODY, MAX_DRAINED, MAX_HEAD, MirrorServer, strip_shadow

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def exchange(*sent: bytes, end: bool = True) -> tuple[list[RawCall], bytes]:
    """Send bytes over one connection, piece by piece; give what was taken and what was answered."""
    taken: list[RawCall] = []

    async def run() -> bytes:
        server = MirrorServer(taken.append, clock=lambda: 5.0)
        port = await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for piece in sent:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if end:
                writer.write_eof()
            return await asyncio.wait_for(reader.read(), 10)
        except ConnectionError:
            return b""
        finally:
            writer.close()
            await server.close()

    return taken, asyncio.run(run())


def test_request_is_taken_and_answered() -> None:
    (raw,), answer = exchange(
        b"POST //admin/a?b=c HTTP/1.1\r\nHost: cart-shadow:8080\r\nX-Request-Id: r\r\nContent-Length: 2\r\n\r\nhi"
    )
    assert OK == answer
    assert (
        RawCall(
            5.0,
            "POST",
            "//admin/a?b=c",
            {"host": "cart:8080", "x-request-id": "r", "content-length": "2"},
            b"hi",
            2,
            workload="cart",
            request_id="r",
        )
        == raw
    )


def test_connection_is_kept_for_further_requests() -> None:
    request = b"GET /a HTTP/1.1\r\nhost: cart\r\n\r\n"
    taken, answer = exchange(request + request, request)
    assert ["/a"] * 3 == [raw.target for raw in taken]
    assert OK * 3 == answer


@pytest.mark.parametrize("request_head", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"])
def test_connection_ends_when_the_client_says_so(request_head: bytes) -> None:
    taken, answer = exchange(request_head, end=False)
    assert (1, OK) == (len(taken), answer)


def test_chunked_body_is_read() -> None:
    (raw,), answer = exchange(
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n", b"1\r\n!\r\n0\r\ntrailer: x\r\n\r\n"
    )
    assert (b"hello!", 6, OK) == (raw.body, raw.body_size, answer)


def test_long_body_is_kept_in_part_and_counts_as_truncated() -> None:
    size = MAX_BODY + 5
    (raw,), _ = exchange(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % size, b"x" * size)
    assert (b"x" * MAX_BODY, size, True) == (raw.body, raw.body_size, raw.truncated)


def test_repeated_headers_are_joined_as_envoy_does() -> None:
    (raw,), _ = exchange(b"GET / HTTP/1.1\r\na: 1\r\nA: 2\r\ncookie: x=1\r\ncookie: y=2\r\n\r\n")
    assert ("1,2", "x=1; y=2") == (raw.headers["a"], raw.headers["cookie"])


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/2\r\n\r\n", b"400"),
        (b"GET  / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nname : space\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\na: 1\r\n folded\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (MAX_DRAINED + 1), b"413"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"431"),
    ],
)
def test_what_is_no_request_is_refused(sent: bytes, status: bytes) -> None:
    taken, answer = exchange(sent)
    assert [] == taken
    assert status == answer.split(b" ")[1]


def test_endless_head_is_refused() -> None:
    taken, answer = exchange(b"GET / HTTP/1.1\r\na: " + b"b" * 2 * MAX_HEAD)
    assert [] == taken
    assert answer[9:12] in (b"431", b"")  # what it didn't read resets the connection, and that may overtake the answer


def test_half_a_request_is_no_request() -> None:
    assert ([], b"") == exchange(b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nhalf")


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=100) | st.binary(max_size=100).map(lambda data: b"POST / HTTP/1.1\r\n" + data + b"\r\n\r\n"))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    exchange(data)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("cart-shadow", "cart"), ("cart-shadow:80", "cart:80"), ("cart", "cart"), ("[::1]-shadow:80", "[::1]:80"), ("", "")],
)
def test_strip_shadow(host: str, expected: str) -> None:
    assert expected == strip_shadow(host)
