import io
from typing import Any

import msgspec
import pytest

from authz_server.engine.errors import FormatError
from trainer.importers.har import iter_imported
from trainer.importers.imported import ImportedCall


def entry(url: str = "https://shop.example/cart?n=1", **changes: Any) -> dict[str, Any]:
    request = {
        "method": "POST",
        "url": url,
        "httpVersion": "HTTP/2",
        "headers": [{"name": "Content-Type", "value": "application/json"}, {"name": "X-Request-Id", "value": "r"}],
        "postData": {"mimeType": "application/json", "text": '{"n": 1}'},
        "bodySize": 8,
    }
    response = {"status": 201, "content": {"size": 17, "mimeType": "text/html"}}
    return {
        "startedDateTime": "2026-11-21T20:43:00.500Z",
        "time": 12.5,
        "request": request | changes,
        "response": response,
    }


def read(*entries: Any) -> list[ImportedCall | FormatError]:
    document = {"log": {"version": "1.2", "creator": {"name": "test"}, "entries": entries}}
    return list(iter_imported(io.BytesIO(msgspec.json.encode(document)), "file.har"))


def one(**changes: Any) -> ImportedCall:
    (imported,) = read(entry(**changes))
    assert isinstance(imported, ImportedCall), imported
    return imported


def test_entry_is_taken_over() -> None:
    imported = one()
    raw = imported.raw
    assert ("POST", "/cart?n=1", "shop.example", b'{"n": 1}', "r") == (
        *(raw.method, raw.target, raw.workload, raw.body, raw.request_id),
    )
    assert (201, 17, 12.5, 1_795_293_780.5) == (imported.status, imported.resp_size, imported.duration_ms, raw.ts)


@pytest.mark.parametrize(
    ("url", "workload", "target"),
    [
        ("http://a:8080/x?y#z", "a", "/x?y"),
        ("http://a", "a", "/"),
        ("http://a?q=1", "a", "/?q=1"),
        ("http://user:pw@a/x", "a", "/x"),
        ("http://a//admin/b@c", "a", "//admin/b@c"),
        ("/only/path", "", "/only/path"),
    ],
)
def test_url_is_split_without_losing_a_segment(url: str, workload: str, target: str) -> None:
    imported = one(url=url)
    assert (workload, target) == (imported.raw.workload, imported.raw.target)


def test_body_that_was_not_exported_is_unknown() -> None:
    imported = one(postData=None)
    assert (None, 8, True) == (imported.raw.body, imported.raw.body_size, imported.raw.truncated)


def test_bad_entry_says_which_and_the_next_is_read() -> None:
    problem, following = read({"request": {"method": "GET"}}, entry())
    assert "file.har, entry 1: expected a HAR entry: Object missing required field `url` - at `$.request`" == str(problem)
    assert isinstance(following, ImportedCall)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"log": {}}', b"\xff"])
def test_what_is_no_archive_is_an_error(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"file\.har: expected a HAR document"):
        list(iter_imported(io.BytesIO(data), "file.har"))
