"""The HTTP/1.1 server that Envoy's `request_mirror_policies` send copies to: requests in, RawCalls out, an empty 200 at once.

Parsed by hand from the bytes (RFC 9112), because what matters here is the request target as it was sent: `http.server` rewrites
one that begins with `//`. Everything is bounded; a request that could be read in two ways is refused and its connection closed.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from typing import Final

from authz_server.engine.canonical import RawCall, to_workload

__all__ = ["MirrorServer", "strip_shadow"]

MAX_HEAD: Final = 64 << 10
"""Bytes of request line and headers; Envoy's own bound is 60 KiB."""
MAX_HEADERS: Final = 128
MAX_BODY: Final = 64 << 10
"""Bytes of a body that are kept; a longer one counts as truncated."""
MAX_DRAINED: Final = 16 << 20
"""Bytes of a body that are read at all; a longer one ends the connection."""
MAX_CONNECTIONS: Final = 512
IDLE_SECONDS: Final = 300.0
"""Envoy keeps its connections; its own idle timeout is an hour."""
BODY_SECONDS: Final = 30.0

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}) ([^\x00-\x20\x7f]{1,65536}) HTTP/1\.([01])\Z")
_HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")
_LENGTH = re.compile(r"[0-9]{1,15}\Z")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?\r\n\Z")
_OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class _Refused(Exception):  # noqa: N818  # never leaves this module
    """The request can't be taken; the answer says why, and the connection ends."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class _Stream:
    """What is left to read of one request's body, with one deadline for all of it."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.kept = bytearray()
        self.size = 0

    async def take(self, count: int) -> None:
        """Read exactly `count` bytes, keep the first ones."""
        if self.size + count > MAX_DRAINED:
            raise _Refused("413 Content Too Large")
        self.size += count
        while count:
            data = await self._reader.readexactly(min(count, 1 << 16))
            count -= len(data)
            self.kept += data[: MAX_BODY - len(self.kept)]

    async def take_chunked(self) -> None:
        """Read chunks and trailers (RFC 9112, 7.1)."""
        while True:
            found = _CHUNK_SIZE.match(await self._reader.readuntil(b"\n"))
            if found is None:
                raise _Refused("400 Bad Request")
            count = int(found[1], 16)
            if not count:
                break
            await self.take(count)
            if await self._reader.readexactly(2) != b"\r\n":
                raise _Refused("400 Bad Request")
        for _ in range(MAX_HEADERS):
            if await self._reader.readuntil(b"\n") == b"\r\n":
                return
        raise _Refused("431 Request Header Fields Too Large")


class MirrorServer:
    """Hands each mirrored request to `take`, on the event loop. `received` counts them, `refused` what was no request."""

    def __init__(self, take: Callable[[RawCall], None], clock: Callable[[], float] = time.time) -> None:
        self._take = take
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.received = 0
        self.refused = 0

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (which one, if it was 0). Raises OSError."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=MAX_HEAD)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """End all connections; what was received has been handed over."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except _Refused as refusal:
            self.refused += 1
            writer.write(f"HTTP/1.1 {refusal.status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode())
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the peer went away, or we do
        finally:
            self._connections.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.LimitOverrunError:
                raise _Refused("431 Request Header Fields Too Large") from None
            keep_alive, method, target, headers = _parse_head(head)
            body = _Stream(reader)
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    await _read_body(body, headers)
            except asyncio.LimitOverrunError:
                raise _Refused("400 Bad Request") from None
            writer.write(_OK)
            self.received += 1
            self._take(_to_raw(method, target, headers, body, self._clock()))
            await writer.drain()
            if not keep_alive:
                return


def _parse_head(head: bytes) -> tuple[bool, str, str, dict[str, str]]:
    """Read request line and headers; names in lower case, duplicates joined as Envoy does."""
    first, *lines = head[:-4].split(b"\r\n")
    found = _REQUEST_LINE.match(first)
    if found is None:
        raise _Refused("400 Bad Request")
    if len(lines) > MAX_HEADERS:
        raise _Refused("431 Request Header Fields Too Large")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or _HEADER_NAME.match(name) is None:
            raise _Refused("400 Bad Request")
        key, text = name.decode().lower(), _text(value.strip(b" \t"))
        headers[key] = f"{headers[key]}{'; ' if key == 'cookie' else ','}{text}" if key in headers else text
    persistent = found[3] == b"1" and headers.get("connection", "").lower() != "close"
    return persistent, found[1].decode(), _text(found[2]), headers


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


async def _read_body(body: _Stream, headers: dict[str, str]) -> None:
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise _Refused("400 Bad Request")
        await body.take_chunked()
    elif length is not None:
        if _LENGTH.match(length) is None:
            raise _Refused("400 Bad Request")
        await body.take(int(length))


def _to_raw(method: str, target: str, headers: dict[str, str], body: _Stream, now: float) -> RawCall:
    """Take over a mirrored request. Who called isn't known here: the peer is the Envoy that mirrored."""
    headers["host"] = host = strip_shadow(headers.get("host", ""))
    return RawCall(
        now,
        method,
        target,
        headers,
        bytes(body.kept),
        body.size,
        truncated=body.size > len(body.kept),
        workload=to_workload("", "", host),
        request_id=headers.get("x-request-id", ""),
    )


def strip_shadow(host: str) -> str:
    """Undo what Envoy does to the host of a mirrored request.

    >>> strip_shadow("cart-shadow:8080"), strip_shadow("cart-shadow"), strip_shadow("cart")
    ('cart:8080', 'cart', 'cart')
    """
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit():
        return f"{name.removesuffix('-shadow')}:{port}"
    return host.removesuffix("-shadow")
