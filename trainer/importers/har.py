"""`--format har`: HTTP Archive 1.2 (http://www.softwareishard.com/blog/har-12-spec/), as browsers and proxies export it.

Read of each entry: `startedDateTime`, `time`, `request` (method, url, headers, postData), `response` (status, content.size). The
workload is the URL's authority. The file is one JSON document, so it is read whole: at most 512 MiB.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from authz_server.engine.canonical import RawCall, to_workload
from authz_server.engine.errors import FormatError, cut
from trainer.importers.envoy_json import to_seconds
from trainer.importers.imported import ImportedCall, Timeline
from trainer.lines import Readable, read_chunk

__all__ = ["MAX_DOCUMENT", "iter_imported"]

MAX_DOCUMENT: Final = 512 << 20


class _Pair(msgspec.Struct):
    name: str
    value: str = ""


class _PostData(msgspec.Struct, rename="camel"):
    mime_type: str = ""
    text: str | None = None


class _Request(msgspec.Struct, rename="camel"):
    method: str
    url: str
    headers: list[_Pair] = []
    post_data: _PostData | None = None
    body_size: float = -1


class _Content(msgspec.Struct):
    size: float = -1


class _Response(msgspec.Struct):
    status: float | None = None
    content: _Content = msgspec.field(default_factory=_Content)


class _Entry(msgspec.Struct, rename="camel"):
    request: _Request
    response: _Response = msgspec.field(default_factory=_Response)
    started_date_time: str | None = None
    time: float | None = None


class _Log(msgspec.Struct):
    entries: list[msgspec.Raw]


class _Har(msgspec.Struct):
    log: _Log


def iter_imported(stream: Readable, name: str) -> Iterator[ImportedCall | FormatError]:
    """Read an archive; a bad entry comes as a FormatError and the reading goes on. Raises FormatError for no archive at all."""
    try:
        document = msgspec.json.decode(_read(stream, name), type=_Har)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{name}: expected a HAR document, log.entries: {cut(error)}") from error
    timeline = Timeline()
    for number, text in enumerate(document.log.entries, 1):
        try:
            yield _to_imported(msgspec.json.decode(text, type=_Entry), number, timeline)
        except (msgspec.DecodeError, ValueError) as error:
            yield FormatError(f"{name}, entry {number}: expected a HAR entry: {cut(error)}")


def _read(stream: Readable, name: str) -> bytes:
    parts = []
    size = 0
    while chunk := read_chunk(stream, name):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_DOCUMENT:
            raise FormatError(f"{name}: expected at most {MAX_DOCUMENT} bytes")
    return b"".join(parts).removeprefix(b"\xef\xbb\xbf")


def _to_imported(entry: _Entry, number: int, timeline: Timeline) -> ImportedCall:
    request, response = entry.request, entry.response
    authority, target = _split_url(request.url)
    headers: dict[str, str] = {}
    for pair in request.headers:
        key = pair.name.lower()
        headers[key] = f"{headers[key]},{pair.value}" if key in headers else pair.value
    body = None
    if request.post_data is not None and request.post_data.text is not None:
        body = request.post_data.text.encode()
        headers.setdefault("content-type", request.post_data.mime_type)
    size = len(body) if body is not None else max(0, int(request.body_size))
    raw = RawCall(
        timeline.at(to_seconds(entry.started_date_time) if entry.started_date_time else None, number),
        request.method,
        target,
        headers,
        body,
        size,
        truncated=body is None and size > 0,
        workload=to_workload("", "", authority),
        request_id=headers.get("x-request-id", ""),
    )
    return ImportedCall(
        number,
        raw,
        None if response.status is None else int(response.status),
        None if response.content.size < 0 else int(response.content.size),
        entry.time,
    )


def _split_url(url: str) -> tuple[str, str]:
    """Split a URL into authority and request target by hand: what stands in the path must not be read as authority."""
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme.isalnum():
        return "", url.partition("#")[0]
    end = min((i for i in (rest.find("/"), rest.find("?"), rest.find("#")) if i >= 0), default=len(rest))
    target = rest[end:].partition("#")[0]
    return rest[:end].rpartition("@")[2], target if target.startswith("/") else "/" + target
