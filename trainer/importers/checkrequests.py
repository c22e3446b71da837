"""`--format checkrequests`: a stream of `envoy.service.auth.v3.CheckRequest`, each after its length as a varint.

The very bytes that Envoy sends, so nothing is lost against live traffic. Bounded: a message may have 16 MiB.
"""

from collections.abc import Iterator
from typing import Final

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from google.protobuf.message import DecodeError

from authz_server.engine.errors import FormatError, cut
from authz_server.request import to_raw
from trainer.importers.imported import ImportedCall, Timeline
from trainer.lines import Readable, read_chunk

__all__ = ["MAX_MESSAGE", "iter_imported"]

MAX_MESSAGE: Final = 16 << 20


def iter_imported(stream: Readable, name: str) -> Iterator[ImportedCall | FormatError]:
    """Read all messages; a bad one comes as a FormatError and the reading goes on.

    Raises FormatError where a length is impossible or the stream ends inside a message: what follows can't be found then.
    """
    timeline = Timeline()
    for number, data in enumerate(_messages(stream, name), 1):
        try:
            request = CheckRequest.FromString(data)
        except DecodeError as error:
            yield FormatError(f"{name}, message {number}: expected a CheckRequest: {cut(error)}")
            continue
        raw = to_raw(request, timeline.at(None, number))
        timeline.at(raw.ts if request.attributes.request.time.seconds else None, number)
        yield ImportedCall(number, raw)


def _messages(stream: Readable, name: str) -> Iterator[bytes]:
    buffered = bytearray()
    number = 1
    while True:
        start, length = _read_length(buffered)
        if length > MAX_MESSAGE:
            raise FormatError(f"{name}, message {number}: expected a length of at most {MAX_MESSAGE} bytes as a varint")
        if start and len(buffered) >= start + length:
            yield bytes(buffered[start : start + length])
            del buffered[: start + length]
            number += 1
            continue
        chunk = read_chunk(stream, name)
        if not chunk:
            if buffered:
                raise FormatError(f"{name}, message {number}: expected {length or 'more'} bytes, the file ends before them")
            return
        buffered += chunk


def _read_length(buffered: bytearray) -> tuple[int, int]:
    """Read a varint at the start: how many bytes it takes (0: it isn't complete) and its value."""
    value = 0
    for i, byte in enumerate(buffered[:10]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return i + 1, value
    return (0, 0) if len(buffered) < 10 else (10, MAX_MESSAGE + 1)
