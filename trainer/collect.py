"""`collect`: live traffic to a store without being in its way: Envoy's gRPC access log, and mirrored requests for their bodies.

Either may be missing. Mirrored requests alone have no outcome and no caller; log entries alone no body and few headers.
Calls wait up to `hold_seconds` for their other half, in memory: that much a `kill -9` costs.
"""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import grpc.aio
import msgspec
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse

from authz_server.access_log import is_final, to_outcome_record
from authz_server.engine.canonical import RawCall
from authz_server.engine.errors import SettingError, cut
from authz_server.engine.observe import Observer
from authz_server.engine.policy import Enforcement
from authz_server.segment_name import default_instance
from trainer.access_log_entry import to_raw
from trainer.importers.imported import ImportedCall, to_record
from trainer.mirror import MirrorServer
from trainer.pairing import Paired, Pairing
from trainer.store_writer import StoreWriter

__all__ = ["Collected", "Collector", "collect", "run_collector"]

_SERVICE: Final = "envoy.service.accesslog.v3.AccessLogService"
_FLUSH_SECONDS: Final = 0.25
_BUFFERED_SECONDS: Final = 1.2
"""Envoy's `buffer_flush_interval` is a second."""
_GRACE_SECONDS: Final = 3.0

_log = logging.getLogger(__name__)


class Collected(msgspec.Struct):
    """What came in so far: log `entries`, mirrored `requests`, of them `pairs`; entries that `failed` are a mistake of ours."""

    entries: int = 0
    requests: int = 0
    pairs: int = 0
    failed: int = 0
    written: int = 0


class Collector:
    """Both servers' meeting point, on one event loop: takes entries and requests, writes calls."""

    def __init__(self, writer: StoreWriter, observer: Observer, enforcement: Enforcement, hold_seconds: float) -> None:
        self._writer = writer
        self._observer = observer
        self._enforcement = enforcement
        self._pairing = Pairing(hold_seconds)
        self._prefix = default_instance()
        self._collected = Collected()
        self._ending = asyncio.Event()
        self._streams = 0
        self.mirror = MirrorServer(self._take_request)

    @property
    def collected(self) -> Collected:
        """How far it is."""
        return msgspec.structs.replace(self._collected, pairs=self._pairing.pairs)

    def handler(self) -> grpc.GenericRpcHandler:
        """Bind the access log service for `grpc.aio.server`."""
        method = grpc.stream_unary_rpc_method_handler(
            self._stream, StreamAccessLogsMessage.FromString, StreamAccessLogsResponse.SerializeToString
        )
        return grpc.method_handlers_generic_handler(_SERVICE, {"StreamAccessLogs": method})

    def take_entry(self, entry: HTTPAccessLogEntry, now: float) -> None:
        """Take one access log entry; never raises, because one bad entry must not end a stream."""
        self._collected.entries += 1
        try:
            if not is_final(entry):
                return
            record = to_outcome_record(entry, now)
            gone = self._pairing.add_entry(to_raw(entry, now), record.outcome, now)
            if gone is not None:
                self._writer.put(msgspec.structs.replace(record, id=self._id(gone)))
        except Exception:
            self._collected.failed += 1
            _log.exception("access_log_entry_failed")

    def write(self, now: float, *, everything: bool = False) -> None:
        """Write the calls that need not wait any longer; raises StoreError when the disk takes nothing more."""
        for paired in self._pairing.release(now, everything=everything):
            self._collected.written += 1
            self._writer.put(to_record(_to_imported(paired), self._observer, self._enforcement, self._id(paired.number)))
        self._writer.flush()

    def _take_request(self, raw: RawCall) -> None:
        self._collected.requests += 1
        self._pairing.add_request(raw, time.time())

    def _id(self, number: int) -> str:
        return f"{self._prefix}-{number:x}"

    async def end_streams(self) -> None:
        """End the access log streams, which Envoy never does; what it had buffered for a second still comes."""
        if self._streams:
            await asyncio.sleep(_BUFFERED_SECONDS)
        self._ending.set()

    async def _stream(
        self, messages: AsyncIterator[StreamAccessLogsMessage], context: grpc.aio.ServicerContext
    ) -> StreamAccessLogsResponse:
        del messages
        ending = asyncio.create_task(self._ending.wait())
        self._streams += 1
        try:
            while not ending.done():
                reading = asyncio.ensure_future(context.read())
                await asyncio.wait((reading, ending), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done() or reading.result() is grpc.aio.EOF:
                    reading.cancel()
                    break
                now = time.time()
                for entry in reading.result().http_logs.log_entry:
                    self.take_entry(entry, now)
        finally:
            self._streams -= 1
            ending.cancel()
        return StreamAccessLogsResponse()


def _to_imported(paired: Paired) -> ImportedCall:
    outcome = paired.outcome
    if outcome is None:
        return ImportedCall(paired.number, paired.raw)
    return ImportedCall(paired.number, paired.raw, outcome.status, outcome.size, outcome.duration_ms)


async def run_collector(
    collector: Collector,
    listen: str | None,
    mirror: str | None,
    stop: asyncio.Event,
    started: Callable[[int | None, int | None], None],
) -> None:
    """Serve until `stop` is set. `listen` and `mirror` are HOST:PORT, `listen` also unix:PATH, None: not this one.

    `started` is told both ports. Raises SettingError where an address can't be had, StoreError when the disk takes nothing more.
    """
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((collector.handler(),))
    try:
        port = _listen(server, listen) if listen else None
        await server.start()
        mirror_port = await _listen_http(collector, mirror) if mirror else None
        started(port, mirror_port)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _FLUSH_SECONDS)
            collector.write(time.time())
    finally:
        stopped = asyncio.create_task(server.stop(_GRACE_SECONDS))
        await collector.end_streams()
        await stopped
        await collector.mirror.close()
        collector.write(time.time(), everything=True)


def _to_address(flag: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise SettingError(f"{flag}: expected HOST:PORT{' or unix:PATH' if flag == '--listen' else ''}, got {cut(text)!r}")
    return host.strip("[]"), int(port)


def _listen(server: grpc.aio.Server, address: str) -> int:
    if not address.startswith("unix:"):
        _to_address("--listen", address)  # gRPC itself takes port 99999 for 34463
    try:
        return int(server.add_insecure_port(address))
    except RuntimeError as error:
        raise SettingError(f"--listen: expected an address that is free, HOST:PORT or unix:PATH, got {cut(address)}") from error


async def _listen_http(collector: Collector, address: str) -> int:
    host, port = _to_address("--mirror", address)
    try:
        return await collector.mirror.start(host, port)
    except OSError as error:
        raise SettingError(f"--mirror: expected an address that is free, got {cut(address)}: {error.strerror}") from error


def collect(
    listen: str | None,
    mirror: str | None,
    store: str,
    observer: Observer,
    enforcement: Enforcement,
    *,
    hold_seconds: float = 5.0,
    spool: str | None = None,
    started: Callable[[int | None, int | None], None] = lambda _grpc, _http: None,
) -> Collected:
    """Collect until SIGTERM or Ctrl-C, then write, finish and upload what is there."""
    if not listen and not mirror:
        raise SettingError("expected --listen, --mirror or both: there is nothing to collect from")
    with StoreWriter(store, observer.key_id, spool=spool) as writer:
        collector = Collector(writer, observer, enforcement, hold_seconds)
        asyncio.run(_until_signalled(collector, listen, mirror, started))
    return collector.collected


async def _until_signalled(
    collector: Collector, listen: str | None, mirror: str | None, started: Callable[[int | None, int | None], None]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run_collector(collector, listen, mirror, stop, started)
