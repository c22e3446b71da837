import io

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from hypothesis import given
from hypothesis import strategies as st

from authz_server.engine.errors import FormatError
from trainer.importers.checkrequests import MAX_MESSAGE, iter_imported
from trainer.importers.imported import ImportedCall


def varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*data, number])


def check_request(path: str = "/cart?n=1", seconds: int = 1_700_000_000) -> bytes:
    request = CheckRequest()
    http = request.attributes.request.http
    http.method, http.path, http.host, http.body = "POST", path, "cart.shop", '{"count": 1}'
    http.headers["x-request-id"] = "r-1"
    request.attributes.request.time.seconds = seconds
    request.attributes.source.principal = "spiffe://td/ns/shop/sa/web"
    request.attributes.destination.principal = "spiffe://td/ns/shop/sa/cart"
    return bytes(request.SerializeToString())


def stream(*messages: bytes) -> io.BytesIO:
    return io.BytesIO(b"".join([varint(len(message)) + message for message in messages]))


def test_messages_are_taken_over() -> None:
    imported = list(iter_imported(stream(check_request("/a"), check_request("/" + "b" * 5000)), "file"))
    assert [1, 2] == [i.number for i in imported if isinstance(i, ImportedCall)]
    first = imported[0]
    assert isinstance(first, ImportedCall)
    assert ("/a", "shop/cart", "r-1", b'{"count": 1}', 1_700_000_000.0) == (
        *(first.raw.target, first.raw.workload, first.raw.request_id, first.raw.body, first.raw.ts),
    )


def test_messages_without_time_follow_each_other() -> None:
    messages = [check_request(seconds=0), check_request(seconds=0), check_request(seconds=9), check_request(seconds=0)]
    assert [1.0, 2.0, 9.0, 9.0] == [i.raw.ts for i in iter_imported(stream(*messages), "f") if isinstance(i, ImportedCall)]


def test_bad_message_says_which_and_the_next_is_read() -> None:
    problem, following = iter_imported(stream(b"\xff\xff\xff", check_request()), "file")
    assert str(problem).startswith("file, message 1: expected a CheckRequest")
    assert isinstance(following, ImportedCall)


def test_truncated_stream_is_an_error_after_what_came_before() -> None:
    imported = iter_imported(io.BytesIO(stream(check_request(), check_request()).getvalue()[:-5]), "file")
    assert isinstance(next(imported), ImportedCall)
    with pytest.raises(FormatError, match=r"file, message 2: expected .* bytes, the file ends before them"):
        next(imported)


@pytest.mark.parametrize("start", [varint(MAX_MESSAGE + 1), b"\xff" * 12])
def test_impossible_length_is_an_error(start: bytes) -> None:
    with pytest.raises(FormatError, match="expected a length of at most"):
        list(iter_imported(io.BytesIO(start + b"x" * 100), "file"))


@given(st.binary(max_size=200))
def test_any_bytes_are_calls_or_named_errors(data: bytes) -> None:
    try:
        for imported in iter_imported(io.BytesIO(data), "file"):
            assert isinstance(imported, ImportedCall | FormatError)
    except FormatError:
        pass
