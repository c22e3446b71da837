"""The admin address: what an operator, a scraper and a kubelet read over HTTP. In: functions that tell.

Small on purpose and bounded in everything: one request a connection, 8 KiB of it, 5 s for all of it, few connections at a time.
It has no authentication and changes nothing; what it shows has no secrets (`settings.to_public`) and only masked values.
"""

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Sequence
from threading import BoundedSemaphore, Event, Thread
from typing import Final, NamedTuple
from urllib.parse import parse_qs

import msgspec

from authz_server.engine.errors import SettingError

__all__ = ["MAX_CONNECTIONS", "MAX_DECISIONS", "MAX_REQUEST_BYTES", "Admin", "Sources"]

MAX_REQUEST_BYTES: Final = 8192
MAX_CONNECTIONS: Final = 16
MAX_DECISIONS: Final = 1000
REQUEST_SECONDS: Final = 5.0
_DEFAULT_DECISIONS: Final = 50

_INDEX: Final = """meshwarden authz server

/metrics                    Prometheus
/healthz                    200 while the process answers
/readyz                     200 when Checks can be judged, 503 with the reasons when not or when draining
/decisions?n=50             the last decisions, the newest first
/decisions?verdict=deny     of these the denies, would-be denies and failures
/config                     settings, policy and bundle in force, secrets hidden
"""

_log = logging.getLogger(__name__)


class Sources(NamedTuple):
    """What is shown, each a function so that it is always the current state.

    `metrics` takes the Accept header and returns body and content type; `ready` returns why not, nothing when ready; `decisions`
    takes how many and whether only denied ones; `decisions` and `config` return what msgspec can write as JSON.
    """

    metrics: Callable[[str], tuple[bytes, str]]
    ready: Callable[[], Sequence[str]]
    decisions: Callable[[int, bool], object]
    config: Callable[[], object]


class _Answer(NamedTuple):
    status: str
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


class _RefusedError(Exception):
    """A request that gets an error answer, whose status line's end is the argument."""


class Admin:
    """Serves `sources` on `address` (HOST:PORT) from threads of its own."""

    def __init__(self, address: str, sources: Sources, request_seconds: float = REQUEST_SECONDS) -> None:
        """Bind; raises SettingError where that is impossible."""
        host, _, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, int(port)), family=family, backlog=64)
        except OSError as error:
            raise SettingError(
                f"admin: expected an address that can be listened on, got {address!r}: {error.strerror or error}"
            ) from error
        self.port: int = self._socket.getsockname()[1]
        self._sources = sources
        self._request_seconds = request_seconds
        self._slots = BoundedSemaphore(MAX_CONNECTIONS)
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="admin", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening; answers under way end by themselves."""
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                if self._stopped.wait(0.05):
                    return
                continue
            if self._slots.acquire(blocking=False):
                Thread(target=self._serve, args=(connection,), name="admin-request", daemon=True).start()
            else:
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                head, answer = self._answer(connection)
                connection.settimeout(self._request_seconds)
                connection.sendall(_to_bytes(answer, head_only=head))
                connection.shutdown(socket.SHUT_WR)
        finally:
            self._slots.release()

    def _answer(self, connection: socket.socket) -> tuple[bool, _Answer]:
        method = ""
        try:
            method, target, accept = _parse(_read(connection, time.monotonic() + self._request_seconds))
            return method == "HEAD", _route(target, accept, self._sources)
        except _RefusedError as refused:
            return False, _Answer(str(refused), f"{refused}\n".encode())
        except OSError:
            raise
        except Exception:
            _log.exception("admin_failed")
            return method == "HEAD", _Answer("500 Internal Server Error", b"500 Internal Server Error\n")


def _read(connection: socket.socket, deadline: float) -> bytes:
    """Read a request's head, whole before `deadline`: a limit for each read alone would let a dripping client stay for hours."""
    data = b""
    while b"\r\n\r\n" not in data and b"\n\n" not in data:
        left = deadline - time.monotonic()
        if left <= 0:
            raise _RefusedError("408 Request Timeout")
        connection.settimeout(left)
        try:
            chunk = connection.recv(MAX_REQUEST_BYTES)
        except TimeoutError as error:
            raise _RefusedError("408 Request Timeout") from error
        if not chunk:
            raise _RefusedError("400 Bad Request")
        data += chunk
        if len(data) > MAX_REQUEST_BYTES:
            raise _RefusedError("431 Request Header Fields Too Large")
    return data


def _parse(data: bytes) -> tuple[str, str, str]:
    """Take method, target and Accept header out of a request's head."""
    first, *rest = data.decode("latin-1").split("\n")
    words = first.strip().split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise _RefusedError("400 Bad Request")
    if words[0] not in ("GET", "HEAD"):
        raise _RefusedError("405 Method Not Allowed")
    headers = [line.partition(":") for line in rest]
    accept = next((value.strip() for name, _, value in headers if name.lower() == "accept"), "")
    return words[0], words[1], accept


def _route(target: str, accept: str, sources: Sources) -> _Answer:
    path, _, query = target.partition("?")
    if path == "/metrics":
        return _Answer("200 OK", *sources.metrics(accept))
    if path == "/healthz":
        return _Answer("200 OK", b"ok\n")
    if path == "/readyz":
        reasons = list(sources.ready())
        return _json("503 Service Unavailable" if reasons else "200 OK", {"ready": not reasons, "reasons": reasons})
    if path == "/decisions":
        n, denied = _decisions_query(query)
        return _json("200 OK", sources.decisions(n, denied))
    if path == "/config":
        return _json("200 OK", sources.config())
    if path == "/":
        return _Answer("200 OK", _INDEX.encode())
    return _Answer("404 Not Found", b"404 Not Found\n")


def _decisions_query(query: str) -> tuple[int, bool]:
    try:
        asked = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=4)
        n = int(asked.pop("n", [str(_DEFAULT_DECISIONS)])[-1])
        verdict = asked.pop("verdict", [""])[-1]
    except ValueError as error:
        raise _RefusedError("400 Bad Request") from error
    if asked or not 0 <= n <= MAX_DECISIONS or verdict not in ("", "deny"):
        raise _RefusedError("400 Bad Request")
    return n, verdict == "deny"


def _json(status: str, value: object) -> _Answer:
    return _Answer(status, msgspec.json.encode(value, enc_hook=str) + b"\n", "application/json")


def _to_bytes(answer: _Answer, *, head_only: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"
    )
    if answer.status.startswith("405"):
        head += "Allow: GET, HEAD\r\n"
    return head.encode("latin-1") + b"\r\n" + (b"" if head_only else answer.body)
