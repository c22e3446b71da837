"""`--format envoy-json`: Envoy's access log as JSON lines, under the names of Istio's default format.

| field | becomes |
|---|---|
| `start_time` (ISO 8601, or seconds) | ts |
| `method`, `path`, `authority` | method, path; the authority is the workload where there is no `downstream_local_uri_san` |
| `downstream_local_uri_san`, `downstream_peer_uri_san` | workload and caller, where the operator logs them |
| `downstream_remote_address` | the caller's address |
| `user_agent`, `x_forwarded_for`, `request_id` | headers of these names, request id |
| `bytes_received`, `bytes_sent`, `duration` (ms), `response_code` | body size, response size, duration, status |

`-` and null are nothing; other fields are passed over. There are no bodies: one that had bytes counts as truncated, which is to
say unknown. Lines without a method (TCP, requests that Envoy could not read) are no calls and are passed over.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from authz_server.engine.canonical import RawCall, to_workload
from authz_server.engine.errors import FormatError, cut
from trainer.importers.imported import ImportedCall, Timeline
from trainer.lines import Readable, iter_lines

__all__ = ["iter_imported", "to_seconds"]


class _Line(msgspec.Struct, gc=False):
    method: str | None = None
    path: str | None = None
    authority: str | None = None
    start_time: str | float | None = None
    downstream_local_uri_san: str | None = None
    downstream_peer_uri_san: str | None = None
    downstream_remote_address: str | None = None
    user_agent: str | None = None
    x_forwarded_for: str | None = None
    request_id: str | None = None
    bytes_received: str | float | None = None
    bytes_sent: str | float | None = None
    duration: str | float | None = None
    response_code: str | float | None = None


_decode = msgspec.json.Decoder(_Line).decode


def iter_imported(stream: Readable, name: str) -> Iterator[ImportedCall | FormatError]:
    """Read an access log; a bad line comes as the FormatError that says what is wrong with it, and the reading goes on."""
    timeline = Timeline()
    for number, text in iter_lines(stream, name):
        try:
            line = _decode(text)
            if not _given(line.method):
                continue
            yield _to_imported(line, number, timeline)
        except (msgspec.DecodeError, ValueError) as error:
            yield FormatError(f"{name}, line {number}: expected an access log entry: {cut(error)}: {cut(repr(text[:80]))}")


def to_seconds(time: str | float) -> float:
    """Read a time as ISO 8601 (UTC where it says nothing) or seconds since the epoch; raises ValueError.

    >>> to_seconds("2026-11-21T20:43:00.500Z")
    1795293780.5
    """
    try:
        return float(time)
    except ValueError:
        parsed = datetime.fromisoformat(str(time))
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _to_imported(line: _Line, number: int, timeline: Timeline) -> ImportedCall:
    authority = _given(line.authority)
    request_id = _given(line.request_id)
    headers = {":authority": authority, "user-agent": _given(line.user_agent), "x-forwarded-for": _given(line.x_forwarded_for)}
    size = _number(line.bytes_received) or 0
    time = _given(line.start_time)
    raw = RawCall(
        timeline.at(to_seconds(time) if time else None, number),
        _given(line.method),
        _given(line.path),
        {key: value for key, value in headers.items() if value},
        None,
        int(size),
        truncated=size > 0,
        source=_given(line.downstream_peer_uri_san),
        address=_given(line.downstream_remote_address).rpartition(":")[0],
        workload=to_workload(_given(line.downstream_local_uri_san), "", authority),
        request_id=request_id,
    )
    status, sent = _number(line.response_code), _number(line.bytes_sent)
    return ImportedCall(
        number,
        raw,
        None if status is None else int(status),
        None if sent is None else int(sent),
        _number(line.duration),
    )


def _given(value: str | float | None) -> str:
    return "" if value is None or value == "-" else str(value)


def _number(value: str | float | None) -> float | None:
    text = _given(value)
    return float(text) if text else None
