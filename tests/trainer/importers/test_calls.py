import io
from typing import Any

import msgspec
import pytest

from authz_server.engine.errors import FormatError
from trainer.importers.calls import iter_imported
from trainer.importers.imported import ImportedCall


def read(*rows: Any) -> list[ImportedCall | FormatError]:
    lines = [row if isinstance(row, bytes) else msgspec.json.encode(row) for row in rows]
    return list(iter_imported(io.BytesIO(b"\n".join(lines)), "file"))


def one(row: Any) -> ImportedCall:
    (imported,) = read(row)
    assert isinstance(imported, ImportedCall), imported
    return imported


def test_every_field_is_taken_over() -> None:
    imported = one(
        {
            "ts": 1.5,
            "client": "alice",
            "src": "spiffe://td/ns/shop/sa/web",
            "dst": "spiffe://td/ns/shop/sa/cart",
            "method": "POST",
            "path": "/a?b=c",
            "headers": {"X-Request-Id": "r", "Content-Type": "text/plain"},
            "body": "é",
            "status": 201,
            "resp_size": 10,
            "label": 1,
            "attack": "sqli",
            "split": "test",
        }
    )
    raw = imported.raw
    assert (1.5, "POST", "/a?b=c", "shop/cart", "alice", "r") == (
        *(raw.ts, raw.method, raw.target, raw.workload, raw.session, raw.request_id),
    )
    assert ("spiffe://td/ns/shop/sa/web", "é".encode(), 2, False) == (raw.source, raw.body, raw.body_size, raw.truncated)
    assert {"x-request-id": "r", "content-type": "text/plain"} == raw.headers
    assert (201, 10, 1, "sqli", "test") == (
        *(imported.status, imported.resp_size, imported.label, imported.attack, imported.split),
    )


@pytest.mark.parametrize("absent", [{}, dict.fromkeys(["ts", "client", "src", "dst", "headers", "body", "status", "label"])])
def test_all_but_method_and_path_may_be_missing_or_null(absent: dict[str, None]) -> None:
    imported = one({"method": "GET", "path": "/"} | absent)
    assert ("GET", "/", "", "", {}, None) == (
        *(imported.raw.method, imported.raw.target, imported.raw.workload, imported.raw.session),
        *(imported.raw.headers, imported.raw.body),
    )
    assert (None, None) == (imported.status, imported.label)


@pytest.mark.parametrize(
    ("dst", "host", "expected"),
    [
        ("cart", None, "cart"),
        ("shop/cart", "other", "shop/cart"),
        ("spiffe://td/ns/shop/sa/cart", None, "shop/cart"),
        (None, "Cart.Shop:8080", "cart.shop"),
        (None, None, ""),
    ],
)
def test_workload(dst: str | None, host: str | None, expected: str) -> None:
    imported = one({"method": "GET", "path": "/", "dst": dst, "headers": {"Host": host}})
    assert expected == imported.raw.workload


def test_body_that_is_not_there_but_had_a_length_is_unknown() -> None:
    imported = one({"method": "POST", "path": "/", "headers": {"content-length": "12"}})
    assert (None, 12, True) == (imported.raw.body, imported.raw.body_size, imported.raw.truncated)


def test_headers_of_a_response_are_dropped() -> None:
    imported = one({"method": "GET", "path": "/", "headers": {"Set-Cookie": "sid=1", "accept": "*/*"}})
    assert {"accept": "*/*"} == imported.raw.headers


def test_numbers_in_other_spellings_are_numbers() -> None:
    imported = one({"method": "GET", "path": "/", "ts": "1.5", "status": 200.0, "client": 17})
    assert (1.5, 200, "17") == (imported.raw.ts, imported.status, imported.raw.session)


def test_lines_without_time_follow_each_other() -> None:
    row = {"method": "GET", "path": "/"}
    assert [1.0, 2.0, 99.5, 99.5] == [i.raw.ts for i in read(row, row, row | {"ts": 99.5}, row) if isinstance(i, ImportedCall)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"method": "GET"}', "missing required field `path`"),
        (b'{"method": 7, "path": "/"}', "Expected `str`, got `int` - at `$.method`"),
        (b"[1]", "Expected `object`, got `array`"),
        (b"not json", "malformed"),
        (b"\xff\xfe", "line 1"),
    ],
)
def test_bad_line_says_where_and_what_was_expected_and_the_next_is_read(line: bytes, expected: str) -> None:
    problem, following = read(line, {"method": "GET", "path": "/"})
    assert isinstance(problem, FormatError)
    assert str(problem).startswith("file, line 1: expected a call as a JSON object: ")
    assert expected in str(problem)
    assert isinstance(following, ImportedCall)
    assert 2 == following.number
