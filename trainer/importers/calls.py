r"""`--format calls`: one JSON object a line, for data sets and tests.

    {"ts": 1.5, "client": "...", "src": "...", "dst": "...", "method": "GET", "path": "/a?b=c", "headers": {}, "body": "..."|null,
     "status": 200|null, "resp_size": 10|null, "label": 0|1, "attack": "..."|null, "split": "train"|"test"|null}

Any field but method and path may be missing or null. `src` and `dst` are workloads or principals; without `dst` the workload is
the header `host`. `client` is a session. Unknown fields are passed over, and so are headers that only a response can have.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from authz_server.engine.canonical import RawCall, to_workload
from authz_server.engine.errors import FormatError, cut
from trainer.importers.imported import ImportedCall, Timeline
from trainer.lines import Readable, iter_lines

__all__ = ["iter_imported"]

_RESPONSE_HEADERS: Final = frozenset(
    {
        "set-cookie",
        "server",
        "location",
        "retry-after",
        "etag",
        "last-modified",
        "www-authenticate",
        "proxy-authenticate",
        "allow",
    }
)
"""RFC 9110, 8.8, 10.2 and 11; RFC 6265: some collections mix a response's headers with its request's."""


class _Row(msgspec.Struct, gc=False):
    method: str
    path: str
    ts: float | None = None
    client: str | int | None = None
    src: str | None = None
    dst: str | None = None
    headers: dict[str, str | None] | None = None
    body: str | None = None
    status: int | None = None
    resp_size: int | None = None
    duration_ms: float | None = None
    label: int | None = None
    attack: str | None = None
    split: str | None = None


_decode = msgspec.json.Decoder(_Row, strict=False).decode
"""Not strict: a number that was written as text is still a number."""


def iter_imported(stream: Readable, name: str) -> Iterator[ImportedCall | FormatError]:
    """Read a `calls` file; a bad line comes as the FormatError that says what is wrong with it, and the reading goes on."""
    timeline = Timeline()
    for number, line in iter_lines(stream, name):
        try:
            row = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            yield FormatError(f"{name}, line {number}: expected a call as a JSON object: {error}: {cut(repr(line[:80]))}")
            continue
        yield ImportedCall(
            number,
            _to_raw(row, timeline.at(row.ts, number)),
            row.status,
            row.resp_size,
            row.duration_ms,
            row.label,
            row.attack,
            row.split,
        )


def _to_raw(row: _Row, ts: float) -> RawCall:
    headers = {}
    if row.headers:
        for key, value in row.headers.items():
            name = key.lower()
            if value is not None and name not in _RESPONSE_HEADERS:
                headers[name] = value
    body = row.body.encode() if row.body is not None else None
    size = len(body) if body is not None else _content_length(headers)
    return RawCall(
        ts,
        row.method,
        row.path,
        headers,
        body,
        size,
        truncated=body is None and size > 0,
        source=row.src or "",
        workload=to_workload(row.dst or "", "", headers.get("host", "")),
        session="" if row.client is None else str(row.client),
        request_id=headers.get("x-request-id", ""),
    )


def _content_length(headers: dict[str, str]) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
